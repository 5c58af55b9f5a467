//! The simple correlators that people use today, behind the same trait: what the default has to
//! beat, and a second opinion on the contract.

use aiops_core::{
    Alert, AlertId, Event, EventId, Incident, IncidentChange, IncidentId, IncidentState, Reason,
    Timestamp,
};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::time::Duration;

use crate::decision::{Action, Because, Decision};
use crate::{Context, Correlator, Error, News, Result, Update};

/// What alerts must have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupBy {
    /// The fingerprint: deduplication only.
    Fingerprint,
    /// The service.
    Service,
    /// The alert name.
    Name,
    /// Nothing: whatever comes close in time.
    Everything,
}

/// Settings of a [`Simple`] correlator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SimpleConfig {
    /// What alerts of a group have in common. Default: the service.
    pub by: GroupBy,
    /// A group takes alerts for this long after its latest one (or after its first, see `rolling`).
    /// Default 5 minutes.
    pub window: Duration,
    /// Whether the window starts again with every alert. Default true.
    pub rolling: bool,
    /// A group is shown this long after its first alert, as Alertmanager's `group_wait`. Default 0.
    pub wait: Duration,
    /// A group lives until all its alerts have resolved, as Alertmanager's do, instead of for a
    /// window. Default false.
    pub until_resolved: bool,
}

impl Default for SimpleConfig {
    fn default() -> Self {
        SimpleConfig {
            by: GroupBy::Service,
            window: Duration::from_secs(300),
            rolling: true,
            wait: Duration::ZERO,
            until_resolved: false,
        }
    }
}

impl SimpleConfig {
    /// Grouping as Alertmanager does it with its usual settings: by one label, shown after
    /// `group_wait` of 30 s, until everything in it has resolved.
    pub fn alertmanager(by: GroupBy) -> Self {
        SimpleConfig {
            by,
            wait: Duration::from_secs(30),
            until_resolved: true,
            ..SimpleConfig::default()
        }
    }

    /// Checks the settings and makes a [`Simple`].
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] for a window of zero.
    pub fn build(self) -> Result<Simple> {
        if self.window.is_zero() {
            return Err(Error::config("window", "must be longer than nothing"));
        }
        Ok(Simple {
            config: self,
            now: Timestamp::MIN,
            current: FxHashMap::default(),
            groups: Vec::new(),
            by_incident: FxHashMap::default(),
            by_alert: FxHashMap::default(),
            waiting: BinaryHeap::new(),
            updates: Vec::new(),
        })
    }
}

/// Groups by equality and time, with no topology and no learning.
///
/// Kept for comparison: everything stays in memory. Resolved records join their group and, with
/// [`until_resolved`](SimpleConfig::until_resolved), end it; a group is never closed otherwise.
#[derive(Debug)]
pub struct Simple {
    config: SimpleConfig,
    now: Timestamp,
    current: FxHashMap<u64, usize>,
    groups: Vec<Group>,
    by_incident: FxHashMap<IncidentId, usize>,
    by_alert: FxHashMap<AlertId, (usize, Timestamp, bool)>,
    waiting: BinaryHeap<Reverse<(Timestamp, usize)>>,
    updates: Vec<Update>,
}

#[derive(Debug)]
struct Group {
    incident: Incident,
    first: Timestamp,
    last: Timestamp,
    firing: BTreeSet<u64>,
    records: Vec<AlertId>,
}

impl Simple {
    fn enter(&mut self, ctx: &Context<'_>) {
        self.now = self.now.max(ctx.now);
        while let Some(&Reverse((due, group))) = self.waiting.peek() {
            if due > self.now {
                break;
            }
            self.waiting.pop();
            self.change(group, IncidentChange::Show, News::Shown, "its waiting time is over");
        }
    }

    fn change(&mut self, group: usize, change: IncidentChange, news: News, why: &'static str) {
        let incident = &mut self.groups[group].incident;
        if incident.apply(change, self.now, Reason::new("rule", why)).is_ok() {
            self.updates.push(Update { at: self.now, incident: incident.id, news });
        }
    }

    fn key(&self, alert: &Alert) -> u64 {
        let text = match self.config.by {
            GroupBy::Fingerprint => return alert.fingerprint.as_u64(),
            GroupBy::Everything => return 0,
            GroupBy::Name => Some(alert.name.as_str()),
            GroupBy::Service => alert.service.as_deref(),
        };
        // Equal text, equal key; an alert without the label is in a group of its own kind.
        use std::hash::{Hash, Hasher};
        let mut hasher = rustc_hash::FxHasher::default();
        text.hash(&mut hasher);
        hasher.finish()
    }

    fn is_over(&self, group: &Group) -> bool {
        if self.config.until_resolved {
            return group.firing.is_empty() && group.incident.state != IncidentState::Held;
        }
        let since = if self.config.rolling { group.last } else { group.first };
        since + self.config.window < self.now
    }

    fn found(&mut self, alert: &Alert) -> usize {
        let number = self.groups.len();
        let mut onset = alert.starts_at;
        let mut id = IncidentId::of(&alert.tenant, alert.fingerprint, onset);
        while self.by_incident.contains_key(&id) {
            onset += Duration::from_nanos(1);
            id = IncidentId::of(&alert.tenant, alert.fingerprint, onset);
        }
        let incident = Incident {
            id,
            tenant: alert.tenant.clone(),
            state: IncidentState::Held,
            onset: alert.starts_at,
            shown_at: None,
            resolved_at: None,
            severity: alert.severity,
            title: alert.name.clone(),
            alerts: Vec::new(),
            services: BTreeSet::new(),
            events: Vec::<EventId>::new(),
            timeline: Vec::new(),
        };
        let (first, last) = (self.now, self.now);
        let firing = BTreeSet::new();
        self.groups.push(Group { incident, first, last, firing, records: Vec::new() });
        self.by_incident.insert(id, number);
        self.updates.push(Update { at: self.now, incident: id, news: News::Held });
        if self.config.wait.is_zero() {
            self.change(number, IncidentChange::Show, News::Shown, "shown at once");
        } else {
            self.waiting.push(Reverse((self.now + self.config.wait, number)));
        }
        number
    }

    fn describe(&self, alert: AlertId) -> Option<Decision> {
        let &(group, at, founded) = self.by_alert.get(&alert)?;
        let by = match self.config.by {
            GroupBy::Fingerprint => "the same fingerprint",
            GroupBy::Service => "the same service",
            GroupBy::Name => "the same alert name",
            GroupBy::Everything => "whatever is close in time",
        };
        Some(Decision {
            alert,
            at,
            action: if founded { Action::Founded } else { Action::Joined },
            incident: Some(self.groups[group].incident.id),
            because: vec![Because::Rule { rule: format!("grouped by {by}") }],
        })
    }
}

impl Correlator for Simple {
    fn ingest(&mut self, alert: &Alert, ctx: &Context<'_>) -> Decision {
        self.enter(ctx);
        let key = self.key(alert);
        let known = self.current.get(&key).copied();
        let open = known.filter(|&group| !self.is_over(&self.groups[group]));
        // An end never begins anything: it goes where its firing went, as far as that is known.
        let open = open.or(known.filter(|_| alert.is_resolved()));
        let group = open.unwrap_or_else(|| self.found(alert));
        self.current.insert(key, group);
        let of = &mut self.groups[group];
        if alert.is_resolved() {
            of.firing.remove(&alert.fingerprint.as_u64());
        } else {
            of.last = self.now;
            of.firing.insert(alert.fingerprint.as_u64());
            of.incident.severity = of.incident.severity.max(alert.severity);
            of.incident.onset = of.incident.onset.min(alert.starts_at);
        }
        if !self.by_alert.contains_key(&alert.id) {
            of.incident.alerts.push(alert.id);
            of.incident.services.extend(alert.service.clone());
            of.records.push(alert.id);
            self.by_alert.insert(alert.id, (group, self.now, open.is_none()));
        }
        if self.groups[group].firing.is_empty() && self.config.until_resolved {
            self.change(group, IncidentChange::Resolve, News::Resolved, "everything resolved");
        }
        self.describe(alert.id).unwrap_or_else(|| unreachable!("it was just taken in"))
    }

    fn observe(&mut self, _event: &Event, ctx: &Context<'_>) {
        self.enter(ctx);
    }

    fn tick(&mut self, ctx: &Context<'_>, updates: &mut Vec<Update>) {
        self.enter(ctx);
        updates.append(&mut self.updates);
    }

    fn next_due(&self) -> Option<Timestamp> {
        self.waiting.peek().map(|Reverse((due, _))| (*due).max(self.now))
    }

    fn incident(&self, id: IncidentId) -> Option<Incident> {
        self.by_incident.get(&id).map(|&group| self.groups[group].incident.clone())
    }

    fn incidents(&self) -> Vec<IncidentId> {
        self.groups.iter().map(|group| group.incident.id).collect()
    }

    fn decision(&self, alert: AlertId) -> Option<Decision> {
        self.describe(alert)
    }

    fn decisions(&self, incident: IncidentId) -> Vec<Decision> {
        let Some(&group) = self.by_incident.get(&incident) else { return Vec::new() };
        self.groups[group].records.iter().filter_map(|alert| self.describe(*alert)).collect()
    }
}
