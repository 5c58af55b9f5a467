//! What the engine asks about the world when it checks its gates.

use std::collections::BTreeSet;
use std::sync::Arc;

use aiops_core::{IncidentId, Topology};

use crate::modes::Mode;
use crate::situation::Situation;

/// The world as the rest of the system knows it.
///
/// # For implementers
/// Answer with what is known *now*: the gates are checked again after an approval just because the
/// world may have moved. Answer `None` rather than something old.
pub trait World: Send + Sync {
    /// The incident and its ranking as they are now.
    fn situation(&self, incident: IncidentId) -> Option<Situation>;

    /// The topology as it is now.
    fn topology(&self) -> Arc<Topology>;

    /// Services known to be unhealthy.
    fn unhealthy(&self) -> BTreeSet<String>;

    /// Whether the probabilities of rankings were calibrated on labelled incidents (some fifty at
    /// least), so that thresholds on them mean something.
    fn calibrated(&self) -> bool;

    /// The availability mode.
    fn mode(&self) -> Mode;
}

/// A world that does not move: for replays and tests.
#[derive(Debug, Clone)]
pub struct StillWorld {
    /// The one incident.
    pub situation: Situation,
    /// The topology.
    pub topology: Arc<Topology>,
    /// Services known to be unhealthy.
    pub unhealthy: BTreeSet<String>,
    /// Whether the ranking counts as calibrated.
    pub calibrated: bool,
    /// The mode.
    pub mode: Mode,
}

impl StillWorld {
    /// A calibrated world in full mode in which nothing else is unhealthy.
    #[must_use]
    pub fn new(situation: Situation, topology: Arc<Topology>) -> StillWorld {
        StillWorld {
            situation,
            topology,
            unhealthy: BTreeSet::new(),
            calibrated: true,
            mode: Mode::Full,
        }
    }
}

impl World for StillWorld {
    fn situation(&self, incident: IncidentId) -> Option<Situation> {
        (self.situation.incident.id == incident).then(|| self.situation.clone())
    }

    fn topology(&self) -> Arc<Topology> {
        self.topology.clone()
    }

    fn unhealthy(&self) -> BTreeSet<String> {
        self.unhealthy.clone()
    }

    fn calibrated(&self) -> bool {
        self.calibrated
    }

    fn mode(&self) -> Mode {
        self.mode
    }
}
