//! Three small exporters in one process, for what Debian's packages leave out.
//!
//! - [`access_log`]: nginx' free status page counts connections; latency and status codes are
//!   only in its access log, which nginx sends here as syslog datagrams.
//! - [`cgroup`]: processor time, throttling, memory and disk per service, as cAdvisor reports them.
//! - [`probe`]: once a second, one trivial round trip to each service, as the blackbox exporter
//!   does it; PostgreSQL and Redis are probed over the same link that the API uses.

pub mod access_log;
pub mod cgroup;
pub mod probe;
