//! The little HTTP that executors and notifiers need, behind a trait (feature `http`).

use std::fmt;
use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::executor::BoxFuture;

/// Most bytes of an answer that are read.
pub const MAX_ANSWER: usize = 256 * 1024;

/// One request.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpRequest {
    /// `GET`, `POST`, ...
    pub method: String,
    /// Absolute, `http` or `https`.
    pub url: String,
    /// Names and values. Values may be secret.
    pub headers: Vec<(String, String)>,
    /// Empty for none.
    pub body: Vec<u8>,
    /// For everything, from connecting to the last byte of the answer.
    pub timeout: Duration,
}

impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers and body may hold secrets, and so may a query.
        let url = self.url.split('?').next().unwrap_or_default();
        write!(f, "HttpRequest({} {url}, {} bytes)", self.method, self.body.len())
    }
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAnswer {
    /// The status code.
    pub status: u16,
    /// What `Retry-After` says, in seconds.
    pub retry_after: Option<u64>,
    /// The body, at most [`MAX_ANSWER`] bytes of it.
    pub body: Vec<u8>,
}

/// Why there is no answer; the two differ in whether the other side may have acted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// Nothing was sent: the address is wrong or nobody listens.
    #[error("not sent: {reason}")]
    NotSent {
        /// Why.
        reason: String,
    },
    /// It was sent, at least in part, and there is no answer.
    #[error("no answer: {reason}")]
    Lost {
        /// Why.
        reason: String,
    },
}

/// Sends requests.
///
/// # For implementers
/// Follow no redirects: an allow-list of addresses would mean nothing. When in doubt whether
/// anything was sent, it is [`HttpError::Lost`]. After the future is dropped, send nothing.
pub trait HttpClient: Send + Sync {
    /// Sends one request.
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpAnswer, HttpError>>;
}

/// The client that comes with the crate: one request a connection, no redirects, no proxy from the
/// environment. `https` needs the feature of that name.
#[derive(Debug, Clone)]
pub struct PlainClient {
    agent: ureq::Agent,
}

impl Default for PlainClient {
    fn default() -> PlainClient {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .max_idle_connections(0)
            .build();
        PlainClient { agent: config.into() }
    }
}

impl HttpClient for PlainClient {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpAnswer, HttpError>> {
        let agent = self.agent.clone();
        Box::pin(async move {
            let dropped = Dropped(Arc::new(AtomicBool::new(false)));
            let gone = dropped.0.clone();
            let sent = tokio::task::spawn_blocking(move || {
                if gone.load(Ordering::Acquire) {
                    return Err(HttpError::NotSent { reason: "nobody waits for it".to_owned() });
                }
                exchange(&agent, request)
            });
            let answer = sent.await;
            drop(dropped);
            answer
                .unwrap_or_else(|_| Err(HttpError::Lost { reason: "the client failed".to_owned() }))
        })
    }
}

/// Says that the future was dropped, so that a request that still waits for a thread is not sent.
struct Dropped(Arc<AtomicBool>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn exchange(agent: &ureq::Agent, request: HttpRequest) -> Result<HttpAnswer, HttpError> {
    let mut builder =
        ureq::http::Request::builder().method(request.method.as_str()).uri(request.url.as_str());
    for (name, value) in &request.headers {
        builder = builder.header(name, value);
    }
    let not_sent = |reason: String| HttpError::NotSent { reason };
    let with_body = !request.body.is_empty();
    let http = builder.body(request.body).map_err(|e| not_sent(e.to_string()))?;
    let answer = if with_body {
        let http = agent.configure_request(http).timeout_global(Some(request.timeout)).build();
        agent.run(http)
    } else {
        let http = agent
            .configure_request(http.map(|_| ()))
            .timeout_global(Some(request.timeout))
            .allow_non_standard_methods(true)
            .build();
        agent.run(http)
    };
    let answer = answer.map_err(|error| classify(&error))?;
    let status = answer.status().as_u16();
    let retry_after =
        answer.headers().get("retry-after").and_then(|v| v.to_str().ok()?.parse().ok());
    let mut body = Vec::new();
    // The status is the answer; a body that breaks off does not change what it said.
    let _ = answer.into_body().into_reader().take(MAX_ANSWER as u64).read_to_end(&mut body);
    Ok(HttpAnswer { status, retry_after, body })
}

fn classify(error: &ureq::Error) -> HttpError {
    let reason = error.to_string();
    let never_connected = match error {
        ureq::Error::BadUri(_)
        | ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed
        | ureq::Error::Http(_)
        | ureq::Error::RequireHttpsOnly(_)
        | ureq::Error::Timeout(ureq::Timeout::Resolve | ureq::Timeout::Connect) => true,
        ureq::Error::Io(io) => io.kind() == std::io::ErrorKind::ConnectionRefused,
        _ => false,
    };
    if never_connected { HttpError::NotSent { reason } } else { HttpError::Lost { reason } }
}
