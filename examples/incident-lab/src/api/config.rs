//! Settings of the API, one flag each.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;

/// The service under observation: a small shop over PostgreSQL and Redis.
///
/// The limits are those that a small team would pick for such a service.
#[derive(Debug, Clone, Parser)]
#[command(name = "lab-api")]
pub struct ApiConfig {
    /// Where to listen
    #[arg(long)]
    pub listen: SocketAddr,
    /// PostgreSQL, or a proxy before it
    #[arg(long)]
    pub postgres: SocketAddr,
    /// Redis, or a proxy before it
    #[arg(long)]
    pub redis: SocketAddr,
    /// Connections the pool may open
    #[arg(long, default_value_t = 8)]
    pub pool_max: usize,
    /// Longest wait for a connection
    #[arg(long, default_value = "1500", value_parser = milliseconds, value_name = "MS")]
    pub pool_timeout: Duration,
    /// Longest single statement, enforced by PostgreSQL
    #[arg(long, default_value = "2500", value_parser = milliseconds, value_name = "MS")]
    pub statement_timeout: Duration,
    /// Longest cache call
    #[arg(long, default_value = "250", value_parser = milliseconds, value_name = "MS")]
    pub cache_timeout: Duration,
    /// Longest request as a whole
    #[arg(long, default_value = "3000", value_parser = milliseconds, value_name = "MS")]
    pub request_timeout: Duration,
    /// Requests in flight above which new ones are refused
    #[arg(long, default_value_t = 120)]
    pub max_in_flight: usize,
    /// The build's version, shown at `/version` and as `api_build_info`
    #[arg(long, default_value = "0.0.0")]
    pub version: String,
    /// "Related products" on the detail page: reviews to read for it; 0 leaves the feature out
    #[arg(long, default_value_t = 0)]
    pub related_scan: i64,
}

fn milliseconds(text: &str) -> Result<Duration, std::num::ParseIntError> {
    text.parse().map(Duration::from_millis)
}
