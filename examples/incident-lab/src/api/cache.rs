//! Redis: a cache of rendered pages, and a short lock per buyer.

use std::net::SocketAddr;
use std::time::Duration;

use redis::AsyncCommands as _;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use tokio::time::Instant;

use super::ApiMetrics;

/// A cache call that gave no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// The cache did not answer within its time limit.
    #[error("no answer from the cache within {0:?}")]
    TimedOut(Duration),
    /// The connection or the command failed.
    #[error("the cache refused")]
    Failed(#[from] redis::RedisError),
}

/// One multiplexed, self-healing connection with a time limit per call.
#[derive(Clone)]
pub struct Cache {
    connection: ConnectionManager,
    timeout: Duration,
    metrics: ApiMetrics,
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl Cache {
    /// Connects; later disconnections heal themselves.
    ///
    /// # Errors
    /// When Redis cannot be reached now.
    pub async fn connect(
        address: SocketAddr,
        timeout: Duration,
        metrics: ApiMetrics,
    ) -> Result<Self, CacheError> {
        let client = redis::Client::open(format!("redis://{address}/"))?;
        // The limit that counts is ours, around each call; the manager's own only has to be longer,
        // or a slow answer would also cost the connection.
        let config = ConnectionManagerConfig::new()
            .set_response_timeout(Some(Duration::from_secs(5)))
            .set_connection_timeout(Some(Duration::from_secs(2)));
        Ok(Self {
            connection: client.get_connection_manager_with_config(config).await?,
            timeout,
            metrics,
        })
    }

    /// The page stored under `key`, if any.
    ///
    /// # Errors
    /// When the cache gave no answer; the caller goes on without it.
    pub async fn get(&self, key: &str) -> Result<Option<String>, CacheError> {
        let mut connection = self.connection.clone();
        let found: Result<Option<String>, _> = self.limited(connection.get(key)).await;
        self.metrics.looked_up(match &found {
            Ok(Some(_)) => "hit",
            Ok(None) => "miss",
            Err(_) => "error",
        });
        found
    }

    /// Stores a page for `ttl` seconds.
    ///
    /// # Errors
    /// When the cache gave no answer; the page is simply not cached.
    pub async fn put(&self, key: &str, page: &str, ttl: u64) -> Result<(), CacheError> {
        let mut connection = self.connection.clone();
        self.limited(connection.set_ex(key, page, ttl)).await
    }

    /// Takes the lock of one buyer; `false` when it is held. It expires by itself after 5 s.
    ///
    /// # Errors
    /// When the cache gave no answer: without the lock there is no checkout.
    pub async fn lock(&self, user: u64) -> Result<bool, CacheError> {
        let mut connection = self.connection.clone();
        let options = redis::SetOptions::default()
            .conditional_set(redis::ExistenceCheck::NX)
            .with_expiration(redis::SetExpiry::EX(5));
        let answer: Option<String> =
            self.limited(connection.set_options(format!("lock:{user}"), 1, options)).await?;
        Ok(answer.is_some())
    }

    /// Gives a buyer's lock back and forgets the page of the product that was sold.
    ///
    /// # Errors
    /// When the cache gave no answer; both keys expire by themselves.
    pub async fn unlock(&self, user: u64, product: u64) -> Result<(), CacheError> {
        let mut connection = self.connection.clone();
        self.limited(connection.del(&[format!("lock:{user}"), format!("detail:{product}")])).await
    }

    async fn limited<T>(
        &self,
        call: impl Future<Output = Result<T, redis::RedisError>>,
    ) -> Result<T, CacheError> {
        let start = Instant::now();
        let outcome = tokio::time::timeout(self.timeout, call).await;
        self.metrics.cache_calls.observe(start.elapsed().as_secs_f64());
        match outcome {
            Ok(answer) => Ok(answer?),
            Err(_) => {
                self.metrics.timed_out("cache");
                Err(CacheError::TimedOut(self.timeout))
            }
        }
    }
}
