//! What a finished group teaches: which firings meant nothing, and which led to others.

use std::time::Duration;

use super::Funnel;
use crate::group::Via;
use crate::near::Relation;

impl Funnel {
    /// Counts the finished members of a group as noise, each once.
    pub(super) fn learn_noise(&mut self, group: u32, weight: f64) {
        let members = self.forest.members(group).to_vec();
        for at in members {
            let episode = self.sessions.episode(at);
            if episode.is_open() || self.forest.node(at).counted > 0.0 {
                continue;
            }
            let (severity, life, of) = (episode.severity, episode.life_s(), episode.series);
            let series = &self.sessions.series[of as usize];
            let (kind, history) = (series.kind, series.history as usize);
            let history = &mut self.sessions.histories[history];
            self.history.learn_noise(kind, history, severity, life, weight);
            if !self.history.frozen {
                self.forest.node_mut(at).counted = weight as f32;
            }
        }
    }

    pub(super) fn learn_from_incident(&mut self, group: u32) {
        if self.history.frozen || self.groups[group as usize].learned {
            return;
        }
        self.groups[group as usize].learned = true;
        let members = self.weighed(group);
        let now = self.now;
        let probability = self.probability_at(&members, now);
        for (index, member) in members.iter().enumerate() {
            let kind = self.history.kind_mut(member.kind);
            kind.symptom += probability;
            if index == 0 {
                kind.incidents += probability;
            } else {
                kind.followed += probability;
            }
        }
        self.learn_delays(group, probability);
        self.history.sum_followers();
        self.learn_noise(group, 1.0 - probability);
    }

    /// What the links of an incident say about delays along calls.
    fn learn_delays(&mut self, group: u32, probability: f64) {
        for at in self.forest.members(group) {
            let node = self.forest.node(*at);
            let direct =
                node.link.relation == Via::Near(Relation::DependsOn) && node.link.hops == 1;
            let Some(parent) = self.forest.get(node.parent).filter(|_| direct) else { continue };
            let times = node.onset.seconds_after(parent.onset) / self.config.spread.hop_s;
            self.history.delays.learn(node.service, parent.service, times, probability);
        }
    }

    /// The delay that trouble is believed to take from a dependency to its dependent, as far as it was
    /// learned: of the edge, of all edges, or as configured. `None` for services never heard of.
    pub fn delay(&self, dependent: &str, dependency: &str) -> Option<Duration> {
        let number = |name| self.services.number(name).map(|number| self.near.canonical(number));
        let slower = self.history.delays.ln_of(number(dependent)?, number(dependency)?);
        Some(Duration::from_secs_f64(self.config.spread.hop_s * slower.exp()))
    }
}
