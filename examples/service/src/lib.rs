//! The family as one service: what senders send is watched, what fires is grouped into incidents,
//! causes are ranked, remedies are proposed and run once people approve, and people are asked whether that was
//! right.
//!
//! ```text
//! senders ─> web ─> stages: observe ─> detect ─> journal ─> correlate ─> rank ─> acting ─> the world
//! people  <─ web <─    incidents, charts, decisions, plans      <─ memory, feedback, runs
//! ```
//!
//! [`Stages`] is synchronous and knows no clock; [`web`] drives it. [`Acting`] and [`web`] are the only parts
//! that are async. Alerts and changes are durable before they are acknowledged, and after a restart they
//! are read again: correlation is a function of its input. Runs are durable at every transition.

#![allow(clippy::print_stderr, reason = "a service says on stderr what went wrong")]

mod acting;
mod config;
mod error;
pub mod health;
pub mod journal;
pub mod points;
pub mod recent;
pub mod rehearse;
mod stages;
pub mod web;

pub use acting::{ActConfig, Acting, Audited, Route, RouteKind, Seen};
pub use config::{Config, Role, Token};
pub use error::{Error, Result};
pub use stages::{Fallback, Ranked, Stages, Verdict};
