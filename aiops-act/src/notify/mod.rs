//! Notifiers: how people hear of a run.
//!
//! A notice is written to the outbox in the commit of its transition, and delivered afterwards, at
//! least once, with a key by which the receiver drops what it has. A notice that cannot be delivered
//! never delays a rollback.

#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
pub mod http;
#[cfg(feature = "smtp")]
#[cfg_attr(docsrs, doc(cfg(feature = "smtp")))]
pub mod smtp;

use std::fmt;
use std::time::Duration;

use aiops_core::{IncidentId, Reason, Severity, Timestamp};
use serde::{Deserialize, Serialize};

use crate::executor::BoxFuture;
use crate::machine::NoticeKind;
use crate::plan::RunId;

/// What people hear.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// The same for every delivery of this message: receivers drop what they have.
    pub key: String,
    /// What it is about.
    pub kind: NoticeKind,
    /// How loud.
    pub severity: Severity,
    /// The run.
    pub run: RunId,
    /// Its incident.
    pub incident: IncidentId,
    /// One line.
    pub title: String,
    /// Why.
    pub because: Vec<Reason>,
    /// When it happened.
    pub at: Timestamp,
}

impl NoticeKind {
    /// How loud a notice of this kind is.
    #[must_use]
    pub const fn severity(self) -> Severity {
        match self {
            NoticeKind::NeedsHuman => Severity::Critical,
            NoticeKind::Question
            | NoticeKind::RollingBack
            | NoticeKind::Proposal
            | NoticeKind::Refused => Severity::Warning,
            NoticeKind::Started | NoticeKind::Succeeded | NoticeKind::Ended => Severity::Info,
        }
    }

    /// The kind in one word, as it stands in keys and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            NoticeKind::Question => "question",
            NoticeKind::Proposal => "proposal",
            NoticeKind::Started => "started",
            NoticeKind::Succeeded => "succeeded",
            NoticeKind::Refused => "refused",
            NoticeKind::Ended => "ended",
            NoticeKind::RollingBack => "rolling_back",
            NoticeKind::NeedsHuman => "needs_human",
        }
    }
}

/// Why a message was not delivered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// Try again: the receiver is down, slow or busy.
    #[error("not now: {reason}")]
    Later {
        /// Why.
        reason: String,
        /// How long it asked to wait, if it said so.
        after: Option<Duration>,
    },
    /// It will never work: the receiver refuses this message or this sender.
    #[error("never: {reason}")]
    Never {
        /// Why.
        reason: String,
    },
}

/// Delivers messages.
///
/// # For implementers
/// - Hand `key` on as the receiver's deduplication key: after a crash the same message is sent again.
/// - Tell `Later` and `Never` apart: a 429 or a timeout is later, a 400 is never.
/// - Obey what the receiver says about waiting rather than a number that you know.
/// - The future is dropped after the delivery timeout; the message is then sent again.
///
/// `testing::check_notifier` judges an implementation (feature `testing`).
pub trait Notifier: Send + Sync {
    /// The route's name, as runbooks say in `notify`.
    fn name(&self) -> &str;

    /// Sends one message.
    ///
    /// # Errors
    /// See [`SendError`].
    fn send<'a>(&'a self, message: &'a Message) -> BoxFuture<'a, Result<(), SendError>>;
}

/// Writes every message as one line of JSON: to a file, standard error, or a test's buffer.
pub struct LineNotifier {
    name: String,
    out: std::sync::Mutex<Box<dyn std::io::Write + Send>>,
}

impl fmt::Debug for LineNotifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LineNotifier").field("name", &self.name).finish_non_exhaustive()
    }
}

impl LineNotifier {
    /// Writes to `out`.
    #[must_use]
    pub fn new(name: &str, out: Box<dyn std::io::Write + Send>) -> LineNotifier {
        LineNotifier { name: name.to_owned(), out: std::sync::Mutex::new(out) }
    }

    fn write(&self, message: &Message) -> Result<(), SendError> {
        let never = |e: serde_json::Error| SendError::Never { reason: e.to_string() };
        let line = serde_json::to_string(message).map_err(never)?;
        let mut out = self.out.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        writeln!(out, "{line}")
            .and_then(|()| out.flush())
            .map_err(|e| SendError::Later { reason: e.to_string(), after: None })
    }
}

impl Notifier for LineNotifier {
    fn name(&self) -> &str {
        &self.name
    }

    fn send<'a>(&'a self, message: &'a Message) -> BoxFuture<'a, Result<(), SendError>> {
        Box::pin(std::future::ready(self.write(message)))
    }
}
