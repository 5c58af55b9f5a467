//! What becomes of a group: held, shown, resolved, closed, merged, split.

use aiops_core::{IncidentChange, IncidentId, IncidentState, Timestamp, report, telemetry};

use super::weigh::WEIGHED;
use super::{Funnel, Group, Story};
use crate::correlator::{News, Update};

impl Funnel {
    /// A group without members yet, founded by the firing `at`.
    pub(super) fn found(&mut self, at: u32) -> u32 {
        let episode = self.sessions.episode(at);
        let series = &self.sessions.series[episode.series as usize];
        let tenant = self.tenant.as_deref().unwrap_or_default();
        let mut onset = episode.onset;
        let mut id = IncidentId::of(tenant, series.fingerprint, onset);
        // The same founder can found twice at one onset, when a group was split in between.
        while self.by_incident.contains_key(&id) {
            onset += std::time::Duration::from_nanos(1);
            id = IncidentId::of(tenant, series.fingerprint, onset);
        }
        let reuse = self.free_groups.pop();
        let group = self.forest.open_group(reuse);
        let fresh = Group {
            id,
            state: IncidentState::Held,
            founding_onset: episode.onset,
            number: self.founded,
            shown_at: None,
            resolved_at: None,
            probability: 0.0,
            due: Timestamp::MAX,
            until: Timestamp::MAX,
            open: 0,
            severity: episode.severity,
            kinds: Vec::new(),
            events: Vec::new(),
            story: vec![(self.now, Story::Held)],
            learned: false,
            dirty: true,
        };
        self.founded += 1;
        match self.groups.get_mut(group as usize) {
            Some(slot) => *slot = fresh,
            None => self.groups.push(fresh),
        }
        self.by_incident.insert(id, group);
        self.tell(group, News::Held);
        group
    }

    pub(super) fn tell(&mut self, group: u32, news: News) {
        let incident = self.groups[group as usize].id;
        telemetry::count("aiops_correlate_incidents_total", "news", news.name(), 1);
        report!(info, "aiops_correlate", "an incident changed";
            news = news.name(), incident = incident);
        self.updates.push(Update { at: self.now, incident, news });
    }

    pub(super) fn note(&mut self, group: u32, story: Story) {
        self.groups[group as usize].story.push((self.now, story));
    }

    /// Moves a group through the table of states; an impossible change leaves it as it is.
    pub(super) fn apply(&mut self, group: u32, change: IncidentChange) -> bool {
        match self.groups[group as usize].state.after(change) {
            Ok(state) => {
                self.groups[group as usize].state = state;
                true
            }
            Err(_) => false,
        }
    }

    /// A firing was added to a group.
    pub(super) fn joined(&mut self, group: u32, at: u32) {
        let episode = self.sessions.episode(at);
        let (severity, open, first) = (episode.severity, episode.is_open(), episode.first_alert);
        let kind = self.sessions.series[episode.series as usize].kind;
        let of = &mut self.groups[group as usize];
        of.open += u32::from(open);
        of.dirty = true;
        let new_kind = match of.kinds.binary_search(&kind) {
            Ok(_) => false,
            Err(place) => {
                of.kinds.insert(place, kind);
                true
            }
        };
        let worse = severity > of.severity;
        of.severity = of.severity.max(severity);
        let severity = of.severity;
        if of.state.is_shown() && (new_kind || worse) {
            self.note(group, Story::Attention { alert: first });
            self.tell(group, News::Attention { alert: first, severity });
        }
        self.attach_known(group, at);
    }

    /// A firing repeats: it may have become worse, and while it is held the repetition itself is
    /// evidence that it lasts.
    pub(super) fn fires_on(&mut self, at: u32) {
        let group = self.forest.node(at).group;
        let severity = self.sessions.episode(at).severity;
        if severity > self.groups[group as usize].severity {
            self.groups[group as usize].severity = severity;
            if self.groups[group as usize].state.is_shown() {
                let alert = self.sessions.episode(at).first_alert;
                self.note(group, Story::Attention { alert });
                self.tell(group, News::Attention { alert, severity });
            }
            self.groups[group as usize].dirty = true;
            self.settle(group);
        } else if !self.groups[group as usize].state.is_shown() {
            self.settle(group);
        }
    }

    /// A firing ended by a record that said so.
    pub(super) fn ended(&mut self, at: u32) {
        let kind = self.sessions.series_of(at).kind;
        if !self.history.frozen {
            self.history.kind_mut(kind).said_end += 1.0;
            self.history.ends.0 += 1.0;
            let ended = self.sessions.episode(at).ended;
            self.history.learn_late(self.now.seconds_after(ended));
            let episode = self.sessions.episode(at);
            if let Some(cadence) = episode.cadence_s() {
                let silent = ended.seconds_after(episode.last);
                self.history.learn_stopped(cadence, silent);
            }
        }
        self.closed_one(at);
    }

    /// A firing turned out to be over because nothing was heard of it.
    pub(super) fn fell_silent(&mut self, at: u32) {
        let kind = self.sessions.series_of(at).kind;
        if !self.history.frozen {
            self.history.kind_mut(kind).fell_silent += 1.0;
            self.history.ends.1 += 1.0;
        }
        self.closed_one(at);
    }

    pub(super) fn closed_one(&mut self, at: u32) {
        let of = self.sessions.episode(at).series as usize;
        let history = self.sessions.series[of].history as usize;
        self.history.learn_return(&mut self.sessions.histories[history], false);
        let group = self.forest.node(at).group;
        let members = self.forest.members(group);
        // Counted anew where that is cheap: an end may come twice, for the two parts of a split.
        let open = if members.len() <= WEIGHED {
            members.iter().filter(|&&m| self.sessions.episode(m).is_open()).count() as u32
        } else {
            self.groups[group as usize].open.saturating_sub(1)
        };
        self.groups[group as usize].open = open;
        self.settle(group);
    }

    /// Brings a group's state in line with its members and the time.
    pub(super) fn settle(&mut self, group: u32) {
        if self.forest.members(group).is_empty() {
            return;
        }
        match self.groups[group as usize].state {
            IncidentState::Held | IncidentState::Discarded => self.weigh(group),
            IncidentState::Open | IncidentState::Acknowledged => {
                if self.groups[group as usize].open == 0 {
                    self.resolve(group);
                } else {
                    self.await_silence(group);
                }
            }
            IncidentState::Resolved => {
                if self.groups[group as usize].open > 0 {
                    self.apply(group, IncidentChange::Reopen);
                    self.groups[group as usize].resolved_at = None;
                    self.schedule(group, Timestamp::MAX);
                    self.note(group, Story::Reopened);
                    self.tell(group, News::Reopened);
                    self.await_silence(group);
                } else {
                    self.close_in_time(group);
                }
            }
            _ => {}
        }
    }

    pub(super) fn resolve(&mut self, group: u32) {
        self.apply(group, IncidentChange::Resolve);
        self.groups[group as usize].resolved_at = Some(self.now);
        self.note(group, Story::Resolved);
        self.tell(group, News::Resolved);
        self.close_in_time(group);
        if !self.quiet.is_empty() {
            self.leave_cone(self.groups[group as usize].id);
        }
    }

    pub(super) fn close_in_time(&mut self, group: u32) {
        let since = self.groups[group as usize].resolved_at.unwrap_or(self.now);
        self.schedule(group, since + self.config.close_after);
    }

    pub(super) fn close(&mut self, group: u32) {
        self.apply(group, IncidentChange::Close);
        self.note(group, Story::Closed);
        self.tell(group, News::Closed);
        self.learn_from_incident(group);
        self.done(group);
    }

    pub(super) fn show(&mut self, group: u32, probability: f64) {
        let change = match self.groups[group as usize].state {
            IncidentState::Discarded => IncidentChange::Reopen,
            _ => IncidentChange::Show,
        };
        if !self.apply(group, change) {
            return;
        }
        let of = &mut self.groups[group as usize];
        of.resolved_at = None;
        of.probability = probability;
        self.note(group, Story::Shown { probability });
        if self.gets_notice(group) {
            let of = &mut self.groups[group as usize];
            of.shown_at = Some(of.shown_at.unwrap_or(self.now));
            self.tell(group, News::Shown);
        }
        self.schedule(group, Timestamp::MAX);
        // What was taken for noise was none.
        let members = self.forest.members(group).to_vec();
        for at in members {
            let counted = std::mem::take(&mut self.forest.node_mut(at).counted);
            if counted > 0.0 {
                let series = self.sessions.series_of(at);
                let (kind, history) = (series.kind, series.history as usize);
                let history = &mut self.sessions.histories[history];
                self.history.unlearn_noise(kind, history, f64::from(counted));
            }
        }
        self.settle(group);
    }

    pub(super) fn discard(&mut self, group: u32, probability: f64) {
        self.schedule(group, Timestamp::MAX);
        if self.apply(group, IncidentChange::Discard) {
            self.groups[group as usize].resolved_at = Some(self.now);
            self.note(group, Story::Discarded { probability });
            self.tell(group, News::Discarded);
            self.done(group);
        }
        self.learn_noise(group, 1.0 - probability);
    }

    /// `from` was emptied into `to`.
    pub(super) fn absorbed(&mut self, from: u32, to: u32, into: IncidentId, other: IncidentId) {
        let was_shown = self.groups[from as usize].state.is_shown();
        if self.apply(from, IncidentChange::Merge(into)) {
            self.note(from, Story::MergedInto { other: into });
            self.tell(from, News::Merged { into });
            self.note(to, Story::Absorbed { other });
        }
        self.schedule(from, Timestamp::MAX);
        self.done(from);
        if was_shown && !self.quiet.is_empty() {
            self.leave_cone(other);
        }
        if was_shown && !self.groups[to as usize].state.is_shown() {
            let probability = self.groups[from as usize].probability;
            self.show(to, probability);
        }
    }

    pub(super) fn split(&mut self, from: u32, group: u32) {
        let (other, shown) =
            (self.groups[from as usize].id, self.groups[from as usize].state.is_shown());
        self.note(group, Story::SplitFrom { other });
        self.tell(group, News::Split { from: other });
        if shown {
            // What people have seen stays in sight.
            let probability = self.groups[from as usize].probability;
            if self.apply(group, IncidentChange::Show) {
                self.groups[group as usize].shown_at = Some(self.now);
                self.note(group, Story::Shown { probability });
                self.tell(group, News::Shown);
            }
        }
    }

    pub(super) fn done(&mut self, group: u32) {
        self.finished.push_back((self.now, group, self.groups[group as usize].number));
    }
}
