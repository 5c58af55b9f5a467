//! The family as one service: what senders send is watched, what fires is grouped into incidents,
//! causes are ranked, and people are asked whether that was right.
//!
//! ```text
//! senders ─> web ─> stages: observe ─> detect ─> journal ─> correlate ─> rank
//! people  <─ web <─    incidents, charts, decisions        <─ memory, feedback
//! ```
//!
//! [`Stages`] is synchronous and knows no clock; [`web`] drives it and is the only part that is
//! async. Alerts and changes are durable before they are acknowledged, and after a restart they
//! are read again: correlation is a function of its input.
//!
//! What it does not do yet: carry out runbooks. `examples/pipeline` shows how a plan is made,
//! approved and run.

#![allow(clippy::print_stderr, reason = "a service says on stderr what went wrong")]

mod config;
mod error;
pub mod journal;
pub mod recent;
mod stages;
pub mod web;

pub use config::{Config, Role, Token};
pub use error::{Error, Result};
pub use stages::{Ranked, Stages, Verdict};
