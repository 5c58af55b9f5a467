//! PostgreSQL behind a pool: three queries, and the expensive one of a bad build.

use std::time::Duration;

use deadpool_postgres::{
    Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime, Timeouts,
};
use serde::Serialize;
use tokio::time::Instant;
use tokio_postgres::NoTls;
use tokio_postgres::error::SqlState;

use super::{ApiConfig, ApiMetrics};

/// A database call that gave no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// No connection became free in time.
    #[error("no database connection became free in time")]
    PoolTimedOut,
    /// PostgreSQL ended the statement at its time limit.
    #[error("the statement ran into its time limit")]
    StatementTimedOut,
    /// The product does not exist.
    #[error("no such product")]
    NotFound,
    /// Anything else.
    #[error("the database refused")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.code() {
            Some(&SqlState::QUERY_CANCELED) => StoreError::StatementTimedOut,
            _ => StoreError::Failed(error.into()),
        }
    }
}

/// One row of the shop.
#[derive(Debug, Serialize)]
pub struct Product {
    /// Key.
    pub id: i64,
    /// Display name.
    pub name: String,
    /// Price in cents.
    pub price_cents: i32,
    /// Pieces left.
    pub stock: i32,
}

/// The pool with its metrics.
#[derive(Debug, Clone)]
pub struct Store {
    pool: Pool,
    metrics: ApiMetrics,
}

impl Store {
    /// Builds the pool; connections open when first needed.
    ///
    /// # Errors
    /// When the pool's settings contradict each other.
    pub fn new(config: &ApiConfig, metrics: ApiMetrics) -> Result<Self, StoreError> {
        let mut server = tokio_postgres::Config::new();
        server
            .host(config.postgres.ip().to_string())
            .port(config.postgres.port())
            .user("shop")
            .dbname("shop")
            .application_name("api")
            .connect_timeout(Duration::from_secs(2))
            .options(format!("-c statement_timeout={}", config.statement_timeout.as_millis()));
        let manager = Manager::from_config(
            server,
            NoTls,
            ManagerConfig { recycling_method: RecyclingMethod::Fast },
        );
        let timeouts = Timeouts {
            wait: Some(config.pool_timeout),
            create: Some(Duration::from_secs(2)),
            recycle: Some(Duration::from_secs(2)),
        };
        let pool = Pool::builder(manager)
            .max_size(config.pool_max)
            .timeouts(timeouts)
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| StoreError::Failed(error.into()))?;
        Ok(Self { pool, metrics })
    }

    /// Changes the pool's limit while it runs.
    pub fn resize(&self, max: usize) {
        self.pool.resize(max);
    }

    /// Brings the pool's gauges up to date; called at each scrape.
    pub fn observe(&self) {
        let now = self.pool.status();
        let gauge = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        self.metrics.pool_max.set(gauge(now.max_size));
        self.metrics.pool_open.set(gauge(now.size));
        self.metrics.pool_in_use.set(gauge(now.size.saturating_sub(now.available)));
        self.metrics.pool_waiting.set(gauge(now.waiting));
    }

    async fn connection(&self) -> Result<Object, StoreError> {
        let start = Instant::now();
        let got = self.pool.get().await;
        self.metrics.pool_wait.observe(start.elapsed().as_secs_f64());
        got.map_err(|error| match error {
            PoolError::Timeout(_) => {
                self.metrics.timed_out("pool");
                StoreError::PoolTimedOut
            }
            other => StoreError::Failed(other.into()),
        })
    }

    async fn timed<T>(
        &self,
        kind: &'static str,
        query: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, StoreError> {
        let start = Instant::now();
        let result = query.await.map_err(StoreError::from);
        self.metrics.queried(kind, start.elapsed().as_secs_f64());
        if matches!(result, Err(StoreError::StatementTimedOut)) {
            self.metrics.timed_out("statement");
        }
        result
    }

    /// Twenty products of one category.
    ///
    /// # Errors
    /// When pool or database give no result.
    pub async fn list(&self, category: i32) -> Result<Vec<Product>, StoreError> {
        let connection = self.connection().await?;
        let statement = connection
            .prepare_cached(
                "SELECT id, name, price_cents, stock FROM products WHERE category = $1 ORDER BY id LIMIT 20",
            )
            .await?;
        let rows = self.timed("list", connection.query(&statement, &[&category])).await?;
        Ok(rows.iter().map(product).collect())
    }

    /// One product with its newest reviews.
    ///
    /// # Errors
    /// When it does not exist, or pool or database give no result.
    pub async fn detail(&self, id: i64) -> Result<(Product, Vec<String>), StoreError> {
        let connection = self.connection().await?;
        let statement = connection
            .prepare_cached("SELECT id, name, price_cents, stock FROM products WHERE id = $1")
            .await?;
        let row = self.timed("detail", connection.query_opt(&statement, &[&id])).await?;
        let found = product(&row.ok_or(StoreError::NotFound)?);
        let statement = connection
            .prepare_cached("SELECT body FROM reviews WHERE product = $1 ORDER BY id DESC LIMIT 5")
            .await?;
        let reviews = self.timed("reviews", connection.query(&statement, &[&id])).await?;
        Ok((found, reviews.iter().map(|row| row.get(0)).collect()))
    }

    /// Products whose newest reviews share a word: the query that a bad build adds. It reads
    /// `scan` reviews each time, because nothing indexes their words.
    ///
    /// # Errors
    /// When pool or database give no result.
    pub async fn related(&self, word: &str, scan: i64) -> Result<Vec<i64>, StoreError> {
        let connection = self.connection().await?;
        let statement = connection
            .prepare_cached(
                "SELECT product FROM (SELECT product, body FROM reviews ORDER BY id DESC LIMIT $2) newest \
                 WHERE position($1 IN lower(body)) > 0 GROUP BY product ORDER BY count(*) DESC, product LIMIT 5",
            )
            .await?;
        let rows = self.timed("related", connection.query(&statement, &[&word, &scan])).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// Sells one piece in a transaction: lock the product, take one from stock, write the order.
    ///
    /// # Errors
    /// When it does not exist, or pool or database give no result; then nothing was sold.
    pub async fn checkout(&self, user: i64, id: i64) -> Result<i64, StoreError> {
        let mut connection = self.connection().await?;
        let transaction = connection.transaction().await?;
        let lock = transaction
            .prepare_cached("SELECT price_cents FROM products WHERE id = $1 FOR UPDATE")
            .await?;
        let row = self.timed("lock_product", transaction.query_opt(&lock, &[&id])).await?;
        let price: i32 = row.ok_or(StoreError::NotFound)?.get(0);
        // Sold out is restocked at once; running dry is no part of these incidents.
        let take = transaction
            .prepare_cached(
                "UPDATE products SET stock = CASE WHEN stock > 1 THEN stock - 1 ELSE 500 END WHERE id = $1",
            )
            .await?;
        self.timed("take_stock", transaction.execute(&take, &[&id])).await?;
        let order = transaction
            .prepare_cached(
                "INSERT INTO orders (buyer, product, price_cents) VALUES ($1, $2, $3) RETURNING id",
            )
            .await?;
        let order: i64 = self
            .timed("write_order", transaction.query_one(&order, &[&user, &id, &price]))
            .await?
            .get(0);
        self.timed("commit", transaction.commit()).await?;
        Ok(order)
    }
}

fn product(row: &tokio_postgres::Row) -> Product {
    Product { id: row.get(0), name: row.get(1), price_cents: row.get(2), stock: row.get(3) }
}
