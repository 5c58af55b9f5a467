//! Snapshots: everything a funnel knows as checked bytes, so that a restart loses nothing.

use aiops_core::{AlertId, IncidentId, Snapshot, SnapshotError, Timestamp};
use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize, Serializer};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::breaker::Breaker;
use crate::changes::Changes;
use crate::correlator::Update;
use crate::dedup::{NONE, Sessions};
use crate::front::Fronts;
use crate::funnel::{Group, Made, Quiet, Storm};
use crate::group::Forest;
use crate::history::History;
use crate::names::Names;
use crate::silence::{Expired, SavedSilence};
use crate::skew::ClockSkew;
use crate::{Funnel, FunnelConfig, Result};

const KIND: &str = "correlate funnel";
const VERSION: u16 = 1;

/// What a funnel is, but for its configuration and what is compiled from the topology.
#[derive(Serialize, Deserialize)]
struct Saved {
    config: FunnelConfig,
    now: Timestamp,
    tenant: Option<Box<str>>,
    kinds: Names,
    services: Names,
    sessions: Sessions,
    by_alert: BTreeMap<u64, u32>,
    forest: Forest,
    groups: Vec<Group>,
    free_groups: Vec<u32>,
    by_incident: BTreeMap<IncidentId, u32>,
    timers: Vec<(Timestamp, u32)>,
    history: History,
    changes: Changes,
    updates: Vec<Update>,
    finished: VecDeque<(Timestamp, u32, u64)>,
    founded: u64,
    swept_at: Timestamp,
    fronts: Fronts,
    skew: ClockSkew,
    breaker: Breaker,
    storms: Vec<Storm>,
    storm_kinds: BTreeSet<u32>,
    waiting: Vec<(u32, u64)>,
    silences: Vec<SavedSilence>,
    /// Alerts that inhibit others, by rule, source, key and fingerprint.
    inhibiting: Vec<(u32, u32, u64, u64, AlertId)>,
    quiet: BTreeMap<u32, Quiet>,
    expired: Vec<Expired>,
    corrections: Vec<Made>,
    noise_said: BTreeMap<u32, u32>,
}

impl Funnel {
    /// Everything it knows, as bytes with a magic number, a version and a checksum. A funnel
    /// [restored](FunnelConfig::restore) from them goes on bit for bit as this one would.
    ///
    /// Time and memory are linear in what is kept: all of it is copied once.
    pub fn snapshot(&self) -> Vec<u8> {
        let saved = Saved {
            config: self.config.clone(),
            now: self.now,
            tenant: self.tenant.clone(),
            kinds: self.kinds.clone(),
            services: self.services.clone(),
            sessions: self.sessions.clone(),
            by_alert: self.by_alert.iter().map(|(alert, number)| (*alert, *number)).collect(),
            forest: self.forest.clone(),
            groups: self.groups.clone(),
            free_groups: self.free_groups.clone(),
            by_incident: self.by_incident.iter().map(|(id, group)| (*id, *group)).collect(),
            timers: self.timers.clone().into_sorted_vec().into_iter().map(|t| t.0).collect(),
            history: self.history.clone(),
            changes: self.changes.clone(),
            updates: self.updates.clone(),
            finished: self.finished.clone(),
            founded: self.founded,
            swept_at: self.swept_at,
            fronts: self.fronts.clone(),
            skew: self.skew.clone(),
            breaker: self.breaker.clone(),
            storms: self.storms.clone(),
            storm_kinds: self.storm_kinds.iter().copied().collect(),
            waiting: self.waiting.clone(),
            silences: self.silences.saved(),
            inhibiting: self.inhibitions.saved(),
            quiet: self.quiet.iter().map(|(at, quiet)| (*at, quiet.clone())).collect(),
            expired: self.expired.clone(),
            corrections: self.corrections.clone(),
            noise_said: self.noise_said.iter().map(|(of, said)| (*of, *said)).collect(),
        };
        let payload = serde_json::to_vec(&saved).expect("owned values always serialise");
        Snapshot::new(KIND, VERSION, payload).to_bytes()
    }
}

impl FunnelConfig {
    /// A funnel as it was when the [snapshot](Funnel::snapshot) was taken.
    ///
    /// The settings must be those that it was taken under: what was learned under others would be
    /// judged wrongly. Feed it the topology as usual; nothing of that is in the snapshot.
    ///
    /// # Errors
    /// [`Error::Snapshot`](crate::Error::Snapshot) for bytes that are no snapshot of a funnel, are
    /// damaged, of a later version, or taken under other settings;
    /// [`Error::InvalidConfig`](crate::Error::InvalidConfig) as [`build`](FunnelConfig::build).
    pub fn restore(self, bytes: &[u8]) -> Result<Funnel> {
        let snapshot = Snapshot::from_bytes(bytes, KIND, VERSION)?;
        let saved: Saved = serde_json::from_slice(snapshot.payload())
            .map_err(|error| SnapshotError::Malformed(error.to_string()))?;
        if saved.config != self {
            let what = "the settings differ from those of the snapshot".to_owned();
            return Err(SnapshotError::ConfigMismatch(what).into());
        }
        let mut funnel = self.build()?;
        funnel.now = saved.now;
        funnel.tenant = saved.tenant;
        funnel.kinds = saved.kinds;
        funnel.services = saved.services;
        let config = std::mem::take(&mut funnel.sessions.config);
        funnel.sessions = saved.sessions;
        funnel.sessions.config = config;
        for (number, series) in funnel.sessions.series.iter().enumerate() {
            let of = funnel.by_fingerprint.entry(series.fingerprint.as_u64());
            of.or_insert([NONE; 3])[series.severity as usize] = number as u32;
        }
        funnel.by_alert = saved.by_alert.into_iter().collect();
        funnel.forest = saved.forest;
        funnel.groups = saved.groups;
        funnel.free_groups = saved.free_groups;
        funnel.by_incident = saved.by_incident.into_iter().collect();
        funnel.timers = saved.timers.into_iter().map(Reverse).collect();
        funnel.history = saved.history;
        funnel.changes = saved.changes;
        funnel.updates = saved.updates;
        funnel.finished = saved.finished;
        funnel.founded = saved.founded;
        funnel.swept_at = saved.swept_at;
        funnel.fronts = saved.fronts;
        funnel.skew = saved.skew;
        funnel.breaker = saved.breaker;
        funnel.storms = saved.storms;
        funnel.storm_kinds = saved.storm_kinds.into_iter().collect();
        funnel.waiting = saved.waiting;
        funnel.silences.restore(saved.silences)?;
        funnel.inhibitions.restore(saved.inhibiting);
        funnel.quiet = saved.quiet.into_iter().collect();
        funnel.expired = saved.expired;
        funnel.corrections = saved.corrections;
        funnel.noise_said = saved.noise_said.into_iter().collect();
        Ok(funnel)
    }
}

/// In ascending order, so that equal states give equal bytes.
pub(crate) fn sorted_set<T: Ord + Serialize, S: Serializer>(
    set: &FxHashSet<T>,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_seq(set.iter().collect::<BTreeSet<_>>())
}

/// In ascending order of the keys, so that equal states give equal bytes.
pub(crate) fn sorted_map<K: Ord + Serialize, V: Serialize, S: Serializer>(
    map: &FxHashMap<K, V>,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_map(map.iter().collect::<BTreeMap<_, _>>())
}
