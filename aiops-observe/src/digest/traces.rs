//! OpenTelemetry traces as the service graph, its latency and its errors.

use super::graph::{Bounds, Graph, Subject};
use super::request::{Bodies, Format};
use super::span::{REQUEST, Side, Span};
use super::{Output, name};
use crate::identity::Identity;
use crate::{Error, Limits, Rejection, Result, Sink, Tally};
use aiops_core::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Settings of a [`TraceDigest`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TraceDigestConfig {
    /// How long one side of a call waits for the other. Default 10 s: senders export in batches, five
    /// seconds apart unless told otherwise.
    pub pair_wait: Duration,
    /// Sides that wait at most; the oldest gives way, unpaired. Default 100,000, about 20 MB.
    pub max_waiting: usize,
    /// Names of services, and of what they call, kept at most. Spans of further ones are rejected as
    /// [`Rejection::SeriesLimit`]. Default 5,000.
    pub max_services: usize,
    /// Edges kept at most. Spans that would make another one are rejected as
    /// [`Rejection::SeriesLimit`]. Default 10,000, about 45 MB at worst.
    pub max_edges: usize,
    /// Services and edges without a call for so long are forgotten and make room. Default 24 h.
    pub forget_after: Duration,
    /// What a body may cost; `label_bytes` is the length of a service's name.
    pub limits: Limits,
}

impl Default for TraceDigestConfig {
    fn default() -> Self {
        TraceDigestConfig {
            pair_wait: Duration::from_secs(10),
            max_waiting: 100_000,
            max_services: 5_000,
            max_edges: 10_000,
            forget_after: Duration::from_secs(24 * 3_600),
            limits: Limits::default(),
        }
    }
}

impl TraceDigestConfig {
    /// A digest that has seen nothing.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] when a limit is zero.
    pub fn build(self) -> Result<TraceDigest> {
        for (field, limit) in [
            ("max_waiting", self.max_waiting),
            ("max_services", self.max_services),
            ("max_edges", self.max_edges),
        ] {
            if limit == 0 {
                return Err(Error::config(field, "must be above zero"));
            }
        }
        if self.forget_after.is_zero() {
            return Err(Error::config("forget_after", "must be longer than zero"));
        }
        Ok(TraceDigest {
            config: self,
            bodies: Bodies::default(),
            waiting: BTreeMap::new(),
            order: VecDeque::new(),
            arrivals: 0,
            graph: Graph::default(),
            emitted: None,
            identity: Identity::default(),
        })
    }
}

/// Sums spans up by service and by edge of the service graph.
///
/// | series | what |
/// | --- | --- |
/// | `traces_service_graph_request_total{client, server}` | counter of calls |
/// | `traces_service_graph_request_failed_total{client, server}` | counter of calls of which either side failed |
/// | `traces_service_graph_request_server_seconds{client, server, quantile}` | gauge: what the server took, 0.5, 0.95 and 0.99 of the calls since the last `emit` |
/// | `traces_service_request_total{service}`, `..._failed_total{service}`, `traces_service_request_seconds{service, quantile}` | the same of what a service was asked, by whomever |
///
/// The first three are named as OpenTelemetry's service-graph connector names them, so that what reads
/// those reads these; their label `service` is the server. [`edges`](Self::edges) are the same counts
/// for a topology.
///
/// A call is a client (or producer) span and a server (or consumer) span whose parent it is, of
/// different services, in any order and in any bodies. A client whose other side does not come within
/// `pair_wait`, and that names what it called (`peer.service`, `db.system`, `messaging.system`), called
/// that, and took what the client says. Quantiles are within 1 %. Fails to see edges of which one side
/// goes to another process, and counts what is left of sampled traces.
///
/// Spans that are neither side of a call are accepted and do nothing.
///
/// Cost: two look-ups in ordered maps a span. They are not hash maps, since ids of traces are chosen by
/// whoever sends them.
///
/// ```
/// use aiops_core::Timestamp;
/// use aiops_observe::digest::TraceDigestConfig;
///
/// let span = |service: &str, kind: u8, id: &str, parent: &str| format!(
///     r#"{{"resource": {{"attributes": [
///             {{"key": "service.name", "value": {{"stringValue": "{service}"}}}}]}},
///         "scopeSpans": [{{"spans": [{{"traceId": "5b8efff798038103d269b633813fc60c",
///             "spanId": "{id}", "parentSpanId": "{parent}", "kind": {kind},
///             "startTimeUnixNano": "0", "endTimeUnixNano": "20000000"}}]}}]}}"#);
/// let (client, server) = (3, 2);
/// let spans = [span("api", client, "000000000000000a", ""),
///     span("db", server, "000000000000000b", "000000000000000a")];
/// let body = format!(r#"{{"resourceSpans": [{}]}}"#, spans.join(", "));
///
/// let mut traces = TraceDigestConfig::default().build()?;
/// traces.read_json(body.as_bytes(), Timestamp::from_secs(60))?;
/// let edge = traces.edges().next().unwrap();
/// assert_eq!((edge.client, edge.server, edge.calls), ("api", "db", 1));
/// # Ok::<(), aiops_observe::Error>(())
/// ```
///
/// Source: `opentelemetry/proto/trace/v1/trace.proto` of opentelemetry-proto 1.5, and the documentation
/// of the service-graph connector of OpenTelemetry's collector. Deviations: quantiles since the last
/// `emit` for a histogram since the start; a call within one service is no edge.
#[derive(Debug)]
pub struct TraceDigest {
    config: TraceDigestConfig,
    bodies: Bodies,
    waiting: BTreeMap<Call, Waiting>,
    /// Waiting sides by arrival; some have found their other side since.
    order: VecDeque<(Timestamp, u64, Call)>,
    arrivals: u64,
    graph: Graph,
    emitted: Option<Timestamp>,
    identity: Identity,
}

/// What one service asked of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServiceEdge<'a> {
    /// Who asked.
    pub client: &'a str,
    /// Who was asked.
    pub server: &'a str,
    /// How often so far.
    pub calls: u64,
    /// How many of those failed.
    pub failed: u64,
}

/// A call: its trace, and the span of its client's side.
type Call = ([u8; 16], [u8; 8]);

/// One side of a call; of a fixed size, beside names that are shared.
#[derive(Debug)]
struct Waiting {
    arrival: u64,
    side: Side,
    service: Arc<str>,
    failed: bool,
    seconds: f64,
    /// What the client says that it called.
    peer: Option<Arc<str>>,
}

const FORMAT: &str = "otlp_traces";

impl TraceDigest {
    /// Reads an `ExportTraceServiceRequest` that arrived at `now`: protobuf, compressed with gzip or
    /// not.
    ///
    /// # Errors
    /// [`Error::Malformed`] and [`Error::TooLarge`]; what was summed up before stays.
    pub fn read(&mut self, body: &[u8], now: Timestamp) -> Result<Tally> {
        self.take(Format { name: FORMAT, json: None }, body, now)
    }

    /// Reads the same as JSON, compressed with gzip or not.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_json(&mut self, body: &[u8], now: Timestamp) -> Result<Tally> {
        self.take(Format { name: "otlp_traces_json", json: Some(&REQUEST) }, body, now)
    }

    /// Forgets what fell silent, and hands the series over with the time `now`; latencies start again.
    pub fn emit(&mut self, now: Timestamp, sink: &mut dyn Sink) -> Tally {
        self.expire(now);
        self.graph.forget(now - self.config.forget_after);
        sink.begin(FORMAT, now);
        let (identity, tally) = (&mut self.identity, Tally::default());
        let mut out = Output { now, before: self.emitted, identity, sink, tally };
        self.graph.emit(&mut out);
        self.emitted = Some(now);
        out.tally
    }

    /// Every edge with its counts so far, in the order of names.
    pub fn edges(&self) -> impl Iterator<Item = ServiceEdge<'_>> {
        self.graph.edges().map(|(client, server, sum)| ServiceEdge {
            client,
            server,
            calls: sum.calls,
            failed: sum.failed,
        })
    }

    /// Sides of calls that wait for the other.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn bounds(&self) -> Bounds {
        Bounds { services: self.config.max_services, edges: self.config.max_edges }
    }

    fn take(&mut self, format: Format, body: &[u8], now: Timestamp) -> Result<Tally> {
        self.expire(now);
        let limits = self.config.limits;
        let mut bodies = std::mem::take(&mut self.bodies);
        let read = bodies.each_item(format, body, &limits, |service, message, tally| {
            let span = Span::parse(message)?;
            tally.count(self.span(service, &span, now), 1);
            Ok(())
        });
        self.bodies = bodies;
        read
    }

    fn span(&mut self, service: &[u8], span: &Span<'_>, now: Timestamp) -> Result<(), Rejection> {
        let Some(side) = span.side else { return Ok(()) };
        let (bounds, limit) = (self.bounds(), self.config.limits.label_bytes);
        if service.is_empty() {
            return Err(Rejection::MissingField);
        }
        let (Ok(trace), Ok(id)) = (span.trace.try_into(), span.id.try_into()) else {
            return Err(Rejection::Malformed);
        };
        let service = self.graph.name(name(service, limit)?, bounds)?;
        let call = match side {
            Side::Client => (trace, id),
            Side::Server => {
                let subject = Subject::Service(service.clone());
                self.graph.add(subject, (span.failed, span.seconds), now, bounds)?;
                // A server without a parent was called by somebody who is not traced.
                let Ok(parent) = span.parent.try_into() else { return Ok(()) };
                (trace, parent)
            }
        };
        let known = self.waiting.get(&call).map(|other| other.side);
        if known == Some(side) {
            return Ok(()); // the same span once more, or a second server of one call
        }
        // A name that cannot be read or has no room is as good as none.
        let peer = span.peer.filter(|_| side == Side::Client);
        let peer = peer.and_then(|peer| name(peer, limit).ok());
        let peer = peer.and_then(|peer| self.graph.name(peer, bounds).ok());
        let (arrival, failed, seconds) = (self.arrivals, span.failed, span.seconds);
        let mine = Waiting { arrival, side, service, failed, seconds, peer };
        match self.waiting.remove(&call) {
            Some(other) => {
                let (client, server) =
                    if side == Side::Client { (mine, other) } else { (other, mine) };
                if client.service == server.service {
                    return Ok(());
                }
                let failed = client.failed || server.failed;
                let edge = Subject::Edge(client.service, server.service);
                self.graph.add(edge, (failed, server.seconds), now, bounds)
            }
            None => {
                self.wait(call, mine, now);
                Ok(())
            }
        }
    }

    fn wait(&mut self, call: Call, side: Waiting, now: Timestamp) {
        while self.waiting.len() >= self.config.max_waiting && !self.order.is_empty() {
            self.give_up(now);
        }
        if self.order.len() >= 2 * self.config.max_waiting {
            let waiting = &self.waiting;
            let waits =
                |call: &Call, number| waiting.get(call).is_some_and(|w| w.arrival == number);
            self.order.retain(|(_, number, call)| waits(call, *number));
        }
        self.order.push_back((now, side.arrival, call));
        self.waiting.insert(call, side);
        self.arrivals += 1;
    }

    /// Lets go of sides that waited long enough.
    fn expire(&mut self, now: Timestamp) {
        let latest = now - self.config.pair_wait;
        while self.order.front().is_some_and(|(since, ..)| *since <= latest) {
            self.give_up(now);
        }
    }

    /// The oldest arrival waits no more, if it still does. A client that named what it called made a
    /// call to that.
    fn give_up(&mut self, now: Timestamp) {
        let Some((_, arrival, call)) = self.order.pop_front() else { return };
        if self.waiting.get(&call).is_none_or(|side| side.arrival != arrival) {
            return; // it found its other side
        }
        let Some(side) = self.waiting.remove(&call) else { return };
        if let (Side::Client, Some(peer)) = (side.side, side.peer)
            && peer != side.service
        {
            let edge = Subject::Edge(side.service, peer);
            // Beyond the limit there is nobody left to tell: the span was answered long ago.
            let _ = self.graph.add(edge, (side.failed, side.seconds), now, self.bounds());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::proto;

    const NOW: Timestamp = Timestamp::from_secs(6);

    fn message(field: u8, parts: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        proto::bytes(&mut out, field, &parts.concat());
        out
    }

    fn span(service: &str, kind: u64, id: u64, parent: u64) -> Vec<u8> {
        let mut span = Vec::new();
        proto::bytes(&mut span, 1, &[7; 16]);
        proto::bytes(&mut span, 2, &id.to_be_bytes());
        if parent > 0 {
            proto::bytes(&mut span, 4, &parent.to_be_bytes());
        }
        proto::number(&mut span, 6, kind);
        let value = message(2, &[&message(1, &[service.as_bytes()])]);
        let name = message(1, &[&message(1, &[b"service.name"]), &value]);
        message(1, &[&message(1, &[&name]), &message(2, &[&message(2, &[&span])])])
    }

    fn digest(config: TraceDigestConfig) -> TraceDigest {
        config.build().unwrap()
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut digest = digest(TraceDigestConfig { max_waiting: 2, ..Default::default() });
        for id in 1..10 {
            digest.read(&span("api", 3, id, 0), NOW).unwrap();
        }
        assert_eq!(digest.waiting(), 2);
        // Pairs leave nothing behind, even when no time passes.
        for id in 100..1_000 {
            digest.read(&span("api", 3, id, 0), NOW).unwrap();
            digest.read(&span("db", 2, id + 10_000, id), NOW).unwrap();
        }
        assert!(digest.order.len() <= 4 && digest.waiting() <= 2, "{digest:?}");
        assert_eq!(digest.edges().map(|edge| edge.calls).sum::<u64>(), 900);
    }

    #[test]
    fn names_and_edges_are_bounded_and_make_room() {
        let config = TraceDigestConfig { max_services: 3, max_edges: 1, ..Default::default() };
        let mut digest = digest(config);
        let read = |digest: &mut TraceDigest, body: &[u8], at| {
            let tally = digest.read(body, Timestamp::from_secs(at)).unwrap();
            tally.rejected_as(Rejection::SeriesLimit)
        };
        for (id, (client, server)) in (1..).zip([("a", "b"), ("a", "c")]) {
            assert_eq!(read(&mut digest, &span(client, 3, id, 0), 6), 0);
            // The second edge has no room, and its server is told so.
            assert_eq!(read(&mut digest, &span(server, 2, id + 10, id), 6), id - 1);
        }
        assert_eq!(read(&mut digest, &span("d", 3, 20, 0), 6), 1, "a fourth name");
        struct Nothing;
        impl Sink for Nothing {}
        let day = 24 * 3_600;
        digest.emit(Timestamp::from_secs(day), &mut Nothing);
        assert_eq!(digest.graph.names(), 3, "not yet");
        digest.emit(Timestamp::from_secs(day + 7), &mut Nothing);
        assert_eq!(digest.graph.names(), 0);
        assert_eq!(read(&mut digest, &span("d", 2, 21, 0), day + 7), 0, "there is room again");
    }

    #[test]
    fn an_id_that_comes_again_is_not_given_up_early() {
        let mut digest = digest(TraceDigestConfig::default());
        let at = Timestamp::from_secs;
        digest.read(&span("api", 3, 1, 0), at(0)).unwrap();
        digest.read(&span("db", 2, 2, 1), at(1)).unwrap();
        digest.read(&span("api", 3, 1, 0), at(9)).unwrap();
        digest.read(&[], at(12)).unwrap();
        assert_eq!(digest.waiting(), 1, "it came at 9");
        digest.read(&[], at(19)).unwrap();
        assert_eq!((digest.waiting(), digest.order.len()), (0, 0));
    }
}
