//! Suppression during an incident: known symptoms inside its cone show nothing by themselves.

use aiops_core::{IncidentId, IncidentState};
use serde::{Deserialize, Serialize};

use super::{Funnel, quiet::Quiet};
use crate::dedup::NONE;
use crate::near::Relation;

/// When alerts near an incident that people look at are taken for more of its symptoms.
///
/// Links by onset reach as far as [`window`](crate::SpreadConfig::window); an incident that lasts for
/// hours goes on to raise alerts after that. Such a group is suppressed instead of shown, for as long
/// as the incident is open, if every alert of it is of a service that depends on the one where the
/// incident began, of a kind that was seen to follow others before, and no worse than the incident. A
/// new kind of alert or a worse one is shown, as is whatever still fires when the incident ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConeConfig {
    /// Calls between the service of an alert and the one where the incident began, at most 2; 0 to
    /// suppress nothing. Default 0: on storms with a second incident in the cone of the first it hid
    /// one in five hundred, and saved few pages.
    pub hops: u8,
    /// How often alerts of a kind must have followed others to be a known symptom. Default 3.
    pub seen: f64,
}

impl Default for ConeConfig {
    fn default() -> Self {
        ConeConfig { hops: 0, seen: 3.0 }
    }
}

impl Funnel {
    /// Keeps a group that is to be shown in the cone of an incident, if it lies in one.
    pub(super) fn stays_in_cone(&mut self, group: u32) -> bool {
        let Some((incident, service, hops)) = self.cone_of(group) else { return false };
        for at in self.forest.members(group).to_vec() {
            self.quiet.entry(at).or_insert(Quiet::InCone { incident, service, hops });
        }
        self.keep_quiet(group);
        true
    }

    /// The incident in whose cone all firings of a group lie, where it began, and how far away.
    fn cone_of(&self, group: u32) -> Option<(IncidentId, u32, u8)> {
        if self.config.cone.hops == 0 {
            return None;
        }
        let members = self.forest.members(group);
        let (&first, others) = members.split_first()?;
        // The cones of the first member are the candidates.
        let service = self.forest.node(first).service;
        if service == NONE {
            return None;
        }
        let mut best: Option<(IncidentId, u32, u8)> = None;
        let below = self.near.of(service).iter().filter(|near| {
            near.relation == Relation::DependsOn && near.hops <= self.config.cone.hops
        });
        for near in below {
            for &(_, root) in self.forest.all_onsets(near.service) {
                let other = self.forest.node(root).group;
                let of = &self.groups[other as usize];
                let looked_at =
                    matches!(of.state, IncidentState::Open | IncidentState::Acknowledged)
                        && of.shown_at.is_some();
                let begins = self.forest.node(root).parent == NONE;
                if other == group || !looked_at || !begins || !self.sessions.episode(root).is_open()
                {
                    continue;
                }
                let inside = |&at: &u32| self.is_symptom_of(at, near.service, of.severity);
                let nearer = best.is_none_or(|(_, _, hops)| near.hops < hops);
                if nearer && inside(&first) && others.iter().all(inside) {
                    best = Some((of.id, near.service, near.hops));
                }
            }
        }
        best
    }

    /// Whether a firing is a known symptom of trouble at `root`, and no worse than that.
    fn is_symptom_of(&self, at: u32, root: u32, severity: aiops_core::Severity) -> bool {
        let episode = self.sessions.episode(at);
        let kind = self.history.kind(self.sessions.series_of(at).kind);
        let service = self.forest.node(at).service;
        let depends = service != NONE
            && self.near.of(service).iter().any(|near| {
                near.service == root
                    && near.relation == Relation::DependsOn
                    && near.hops <= self.config.cone.hops
            });
        depends
            && !kind.pinned
            && kind.followed >= self.config.cone.seen
            && episode.severity <= severity
    }

    /// An incident is over: what its cone hid is judged as if it had come now.
    pub(super) fn leave_cone(&mut self, incident: IncidentId) {
        let inside = |(at, quiet): (&u32, &Quiet)| {
            matches!(quiet, Quiet::InCone { incident: of, .. } if *of == incident).then_some(*at)
        };
        let mut freed: Vec<u32> = self.quiet.iter().filter_map(inside).collect();
        freed.sort_unstable();
        for &at in &freed {
            self.quiet.remove(&at);
            if self.forest.get(at).is_some() {
                self.forest.node_mut(at).arrived = self.now;
            }
        }
        for at in freed {
            if let Some(group) = self.forest.get(at).map(|node| node.group) {
                self.settle(group);
            }
        }
    }
}
