//! Stage 9: what people may correct, and the record of it.

use aiops_core::{AlertId, IncidentId, Timestamp};
use serde::{Deserialize, Serialize};

pub use aiops_core::Subject;

/// A correction by a person. Each changes something bounded that can be looked at and taken back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "correction", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Correction {
    /// Two incidents are one; the older identity goes on.
    Merge {
        /// The one that ends.
        from: IncidentId,
        /// The one that goes on.
        into: IncidentId,
    },
    /// Some alerts of an incident are an incident of their own.
    Split {
        /// The incident.
        incident: IncidentId,
        /// The alerts that leave it, with everything of their firings.
        alerts: Vec<AlertId>,
    },
    /// One alert belongs to another incident.
    Move {
        /// The alert, with everything of its firing.
        alert: AlertId,
        /// Where it belongs.
        to: IncidentId,
    },
    /// What was hidden matters: its incident is shown at once, and what was learned from it as noise
    /// is unlearned.
    NotNoise {
        /// The incident or alert.
        subject: Subject,
    },
    /// What was shown means nothing. Learned only when it has been said often enough of alerts of the
    /// same fingerprint: hiding wrongly costs more than paging wrongly.
    Noise {
        /// The incident or alert.
        subject: Subject,
    },
    /// Alerts of this name are never held, or may be held again.
    Pin {
        /// The alert name.
        name: String,
        /// Whether they are pinned from now on.
        pinned: bool,
    },
}

/// A correction that was made: inspectable, and undone by its number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Corrected {
    /// Its number, counted from 0.
    pub number: u32,
    /// What was asked.
    pub correction: Correction,
    /// By whom.
    pub by: String,
    /// When, on the arrival clock.
    pub at: Timestamp,
    /// Whether it was taken back since.
    pub undone: bool,
    /// For [`Correction::Noise`]: how often it has been said by now, of how many that it takes.
    pub said: Option<(u32, u32)>,
}
