//! Forgetting: what is older than the retention time, or too much.

use aiops_core::{IncidentState, Timestamp};

use super::Funnel;
use crate::dedup::NONE;

impl Funnel {
    /// Forgets what is older than the retention time, at most once a minute.
    pub(super) fn sweep(&mut self) {
        let minute = std::time::Duration::from_secs(60);
        if self.now.since(self.swept_at) < minute
            && self.sessions.records() <= self.config.max_records
        {
            return;
        }
        self.swept_at = self.now;
        let before = self.now - self.config.lateness - self.config.spread.window;
        // What fires, or has just ended, may still be told from its neighbours by its end.
        let sessions = &self.sessions;
        self.forest.forget_onsets(before, |at| sessions.episode(at).ended >= before);
        let before = self.now - self.config.retention;
        while let Some(&(at, group, number)) = self.finished.front() {
            let full = self.sessions.records() > self.config.max_records;
            if at > before && !full {
                break;
            }
            self.finished.pop_front();
            let of = &self.groups[group as usize];
            let over = matches!(
                of.state,
                IncidentState::Discarded | IncidentState::Closed | IncidentState::Merged(_)
            );
            if of.number == number && over && of.open == 0 {
                self.forget(group);
            }
            self.forget_records(before);
        }
        self.forget_records(before);
    }

    pub(super) fn forget_records(&mut self, before: Timestamp) {
        while let Some((_, record)) = self.sessions.oldest() {
            let gone = record.episode == NONE;
            if !gone && self.sessions.records() <= self.config.max_records {
                break;
            }
            if gone && record.decided > before && self.sessions.records() <= self.config.max_records
            {
                break;
            }
            let alert = record.alert.as_u64();
            self.by_alert.remove(&alert);
            self.sessions.forget_oldest();
        }
    }

    /// Frees a finished group and its firings.
    pub(super) fn forget(&mut self, group: u32) {
        let members = self.forest.members(group).to_vec();
        for at in members {
            self.forest.remove(at);
            self.quiet.remove(&at);
            self.sessions.forget_records_of(at);
            self.sessions.free(at);
        }
        self.by_incident.remove(&self.groups[group as usize].id);
        self.groups[group as usize].due = Timestamp::MAX;
        self.groups[group as usize].state = IncidentState::Closed;
        self.free_groups.push(group);
    }
}
