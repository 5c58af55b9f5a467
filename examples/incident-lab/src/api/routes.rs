//! Routes of the API, and what happens when a limit bites.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::{MatchedPath, Path, Query, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use prometheus_client::registry::Registry;
use serde::Deserialize;
use tokio::time::Instant;

use super::{ApiConfig, ApiMetrics, Cache, CacheError, Product, Store, StoreError};
use crate::http::metrics_response;

/// Seconds a rendered page may be served from the cache.
const PAGE_TTL: u64 = 4;

/// Everything a handler needs.
#[derive(Debug)]
pub struct App {
    /// Settings.
    pub config: ApiConfig,
    /// Database.
    pub store: Store,
    /// Cache.
    pub cache: Cache,
    /// Metrics.
    pub metrics: ApiMetrics,
    /// What `/metrics` shows.
    pub registry: Arc<Registry>,
    /// Requests being served, for the cap.
    pub in_flight: AtomicUsize,
}

/// Builds the router.
pub fn router(app: Arc<App>) -> Router {
    let shop = Router::new()
        .route("/products", get(list))
        .route("/products/{id}", get(detail))
        .route("/checkout", post(checkout))
        .layer(from_fn_with_state(Arc::clone(&app), guard));
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/version", get(version))
        .route("/admin/pool", post(resize_pool))
        .merge(shop)
        .with_state(app)
}

/// Why a request failed, as the client and the metrics see it.
struct Failure {
    status: StatusCode,
    kind: &'static str,
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let (status, kind) = match error {
            StoreError::PoolTimedOut => (StatusCode::SERVICE_UNAVAILABLE, "pool"),
            StoreError::StatementTimedOut => (StatusCode::GATEWAY_TIMEOUT, "database"),
            StoreError::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            StoreError::Failed(_) => (StatusCode::INTERNAL_SERVER_ERROR, "database"),
        };
        Failure { status, kind }
    }
}

impl From<CacheError> for Failure {
    fn from(_: CacheError) -> Self {
        Failure { status: StatusCode::SERVICE_UNAVAILABLE, kind: "cache" }
    }
}

/// Counts, caps and time-limits every shop request.
async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let start = Instant::now();
    let route = match request.extensions().get::<MatchedPath>().map(MatchedPath::as_str) {
        Some("/products") => "list",
        Some("/products/{id}") => "detail",
        _ => "checkout",
    };
    let running = InFlight::enter(&app);
    let response = if running.count > app.config.max_in_flight {
        app.metrics.failed("overload");
        StatusCode::SERVICE_UNAVAILABLE.into_response()
    } else {
        match tokio::time::timeout(app.config.request_timeout, next.run(request)).await {
            Ok(response) => response,
            Err(_) => {
                app.metrics.timed_out("request");
                app.metrics.failed("deadline");
                StatusCode::GATEWAY_TIMEOUT.into_response()
            }
        }
    };
    app.metrics.answered(route, response.status().as_u16(), start.elapsed().as_secs_f64());
    response
}

/// One request in flight, also when its client hangs up and the future is dropped.
struct InFlight<'a> {
    app: &'a App,
    count: usize,
}

impl<'a> InFlight<'a> {
    fn enter(app: &'a App) -> Self {
        app.metrics.in_flight.inc();
        Self { app, count: app.in_flight.fetch_add(1, Ordering::Relaxed) + 1 }
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.app.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.app.metrics.in_flight.dec();
    }
}

fn fail(app: &App, failure: &Failure) -> Response {
    if failure.status.is_server_error() {
        app.metrics.failed(failure.kind);
    }
    (failure.status, failure.kind).into_response()
}

#[derive(Deserialize)]
struct ListQuery {
    category: i32,
}

async fn list(State(app): State<Arc<App>>, Query(query): Query<ListQuery>) -> Response {
    let key = format!("list:{}", query.category);
    // A silent cache must not take the page down: go on to the database.
    if let Ok(Some(page)) = app.cache.get(&key).await {
        return page.into_response();
    }
    match app.store.list(query.category).await {
        Ok(products) => {
            let page = render(&products, &[]);
            let _ = app.cache.put(&key, &page, PAGE_TTL).await;
            page.into_response()
        }
        Err(error) => fail(&app, &error.into()),
    }
}

async fn detail(State(app): State<Arc<App>>, Path(id): Path<i64>) -> Response {
    let key = format!("detail:{id}");
    let page = match app.cache.get(&key).await {
        Ok(Some(page)) => page,
        _ => match app.store.detail(id).await {
            Ok((product, reviews)) => {
                let page = render(&[product], &reviews);
                let _ = app.cache.put(&key, &page, PAGE_TTL * 15).await;
                page
            }
            Err(error) => return fail(&app, &error.into()),
        },
    };
    if app.config.related_scan == 0 {
        return page.into_response();
    }
    match app.store.related(related_word(id), app.config.related_scan).await {
        Ok(related) => format!("{page}<nav>{related:?}</nav>\n").into_response(),
        Err(error) => fail(&app, &error.into()),
    }
}

fn related_word(id: i64) -> &'static str {
    const WORDS: [&str; 4] = ["sturdy", "bright", "quiet", "returned"];
    WORDS[id.unsigned_abs() as usize % WORDS.len()]
}

#[derive(Deserialize)]
struct CheckoutQuery {
    user: u64,
    product: u64,
}

async fn checkout(State(app): State<Arc<App>>, Query(query): Query<CheckoutQuery>) -> Response {
    match app.cache.lock(query.user).await {
        Ok(true) => {}
        Ok(false) => {
            app.metrics.failed("busy");
            return StatusCode::CONFLICT.into_response();
        }
        Err(error) => return fail(&app, &error.into()),
    }
    let (user, product) = (query.user.cast_signed(), query.product.cast_signed());
    let sold = app.store.checkout(user, product).await;
    let _ = app.cache.unlock(query.user, query.product).await;
    match sold {
        Ok(order) => format!("order {order}\n").into_response(),
        Err(error) => fail(&app, &error.into()),
    }
}

/// Renders a page and signs it. The rounds stand for the template, signing and compression work
/// of a real page: a millisecond or two, so that processor time is a resource here too.
fn render(products: &[Product], reviews: &[String]) -> String {
    let mut page = String::with_capacity(4096);
    for product in products {
        page.push_str(&serde_json::to_string(product).unwrap_or_default());
        page.push('\n');
    }
    for review in reviews {
        page.push_str("<p>");
        page.extend(review.chars().map(|c| if c == '<' { '‹' } else { c }));
        page.push_str("</p>\n");
    }
    let mut signature = 0xcbf2_9ce4_8422_2325_u64;
    for _ in 0..1_000 {
        for byte in page.bytes() {
            signature = (signature ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    page.push_str(&format!("signature {signature:016x}\n"));
    page
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    app.store.observe();
    metrics_response(&app.registry)
}

async fn version(State(app): State<Arc<App>>) -> String {
    format!("{}\n", app.config.version)
}

#[derive(Deserialize)]
struct PoolQuery {
    max: usize,
}

/// Sets the pool's limit: what a runbook does when the pool runs dry. 1 to 200.
async fn resize_pool(State(app): State<Arc<App>>, Query(query): Query<PoolQuery>) -> Response {
    if !(1..=200).contains(&query.max) {
        return (StatusCode::UNPROCESSABLE_ENTITY, "max must be 1 to 200\n").into_response();
    }
    app.store.resize(query.max);
    format!("{}\n", query.max).into_response()
}
