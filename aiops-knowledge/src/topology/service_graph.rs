//! The service-graph metrics of OpenTelemetry's collector.

use std::collections::BTreeMap;

use aiops_core::SeriesKey;

use super::{Sighting, shares};

/// The name of the counter of calls, as the service-graph connector exports it to Prometheus.
const CALLS: &str = "traces_service_graph_request_total";

/// Edges from the counter `traces_service_graph_request_total{client, server}`.
///
/// An edge is seen while its counter grows: a counter that stands still is no call, so that edges
/// which are not used any more grow old although their series is still exported. Other series are
/// ignored. A counter that falls was reset and counts from zero.
///
/// The connector sees an edge only when both of its spans reach one collector; sampled traces give
/// smaller counts, not other shares.
///
/// ```
/// use aiops_core::SeriesKey;
/// use aiops_knowledge::topology::ServiceGraph;
///
/// let key = SeriesKey::new("traces_service_graph_request_total", [("client", "api"), ("server", "db")]);
/// let mut graph = ServiceGraph::default();
/// assert_eq!(graph.read([(&key, 5.0)]).len(), 1);
/// assert_eq!(graph.read([(&key, 5.0)]).len(), 0, "nobody called since");
/// assert_eq!(graph.read([(&key, 2.0)]).len(), 1, "a reset");
/// ```
#[derive(Debug, Clone, Default)]
pub struct ServiceGraph {
    last: BTreeMap<u64, f64>,
}

impl ServiceGraph {
    /// Takes one reading of the counters, and returns the edges that were used since the last one.
    pub fn read<'a>(
        &mut self,
        counters: impl IntoIterator<Item = (&'a SeriesKey, f64)>,
    ) -> Vec<Sighting> {
        let mut calls = Vec::new();
        for (key, value) in counters {
            let (client, server) = (key.labels.get("client"), key.labels.get("server"));
            let (true, Some(client), Some(server)) = (key.name == CALLS, client, server) else {
                continue;
            };
            let grown = self.grown(key, value);
            calls.extend(grown.map(|grown| (client.to_owned(), server.to_owned(), grown)));
        }
        shares(calls)
    }

    /// The same of caller, callee and calls so far, as `TraceDigest::edges` of `aiops-observe` gives
    /// them.
    ///
    /// ```
    /// use aiops_knowledge::topology::ServiceGraph;
    /// let mut graph = ServiceGraph::default();
    /// let used = graph.read_calls([("api", "db", 3), ("api", "cache", 1)]);
    /// assert_eq!((used[1].to.as_str(), used[1].weight), ("db", 0.75));
    /// assert_eq!(graph.read_calls([("api", "db", 5), ("api", "cache", 1)]).len(), 1);
    /// ```
    pub fn read_calls<'a>(
        &mut self,
        calls: impl IntoIterator<Item = (&'a str, &'a str, u64)>,
    ) -> Vec<Sighting> {
        let mut used = Vec::new();
        for (client, server, calls) in calls {
            let key = SeriesKey::new(CALLS, [("client", client), ("server", server)]);
            let grown = self.grown(&key, calls as f64);
            used.extend(grown.map(|grown| (client.to_owned(), server.to_owned(), grown)));
        }
        shares(used)
    }

    /// How much a counter grew since it was last read; `None` of a gap.
    fn grown(&mut self, key: &SeriesKey, value: f64) -> Option<f64> {
        if value.is_nan() {
            return None;
        }
        let last = self.last.insert(key.hash().as_u64(), value).unwrap_or(0.0);
        Some(if value < last { value } else { value - last })
    }
}
