//! Settings of the API, one flag each.

use std::net::SocketAddr;
use std::time::Duration;

use lexopt::ValueExt as _;

use crate::http::BoxError;

/// Settings of `lab-api`. Limits are those that a small team would pick for such a service.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Host and port of PostgreSQL, or of a proxy before it.
    pub postgres: SocketAddr,
    /// Host and port of Redis, or of a proxy before it.
    pub redis: SocketAddr,
    /// Connections the pool may open (default 8).
    pub pool_max: usize,
    /// Longest wait for a connection (default 1.5 s).
    pub pool_timeout: Duration,
    /// Longest single statement, enforced by PostgreSQL (default 2.5 s).
    pub statement_timeout: Duration,
    /// Longest cache call (default 0.25 s).
    pub cache_timeout: Duration,
    /// Longest request as a whole (default 3 s).
    pub request_timeout: Duration,
    /// Requests in flight above which new ones are refused (default 120).
    pub max_in_flight: usize,
    /// The build's version, shown in `/version` and `api_build_info`.
    pub version: String,
    /// "Related products" on the detail page: how many reviews it reads; 0 leaves the feature out.
    pub related_scan: i64,
}

impl ApiConfig {
    /// Reads the process' arguments.
    ///
    /// # Errors
    /// On an unknown flag, a malformed value, or a missing address.
    pub fn from_args() -> Result<Self, BoxError> {
        let (mut listen, mut postgres, mut redis) = (None, None, None);
        let mut config = Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            postgres: SocketAddr::from(([127, 0, 0, 1], 5432)),
            redis: SocketAddr::from(([127, 0, 0, 1], 6379)),
            pool_max: 8,
            pool_timeout: Duration::from_millis(1_500),
            statement_timeout: Duration::from_millis(2_500),
            cache_timeout: Duration::from_millis(250),
            request_timeout: Duration::from_millis(3_000),
            max_in_flight: 120,
            version: "0.0.0".to_owned(),
            related_scan: 0,
        };
        let mut parser = lexopt::Parser::from_env();
        while let Some(arg) = parser.next()? {
            match arg {
                lexopt::Arg::Long("listen") => listen = Some(parser.value()?.parse()?),
                lexopt::Arg::Long("postgres") => postgres = Some(parser.value()?.parse()?),
                lexopt::Arg::Long("redis") => redis = Some(parser.value()?.parse()?),
                lexopt::Arg::Long("pool-max") => config.pool_max = parser.value()?.parse()?,
                lexopt::Arg::Long("version") => config.version = parser.value()?.string()?,
                lexopt::Arg::Long("related-scan") => {
                    config.related_scan = parser.value()?.parse()?
                }
                other => return Err(other.unexpected().into()),
            }
        }
        config.listen = listen.ok_or("--listen ADDRESS is missing")?;
        config.postgres = postgres.ok_or("--postgres ADDRESS is missing")?;
        config.redis = redis.ok_or("--redis ADDRESS is missing")?;
        Ok(config)
    }
}
