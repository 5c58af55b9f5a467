//! The client: sends a seeded schedule of requests to the gateway; see `aiops_incident_lab::load`.
//!
//! Ends on SIGTERM and then prints one line of JSON: sent, by status class, given up, not sent
//! because too many were outstanding.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aiops_incident_lab::http::{BoxError, HttpClient};
use aiops_incident_lab::load::{LoadConfig, Schedule};
use axum::http::Method;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Requests outstanding above which the client skips its turn instead of piling up: users leave.
const MAX_OUTSTANDING: usize = 150;

/// Sends a seeded schedule of requests until it is stopped.
#[derive(Parser)]
struct Args {
    /// Base address of the gateway
    #[arg(long, value_name = "URL")]
    target: String,
    /// Seed of phases, arrivals and requests
    #[arg(long)]
    seed: u64,
    /// Mean requests per second
    #[arg(long)]
    rate: f64,
    /// When the load step begins, in seconds from now
    #[arg(long, default_value_t = 0.0)]
    step_at: f64,
    /// How long the step lasts, in seconds
    #[arg(long, default_value_t = 0.0)]
    step_seconds: f64,
    /// What the step multiplies the rate by
    #[arg(long, default_value_t = 1.0)]
    step_factor: f64,
}

#[derive(Default)]
struct Tally {
    sent: AtomicU64,
    ok: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    given_up: AtomicU64,
    skipped: AtomicU64,
}

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "the closing line is the program's output")]
async fn main() -> Result<(), BoxError> {
    let args = Args::parse();
    let config = LoadConfig {
        seed: args.seed,
        base_rate: args.rate,
        step_at: args.step_at,
        step_seconds: args.step_seconds,
        step_factor: args.step_factor,
        ..LoadConfig::default()
    };
    let target: Arc<str> = args.target.into();
    let tally = Arc::new(Tally::default());
    tokio::select! {
        () = send(config, &target, &tally) => {}
        _ = async { signal(SignalKind::terminate())?.recv().await; Ok::<_, std::io::Error>(()) } => {}
    }
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    println!(
        "{{\"sent\":{},\"ok\":{},\"refused_4xx\":{},\"failed_5xx\":{},\"given_up\":{},\"skipped\":{}}}",
        count(&tally.sent),
        count(&tally.ok),
        count(&tally.refused),
        count(&tally.failed),
        count(&tally.given_up),
        count(&tally.skipped)
    );
    Ok(())
}

async fn send(config: LoadConfig, target: &Arc<str>, tally: &Arc<Tally>) {
    let client = HttpClient::new(Duration::from_secs(5), 1 << 20);
    let places = Arc::new(Semaphore::new(MAX_OUTSTANDING));
    let start = Instant::now();
    for (at, request) in Schedule::new(config) {
        tokio::time::sleep_until(start + at).await;
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            tally.skipped.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        let (client, tally, target) = (client.clone(), Arc::clone(tally), Arc::clone(target));
        tokio::spawn(async move {
            let (method, path) = request.target();
            let method = if method == "POST" { Method::POST } else { Method::GET };
            tally.sent.fetch_add(1, Ordering::Relaxed);
            let counter = match client.call(method, &format!("{target}{path}"), Vec::new()).await {
                Ok((status, _)) if status.is_success() => &tally.ok,
                Ok((status, _)) if status.is_server_error() => &tally.failed,
                Ok(_) => &tally.refused,
                Err(_) => &tally.given_up,
            };
            counter.fetch_add(1, Ordering::Relaxed);
            drop(place);
        });
    }
}
