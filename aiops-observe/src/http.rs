//! A server for an [`Intake`](crate::Intake): HTTP/1.1, one worker thread, and back-pressure.

use crate::{Error, IntakeAnswer, IntakeRequest, Result};
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, Response, StatusCode};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// How much a server holds.
///
/// Memory for bodies is bounded by `queue` times `body_bytes`, and as much again for those that are
/// being received.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HttpConfig {
    /// Bodies that wait for the worker. When it is full, senders are told to wait. Default 64.
    pub queue: usize,
    /// Bytes of a body as it came; a longer one is 413. Default 16 MiB.
    pub body_bytes: usize,
    /// How long a sender may take to send a body; then it is 408. Default 30 s.
    pub body_timeout: Duration,
    /// What a sender is told to wait when the queue is full, in seconds. Default 1.
    pub retry_after_secs: u32,
}

impl Default for HttpConfig {
    fn default() -> Self {
        HttpConfig {
            queue: 64,
            body_bytes: 16 << 20,
            body_timeout: Duration::from_secs(30),
            retry_after_secs: 1,
        }
    }
}

impl HttpConfig {
    /// A server that hands every request to `handle`, in the order of arrival, on a thread of its own.
    /// The thread ends when the server and all its connections are gone.
    ///
    /// `handle` is where an [`Intake`](crate::Intake), a [`Normaliser`](crate::Normaliser) and what
    /// comes behind them live: they are synchronous, and this is the one place that calls them.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] when a limit is zero, or the thread cannot be started.
    pub fn build(
        self,
        mut handle: impl FnMut(&IntakeRequest<'_>) -> IntakeAnswer + Send + 'static,
    ) -> Result<HttpServer> {
        if self.queue == 0 || self.body_bytes == 0 || self.body_timeout.is_zero() {
            return Err(Error::config(
                "http",
                "queue, body_bytes and body_timeout must be above zero",
            ));
        }
        let (jobs, work): (SyncSender<Job>, Receiver<Job>) = sync_channel(self.queue);
        let worker = move || {
            while let Ok(job) = work.recv() {
                let headers = job.headers.iter();
                let headers =
                    headers.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
                let headers: Vec<_> = headers.collect();
                let answer = handle(&IntakeRequest {
                    method: job.method.as_str(),
                    path: &job.path,
                    headers: &headers,
                    body: &job.body,
                });
                // A sender that hung up does not want to know.
                let _ = job.answer.send(answer);
            }
        };
        let started = std::thread::Builder::new().name("intake".into()).spawn(worker);
        started.map_err(|error| Error::config("http", format!("no thread: {error}")))?;
        Ok(HttpServer { shared: Arc::new(Shared { jobs, config: self }) })
    }
}

/// A request on its way to the worker, and the way back.
struct Job {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
    answer: oneshot::Sender<IntakeAnswer>,
}

struct Shared {
    jobs: SyncSender<Job>,
    config: HttpConfig,
}

/// A server, ready to listen; made by [`HttpConfig::build`].
#[derive(Clone)]
pub struct HttpServer {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for HttpServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpServer").field("config", &self.shared.config).finish_non_exhaustive()
    }
}

impl HttpServer {
    /// Serves until the listener fails, or the future is dropped.
    ///
    /// # Errors
    /// What the listener reports.
    pub async fn serve(self, listener: TcpListener) -> std::io::Result<()> {
        let router = Router::new().fallback(receive).with_state(self.shared);
        axum::serve(listener, router).await
    }
}

async fn receive(State(shared): State<Arc<Shared>>, request: Request) -> Response<Body> {
    let config = &shared.config;
    let (parts, body) = request.into_parts();
    let read = to_bytes(body, config.body_bytes);
    let body = match tokio::time::timeout(config.body_timeout, read).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return respond(IntakeAnswer::text(413, "the body is too long, or was cut")),
        Err(_) => return respond(IntakeAnswer::text(408, "the body took too long")),
    };
    let (answer, answered) = oneshot::channel();
    let path = parts.uri.path().to_owned();
    let job = Job { method: parts.method, path, headers: parts.headers, body, answer };
    match shared.jobs.try_send(job) {
        Ok(()) => {}
        Err(TrySendError::Full(_)) => return respond(IntakeAnswer::busy(config.retry_after_secs)),
        Err(TrySendError::Disconnected(_)) => return respond(gone()),
    }
    respond(answered.await.unwrap_or_else(|_| gone()))
}

/// The worker panicked: nothing will be read any more.
fn gone() -> IntakeAnswer {
    IntakeAnswer::text(500, "the worker has stopped")
}

fn respond(answer: IntakeAnswer) -> Response<Body> {
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    for (name, value) in answer.headers {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
