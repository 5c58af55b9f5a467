//! [`IncidentMemory`]: past incidents that resemble this one, and what ended them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aiops_core::{
    Alert, Batch, Cause, Event, Incident, IncidentId, Outcome, Ranking, Store, Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::document::{all_under, decode, encode};
use crate::{Error, Result};

const PREFIX: &str = "memory/";

/// One trait of an incident by which others are found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "trait", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Trait {
    /// A service had alerts in it.
    Service {
        /// The service.
        service: String,
    },
    /// An alert of this name fired on this service.
    Alert {
        /// The service, where the alert named one.
        service: Option<String>,
        /// The name of the alert.
        name: String,
    },
    /// This was confirmed as the cause, or ranked first.
    Cause {
        /// The service.
        service: String,
    },
    /// A change of this kind preceded it.
    Change {
        /// The kind of the change.
        change: String,
        /// The service that changed.
        service: Option<String>,
    },
}

/// An incident as it is remembered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Remembered {
    /// Which incident.
    pub incident: IncidentId,
    /// Its title.
    pub title: String,
    /// When the trouble began.
    pub onset: Timestamp,
    /// When it was over.
    #[serde(default)]
    pub resolved_at: Option<Timestamp>,
    /// What it can be found by.
    pub traits: BTreeSet<Trait>,
    /// The cause, as far as it is known.
    #[serde(default)]
    pub cause: Option<Cause>,
    /// Whether a person confirmed the cause; otherwise it was merely ranked first.
    #[serde(default)]
    pub confirmed: bool,
    /// What was done, and how it ended.
    #[serde(default)]
    pub tried: Vec<Tried>,
}

/// An action on a past incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tried {
    /// The runbook.
    pub runbook: String,
    /// What verification found.
    pub outcome: Outcome,
}

impl Remembered {
    /// What is to be remembered of an incident: its services, alerts and changes, and the cause that
    /// was ranked first. A cause that a person named goes in with [`confirm`](Self::confirm).
    pub fn of(
        incident: &Incident,
        alerts: &[Alert],
        events: &[Event],
        ranking: Option<&Ranking>,
    ) -> Self {
        let services = incident.services.iter().cloned();
        let mut traits: BTreeSet<Trait> =
            services.map(|service| Trait::Service { service }).collect();
        traits.extend(alerts.iter().map(|alert| Trait::Alert {
            service: alert.service.clone(),
            name: alert.name.clone(),
        }));
        traits.extend(events.iter().map(|event| Trait::Change {
            change: event.kind.name().to_owned(),
            service: event.service.clone(),
        }));
        let cause = ranking.and_then(Ranking::top).map(|top| top.cause.clone());
        let mut remembered = Remembered {
            incident: incident.id,
            title: incident.title.clone(),
            onset: incident.onset,
            resolved_at: incident.resolved_at,
            traits,
            cause: None,
            confirmed: false,
            tried: Vec::new(),
        };
        remembered.set_cause(cause);
        remembered
    }

    /// Replaces the cause by what a person said.
    pub fn confirm(&mut self, cause: Cause) {
        self.set_cause(Some(cause));
        self.confirmed = true;
    }

    fn set_cause(&mut self, cause: Option<Cause>) {
        self.traits.retain(|known| !matches!(known, Trait::Cause { .. }));
        if let Some(service) = cause.as_ref().and_then(Cause::service) {
            self.traits.insert(Trait::Cause { service: service.to_owned() });
        }
        self.cause = cause;
    }
}

/// A past incident with how much it resembles the one that was asked about.
#[derive(Debug, Clone, PartialEq)]
pub struct Similar<'a> {
    /// Between 0 (nothing in common) and 1 (the same traits).
    pub similarity: f64,
    /// The past incident.
    pub past: &'a Remembered,
    /// What both have, the rarest first.
    pub shared: Vec<&'a Trait>,
}

/// How incidents are remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MemoryConfig {
    /// How many incidents are kept; the ones that began first are forgotten first. Default 10,000: a
    /// decade of three a day, some tens of megabytes.
    pub capacity: usize,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        MemoryConfig { capacity: 10_000 }
    }
}

impl MemoryConfig {
    /// Reads what `store` remembers.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] without capacity; [`Error::Store`], [`Error::Damaged`].
    pub fn open(self, store: Arc<dyn Store>) -> Result<IncidentMemory> {
        if self.capacity == 0 {
            return Err(Error::config("capacity", "must be at least 1"));
        }
        let mut memory = IncidentMemory {
            config: self,
            past: BTreeMap::new(),
            by_trait: BTreeMap::new(),
            store,
        };
        for entry in all_under(&*memory.store, PREFIX)? {
            let name = String::from_utf8_lossy(&entry.key).into_owned();
            memory.take_in(decode("remembered incident", &name, &entry.value)?);
        }
        Ok(memory)
    }
}

/// Past incidents, by what they have in common with a new one.
///
/// Similarity is a Jaccard index whose traits count by their rarity, `ln((1 + n) / (1 + df)) + 1`
/// with `n` incidents of which `df` have the trait: that two incidents share a service which is part
/// of every incident says little, that they share an alert which fired twice in a year says much. A
/// cause that was confirmed by a person counts like any other trait, so an incident whose cause is
/// not yet known is compared by its symptoms.
///
/// It finds incidents with traits in common, not with a common course: two incidents of one service
/// with one alert each look alike whatever happened inside. Cost of a query: linear in the number of
/// incidents that share a trait; memory as [`MemoryConfig::capacity`] says.
///
/// Source: weighted Jaccard similarity (Ioffe 2010, section 1) over inverse document frequencies
/// (Spärck Jones 1972; the smoothed form, so that a trait of all incidents still counts a little).
///
/// ```
/// use std::sync::Arc;
/// use std::collections::BTreeSet;
/// use aiops_core::{IncidentId, MemoryStore, Outcome, Timestamp};
/// use aiops_knowledge::{MemoryConfig, Remembered, Trait, Tried};
///
/// let incident = |n: u64, alert: &str| Remembered {
///     incident: IncidentId::from_u64(n),
///     title: format!("api: {alert}"),
///     onset: Timestamp::from_secs(n as i64),
///     resolved_at: None,
///     traits: BTreeSet::from([
///         Trait::Service { service: "api".into() },
///         Trait::Alert { service: Some("api".into()), name: alert.into() },
///     ]),
///     cause: None,
///     confirmed: false,
///     tried: vec![],
/// };
/// let mut memory = MemoryConfig::default().open(Arc::new(MemoryStore::default()))?;
/// let mut pool = incident(1, "PoolWaiting");
/// pool.tried.push(Tried { runbook: "raise-pool-limit".into(), outcome: Outcome::Ok });
/// memory.remember(pool)?;
/// memory.remember(incident(2, "DiskFull"))?;
///
/// let similar = memory.similar(&incident(3, "PoolWaiting"), 5);
/// assert_eq!(similar[0].past.tried[0].runbook, "raise-pool-limit");
/// assert!(similar[0].similarity > 0.99 && similar[1].similarity < 0.5);
/// # Ok::<(), aiops_knowledge::Error>(())
/// ```
pub struct IncidentMemory {
    config: MemoryConfig,
    store: Arc<dyn Store>,
    past: BTreeMap<IncidentId, Remembered>,
    by_trait: BTreeMap<Trait, BTreeSet<IncidentId>>,
}

impl std::fmt::Debug for IncidentMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IncidentMemory").field("incidents", &self.past.len()).finish()
    }
}

impl IncidentMemory {
    /// Remembers an incident, in place of what was remembered of it before. Durable when this
    /// returns.
    ///
    /// # Errors
    /// [`Error::Store`]; nothing is remembered then.
    pub fn remember(&mut self, remembered: Remembered) -> Result<()> {
        let mut batch = Batch::new().put(key_of(remembered.incident), encode(&remembered));
        let known = self.past.contains_key(&remembered.incident);
        let oldest = (!known && self.past.len() >= self.config.capacity)
            .then(|| self.past.values().min_by_key(|past| (past.onset, past.incident)))
            .flatten()
            .map(|past| past.incident);
        if let Some(oldest) = oldest {
            batch = batch.delete(key_of(oldest));
        }
        self.store.commit(batch).map_err(Error::store("remembering an incident"))?;
        if let Some(oldest) = oldest {
            self.forget(oldest);
        }
        self.take_in(remembered);
        Ok(())
    }

    /// What is remembered of an incident.
    pub fn get(&self, incident: IncidentId) -> Option<&Remembered> {
        self.past.get(&incident)
    }

    /// How many incidents are remembered.
    pub fn len(&self) -> usize {
        self.past.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.past.is_empty()
    }

    /// At most `k` past incidents that share a trait with this one, the most similar first; among
    /// equals the latest, then the smaller id. The incident itself is left out.
    pub fn similar<'a>(&'a self, incident: &Remembered, k: usize) -> Vec<Similar<'a>> {
        let sum = |traits: &BTreeSet<Trait>| traits.iter().map(|t| self.rarity(t)).sum::<f64>();
        let mut in_common: BTreeMap<IncidentId, f64> = BTreeMap::new();
        for wanted in &incident.traits {
            let rarity = self.rarity(wanted);
            for past in self.by_trait.get(wanted).into_iter().flatten() {
                *in_common.entry(*past).or_default() += rarity;
            }
        }
        in_common.remove(&incident.incident);
        let mine = sum(&incident.traits);
        let mut found: Vec<(f64, &'a Remembered)> = in_common
            .into_iter()
            .map(|(id, common)| {
                let past = &self.past[&id];
                (common / (mine + sum(&past.traits) - common), past)
            })
            .collect();
        found.sort_by(|(a, x), (b, y)| {
            b.total_cmp(a).then(y.onset.cmp(&x.onset)).then(x.incident.cmp(&y.incident))
        });
        found.truncate(k);
        let describe = |(similarity, past): (f64, &'a Remembered)| {
            let in_both = |t: &&Trait| incident.traits.contains(*t);
            let mut shared: Vec<&Trait> = past.traits.iter().filter(in_both).collect();
            shared.sort_by(|a, b| self.rarity(b).total_cmp(&self.rarity(a)).then(a.cmp(b)));
            Similar { similarity, past, shared }
        };
        found.into_iter().map(describe).collect()
    }

    fn rarity(&self, wanted: &Trait) -> f64 {
        let having = self.by_trait.get(wanted).map_or(0, BTreeSet::len);
        ((1.0 + self.past.len() as f64) / (1.0 + having as f64)).ln() + 1.0
    }

    fn take_in(&mut self, remembered: Remembered) {
        self.forget(remembered.incident);
        for found_by in &remembered.traits {
            self.by_trait.entry(found_by.clone()).or_default().insert(remembered.incident);
        }
        self.past.insert(remembered.incident, remembered);
    }

    fn forget(&mut self, incident: IncidentId) {
        let Some(past) = self.past.remove(&incident) else { return };
        for found_by in past.traits {
            if let Some(having) = self.by_trait.get_mut(&found_by) {
                having.remove(&incident);
                if having.is_empty() {
                    self.by_trait.remove(&found_by);
                }
            }
        }
    }
}

fn key_of(incident: IncidentId) -> String {
    format!("{PREFIX}{incident}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use aiops_core::MemoryStore;

    fn past(n: u64, services: &[&str], alerts: &[&str]) -> Remembered {
        let mut traits = BTreeSet::new();
        traits.extend(services.iter().map(|s| Trait::Service { service: (*s).into() }));
        traits
            .extend(alerts.iter().map(|name| Trait::Alert { service: None, name: (*name).into() }));
        Remembered {
            incident: IncidentId::from_u64(n),
            title: String::new(),
            onset: Timestamp::from_secs(n as i64),
            resolved_at: None,
            traits,
            cause: None,
            confirmed: false,
            tried: vec![],
        }
    }

    fn ids(similar: &[Similar<'_>]) -> Vec<u64> {
        similar.iter().map(|s| s.past.incident.as_u64()).collect()
    }

    #[test]
    fn what_is_rare_says_more_than_what_is_common() {
        let mut memory = MemoryConfig::default().open(Arc::new(MemoryStore::default())).unwrap();
        for n in 0..20 {
            memory.remember(past(n, &["gateway"], &["Latency"])).unwrap();
        }
        memory.remember(past(50, &["queue"], &["Backlog", "Latency"])).unwrap();
        let similar = memory.similar(&past(99, &["gateway"], &["Backlog"]), 3);
        assert_eq!(ids(&similar)[0], 50, "a shared rare alert outweighs the service of all");
        assert_eq!(ids(&similar)[1..], [19, 18], "equals: the latest first");
        assert!(matches!(similar[0].shared[..], [Trait::Alert { .. }]));
    }

    #[test]
    fn a_confirmed_cause_replaces_the_ranked_one() {
        let mut seen = past(1, &["api"], &[]);
        seen.set_cause(Some(Cause::Service { service: "api".into() }));
        seen.confirm(Cause::Service { service: "db".into() });
        let causes: Vec<_> =
            seen.traits.iter().filter(|t| matches!(t, Trait::Cause { .. })).collect();
        assert_eq!(causes, [&Trait::Cause { service: "db".into() }]);
        assert!(seen.confirmed);
    }

    #[test]
    fn it_remembers_after_a_restart_and_forgets_the_oldest() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let open = || MemoryConfig { capacity: 3 }.open(store.clone()).unwrap();
        let mut memory = open();
        for n in [5, 1, 9, 7] {
            memory.remember(past(n, &["api"], &[])).unwrap();
        }
        memory.remember(past(9, &["db"], &[])).unwrap();
        let again = open();
        assert_eq!((again.len(), again.get(IncidentId::from_u64(1))), (3, None));
        let asked = past(99, &["api", "db"], &[]);
        assert_eq!(memory.similar(&asked, 9), again.similar(&asked, 9));
        assert_eq!(ids(&again.similar(&asked, 9)), [9, 7, 5], "db is the rarer service");
        assert_eq!(again.similar(&past(9, &["db"], &[]), 9), [], "not itself");
    }
}
