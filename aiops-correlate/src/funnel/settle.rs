//! What becomes of a group: weighed, held, shown, resolved, closed; and what it teaches.

use aiops_core::{
    EventId, IncidentChange, IncidentId, IncidentState, Timestamp, report, telemetry,
};
use std::cmp::Reverse;

use super::{Funnel, Group, Story};
use crate::correlator::{News, Update};
use crate::dedup::NONE;
use crate::group::Via;
use crate::history::NoiseLife;
use crate::hold::{self, Hold, HoldConfig, Part};
use crate::near::Relation;

/// Members that are weighed, the earliest: they decide.
const WEIGHED: usize = 64;
/// The most that a finished firing may speak for or against: a lifetime is one observation.
const ENDED_LIMIT: f64 = 4.0;
/// How long the moment of decision lasts: after it, only stronger evidence shows a group.
const DECISION: std::time::Duration = std::time::Duration::from_secs(5);

/// A member with everything that its evidence at some time needs.
#[derive(Debug, Clone, Copy)]
struct Weighed {
    episode: u32,
    kind: u32,
    life: NoiseLife,
    onset: Timestamp,
    arrived: Timestamp,
    is_open: bool,
    /// It is open, and its end would be reported.
    tells_end: bool,
    /// Known to have fired for this long.
    known_s: f64,
    /// How long it lasted, if its end was reported.
    ended_s: Option<f64>,
}

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

    fn note(&mut self, group: u32, story: Story) {
        self.groups[group as usize].story.push((self.now, story));
    }

    /// Moves a group through the table of states; an impossible change leaves it as it is.
    fn apply(&mut self, group: u32, change: IncidentChange) -> bool {
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
            let ended = self.sessions.episode(at).ended;
            self.history.learn_late(self.now.seconds_after(ended));
        }
        self.closed_one(at);
    }

    /// A firing turned out to be over because nothing was heard of it.
    pub(super) fn fell_silent(&mut self, at: u32) {
        let kind = self.sessions.series_of(at).kind;
        if !self.history.frozen {
            self.history.kind_mut(kind).fell_silent += 1.0;
        }
        self.closed_one(at);
    }

    fn closed_one(&mut self, at: u32) {
        let of = self.sessions.episode(at).series as usize;
        self.history.learn_return(&mut self.sessions.series[of].history, false);
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

    fn resolve(&mut self, group: u32) {
        self.apply(group, IncidentChange::Resolve);
        self.groups[group as usize].resolved_at = Some(self.now);
        self.note(group, Story::Resolved);
        self.tell(group, News::Resolved);
        self.close_in_time(group);
    }

    fn close_in_time(&mut self, group: u32) {
        let since = self.groups[group as usize].resolved_at.unwrap_or(self.now);
        self.schedule(group, since + self.config.close_after);
    }

    /// Makes sure that somebody looks again when members may have fallen silent. A time that is
    /// planned already will do: it is planned anew then.
    fn await_silence(&mut self, group: u32) {
        if self.groups[group as usize].due == Timestamp::MAX {
            let due = self.silence_due(group);
            self.schedule(group, due);
        }
    }

    /// When the first open member would have been silent for too long.
    fn silence_due(&self, group: u32) -> Timestamp {
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

    fn gap(&self, kind: u32) -> std::time::Duration {
        let config = &self.sessions.config;
        if self.history.says_when_over(kind) { config.gap } else { config.gap_without_end }
    }

    fn schedule(&mut self, group: u32, due: Timestamp) {
        if due != self.groups[group as usize].due {
            self.groups[group as usize].due = due;
            if due < Timestamp::MAX {
                self.timers.push(Reverse((due, group)));
            }
        }
    }

    /// Does everything that was due by now.
    pub(super) fn work_off_timers(&mut self) {
        while let Some(&Reverse((due, group))) = self.timers.peek() {
            if due > self.now {
                break;
            }
            self.timers.pop();
            if self.groups[group as usize].due != due {
                continue; // planned anew since
            }
            self.groups[group as usize].due = Timestamp::MAX;
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

    fn close_silent(&mut self, group: u32) {
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

    fn close(&mut self, group: u32) {
        self.apply(group, IncidentChange::Close);
        self.note(group, Story::Closed);
        self.tell(group, News::Closed);
        self.learn_from_incident(group);
        self.done(group);
    }

    /// Weighs a group that is not shown, and shows, discards or plans.
    fn weigh(&mut self, group: u32) {
        let hold = match &self.config.hold {
            Hold::Never => return self.show(group, 1.0),
            Hold::Static(hold) => {
                let hold = hold.clone();
                return self.weigh_static(group, &hold);
            }
            Hold::Learned(hold) => hold.clone(),
        };
        let members = self.weighed(group);
        let now = self.now;
        let probability = self.probability_at(&members, now);
        self.groups[group as usize].probability = probability;
        self.groups[group as usize].dirty = false;
        let open = self.groups[group as usize].open > 0;
        if self.is_enough(&members, &hold, now, open) {
            return self.show(group, probability);
        }
        if !open {
            return self.discard(group, probability);
        }
        let limit = members.iter().filter(|m| m.is_open).map(|m| m.arrived + hold.limit).min();
        let limit = limit.unwrap_or(now);
        if now >= limit {
            self.note(group, Story::Expired);
            return self.show(group, probability);
        }
        let until = self.plan(&members, &hold, limit);
        self.groups[group as usize].until = until;
        let silence = self.silence_due(group);
        self.schedule(group, until.min(silence));
    }

    /// Whether some member has enough evidence behind it for the time since it arrived.
    fn is_enough(
        &mut self,
        members: &[Weighed],
        hold: &HoldConfig,
        at: Timestamp,
        open: bool,
    ) -> bool {
        self.weigh_members(members, at);
        let enough = |member: &Weighed, odds: &f64| {
            let decide_at = member.arrived + hold.decide_by;
            let share = if at < decide_at && open {
                hold.sure
            } else if at.since(decide_at) <= DECISION {
                hold.likely
            } else {
                hold.late
            };
            *odds >= hold::nats(share)
        };
        members.iter().zip(&self.scratch).any(|(member, odds)| enough(member, odds))
    }

    fn weigh_static(&mut self, group: u32, hold: &hold::StaticHold) {
        let members = self.forest.members(group);
        let firings: u32 = members.iter().map(|&m| self.sessions.episode(m).firings).sum();
        let open = members.iter().map(|&m| self.sessions.episode(m)).filter(|e| e.is_open());
        let oldest = open.map(|e| e.onset).min();
        let lasted = oldest.is_some_and(|onset| onset + hold.lasting <= self.now);
        let series = members.len() as u32;
        if series >= hold.firings || (firings >= hold.firings && hold.firings <= 1) || lasted {
            return self.show(group, 1.0);
        }
        match oldest {
            None => self.discard(group, 0.0),
            Some(onset) => {
                let until = onset + hold.lasting;
                self.groups[group as usize].until = until;
                self.schedule(group, until);
            }
        }
    }

    /// When a held group will be shown if its firings last and nothing else happens.
    fn plan(&mut self, members: &[Weighed], hold: &HoldConfig, limit: Timestamp) -> Timestamp {
        let now = self.now;
        let decisions = members.iter().map(|m| m.arrived + hold.decide_by);
        let mut times: Vec<Timestamp> = decisions.filter(|t| *t > now && *t < limit).collect();
        let mut step = 10.0;
        while now + std::time::Duration::from_secs_f64(step) < limit {
            times.push(now + std::time::Duration::from_secs_f64(step));
            step *= 1.25;
        }
        times.sort_unstable();
        let mut before = now;
        for at in times {
            if self.is_enough(members, hold, at, true) {
                return self.first_time(members, hold, before, at);
            }
            before = at;
        }
        limit
    }

    /// First time in `(from, to]` at which there is enough evidence, to the second; there is at `to`.
    fn first_time(
        &mut self,
        members: &[Weighed],
        hold: &HoldConfig,
        from: Timestamp,
        to: Timestamp,
    ) -> Timestamp {
        let (mut low, mut high) = (0_u64, to.since(from).as_secs());
        let second = std::time::Duration::from_secs;
        while high > low + 1 {
            let middle = low + (high - low) / 2;
            let enough = self.is_enough(members, hold, from + second(middle), true);
            if enough { high = middle } else { low = middle }
        }
        if high == to.since(from).as_secs() { to } else { from + second(high) }
    }

    /// The members of a group in order of onset, with what their evidence needs.
    fn weighed(&self, group: u32) -> Vec<Weighed> {
        let weighed = |&at: &u32| {
            let episode = self.sessions.episode(at);
            let series = &self.sessions.series[episode.series as usize];
            let said = self.history.says_when_over(series.kind);
            let known = episode.last.seconds_after(episode.onset);
            Weighed {
                episode: at,
                kind: series.kind,
                life: self.history.noise_life(series.kind, &series.history),
                onset: episode.onset,
                arrived: self.forest.node(at).arrived,
                is_open: episode.is_open(),
                tells_end: said && episode.is_open(),
                known_s: known,
                ended_s: episode.said_end.then(|| episode.life_s()),
            }
        };
        // Of a series that comes and goes, what is over has had its say.
        let counts = |at: &&u32| {
            self.forest.node(**at).link.relation != Via::Recurrence
                || self.sessions.episode(**at).is_open()
                || self.sessions.series_of(**at).current == **at
        };
        let members = self.forest.members(group);
        let mut members: Vec<Weighed> = members.iter().filter(counts).map(weighed).collect();
        members.sort_unstable_by_key(|m| {
            (m.onset, self.sessions.series_of(m.episode).fingerprint.as_u64())
        });
        members.truncate(WEIGHED);
        members
    }

    /// Probability that a group is trouble: that of its most favourable member.
    fn probability_at(&mut self, members: &[Weighed], at: Timestamp) -> f64 {
        self.weigh_members(members, at);
        let best = self.scratch.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        hold::probability(best)
    }

    /// Writes into `scratch`, for each member, ln of the odds that trouble began with it.
    fn weigh_members(&mut self, members: &[Weighed], at: Timestamp) {
        let mut parts = std::mem::take(&mut self.parts);
        parts.clear();
        for (index, member) in members.iter().enumerate() {
            let node = self.forest.node(member.episode);
            let parent = members[..index].iter().position(|m| m.episode == node.parent);
            let episode = self.sessions.episode(member.episode);
            let series = &self.sessions.series[episode.series as usize];
            let known = member.known_s;
            let lasts = match member.ended_s {
                Some(life) => {
                    self.history.ended_evidence(member.life, life).clamp(-ENDED_LIMIT, ENDED_LIMIT)
                }
                None if member.tells_end => {
                    let age = at.seconds_after(member.onset);
                    self.history.alive_evidence(member.kind, member.life, known, age)
                }
                None => self.history.alive_evidence(member.kind, member.life, known, known),
            };
            let rates = self.history.incident_rate(member.kind, self.now).ln()
                - self.history.noise_rate(member.kind, &series.history, self.now).ln();
            let founds = rates + self.history.severity_evidence(member.kind, episode.severity);
            let follows = match node.link.relation {
                Via::Near(_) => f64::from(node.link.nats),
                Via::Root | Via::Recurrence => 0.0,
            };
            let parent = parent.map_or(NONE, |p| p as u32);
            let until = at.min(episode.ended).seconds_after(member.onset);
            let expected = self.spread.expected(&self.near.followers(node.service), until);
            parts.push(Part { parent, founds, follows, lasts, expected });
        }
        hold::log_odds(&parts, &mut self.scratch);
        self.parts = parts;
    }

    fn show(&mut self, group: u32, probability: f64) {
        let change = match self.groups[group as usize].state {
            IncidentState::Discarded => IncidentChange::Reopen,
            _ => IncidentChange::Show,
        };
        if !self.apply(group, change) {
            return;
        }
        let of = &mut self.groups[group as usize];
        of.shown_at = Some(of.shown_at.unwrap_or(self.now));
        of.resolved_at = None;
        of.probability = probability;
        self.note(group, Story::Shown { probability });
        self.tell(group, News::Shown);
        self.schedule(group, Timestamp::MAX);
        // What was taken for noise was none.
        let members = self.forest.members(group).to_vec();
        for at in members {
            let counted = std::mem::take(&mut self.forest.node_mut(at).counted);
            if counted > 0.0 {
                let series = self.sessions.episode(at).series as usize;
                let series = &mut self.sessions.series[series];
                self.history.unlearn_noise(series.kind, &mut series.history, f64::from(counted));
            }
        }
        self.settle(group);
    }

    fn discard(&mut self, group: u32, probability: f64) {
        self.schedule(group, Timestamp::MAX);
        if self.apply(group, IncidentChange::Discard) {
            self.groups[group as usize].resolved_at = Some(self.now);
            self.note(group, Story::Discarded { probability });
            self.tell(group, News::Discarded);
            self.done(group);
        }
        self.learn_noise(group, 1.0 - probability);
    }

    /// Counts the finished members of a group as noise, each once.
    fn learn_noise(&mut self, group: u32, weight: f64) {
        let members = self.forest.members(group).to_vec();
        for at in members {
            let episode = self.sessions.episode(at);
            if episode.is_open() || self.forest.node(at).counted > 0.0 {
                continue;
            }
            let (severity, life, of) = (episode.severity, episode.life_s(), episode.series);
            let series = &mut self.sessions.series[of as usize];
            self.history.learn_noise(series.kind, &mut series.history, severity, life, weight);
            if !self.history.frozen {
                self.forest.node_mut(at).counted = weight as f32;
            }
        }
    }

    fn learn_from_incident(&mut self, group: u32) {
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

    /// Attaches changes that precede the onset of a new member.
    fn attach_known(&mut self, group: u32, at: u32) {
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

    fn change_reaches(&self, changed: u32, service: u32) -> bool {
        let changed = self.near.canonical(changed);
        changed == service
            || self.near.of(service).iter().any(|near| {
                near.service == changed
                    && near.relation == Relation::DependsOn
                    && near.hops <= self.config.changes.hops
            })
    }

    fn attach(&mut self, group: u32, event: EventId) {
        if !self.groups[group as usize].events.contains(&event) {
            self.groups[group as usize].events.push(event);
            self.note(group, Story::Change { event });
            self.tell(group, News::ChangeAttached { event });
        }
    }

    fn done(&mut self, group: u32) {
        self.finished.push_back((self.now, group, self.groups[group as usize].number));
    }

    /// Forgets what is older than the retention time, at most once a minute.
    pub(super) fn sweep(&mut self) {
        let minute = std::time::Duration::from_secs(60);
        if self.now.since(self.swept_at) < minute
            && self.sessions.records() <= self.config.max_records
        {
            return;
        }
        self.swept_at = self.now;
        self.forest.forget_onsets(self.now - self.config.lateness - self.config.spread.window);
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

    fn forget_records(&mut self, before: Timestamp) {
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
    fn forget(&mut self, group: u32) {
        let members = self.forest.members(group).to_vec();
        for at in members {
            self.forest.remove(at);
            self.sessions.forget_records_of(at);
            self.sessions.free(at);
        }
        self.by_incident.remove(&self.groups[group as usize].id);
        self.groups[group as usize].due = Timestamp::MAX;
        self.groups[group as usize].state = IncidentState::Closed;
        self.free_groups.push(group);
    }
}
