//! One trivial round trip per service and second, over the link that its callers use.

use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior};

/// How long a probe may take; also the value reported for a failed one.
const LIMIT: Duration = Duration::from_millis(900);

/// What is said to the service, and how its answer begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Greeting {
    /// `GET /healthz`, answered by `HTTP/1.1 200`.
    Http,
    /// An `SSLRequest`, answered by one byte, before any session exists.
    Postgres,
    /// `PING`, answered by `+PONG`.
    Redis,
}

impl Greeting {
    fn words(self) -> (&'static [u8], &'static [u8]) {
        match self {
            Greeting::Http => (
                b"GET /healthz HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n",
                b"HTTP/1.1 200",
            ),
            // Length 8, code 80877103; without TLS the server says 'N' and waits.
            Greeting::Postgres => (&[0, 0, 0, 8, 4, 210, 22, 47], b"N"),
            Greeting::Redis => (b"PING\r\n", b"+PONG"),
        }
    }
}

/// One service to probe: `SERVICE=GREETING=ADDRESS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Name of the service.
    pub service: String,
    /// How to speak to it.
    pub greeting: Greeting,
    /// Where.
    pub address: SocketAddr,
}

/// Text that is no [`Target`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a probe is SERVICE=http|postgres|redis=ADDRESS, got {0:?}")]
pub struct BadTarget(String);

impl FromStr for Target {
    type Err = BadTarget;

    fn from_str(text: &str) -> Result<Self, BadTarget> {
        let bad = || BadTarget(text.to_owned());
        let parts: Vec<&str> = text.split('=').collect();
        let [service, greeting, address] = parts[..] else { return Err(bad()) };
        let greeting = match greeting {
            "http" => Greeting::Http,
            "postgres" => Greeting::Postgres,
            "redis" => Greeting::Redis,
            _ => return Err(bad()),
        };
        Ok(Self {
            service: service.to_owned(),
            greeting,
            address: address.parse().map_err(|_| bad())?,
        })
    }
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Service {
    service: String,
}

/// Results of the probes.
#[derive(Debug, Clone, Default)]
pub struct ProbeMetrics {
    duration: Family<Service, Gauge<f64, AtomicU64>>,
    success: Family<Service, Gauge>,
}

impl ProbeMetrics {
    /// Registers both metrics.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let m = metrics.clone();
        registry.register_with_unit(
            "probe_duration",
            "Round trip of the last probe",
            Unit::Seconds,
            m.duration,
        );
        registry.register("probe_success", "Whether the last probe was answered", m.success);
        metrics
    }
}

/// Probes one target once a second for ever.
pub async fn run(target: Target, metrics: ProbeMetrics) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let labels = Service { service: target.service.clone() };
    loop {
        ticks.tick().await;
        let start = Instant::now();
        let answered = matches!(tokio::time::timeout(LIMIT, greet(&target)).await, Ok(Ok(true)));
        let seconds = if answered { start.elapsed() } else { LIMIT }.as_secs_f64();
        metrics.duration.get_or_create(&labels).set(seconds);
        metrics.success.get_or_create(&labels).set(answered.into());
    }
}

async fn greet(target: &Target) -> std::io::Result<bool> {
    let (question, answer) = target.greeting.words();
    let mut stream = TcpStream::connect(target.address).await?;
    stream.set_nodelay(true)?;
    stream.write_all(question).await?;
    let mut got = vec![0; answer.len()];
    stream.read_exact(&mut got).await?;
    Ok(got == answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_and_others_refused() {
        let target: Target = "redis=redis=127.0.0.1:6379".parse().unwrap();
        assert_eq!((target.service.as_str(), target.greeting), ("redis", Greeting::Redis));
        for bad in
            ["", "redis", "redis=http", "redis=ftp=127.0.0.1:1", "redis=http=localhost", "a=b=c=d"]
        {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_right_answer_is_told_from_a_wrong_one() {
        for (says, right) in [(&b"+PONG\r\n"[..], true), (b"-ERR loading\r\n", false)] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let server = tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut question = [0; 6];
                stream.read_exact(&mut question).await.unwrap();
                stream.write_all(says).await.unwrap();
            });
            let target = Target { service: "redis".into(), greeting: Greeting::Redis, address };
            assert_eq!(greet(&target).await.unwrap(), right);
            server.await.unwrap();
        }
    }
}
