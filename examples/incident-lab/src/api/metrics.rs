//! What the API says of itself.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::process::ProcessCollector;

/// Upper bounds of latency buckets in seconds, from a cache hit to past the longest time limit.
pub const LATENCY_BUCKETS: [f64; 16] = [
    0.001, 0.002, 0.004, 0.006, 0.01, 0.016, 0.025, 0.04, 0.065, 0.1, 0.16, 0.25, 0.5, 1.0, 2.0,
    4.0,
];

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RouteCode {
    route: &'static str,
    code: u32,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct One {
    kind: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Route {
    route: &'static str,
}

type Histograms = Family<One, Histogram, fn() -> Histogram>;

fn latency() -> Histogram {
    Histogram::new(LATENCY_BUCKETS)
}

/// The API's metrics; cheap to clone, all clones count together.
#[derive(Debug, Clone)]
pub struct ApiMetrics {
    requests: Family<RouteCode, Counter>,
    durations: Family<Route, Histogram, fn() -> Histogram>,
    errors: Family<One, Counter>,
    timeouts: Family<One, Counter>,
    cache: Family<One, Counter>,
    queries: Histograms,
    /// Requests being served now.
    pub in_flight: Gauge,
    /// The pool's limit.
    pub pool_max: Gauge,
    /// Connections open now.
    pub pool_open: Gauge,
    /// Connections lent to a request now.
    pub pool_in_use: Gauge,
    /// Requests waiting for a connection now.
    pub pool_waiting: Gauge,
    /// Seconds waited for a connection, timeouts included.
    pub pool_wait: Histogram,
    /// Seconds per cache call, timeouts included.
    pub cache_calls: Histogram,
}

impl ApiMetrics {
    /// Registers everything. Families start with the names they will have, so that a rate exists
    /// before the first error does.
    pub fn register(registry: &mut Registry, version: &str) -> Self {
        let metrics = Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(latency),
            errors: Family::default(),
            timeouts: Family::default(),
            cache: Family::default(),
            queries: Family::new_with_constructor(latency),
            in_flight: Gauge::default(),
            pool_max: Gauge::default(),
            pool_open: Gauge::default(),
            pool_in_use: Gauge::default(),
            pool_waiting: Gauge::default(),
            pool_wait: latency(),
            cache_calls: latency(),
        };
        for kind in ["pool", "statement", "cache", "request"] {
            let _ = metrics.timeouts.get_or_create(&One { kind });
        }
        for kind in ["pool", "database", "cache", "deadline", "overload", "busy"] {
            let _ = metrics.errors.get_or_create(&One { kind });
        }
        for kind in ["hit", "miss", "error"] {
            let _ = metrics.cache.get_or_create(&One { kind });
        }
        for route in ["list", "detail", "checkout"] {
            let _ = metrics.durations.get_or_create(&Route { route });
            for code in [200, 500, 503, 504] {
                let _ = metrics.requests.get_or_create(&RouteCode { route, code });
            }
        }
        let m = metrics.clone();
        registry.register("api_requests", "Requests by route and status code", m.requests);
        registry.register_with_unit(
            "api_request_duration",
            "Time to answer",
            Unit::Seconds,
            m.durations,
        );
        registry.register("api_errors", "Failed requests by cause", m.errors);
        registry.register(
            "api_timeouts",
            "Time limits that ran out, by what was waited for",
            m.timeouts,
        );
        registry.register("api_requests_in_flight", "Requests being served", m.in_flight);
        registry.register("api_pool_connections_max", "Limit of the pool", m.pool_max);
        registry.register("api_pool_connections_open", "Open connections", m.pool_open);
        registry.register("api_pool_connections_in_use", "Lent connections", m.pool_in_use);
        registry.register("api_pool_waiting", "Requests waiting for a connection", m.pool_waiting);
        registry.register_with_unit(
            "api_pool_wait",
            "Wait for a connection",
            Unit::Seconds,
            m.pool_wait,
        );
        registry.register_with_unit(
            "api_db_query_duration",
            "Time of one query",
            Unit::Seconds,
            m.queries,
        );
        registry.register("api_cache_requests", "Cache look-ups by result", m.cache);
        registry.register_with_unit(
            "api_cache_call_duration",
            "Time of one call",
            Unit::Seconds,
            m.cache_calls,
        );
        registry.register(
            "api_build",
            "The running build",
            Info::new(vec![("version", version.to_owned())]),
        );
        registry.register_collector(Box::new(ProcessCollector));
        metrics
    }

    /// Counts one answered request.
    pub fn answered(&self, route: &'static str, code: u16, seconds: f64) {
        self.requests.get_or_create(&RouteCode { route, code: code.into() }).inc();
        self.durations.get_or_create(&Route { route }).observe(seconds);
    }

    /// Counts one failed request by its cause.
    pub fn failed(&self, kind: &'static str) {
        self.errors.get_or_create(&One { kind }).inc();
    }

    /// Counts one time limit that ran out.
    pub fn timed_out(&self, kind: &'static str) {
        self.timeouts.get_or_create(&One { kind }).inc();
    }

    /// Counts one cache look-up.
    pub fn looked_up(&self, kind: &'static str) {
        self.cache.get_or_create(&One { kind }).inc();
    }

    /// Records the time of one query.
    pub fn queried(&self, kind: &'static str, seconds: f64) {
        self.queries.get_or_create(&One { kind }).observe(seconds);
    }
}
