//! Changes and the groups that they precede.

use aiops_core::EventId;

use super::{Funnel, Story};
use crate::correlator::News;
use crate::dedup::NONE;
use crate::near::Relation;

impl Funnel {
    /// Attaches changes that precede the onset of a new member.
    pub(super) fn attach_known(&mut self, group: u32, at: u32) {
        if self.changes.known.is_empty() {
            return;
        }
        let node = self.forest.node(at);
        let (service, onset) = (node.service, node.onset);
        if service == NONE {
            return;
        }
        let found: Vec<EventId> = self
            .changes
            .before(onset, &self.config.changes)
            .filter(|change| self.change_reaches(change.service, service))
            .map(|change| change.id)
            .collect();
        for event in found {
            self.attach(group, event);
        }
    }

    /// Attaches a change that became known after the onset.
    pub(super) fn attach_to_open(&mut self, event: EventId) {
        let Some(change) = self.changes.find(event).cloned() else { return };
        if !change.kind.can_cause() || change.service == NONE {
            return;
        }
        let config = &self.config.changes;
        let (from, to) = (change.starts_at - config.slack, change.starts_at + config.before);
        let mut groups = Vec::new();
        for (number, of) in self.groups.iter().enumerate() {
            if of.open == 0 {
                continue;
            }
            let reached = self.forest.members(number as u32).iter().any(|&m| {
                let node = self.forest.node(m);
                (from..=to).contains(&node.onset)
                    && node.service != NONE
                    && self.change_reaches(change.service, node.service)
            });
            if reached {
                groups.push(number as u32);
            }
        }
        for group in groups {
            self.attach(group, event);
        }
    }

    pub(super) fn change_reaches(&self, changed: u32, service: u32) -> bool {
        let changed = self.near.canonical(changed);
        changed == service
            || self.near.of(service).iter().any(|near| {
                near.service == changed
                    && near.relation == Relation::DependsOn
                    && near.hops <= self.config.changes.hops
            })
    }

    pub(super) fn attach(&mut self, group: u32, event: EventId) {
        if !self.groups[group as usize].events.contains(&event) {
            self.groups[group as usize].events.push(event);
            self.note(group, Story::Change { event });
            self.tell(group, News::ChangeAttached { event });
        }
    }
}
