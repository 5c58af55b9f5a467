//! The service under observation; see `aiops_incident_lab::api`.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use aiops_incident_lab::api::{ApiConfig, ApiMetrics, App, Cache, Store, router};
use aiops_incident_lab::http::BoxError;
use clap::Parser;
use prometheus_client::registry::Registry;
use tokio::net::TcpSocket;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), BoxError> {
    let config = ApiConfig::parse();
    let mut registry = Registry::default();
    let metrics = ApiMetrics::register(&mut registry, &config.version);
    let store = Store::new(&config, metrics.clone())?;
    let cache = Cache::connect(config.redis, config.cache_timeout, metrics.clone()).await?;
    // Old and new build share the port while one takes over from the other.
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseport(true)?;
    socket.bind(config.listen)?;
    let listener = socket.listen(1024)?;
    let app = Arc::new(App {
        config,
        store,
        cache,
        metrics,
        registry: Arc::new(registry),
        in_flight: AtomicUsize::new(0),
    });
    let mut terminate = signal(SignalKind::terminate())?;
    axum::serve(listener, router(app))
        .with_graceful_shutdown(async move {
            terminate.recv().await;
        })
        .await?;
    Ok(())
}
