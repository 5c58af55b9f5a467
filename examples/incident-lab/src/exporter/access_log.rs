//! Gateway metrics from nginx' access log.

use std::net::SocketAddr;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tokio::net::UdpSocket;

use crate::api::LATENCY_BUCKETS;

/// Longest datagram that is looked at; nginx' lines are far shorter.
const MAX_DATAGRAM: usize = 2048;

/// One request as the gateway saw it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line {
    /// Status code sent to the client.
    pub status: u16,
    /// Seconds from the first byte read to the last byte sent.
    pub seconds: f64,
    /// Seconds until the API answered; `None` when it never did.
    pub upstream_seconds: Option<f64>,
}

impl Line {
    /// Parses a syslog datagram whose message is `access STATUS SECONDS UPSTREAM_SECONDS`.
    pub fn parse(datagram: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(datagram).ok()?;
        let message = &text[text.find("access ")? + "access ".len()..];
        let mut words = message.split_whitespace();
        let status = words.next()?.parse().ok()?;
        let seconds: f64 = words.next()?.parse().ok()?;
        // "-" without an upstream; "0.1, 0.2" after a retry, of which the last one answered.
        let upstream_seconds = words.last().and_then(|word| word.parse().ok());
        (seconds.is_finite() && seconds >= 0.0).then_some(Self {
            status,
            seconds,
            upstream_seconds,
        })
    }
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Code {
    service: &'static str,
    code: u32,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Service {
    service: &'static str,
}

const GATEWAY: Service = Service { service: "gateway" };

/// The gateway's metrics.
#[derive(Debug, Clone)]
pub struct GatewayMetrics {
    requests: Family<Code, Counter>,
    durations: Family<Service, Histogram, fn() -> Histogram>,
    upstream: Family<Service, Histogram, fn() -> Histogram>,
    malformed: Family<Service, Counter>,
}

fn latency() -> Histogram {
    Histogram::new(LATENCY_BUCKETS)
}

impl GatewayMetrics {
    /// Registers everything.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(latency),
            upstream: Family::new_with_constructor(latency),
            malformed: Family::default(),
        };
        for code in [200, 500, 502, 503, 504] {
            let _ = metrics.requests.get_or_create(&Code { service: "gateway", code });
        }
        let m = metrics.clone();
        registry.register("gateway_requests", "Requests by status code", m.requests);
        registry.register_with_unit(
            "gateway_request_duration",
            "Time to answer",
            Unit::Seconds,
            m.durations,
        );
        registry.register_with_unit(
            "gateway_upstream_duration",
            "Time of the API",
            Unit::Seconds,
            m.upstream,
        );
        registry.register("gateway_log_malformed", "Log lines that could not be read", m.malformed);
        metrics
    }

    /// Counts one datagram.
    pub fn record(&self, datagram: &[u8]) {
        let Some(line) = Line::parse(datagram) else {
            self.malformed.get_or_create(&GATEWAY).inc();
            return;
        };
        self.requests.get_or_create(&Code { service: "gateway", code: line.status.into() }).inc();
        self.durations.get_or_create(&GATEWAY).observe(line.seconds);
        if let Some(seconds) = line.upstream_seconds {
            self.upstream.get_or_create(&GATEWAY).observe(seconds);
        }
    }
}

/// Reads datagrams for ever.
///
/// # Errors
/// When the socket cannot be bound or fails.
pub async fn listen(address: SocketAddr, metrics: GatewayMetrics) -> std::io::Result<()> {
    let socket = UdpSocket::bind(address).await?;
    let mut buffer = [0; MAX_DATAGRAM];
    loop {
        let length = socket.recv(&mut buffer).await?;
        metrics.record(&buffer[..length]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nginx_lines_are_read_and_others_refused() {
        let line = Line::parse(b"<190>Nov 24 17:00:00 gw: access 200 0.004 0.003").unwrap();
        assert_eq!(line, Line { status: 200, seconds: 0.004, upstream_seconds: Some(0.003) });
        let retried = Line::parse(b"<190>Nov 24 17:00:00 gw: access 504 3.5 1.0, 2.5").unwrap();
        assert_eq!(retried.upstream_seconds, Some(2.5));
        assert_eq!(Line::parse(b"access 502 0.000 -").unwrap().upstream_seconds, None);
        for bad in [&b"access"[..], b"access 200 NaN 0.1", b"", b"\xff\xfe", b"access x 0.1 0.1"] {
            assert_eq!(Line::parse(bad), None);
        }
    }
}
