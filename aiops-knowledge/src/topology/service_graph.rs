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
            if value.is_nan() {
                continue;
            }
            let last = self.last.insert(key.hash().as_u64(), value).unwrap_or(0.0);
            let grown = if value < last { value } else { value - last };
            calls.push((client.to_owned(), server.to_owned(), grown));
        }
        shares(calls)
    }
}
