//! Quiet firings: silenced or inhibited, so that they show nothing by themselves; and what follows
//! when that ends.

use aiops_core::{Alert, AlertId, EventId, IncidentChange, IncidentId, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Funnel, Story};
use crate::correlator::News;
use crate::silence::Expired;

/// Why a firing is quiet.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Quiet {
    Silenced { by: EventId, until: Timestamp },
    Inhibited { rule: Box<str>, by: AlertId, alert: Box<Alert> },
    InCone { incident: IncidentId, service: u32, hops: u8 },
}

impl Funnel {
    /// The silences and windows that ended since this was last asked, with what they hid.
    pub fn expired(&mut self) -> Vec<Expired> {
        std::mem::take(&mut self.expired)
    }

    /// An inhibiting alert fires, or does no more.
    pub(super) fn hears(&mut self, alert: &Alert) {
        if self.inhibitions.is_empty() || !self.inhibitions.update(alert) {
            return;
        }
        let freed = |(at, quiet): (&u32, &Quiet)| match quiet {
            Quiet::Inhibited { alert, .. } if self.inhibitions.inhibitor(alert).is_none() => {
                Some(*at)
            }
            _ => None,
        };
        let mut freed: Vec<u32> = self.quiet.iter().filter_map(freed).collect();
        freed.sort_unstable();
        for at in freed {
            self.quiet.remove(&at);
            // From here on it is judged as if it had come now.
            self.forest.node_mut(at).arrived = self.now;
            let group = self.forest.node(at).group;
            self.settle(group);
        }
    }

    /// Makes the firing `at` of an alert that fires quiet, if it is to be.
    pub(super) fn hush(&mut self, alert: &Alert, at: u32) {
        if self.silences.is_empty() && self.inhibitions.is_empty() || alert.is_resolved() {
            return;
        }
        let group = self.forest.get(at).map(|node| node.group as usize);
        if group.is_some_and(|group| self.groups[group].state.is_shown()) {
            return;
        }
        let silenced = self.silences.cover(alert, self.now);
        let quiet = match silenced {
            Some((by, until)) => Some(Quiet::Silenced { by, until }),
            None => self.inhibitions.inhibitor(alert).map(|(rule, by)| Quiet::Inhibited {
                rule: rule.into(),
                by,
                alert: Box::new(alert.clone()),
            }),
        };
        match quiet {
            Some(quiet) => drop(self.quiet.insert(at, quiet)),
            // Nothing announced; what an incident covers stays covered.
            None if matches!(self.quiet.get(&at), Some(Quiet::InCone { .. })) => {}
            None => drop(self.quiet.remove(&at)),
        }
    }

    /// Whether every firing of a group is quiet.
    pub(super) fn is_quiet(&self, group: u32) -> bool {
        let members = self.forest.members(group);
        !self.quiet.is_empty() && members.iter().all(|at| self.quiet.contains_key(at))
    }

    /// Whether something of a group still fires, all of it quiet, beside what was heard and is over.
    pub(super) fn is_quiet_but_for_what_ended(&self, group: u32) -> bool {
        let open = |at: &&u32| self.sessions.episode(**at).is_open();
        let mut firing = self.forest.members(group).iter().filter(open).peekable();
        !self.quiet.is_empty()
            && firing.peek().is_some()
            && firing.all(|at| self.quiet.contains_key(at))
    }

    /// A quiet group waits for the end of what keeps it quiet, or for its own.
    pub(super) fn keep_quiet(&mut self, group: u32) {
        if self.groups[group as usize].open == 0 {
            self.schedule(group, Timestamp::MAX);
            if self.apply(group, IncidentChange::Discard) {
                self.groups[group as usize].resolved_at = Some(self.now);
                self.note(group, Story::EndedQuiet);
                self.tell(group, News::Discarded);
                self.done(group);
            }
            return;
        }
        let until = |at: &u32| match self.quiet.get(at)? {
            Quiet::Silenced { until, .. } => Some(*until),
            Quiet::Inhibited { .. } | Quiet::InCone { .. } => None,
        };
        let until = self.forest.members(group).iter().filter_map(until).min();
        let until = until.unwrap_or(Timestamp::MAX);
        self.groups[group as usize].until = until;
        let due =
            until.min(self.silence_due(group)).max(self.now + std::time::Duration::from_secs(1));
        self.schedule(group, due);
    }

    /// Says which silences ended, and shows what they hid and what still fires.
    pub(super) fn work_off_silences(&mut self) {
        if self.silences.is_empty() {
            return;
        }
        for expired in self.silences.tick(self.now) {
            let event = expired.id;
            self.expired.push(expired);
            let hidden = |(at, quiet): (&u32, &Quiet)| {
                matches!(quiet, Quiet::Silenced { by, .. } if *by == event).then_some(*at)
            };
            let mut hidden: Vec<u32> = self.quiet.iter().filter_map(hidden).collect();
            hidden.sort_unstable();
            let mut told = Vec::new();
            for at in hidden {
                self.quiet.remove(&at);
                let group = self.forest.node(at).group;
                if !told.contains(&group) {
                    told.push(group);
                    self.note(group, Story::SilenceOver { event });
                    self.tell(group, News::SilenceExpired { event });
                }
                let open = self.sessions.episode(at).is_open();
                if open && !self.groups[group as usize].state.is_shown() {
                    let probability = self.groups[group as usize].probability;
                    self.show(group, probability);
                }
            }
        }
    }
}
