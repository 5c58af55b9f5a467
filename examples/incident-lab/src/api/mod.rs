//! The service under observation: a small shop with a PostgreSQL pool and a Redis cache.
//!
//! Real limits everywhere, because limits are what incidents are made of: a pool with a maximum,
//! time limits for the pool, a statement, the cache and a whole request, and a cap on requests in
//! flight. Each limit that bites is counted by its own name.

mod cache;
mod config;
mod metrics;
mod routes;
mod store;

pub use cache::{Cache, CacheError};
pub use config::ApiConfig;
pub use metrics::{ApiMetrics, LATENCY_BUCKETS};
pub use routes::{App, router};
pub use store::{Product, Store, StoreError};
