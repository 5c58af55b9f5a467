//! Blast radius: whom an action can hurt. The targets, and everyone who depends on them.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::plan::Targets;
use aiops_core::{Depends, Hops, Reason, Timestamp, Topology};
use serde::{Deserialize, Serialize};

/// The services that an action can hurt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Blast {
    /// Targets and their transitive dependents, sorted.
    pub services: BTreeSet<String>,
    /// How many services are known at all.
    pub known: usize,
    /// Revision of the topology that was walked.
    pub revision: u64,
    /// Why the radius is not bounded; empty when it is. What cannot be bounded must not be acted
    /// on without a person.
    pub unbounded: Vec<Reason>,
}

impl Blast {
    /// Walks from `targets` to their dependents, at most `hops` calls away.
    ///
    /// The radius is unbounded when a target is not in the topology, when a closure was cut short
    /// at a hub, or when no source has confirmed the topology for longer than `max_age`.
    #[must_use]
    pub fn of<'a>(
        topology: &Topology,
        targets: impl IntoIterator<Item = &'a str>,
        hops: u32,
        max_age: Duration,
        now: Timestamp,
    ) -> Blast {
        let mut services = BTreeSet::new();
        let mut unbounded = Vec::new();
        let age = now.since(topology.observed_at());
        if age > max_age {
            let sentence = format!(
                "the topology was last confirmed {} s ago, longer than {} s",
                age.as_secs(),
                max_age.as_secs()
            );
            unbounded.push(Reason::new("stale_topology", sentence).with("age_s", age.as_secs()));
        }
        let hops = Hops::Within(u16::try_from(hops).unwrap_or(u16::MAX));
        for target in targets {
            services.insert(target.to_owned());
            let Some(node) = topology.node_id(target) else {
                let sentence = format!("{target} is not in the topology");
                unbounded.push(Reason::new("unknown_target", sentence).with("target", target));
                continue;
            };
            let closure = topology.closure(node, Depends::Dependents, hops);
            if closure.saturated {
                let sentence = format!("{target} has more dependents than were counted");
                unbounded.push(Reason::new("saturated", sentence).with("target", target));
            }
            let names = closure.reached().iter().filter_map(|r| topology.name(r.node));
            services.extend(names.map(str::to_owned));
        }
        Blast { services, known: topology.len(), revision: topology.revision(), unbounded }
    }

    /// The targets alone, unbounded because nobody has looked yet.
    pub(crate) fn unmeasured(targets: &Targets) -> Blast {
        Blast {
            services: targets.iter().map(str::to_owned).collect(),
            known: 0,
            revision: 0,
            unbounded: vec![Reason::new("not_measured", "nobody has looked at the topology")],
        }
    }

    /// The services in percent of all known ones; 100 when none is known.
    #[must_use]
    pub fn percent(&self) -> f64 {
        percent(self.services.len(), self.known)
    }
}

/// `part` in percent of `whole`; everything of nothing is all of it.
pub(crate) fn percent(part: usize, whole: usize) -> f64 {
    if whole == 0 { 100.0 } else { 100.0 * part as f64 / whole as f64 }
}
