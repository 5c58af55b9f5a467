//! Sums of calls by service and by edge, within bounds.

use super::Output;
use super::latency::Latencies;
use crate::Rejection;
use aiops_core::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What is summed up: what a service was asked by whomever, or what one service asks of another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    Edge(Arc<str>, Arc<str>),
    Service(Arc<str>),
}

#[derive(Debug, Default)]
pub(super) struct Sum {
    pub(super) calls: u64,
    pub(super) failed: u64,
    /// Since the last time they were handed over.
    latencies: Latencies,
    seen: Timestamp,
    /// Whether the series have been handed over.
    told: bool,
}

/// Names are kept once, however many spans and edges hold them.
#[derive(Debug, Default)]
pub(super) struct Graph {
    names: BTreeSet<Arc<str>>,
    sums: BTreeMap<Subject, Sum>,
    edges: usize,
}

/// How much a [`Graph`] holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) services: usize,
    pub(super) edges: usize,
}

impl Graph {
    /// The one copy of a name.
    pub(super) fn name(&mut self, name: &str, bounds: Bounds) -> Result<Arc<str>, Rejection> {
        if let Some(known) = self.names.get(name) {
            return Ok(known.clone());
        }
        if self.names.len() >= bounds.services {
            return Err(Rejection::SeriesLimit);
        }
        let new = Arc::<str>::from(name);
        self.names.insert(new.clone());
        Ok(new)
    }

    /// Adds one call.
    pub(super) fn add(
        &mut self,
        subject: Subject,
        (failed, seconds): (bool, f64),
        now: Timestamp,
        bounds: Bounds,
    ) -> Result<(), Rejection> {
        let edge = matches!(subject, Subject::Edge(..));
        // Services are bounded by their names.
        if edge && self.edges >= bounds.edges && !self.sums.contains_key(&subject) {
            return Err(Rejection::SeriesLimit);
        }
        let sum = self.sums.entry(subject).or_default();
        self.edges += usize::from(edge && sum.calls == 0);
        sum.calls += 1;
        sum.failed += u64::from(failed);
        sum.latencies.add(seconds);
        sum.seen = now;
        Ok(())
    }

    /// Forgets sums that were last added to before a time, and names that nobody holds any more.
    pub(super) fn forget(&mut self, before: Timestamp) {
        self.sums.retain(|_, sum| sum.seen >= before);
        self.edges = self.edges().count();
        self.names.retain(|name| Arc::strong_count(name) > 1);
    }

    /// Callers, callees and what they exchanged, in the order of names.
    pub(super) fn edges(&self) -> impl Iterator<Item = (&str, &str, &Sum)> {
        self.sums.iter().filter_map(|(subject, sum)| match subject {
            Subject::Edge(client, server) => Some((&**client, &**server, sum)),
            Subject::Service(_) => None,
        })
    }

    /// Hands every series over; latencies start again.
    pub(super) fn emit(&mut self, out: &mut Output<'_>) {
        for (subject, sum) in &mut self.sums {
            let (names, mut labels): ([&str; 3], _) = match subject {
                Subject::Edge(client, server) => (
                    [
                        "traces_service_graph_request_total",
                        "traces_service_graph_request_failed_total",
                        "traces_service_graph_request_server_seconds",
                    ],
                    vec![("client", &**client), ("server", &**server), ("service", &**server)],
                ),
                Subject::Service(service) => (
                    [
                        "traces_service_request_total",
                        "traces_service_request_failed_total",
                        "traces_service_request_seconds",
                    ],
                    vec![("service", &**service)],
                ),
            };
            let new = !std::mem::replace(&mut sum.told, true);
            out.counter(names[0], "{request}", &labels, sum.calls, new);
            out.counter(names[1], "{request}", &labels, sum.failed, new);
            for (label, quantile) in [("0.5", 0.5), ("0.95", 0.95), ("0.99", 0.99)] {
                if let Some(seconds) = sum.latencies.quantile(quantile) {
                    labels.push(("quantile", label));
                    out.gauge(names[2], "s", &labels, seconds);
                    labels.pop();
                }
            }
            sum.latencies.clear();
        }
    }

    #[cfg(test)]
    pub(super) fn names(&self) -> usize {
        self.names.len()
    }
}
