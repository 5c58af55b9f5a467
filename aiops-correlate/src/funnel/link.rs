//! Linking: which earlier onset explains a firing, and which later ones a firing explains.

use aiops_core::{IncidentState, Severity, Timestamp};

use super::part::MOST;
use super::{Funnel, Group};
use crate::correlator::News;
use crate::dedup::NONE;
use crate::group::{Link, Moved, Via};
use crate::near::{Near, Relation};
use crate::onset::stretched;

/// Onsets of one service that are compared with a new one; the nearest in time count.
const PER_SERVICE: usize = 12;
/// Ends that the configured chance of a return is worth.
const RETURNS: f64 = 2.0;

impl Funnel {
    /// A firing has begun: it joins the group that explains it, or founds one.
    pub(super) fn begun(&mut self, at: u32) {
        let episode = self.sessions.episode(at);
        let (onset, series) = (episode.onset, episode.series);
        let raw = self.sessions.series[series as usize].service;
        let service = if raw == NONE { NONE } else { self.near.canonical(raw) };
        let mut later = Vec::new();
        let best = self.best_parent(at, service, onset, Some(&mut later));
        if self.returned(at).is_some() {
            let history = self.sessions.series[series as usize].history as usize;
            self.history.learn_return(&mut self.sessions.histories[history], true);
        }
        match best {
            Some((parent, link)) => {
                let group = self.forest.node(parent).group;
                self.forest.add(at, service, onset, group, self.now);
                self.forest.hang(at, parent, link);
                self.joined(group, at);
            }
            None => {
                let group = self.found(at);
                self.forest.add(at, service, onset, group, self.now);
                self.joined(group, at);
            }
        }
        self.take_over(at, &later);
        let group = self.forest.node(at).group;
        self.settle(group);
        self.rushes(onset, at);
    }

    /// Looks whether `at`, which begins at `onset` or is heard again after long, makes a front; then
    /// what belongs to it leaves what it was hung on before.
    pub(super) fn rushes(&mut self, onset: Timestamp, at: u32) {
        let Some(firings) = self.fronts.begins(onset, at) else { return };
        let mut services = Vec::new();
        for &firing in &firings {
            let node = self.forest.get(firing).map_or(NONE, |node| node.service);
            if node != NONE {
                services.push(node);
                services.extend(self.near.of(node).iter().map(|near| near.service));
            }
        }
        let Some(front) = self.fronts.last_mut() else { return };
        front.services.extend(services);
        let began = front.at;
        for firing in firings {
            if self.forest.get(firing).is_none() {
                continue;
            }
            if self.sessions.episode(firing).onset < began {
                // Heard again after long: what came since is a firing of its own.
                let before = began - std::time::Duration::from_nanos(1);
                let split = self.sessions.split_after(firing, before);
                if split != NONE {
                    self.sessions.episodes[firing as usize].ended =
                        self.sessions.episode(firing).last;
                    self.fell_silent(firing);
                    self.begun(split);
                }
            } else {
                self.relink(firing);
            }
        }
    }

    /// Firings that began later and are explained better by `at` than by what they hang on.
    fn take_over(&mut self, at: u32, later: &[(u32, Link)]) {
        for &(child, link) in later {
            let node = self.forest.node(child);
            let better = match node.link.relation {
                _ if node.hand != NONE => false,
                Via::Hand => false,
                Via::Root => true,
                Via::Recurrence => link.nats > node.link.nats,
                Via::Near(_) => {
                    node.parent != at
                        && (link.total() > node.link.total()
                            || link.total() == node.link.total()
                                && self.order(at) > self.order(node.parent))
                }
            };
            if better && !self.forest.is_above(child, at) {
                let moved = self.forest.hang(child, at, link);
                self.regrouped(moved);
            }
        }
    }

    /// The onset of a firing became earlier: its own links and those to it are drawn again.
    pub(super) fn moved(&mut self, at: u32) {
        let onset = self.sessions.episode(at).onset;
        let service = self.forest.node(at).service;
        self.forest.replace(at, service, onset);
        let children = self.forest.node(at).children.clone();
        self.relink(at);
        for child in children {
            if matches!(self.forest.node(child).link.relation, Via::Near(_)) {
                self.relink(child);
            }
        }
        let mut later = Vec::new();
        self.best_parent(at, service, onset, Some(&mut later));
        self.take_over(at, &later);
        let group = self.forest.node(at).group;
        self.groups[group as usize].dirty = true;
        self.settle(group);
    }

    /// Finds the best parent of a firing again.
    fn relink(&mut self, at: u32) {
        let node = self.forest.node(at);
        if node.hand != NONE {
            return;
        }
        let (service, onset) = (node.service, node.onset);
        match self.best_parent(at, service, onset, None) {
            Some((parent, link)) if !self.forest.is_above(at, parent) => {
                let moved = self.forest.hang(at, parent, link);
                self.regrouped(moved);
            }
            _ if self.forest.node(at).parent != NONE => {
                let from = self.forest.node(at).group;
                self.forest.unhang(at);
                let group = self.found(at);
                let moved = self.forest.relocate(at, group);
                self.split(from, group);
                self.regrouped(moved);
                self.settle(group);
            }
            _ => {}
        }
    }

    /// The onset that explains `at` best, if any does well enough; later onsets that `at` might
    /// explain go to `later`.
    pub(super) fn best_parent(
        &self,
        at: u32,
        service: u32,
        onset: Timestamp,
        mut later: Option<&mut Vec<(u32, Link)>>,
    ) -> Option<(u32, Link)> {
        let rank = self.sessions.rank(at);
        // ln of the rate at which an alert like this one comes by chance, against following.
        let chance = |episode: u32| {
            let severity = self.sessions.episode(episode).severity;
            let of = self.sessions.series_of(episode);
            self.history.chance(of.kind, self.sessions.history(of), severity, self.now)
        };
        let own_chance = chance(at);
        let mut best = self.came_back(at, onset, own_chance);
        if service == NONE {
            return best;
        }
        let window = self.config.spread.window;
        let own = Near { service, relation: Relation::SameService, hops: 0, ln_weight: 0.0 };
        for near in std::iter::once(&own).chain(self.near.of(service)) {
            let onsets = self.forest.onsets(near.service, onset, window, PER_SERVICE);
            for &(began, other) in onsets {
                if other == at {
                    continue;
                }
                // Within the window, so the difference fits.
                let gap = (onset.as_nanos() - began.as_nanos()) as f64 / 1e9;
                let later_than = gap > 0.0 || gap == 0.0 && rank > self.sessions.rank(other);
                if later_than {
                    let density = self.ln_density(near, (service, near.service), gap);
                    let nats = (density + f64::from(near.ln_weight) - own_chance) as f32;
                    // Most candidates are out before anything else of them is looked up.
                    let most = nats + MOST as f32;
                    let behind = best.is_some_and(|(_, link): (u32, Link)| most < link.total());
                    if f64::from(most) < self.needed(near.relation) || behind {
                        continue;
                    }
                    if self.fronts.between(began, onset, service) {
                        continue;
                    }
                    let ends = self.ended_together(at, other) as f32;
                    let total = nats + ends;
                    let better = f64::from(total) >= self.needed(near.relation)
                        && best.is_none_or(|(chosen, link): (u32, Link)| {
                            total > link.total()
                                || total == link.total() && self.order(other) > self.order(chosen)
                        });
                    if better && self.forest.node(other).link.relation != Via::Recurrence {
                        let relation = Via::Near(near.relation);
                        best = Some((other, Link { relation, hops: near.hops, nats, ends }));
                    }
                } else if let Some(later) = &mut later {
                    if self.fronts.between(onset, began, service) {
                        continue;
                    }
                    // Seen from the later one, the relation runs the other way.
                    let relation = near.relation.reversed();
                    let chance = chance(other);
                    let seen = Near { relation, ..*near };
                    let density = self.ln_density(&seen, (near.service, service), -gap);
                    let nats = density + f64::from(near.ln_weight) - chance;
                    let ends = self.ended_together(at, other);
                    if nats + ends >= self.needed(relation) {
                        let (relation, hops) = (Via::Near(relation), near.hops);
                        let link = Link { relation, hops, nats: nats as f32, ends: ends as f32 };
                        later.push((other, link));
                    }
                }
            }
        }
        best
    }

    /// ln of the density of a gap from the onset of the `earlier` service to that of the `later` one,
    /// with what was learned of delays where there is a dependency.
    fn ln_density(&self, near: &Near, (later, earlier): (u32, u32), gap_s: f64) -> f64 {
        let at = |gap| self.spread.ln_density(near.relation, near.hops, gap);
        let delays = &self.history.delays;
        match (near.relation, near.hops) {
            (Relation::DependsOn, 1) => stretched(at, gap_s, delays.ln_of(later, earlier)),
            (Relation::DependsOn, _) => stretched(at, gap_s, delays.ln_common()),
            _ => at(gap_s),
        }
    }

    /// The series' own last firing, if `at` looks like a return of it.
    fn came_back(&self, at: u32, onset: Timestamp, chance: f64) -> Option<(u32, Link)> {
        let prev = self.returned(at)?;
        let away = onset.seconds_after(self.sessions.episode(prev).ended);
        let mean = self.config.return_within.as_secs_f64() / 3.0;
        let history = self.sessions.history(self.sessions.series_of(at));
        let returns = (RETURNS * self.config.returns + history.returns) / (RETURNS + history.ends);
        let density = returns.min(1.0) / mean * (-away.max(0.0) / mean).exp();
        let nats = (density.ln() - chance) as f32;
        let link = Link { relation: Via::Recurrence, hops: 0, nats, ends: 0.0 };
        (f64::from(nats) >= self.config.sideways_nats).then_some((prev, link))
    }

    /// The last firing of the same series, if it ended shortly before `at`.
    fn returned(&self, at: u32) -> Option<u32> {
        let episode = self.sessions.episode(at);
        let prev = episode.prev;
        if prev == NONE || self.forest.get(prev).is_none() {
            return None;
        }
        let before = self.sessions.episode(prev);
        let service = self.forest.get(prev).map_or(NONE, |node| node.service);
        let front = self.fronts.between(before.onset, episode.onset, service);
        let soon = !front && episode.onset <= before.ended + self.config.return_within;
        (!before.is_open() && soon).then_some(prev)
    }

    /// How much likelier than chance a link must be.
    pub(super) fn needed(&self, relation: Relation) -> f64 {
        match relation {
            Relation::SameService | Relation::DependsOn => self.config.link_nats,
            _ => self.config.sideways_nats,
        }
    }

    /// Breaks ties between parents: the later onset, then the larger fingerprint.
    pub(super) fn order(&self, at: u32) -> (Timestamp, (u64, Severity)) {
        (self.forest.node(at).onset, self.sessions.rank(at))
    }

    /// Follows up on firings that changed groups.
    pub(super) fn regrouped(&mut self, moved: Option<Moved>) {
        let Some(Moved { from, to, emptied }) = moved else { return };
        if emptied {
            self.merge(from, to);
        } else {
            self.recount(from);
            self.recount(to);
            self.tell(to, News::Regrouped);
            self.settle(from);
        }
        self.settle(to);
    }

    fn recount(&mut self, group: u32) {
        let members = self.forest.members(group);
        let open = members.iter().filter(|&&m| self.sessions.episode(m).is_open()).count();
        let severity = members.iter().map(|&m| self.sessions.episode(m).severity).max();
        let mut kinds: Vec<u32> =
            members.iter().map(|&m| self.sessions.series_of(m).kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let group = &mut self.groups[group as usize];
        group.open = open as u32;
        group.severity = severity.unwrap_or_default();
        group.kinds = kinds;
        group.dirty = true;
    }

    /// `from` has lost all its members to `to`; the older identity goes on.
    fn merge(&mut self, from: u32, to: u32) {
        // What is over does not give its name to what goes on.
        let over = |state| matches!(state, IncidentState::Discarded | IncidentState::Closed);
        let age = |group: &Group| (over(group.state), group.founding_onset, group.number);
        let (a, b) = (from.min(to) as usize, from.max(to) as usize);
        let (low, high) = self.groups.split_at_mut(b);
        let (low, high) = (&mut low[a], &mut high[0]);
        let (gone, stays) = if from < to { (low, high) } else { (high, low) };
        if age(gone) < age(stays) {
            std::mem::swap(gone, stays);
            self.by_incident.insert(gone.id, from);
            self.by_incident.insert(stays.id, to);
        }
        for event in std::mem::take(&mut gone.events) {
            if !stays.events.contains(&event) {
                stays.events.push(event);
            }
        }
        let (into, other) = (stays.id, gone.id);
        self.recount(to);
        self.absorbed(from, to, into, other);
    }
}
