//! What the engine asks of the world, answered from what the stages saw last.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use aiops_act::executor::BoxFuture;
use aiops_act::{MetricQuery, Metrics, Mode, Situation, Timekeeper, World};
use aiops_core::{Event, IncidentId, Timestamp, Topology};

use crate::Stages;
use crate::health::Condition;

/// What the stages know that the engine asks for.
#[derive(Debug, Default)]
pub struct Seen {
    /// Incidents that people can see and that are not over, with their rankings and alerts.
    pub situations: Vec<Situation>,
    /// Who depends on whom.
    pub topology: Arc<Topology>,
    /// The changes that rankings may blame.
    pub changes: Vec<Event>,
}

/// The world as the stages saw it last.
pub(super) struct Live {
    pub(super) seen: RwLock<Seen>,
    /// The most that is done when all is well.
    pub(super) most: Mode,
    pub(super) condition: Arc<Condition>,
    pub(super) clock: Arc<dyn Timekeeper>,
}

impl Live {
    pub(super) fn read<T>(&self, read: impl FnOnce(&Seen) -> T) -> T {
        read(&self.seen.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl World for Live {
    fn situation(&self, incident: IncidentId) -> Option<Situation> {
        self.read(|seen| seen.situations.iter().find(|s| s.incident.id == incident).cloned())
    }

    fn topology(&self) -> Arc<Topology> {
        self.read(|seen| seen.topology.clone())
    }

    fn unhealthy(&self) -> BTreeSet<String> {
        self.read(|seen| seen.situations.iter().flat_map(|s| s.incident.services.clone()).collect())
    }

    // Thresholds on probabilities mean something after some fifty labelled incidents; until then a person
    // decides, which `act_on_uncalibrated` allows.
    fn calibrated(&self) -> bool {
        false
    }

    fn mode(&self) -> Mode {
        self.most.max(self.condition.mode(self.clock.now()))
    }
}

/// Metrics as the stages keep them.
pub(super) struct Measured(pub(super) Arc<Mutex<Stages>>);

impl Metrics for Measured {
    fn read<'a>(&'a self, query: &'a MetricQuery, at: Timestamp) -> BoxFuture<'a, Option<f64>> {
        let (stages, query) = (self.0.clone(), query.clone());
        Box::pin(async move {
            let read = move || {
                let stages = stages.lock().unwrap_or_else(PoisonError::into_inner);
                stages.mean(&query, at)
            };
            tokio::task::spawn_blocking(read).await.ok().flatten()
        })
    }
}
