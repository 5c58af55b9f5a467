//! Heartbeats: a receiver outside hears of the engine at intervals, and raises the alarm when it does
//! not. The engine cannot report its own death; silence does.

use std::fmt;

use aiops_core::Timestamp;
use serde::{Deserialize, Serialize};

use crate::audit::Head;
use crate::engine::Engine;
use crate::error::Result;
use crate::executor::BoxFuture;
use crate::modes::Mode;
use crate::notify::SendError;

/// Most messages of the outbox that a beat counts.
const MAX_COUNTED: usize = 1_000;

/// What an engine says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Beat {
    /// The engine's name.
    pub engine: String,
    /// When.
    pub at: Timestamp,
    /// What it does now.
    pub mode: Mode,
    /// Runs that it drives.
    pub driving: usize,
    /// Messages that wait for delivery, counted up to 1,000.
    pub waiting: usize,
    /// For how long the oldest of them has waited, in seconds.
    pub oldest_waiting_s: u64,
    /// The end of the audit chain: a copy that the engine cannot rewrite.
    pub audit: Head,
}

/// Hears that an engine is alive.
///
/// # For implementers
/// The other side must raise the alarm by itself when nothing came for a few intervals; answering
/// is not enough.
pub trait Heartbeat: Send + Sync {
    /// Hands one beat on.
    ///
    /// # Errors
    /// The receiver did not take it. The next one comes anyway.
    fn beat<'a>(&'a self, beat: &'a Beat) -> BoxFuture<'a, std::result::Result<(), SendError>>;
}

/// Writes every beat as one line of JSON: to a pipe or a file that something else watches.
pub struct LineHeartbeat(std::sync::Mutex<Box<dyn std::io::Write + Send>>);

impl fmt::Debug for LineHeartbeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LineHeartbeat")
    }
}

impl LineHeartbeat {
    /// Writes to `out`.
    #[must_use]
    pub fn new(out: Box<dyn std::io::Write + Send>) -> LineHeartbeat {
        LineHeartbeat(std::sync::Mutex::new(out))
    }
}

impl Heartbeat for LineHeartbeat {
    fn beat<'a>(&'a self, beat: &'a Beat) -> BoxFuture<'a, std::result::Result<(), SendError>> {
        let written = serde_json::to_string(beat).map_err(std::io::Error::from).and_then(|line| {
            let mut out = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            writeln!(out, "{line}")?;
            out.flush()
        });
        let later = |e: std::io::Error| SendError::Later { reason: e.to_string(), after: None };
        Box::pin(std::future::ready(written.map_err(later)))
    }
}

/// Posts every beat as JSON to the address of a dead man's switch (feature `http`).
#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
pub struct HttpHeartbeat {
    url: crate::secret::Secret,
    client: std::sync::Arc<dyn crate::http::HttpClient>,
}

#[cfg(feature = "http")]
impl fmt::Debug for HttpHeartbeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HttpHeartbeat")
    }
}

#[cfg(feature = "http")]
impl HttpHeartbeat {
    /// Posts to `url`. It is a secret: whoever has it can pretend that the engine lives.
    #[must_use]
    pub fn new(
        url: crate::secret::Secret,
        client: std::sync::Arc<dyn crate::http::HttpClient>,
    ) -> HttpHeartbeat {
        HttpHeartbeat { url, client }
    }
}

#[cfg(feature = "http")]
impl Heartbeat for HttpHeartbeat {
    fn beat<'a>(&'a self, beat: &'a Beat) -> BoxFuture<'a, std::result::Result<(), SendError>> {
        let body = serde_json::json!(beat);
        let request = crate::notify::http::post(self.url.expose(), Vec::new(), &body);
        Box::pin(async move { crate::notify::http::judge(self.client.send(request).await) })
    }
}

impl Engine {
    /// Tells every [`Heartbeat`] how the engine is; returns how many took it. Call it at intervals,
    /// 30 s for example.
    ///
    /// A beat says that the store was read. While it cannot be, none goes out: silence is the alarm.
    ///
    /// # Errors
    /// The store failed.
    pub async fn beat(&self) -> Result<usize> {
        let beat = self.as_beat(MAX_COUNTED).await?;
        let mut taken = 0;
        for heartbeat in self.heartbeats() {
            let sent = tokio::time::timeout(self.delivery_timeout(), heartbeat.beat(&beat)).await;
            taken += usize::from(matches!(sent, Ok(Ok(()))));
        }
        Ok(taken)
    }
}
