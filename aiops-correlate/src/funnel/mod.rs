//! The default correlator: the one place that sees all stages.

mod attach;
mod cone;
mod correct;
mod forget;
mod link;
mod part;
mod quiet;
mod settle;
mod storm;
mod teach;
mod tell;
mod timers;
mod weigh;

use aiops_core::{
    Alert, AlertId, Event, EventId, Incident, IncidentId, IncidentState, Severity, Timestamp,
    telemetry,
};
use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use crate::changes::Changes;
use crate::correlator::{Context, Correlator, Update};
use crate::dedup::{Claim, Effect, NONE, Record, Series, Sessions};
use crate::front::Fronts;
use crate::group::Forest;
use crate::history::{History, SeriesHistory};
use crate::hold::Part;
use crate::names::Names;
use crate::near::Neighbourhood;
use crate::onset::Spread;
use crate::{
    Breaker, ClockSkew, Decision, Error, Expired, FunnelConfig, Inhibitions, Mapping, Silence,
    Silences,
};
pub use cone::ConeConfig;
pub(crate) use correct::Made;
pub(crate) use quiet::Quiet;
pub(crate) use storm::Storm;

/// The default [`Correlator`]: alerts of one tenant into explained incidents.
///
/// The path of an alert:
///
/// 1. records of one fingerprint fold into **firings** (resends, duplicates, late and out-of-order
///    records, ends);
/// 2. a new firing is **linked** to the earlier onset that explains it best, if one does: same
///    service, dependency, caller, shared dependency, same host, with the time between the onsets
///    weighed against chance; linked firings are one group;
/// 3. the group is **held** until the evidence that it is trouble outweighs what was learned about
///    firings of its kind, or its time is up;
/// 4. changes that precede it are attached, and everything is remembered with its reasons.
///
/// One funnel serves one tenant: alerts of different tenants must never meet. Work per alert does
/// not depend on how many groups are open; memory is about 150 bytes a record kept and 400 bytes a
/// series.
#[derive(Debug)]
pub struct Funnel {
    pub(crate) config: FunnelConfig,
    pub(crate) now: Timestamp,
    pub(crate) tenant: Option<Box<str>>,
    pub(crate) kinds: Names,
    pub(crate) services: Names,
    pub(crate) near: Neighbourhood,
    pub(crate) spread: Spread,
    pub(crate) sessions: Sessions,
    /// Series by fingerprint, one for each severity.
    pub(crate) by_fingerprint: FxHashMap<u64, [u32; 3]>,
    pub(crate) by_alert: FxHashMap<u64, u32>,
    pub(crate) forest: Forest,
    pub(crate) groups: Vec<Group>,
    pub(crate) free_groups: Vec<u32>,
    pub(crate) by_incident: FxHashMap<IncidentId, u32>,
    pub(crate) timers: BinaryHeap<Reverse<(Timestamp, u32)>>,
    pub(crate) history: History,
    pub(crate) changes: Changes,
    pub(crate) updates: Vec<Update>,
    /// Incidents that are over, in the order in which that happened.
    pub(crate) finished: VecDeque<(Timestamp, u32, u64)>,
    pub(crate) founded: u64,
    pub(crate) swept_at: Timestamp,
    pub(crate) fronts: Fronts,
    pub(crate) mapping: Mapping,
    pub(crate) skew: ClockSkew,
    pub(crate) breaker: Breaker,
    pub(crate) storms: Vec<Storm>,
    /// Kinds that had a notice in the storm that is on, and groups that wait for its end.
    pub(crate) storm_kinds: FxHashSet<u32>,
    pub(crate) waiting: Vec<(u32, u64)>,
    pub(crate) silences: Silences,
    pub(crate) inhibitions: Inhibitions,
    /// Firings that show nothing by themselves, and why.
    pub(crate) quiet: FxHashMap<u32, Quiet>,
    pub(crate) expired: Vec<Expired>,
    pub(crate) corrections: Vec<Made>,
    /// How often each history was said to be noise since that was last learned.
    pub(crate) noise_said: FxHashMap<u32, u32>,
    parts: Vec<Part>,
    scratch: Vec<f64>,
}

/// A group of firings: an incident, held or shown.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Group {
    pub(crate) id: IncidentId,
    pub(crate) state: IncidentState,
    /// The onset that its id was made from.
    pub(crate) founding_onset: Timestamp,
    /// Which one it was, counted from the first.
    pub(crate) number: u64,
    pub(crate) shown_at: Option<Timestamp>,
    pub(crate) resolved_at: Option<Timestamp>,
    /// Probability of trouble when last weighed.
    pub(crate) probability: f64,
    /// Next time at which it must be looked at; `MAX` for never.
    pub(crate) due: Timestamp,
    /// When it will be shown if it lasts, as last planned.
    pub(crate) until: Timestamp,
    /// Members that fire.
    pub(crate) open: u32,
    pub(crate) severity: Severity,
    pub(crate) kinds: Vec<u32>,
    pub(crate) events: Vec<EventId>,
    pub(crate) story: Vec<(Timestamp, Story)>,
    /// Whether what it taught was counted already.
    pub(crate) learned: bool,
    /// Members were added or changed since it was last weighed.
    pub(crate) dirty: bool,
}

/// A line of an incident's story, as kept.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) enum Story {
    Held,
    Shown { probability: f64 },
    Expired,
    Overslept,
    Resolved,
    Discarded { probability: f64 },
    Reopened,
    Closed,
    Absorbed { other: IncidentId },
    MergedInto { other: IncidentId },
    SplitFrom { other: IncidentId },
    Attention { alert: AlertId },
    Change { event: EventId },
    EndedQuiet,
    SilenceOver { event: EventId },
    Unseen,
}

/// The stages that a configuration builds.
#[derive(Debug)]
pub(crate) struct Stages {
    pub(crate) mapping: Mapping,
    pub(crate) breaker: Breaker,
    pub(crate) silences: Silences,
    pub(crate) inhibitions: Inhibitions,
}

impl Funnel {
    pub(crate) fn new(config: FunnelConfig, stages: Stages) -> Self {
        let mut history = History::new(config.priors.clone());
        history.frozen = !config.learn;
        Funnel {
            now: Timestamp::MIN,
            tenant: None,
            kinds: Names::default(),
            services: Names::default(),
            near: Neighbourhood::default(),
            spread: Spread::new(&config.spread),
            sessions: Sessions::new(config.dedup.clone()),
            by_fingerprint: FxHashMap::default(),
            by_alert: FxHashMap::default(),
            forest: Forest::default(),
            groups: Vec::new(),
            free_groups: Vec::new(),
            by_incident: FxHashMap::default(),
            timers: BinaryHeap::new(),
            history,
            changes: Changes::default(),
            updates: Vec::new(),
            finished: VecDeque::new(),
            founded: 0,
            swept_at: Timestamp::MIN,
            fronts: Fronts::new(config.front.clone()),
            mapping: stages.mapping,
            skew: ClockSkew::new(config.skew.clone()),
            breaker: stages.breaker,
            storms: Vec::new(),
            storm_kinds: FxHashSet::default(),
            waiting: Vec::new(),
            silences: stages.silences,
            inhibitions: stages.inhibitions,
            quiet: FxHashMap::default(),
            expired: Vec::new(),
            corrections: Vec::new(),
            noise_said: FxHashMap::default(),
            parts: Vec::new(),
            scratch: Vec::new(),
            config,
        }
    }

    /// The settings it was built with.
    pub fn config(&self) -> &FunnelConfig {
        &self.config
    }

    /// Stops or resumes learning. Frozen, the same set of alerts gives the same groups in whatever
    /// order they arrive.
    pub fn set_learning(&mut self, on: bool) {
        self.history.frozen = !on;
    }

    /// Covers alerts from now on; see [`Silence`].
    ///
    /// # Errors
    /// As [`Silences::add`].
    pub fn silence(&mut self, silence: Silence) -> Result<EventId, Error> {
        self.silences.add(silence)
    }

    /// Moves the clock, reads a changed topology.
    fn enter(&mut self, ctx: &Context<'_>) {
        self.now = self.now.max(ctx.now);
        self.history.advance(self.now);
        if !self.near.is_current(ctx.topology) {
            self.near = Neighbourhood::compile(ctx.topology, &mut self.services);
            self.history.services = ctx.topology.len().max(1) as u32;
        }
    }

    /// The number of the alert's series, made if it is new.
    ///
    /// One fingerprint has a series for each severity: an alert that is already firing as a warning
    /// and comes up as critical is news, and may be of another incident.
    fn series(&mut self, alert: &Alert) -> u32 {
        let mapped = match alert.service {
            None if !self.mapping.is_empty() => self.mapping.service(alert),
            _ => None,
        };
        let mapped = mapped.as_deref();
        let key = alert.fingerprint.as_u64();
        let siblings = self.by_fingerprint.get(&key).copied().unwrap_or([NONE; 3]);
        let mut number = siblings[alert.severity as usize];
        if alert.is_resolved() && !self.sessions.fires(number) {
            // A sender may leave the severity out when all is well.
            let firing = siblings.into_iter().filter(|&sibling| self.sessions.fires(sibling));
            number = firing.max_by_key(|&s| self.sessions.latest(s)).unwrap_or(number);
        }
        if number != NONE {
            let of = &mut self.sessions.series[number as usize];
            if let (NONE, Some(service)) = (of.service, alert.service.as_deref().or(mapped)) {
                // The label was missing before; what the fingerprint is about is known now.
                of.service = self.services.intern(service);
            }
            return number;
        }
        let kind = self.kinds.intern(&alert.name);
        let known = siblings.into_iter().find(|&sibling| sibling != NONE);
        let history = match known {
            Some(sibling) => self.sessions.series[sibling as usize].history,
            None => {
                self.history.kind_mut(kind).series += 1;
                let fresh = SeriesHistory { hour: self.history.hour, ..SeriesHistory::default() };
                self.sessions.histories.push(fresh);
                (self.sessions.histories.len() - 1) as u32
            }
        };
        let named = alert.service.as_deref().or(mapped);
        let named = named.map(|name| self.services.intern(name));
        let heard = known.map(|sibling| self.sessions.series[sibling as usize].service);
        let number = self.sessions.series.len() as u32;
        self.sessions.series.push(Series {
            fingerprint: alert.fingerprint,
            severity: alert.severity,
            kind,
            service: named.or(heard).unwrap_or(NONE),
            current: NONE,
            unseen_end: Timestamp::MIN,
            history,
        });
        self.by_fingerprint.entry(key).or_insert([NONE; 3])[alert.severity as usize] = number;
        number
    }

    /// The firing `at` ended; where it had taken over from one of another severity, that one is over
    /// as well.
    fn ended_with(&mut self, at: u32) {
        let onset = self.sessions.episode(at).onset;
        let of = self.sessions.series_of(at);
        let (fingerprint, own) = (of.fingerprint.as_u64(), of.severity);
        let siblings = self.by_fingerprint.get(&fingerprint).copied().unwrap_or([NONE; 3]);
        for (severity, sibling) in siblings.into_iter().enumerate() {
            if severity == own as usize || !self.sessions.fires(sibling) {
                continue;
            }
            let current = self.sessions.series[sibling as usize].current;
            let episode = &mut self.sessions.episodes[current as usize];
            if episode.last < onset {
                episode.ended = onset;
                episode.said_end = true;
                self.ended(current);
            }
        }
    }

    /// How long a series may be silent before it begins anew at `from`.
    fn gap_before(&self, series: u32, kind: u32, from: Timestamp) -> std::time::Duration {
        let config = &self.sessions.config;
        if self.history.says_when_over(kind) {
            return config.gap;
        }
        let of = &self.sessions.series[series as usize];
        let service = self.near.canonical(of.service);
        let heard = self.sessions.latest(series);
        let anew = of.current != NONE && self.fronts.is_anew(heard, from, service);
        if anew { std::time::Duration::ZERO } else { config.gap_without_end }
    }

    fn claim(&mut self, alert: &Alert, series: u32) -> Claim {
        let source = alert.labels.get("host").unwrap_or(&alert.source);
        if !source.is_empty() && !self.history.frozen {
            let said = alert.ends_at.unwrap_or(alert.starts_at);
            self.skew.learn(source, said, alert.received_at);
        }
        let corrected = |at: Timestamp| match source.is_empty() {
            true => at,
            false => self.skew.correct(source, at),
        };
        // Nobody fires in the future: a wrong clock would hold its alerts until then.
        let from = corrected(alert.starts_at).min(self.now);
        let current = self.sessions.series[series as usize].current;
        // A record that repeats the beginning of the firing says that it fires on by now; one with
        // a time of its own says so for that time only.
        let repeats = current != NONE && self.sessions.episode(current).onset == from;
        let alive = if repeats { alert.received_at.clamp(from, self.now.max(from)) } else { from };
        Claim {
            alert: alert.id,
            from,
            alive,
            end: alert.ends_at.map(|end| corrected(end).min(self.now).max(from)),
            severity: alert.severity,
        }
    }
}

impl Correlator for Funnel {
    fn ingest(&mut self, alert: &Alert, ctx: &Context<'_>) -> Decision {
        self.enter(ctx);
        self.work_off_timers();
        if self.tenant.is_none() {
            self.tenant = Some(alert.tenant.as_str().into());
        }
        let display = self.breaker.record(alert, self.now);
        self.storm_begins();
        let series = self.series(alert);
        let kind = self.sessions.series[series as usize].kind;
        let claim = self.claim(alert, series);
        let gap = self.gap_before(series, kind, claim.from);
        let taken = self.sessions.take(series, claim, gap);
        let again = matches!(taken.effect, Effect::Repeat | Effect::Duplicate);
        let number = self.sessions.record(Record {
            alert: alert.id,
            at: claim.end.unwrap_or(claim.from),
            decided: self.now,
            episode: taken.episode,
            prev: NONE,
            severity: alert.severity,
            effect: taken.effect,
            sampled: display.storm && !display.shown && again,
        });
        self.by_alert.entry(alert.id.as_u64()).or_insert(number);
        if taken.gap_s > 0.0 && taken.effect != Effect::Duplicate {
            self.history.learn_gap(kind, taken.gap_s, taken.effect == Effect::Repeat);
        }
        if taken.silent != NONE {
            self.fell_silent(taken.silent);
        }
        self.hears(alert);
        if taken.episode != NONE {
            self.hush(alert, taken.episode);
        }
        match taken.effect {
            Effect::New => self.begun(taken.episode),
            Effect::End => {
                self.ended(taken.episode);
                self.ended_with(taken.episode);
                self.reconsider(taken.episode);
            }
            Effect::Repeat | Effect::Duplicate if taken.onset_moved => self.moved(taken.episode),
            Effect::Repeat => {
                self.fires_on(taken.episode);
                let silent = claim.alive - std::time::Duration::from_secs_f64(taken.gap_s.max(0.0));
                if !self.history.says_when_over(kind) && self.fronts.is_stale(silent, claim.alive) {
                    self.rushes(claim.from, taken.episode);
                }
            }
            Effect::Duplicate | Effect::EndUnseen => {}
        }
        if taken.split != NONE {
            self.begun(taken.split);
        }
        let decision = self.describe(number);
        let action = decision.action.name();
        telemetry::count("aiops_correlate_alerts_total", "action", action, 1);
        decision
    }

    fn observe(&mut self, event: &Event, ctx: &Context<'_>) {
        self.enter(ctx);
        self.work_off_timers();
        let service = event.service.as_deref().map_or(NONE, |name| self.services.intern(name));
        if self.changes.add(event, service, self.config.changes.keep) {
            self.attach_to_open(event.id);
        }
    }

    fn tick(&mut self, ctx: &Context<'_>, updates: &mut Vec<Update>) {
        self.enter(ctx);
        self.work_off_timers();
        self.sweep();
        updates.append(&mut self.updates);
    }

    fn next_due(&self) -> Option<Timestamp> {
        let timer = self.timers.peek().map(|Reverse((due, _))| (*due).max(self.now));
        let storm = self.breaker.next_due(self.now);
        timer.into_iter().chain(storm).min()
    }

    fn incident(&self, id: IncidentId) -> Option<Incident> {
        let group = self.by_incident.get(&id);
        group.map(|&group| self.incident_of(group)).or_else(|| self.storm_incident(id))
    }

    fn incidents(&self) -> Vec<IncidentId> {
        let mut known: Vec<_> = self
            .by_incident
            .iter()
            .map(|(id, group)| (self.groups[*group as usize].number, *id))
            .collect();
        known.sort_unstable();
        let storms = self.storms.iter().map(|storm| storm.id);
        known.into_iter().map(|(_, id)| id).chain(storms).collect()
    }

    fn decision(&self, alert: AlertId) -> Option<Decision> {
        let number = *self.by_alert.get(&alert.as_u64())?;
        self.sessions.logged(number)?;
        Some(self.describe(number))
    }

    fn decisions(&self, incident: IncidentId) -> Vec<Decision> {
        let Some(&group) = self.by_incident.get(&incident) else { return Vec::new() };
        let members = self.forest.members(group);
        let mut numbers = Vec::new();
        for &episode in members {
            let mut number = self.sessions.episode(episode).last_record;
            while let Some(record) = self.sessions.logged(number) {
                numbers.push(number);
                number = record.prev;
            }
        }
        numbers.sort_unstable();
        numbers.into_iter().map(|number| self.describe(number)).collect()
    }
}
