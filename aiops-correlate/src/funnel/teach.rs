//! What a finished group teaches: which firings meant nothing, and which led to others.

use super::Funnel;

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
        self.history.sum_followers();
        self.learn_noise(group, 1.0 - probability);
    }
}
