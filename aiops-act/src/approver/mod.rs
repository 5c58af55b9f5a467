//! Approvers: how a question reaches people and their answer comes back.

#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
pub mod desk;
#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
pub mod remote;
mod shown;
mod terminal;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use shown::{call_line, visible};
pub use terminal::TerminalApprover;

use crate::approve::{Answer, Question, Says};
use crate::executor::BoxFuture;
use crate::gates::GateReport;
use crate::plan::Plan;
use crate::timer::Timekeeper;

/// What people are shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// The plan.
    pub plan: Plan,
    /// What an answer must be bound to, by when, and how many it takes.
    pub question: Question,
    /// What the gates said.
    pub gates: GateReport,
}

/// The question could not be brought to anybody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{channel} could not ask: {reason}")]
pub struct CannotAsk {
    /// The channel.
    pub channel: String,
    /// Why.
    pub reason: String,
}

/// Brings a question to people.
///
/// # For implementers
/// - `Ok(Some(answer))`: you waited and have it (a terminal). `Ok(None)`: the question is on its way,
///   and the answer will come through [`Engine::answer`](crate::Engine::answer) (a chat message with
///   buttons, a link).
/// - You vouch for [`Answer::by`]: fill in who really typed or clicked, never what the request says.
///   You do not decide whether the answer counts; the policy does.
/// - [`Answer::to`] is the binding that the person was *shown*. Copying it from the latest question
///   at the time of the click would let an edit slip in between.
/// - The future is dropped when the question expires or is settled elsewhere. The same question may
///   be asked again after a restart: show it once.
///
/// `testing::check_approver` judges an implementation (feature `testing`).
pub trait Approver: Send + Sync {
    /// The channel's name, for the journal.
    fn name(&self) -> &str;

    /// Asks.
    ///
    /// # Errors
    /// The question could not be brought to anybody. It stands until it expires; others may answer.
    fn ask<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Option<Answer>, CannotAsk>>;
}

/// Answers every question at once, in the name of one person: for tests, replays and unattended
/// demonstrations. The policy must know that person, so that nothing is approved by accident.
pub struct FixedApprover {
    by: String,
    says: Says,
    comment: String,
    clock: std::sync::Arc<dyn Timekeeper>,
}

impl fmt::Debug for FixedApprover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FixedApprover").field("by", &self.by).field("says", &self.says).finish()
    }
}

impl FixedApprover {
    /// Approves everything as `by`.
    #[must_use]
    pub fn approving(by: &str, clock: std::sync::Arc<dyn Timekeeper>) -> FixedApprover {
        let comment = "approved without asking".to_owned();
        FixedApprover { by: by.to_owned(), says: Says::Approve, comment, clock }
    }

    /// Rejects everything as `by`.
    #[must_use]
    pub fn rejecting(by: &str, clock: std::sync::Arc<dyn Timekeeper>) -> FixedApprover {
        let comment = "rejected without asking".to_owned();
        FixedApprover { by: by.to_owned(), says: Says::Reject, comment, clock }
    }
}

impl Approver for FixedApprover {
    fn name(&self) -> &str {
        "fixed"
    }

    fn ask<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Option<Answer>, CannotAsk>> {
        let answer = Answer {
            by: self.by.clone(),
            says: self.says,
            to: request.question.binding.clone(),
            at: self.clock.now(),
            via: self.name().to_owned(),
            comment: self.comment.clone(),
        };
        Box::pin(std::future::ready(Ok(Some(answer))))
    }
}
