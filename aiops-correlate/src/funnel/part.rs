//! Parting: what the ends of firings say about who belongs together.
//!
//! Alerts of one incident end together, when it is repaired; two incidents that began together
//! seldom do. So when a firing of a shown group ends, its link is weighed again with both ends: it
//! may hang on another onset, on one of another group that ended with it, or leave with its followers
//! if they are an incident of their own. What people have seen stays in sight; nothing is dated back.

use aiops_core::Severity;

use super::Funnel;
use crate::dedup::NONE;
use crate::group::{Link, Via};

/// The most that two ends may say: a repair can be slow, and a coincidence happens.
pub(super) const MOST: f64 = 5.0;
/// Share of ends that come long after the others, and by how much longer they take.
const SLOW: f64 = 0.15;
const SLOWER: f64 = 10.0;
/// How much more it takes to join a group that begins with a critical alert, in nats.
const CRITICAL: f64 = 3.0;

impl Funnel {
    /// ln of how much likelier these two ends are if both firings are of one incident; 0 while an
    /// end is not known.
    pub(super) fn ended_together(&self, one: u32, other: u32) -> f64 {
        let (one, other) = (self.sessions.episode(one), self.sessions.episode(other));
        if !(one.said_end && other.said_end) {
            return 0.0;
        }
        let apart = one.ended.seconds_after(other.ended);
        let chance = 1.0 / self.config.priors.incident_life_s;
        (self.ln_apart(apart) - chance.ln()).clamp(-MOST, MOST)
    }

    /// ln of the density, per second, of two ends of one incident being so far apart.
    pub(super) fn ln_apart(&self, apart_s: f64) -> f64 {
        let mean = self.config.spread.recovery_s.max(1.0);
        let exponential = |mean: f64| (-apart_s.abs() / mean).exp() / mean;
        ((1.0 - SLOW) * exponential(mean) + SLOW * exponential(mean * SLOWER)).max(1e-12).ln()
    }

    /// A firing ended, and its end was said: its links are weighed again.
    pub(super) fn reconsider(&mut self, at: u32) {
        let group = self.forest.node(at).group;
        if !self.groups[group as usize].state.is_shown() || self.config.spread.recovery_s <= 0.0 {
            return;
        }
        let children = self.forest.node(at).children.clone();
        self.reconsider_one(at);
        for child in children {
            if self.forest.node(child).parent == at && self.sessions.episode(child).said_end {
                self.reconsider_one(child);
            }
        }
        let (service, onset) = (self.forest.node(at).service, self.forest.node(at).onset);
        let mut later = Vec::new();
        self.best_parent(at, service, onset, Some(&mut later));
        for (child, link) in later {
            let node = self.forest.node(child);
            let shown = self.groups[node.group as usize].state.is_shown();
            let better = match node.link.relation {
                Via::Root => self.joins(child, link),
                _ if node.hand != NONE => false,
                Via::Recurrence | Via::Hand => false,
                Via::Near(_) => node.parent != at && link.total() > self.total(child),
            };
            if shown && better && !self.forest.is_above(child, at) {
                let moved = self.forest.hang(child, at, link);
                self.regrouped(moved);
            }
        }
    }

    /// Whether two groups that people have seen apart are one after all. One that begins with a
    /// critical alert more often is an incident of its own, and joining hides it.
    fn joins(&self, at: u32, link: Link) -> bool {
        let Via::Near(relation) = link.relation else { return false };
        let critical = self.sessions.episode(at).severity == Severity::Critical;
        let more = if critical { CRITICAL } else { 0.0 };
        f64::from(link.total()) >= self.needed(relation) + more
    }

    /// All evidence for the link that a firing hangs on, with the ends as known by now.
    fn total(&self, at: u32) -> f32 {
        let node = self.forest.node(at);
        node.link.nats + self.ended_together(at, node.parent) as f32
    }

    fn reconsider_one(&mut self, at: u32) {
        let node = self.forest.node(at);
        let (service, onset, parent, link) = (node.service, node.onset, node.parent, node.link);
        if matches!(link.relation, Via::Recurrence | Via::Hand) || node.hand != NONE {
            return;
        }
        let best = self.best_parent(at, service, onset, None);
        let best = best.filter(|(other, link)| {
            let group = self.forest.node(*other).group;
            matches!(link.relation, Via::Near(_))
                && self.groups[group as usize].state.is_shown()
                && !self.forest.is_above(at, *other)
        });
        let Via::Near(relation) = link.relation else {
            if let Some((other, link)) = best.filter(|(_, link)| self.joins(at, *link)) {
                let moved = self.forest.hang(at, other, link);
                self.regrouped(moved);
            }
            return;
        };
        let total = self.total(at);
        match best {
            Some((other, better)) if other != parent && better.total() > total => {
                let moved = self.forest.hang(at, other, better);
                self.regrouped(moved);
            }
            _ if f64::from(total) < self.needed(relation) && self.stands_alone(at) => {
                self.leave(at)
            }
            _ if parent != NONE => {
                let ends = self.ended_together(at, parent) as f32;
                self.forest.node_mut(at).link = Link { ends, ..link };
            }
            _ => {}
        }
    }

    /// Whether a firing with what hangs on it, and what it would leave behind, are both likelier to be
    /// an incident of their own than not. A bystander stays: parting would make a second page of one.
    fn stands_alone(&mut self, at: u32) -> bool {
        let mut subtree = vec![at];
        let mut next = 0;
        while let Some(&one) = subtree.get(next) {
            subtree.extend_from_slice(&self.forest.node(one).children);
            next += 1;
        }
        let now = self.now;
        let members = self.weighed_of(&subtree);
        if self.probability_at(&members, now) < 0.5 {
            return false;
        }
        subtree.sort_unstable();
        let group = self.forest.members(self.forest.node(at).group);
        let rest: Vec<u32> =
            group.iter().copied().filter(|m| subtree.binary_search(m).is_err()).collect();
        let rest = self.weighed_of(&rest);
        self.probability_at(&rest, now) >= 0.5
    }

    /// Cuts a firing off, with what hangs on it: an incident of its own.
    pub(super) fn leave(&mut self, at: u32) {
        let from = self.forest.node(at).group;
        self.forest.unhang(at);
        let group = self.found(at);
        let moved = self.forest.relocate(at, group);
        self.split(from, group);
        self.regrouped(moved);
        self.settle(group);
    }
}
