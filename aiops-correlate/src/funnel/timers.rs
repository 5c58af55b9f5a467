//! Timers: when a group must be looked at again, and what is over by silence.

use aiops_core::{IncidentState, Timestamp};
use std::cmp::Reverse;

use super::{Funnel, Story, weigh::WEIGHED};

/// A deadline that is met later than this was overslept.
const JUMP: std::time::Duration = std::time::Duration::from_secs(120);

impl Funnel {
    /// Makes sure that somebody looks again when members may have fallen silent. A time that is
    /// planned already will do: it is planned anew then.
    pub(super) fn await_silence(&mut self, group: u32) {
        if self.groups[group as usize].due == Timestamp::MAX {
            let due = self.silence_due(group);
            self.schedule(group, due);
        }
    }

    /// When the first open member would have been silent for too long.
    pub(super) fn silence_due(&self, group: u32) -> Timestamp {
        let members = self.forest.members(group);
        if members.len() > WEIGHED {
            return self.now + self.sessions.config.gap_without_end;
        }
        let gap_of = |&m: &u32| {
            let episode = self.sessions.episode(m);
            let kind = self.sessions.series[episode.series as usize].kind;
            episode.is_open().then(|| episode.last + self.gap(kind))
        };
        members.iter().filter_map(gap_of).min().unwrap_or(Timestamp::MAX)
    }

    pub(super) fn gap(&self, kind: u32) -> std::time::Duration {
        let config = &self.sessions.config;
        if self.history.says_when_over(kind) { config.gap } else { config.gap_without_end }
    }

    pub(super) fn schedule(&mut self, group: u32, due: Timestamp) {
        if due != self.groups[group as usize].due {
            self.groups[group as usize].due = due;
            if due < Timestamp::MAX {
                self.timers.push(Reverse((due, group)));
            }
        }
    }

    /// Does everything that was due by now.
    pub(super) fn work_off_timers(&mut self) {
        self.work_off_storm();
        self.work_off_silences();
        while let Some(&Reverse((due, group))) = self.timers.peek() {
            if due > self.now {
                break;
            }
            self.timers.pop();
            if self.groups[group as usize].due != due {
                continue; // planned anew since
            }
            self.groups[group as usize].due = Timestamp::MAX;
            if self.now.since(due) > JUMP {
                self.slept_over(group);
            }
            self.close_silent(group);
            let of = &self.groups[group as usize];
            let over = of.resolved_at.is_some_and(|at| at + self.config.close_after <= self.now);
            if of.state == IncidentState::Resolved && of.open == 0 && over {
                self.close(group);
            } else {
                self.settle(group);
            }
        }
        // Entries that were planned anew are dropped as soon as they come up, so that
        // `next_due` names a time at which something happens.
        while let Some(&Reverse((due, group))) = self.timers.peek() {
            if self.groups[group as usize].due == due {
                break;
            }
            self.timers.pop();
        }
    }

    /// Nobody looked when a hold was to be decided: the clock jumped, or the process stood still.
    /// What was held then is shown, since nobody knows what was missed.
    fn slept_over(&mut self, group: u32) {
        let of = &self.groups[group as usize];
        let held = of.state == IncidentState::Held && of.until < self.now && of.open > 0;
        if held && !self.is_quiet(group) {
            let probability = of.probability;
            self.note(group, Story::Overslept);
            self.show(group, probability);
        }
    }

    pub(super) fn close_silent(&mut self, group: u32) {
        if self.groups[group as usize].open == 0 {
            return;
        }
        let silent = |&m: &u32| {
            let episode = self.sessions.episode(m);
            let kind = self.sessions.series[episode.series as usize].kind;
            episode.is_open() && episode.last + self.gap(kind) <= self.now
        };
        let members = self.forest.members(group);
        let silent: Vec<u32> = members.iter().copied().filter(silent).collect();
        for at in silent {
            let last = self.sessions.episode(at).last;
            self.sessions.episodes[at as usize].ended = last;
            self.fell_silent(at);
        }
    }
}
