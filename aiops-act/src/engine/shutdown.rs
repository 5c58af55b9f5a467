//! Stopping: nothing new starts, what is under way ends or is journaled as unknown, and every run is
//! left to whoever comes next.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};

use super::{Engine, Phase};
use crate::journal::Loaded;
use crate::machine::Do;
use crate::plan::RunId;

/// How long the drivers may take to journal what was cut off.
const GRACE: Duration = Duration::from_secs(5);

/// What a shutdown left.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stopped {
    /// Runs that stay where they are, free to be taken over at once.
    pub handed_over: Vec<RunId>,
    /// Runs whose drivers did not even journal: another engine takes them over when their leases are
    /// over, and what was under way is unknown.
    pub lost: Vec<RunId>,
}

impl Engine {
    /// Starts nothing new, and lets what is under way end: the step whose intent is durable, and the
    /// rest of a rollback. At the deadline it cuts them off, and journals that nobody knows what
    /// became of them. Every run that has not ended is then free for another engine, or for this one
    /// after its restart ([`Engine::orphans`]).
    ///
    /// Drivers ([`Engine::drive`]) return [`ShuttingDown`](crate::Error::ShuttingDown).
    pub async fn shutdown(&self, deadline: Duration) -> Stopped {
        self.shut_down();
        if tokio::time::timeout(deadline, self.until_idle()).await.is_err() {
            self.0.phase.send_replace(Phase::Cut);
            let _ = tokio::time::timeout(GRACE, self.until_idle()).await;
        }
        let handed_over = &self.0.handed_over;
        Stopped {
            handed_over: handed_over.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            lost: self.0.driving.borrow().keys().copied().collect(),
        }
    }

    /// As [`Engine::shutdown`], when the process is asked to end: at SIGTERM (feature `signal`).
    ///
    /// ```no_run
    /// # async fn main_of_a_service(engine: aiops_act::Engine) -> std::io::Result<()> {
    /// // Last in `main`, beside whatever else the service does.
    /// let stopped = engine.shutdown_on_sigterm(std::time::Duration::from_secs(20)).await?;
    /// for run in stopped.handed_over {
    ///     println!("run {run} is left to another engine");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The signal cannot be listened to.
    #[cfg(all(unix, feature = "signal"))]
    #[cfg_attr(docsrs, doc(cfg(feature = "signal")))]
    pub async fn shutdown_on_sigterm(&self, deadline: Duration) -> std::io::Result<Stopped> {
        let kind = tokio::signal::unix::SignalKind::terminate();
        tokio::signal::unix::signal(kind)?.recv().await;
        Ok(self.shutdown(deadline).await)
    }

    /// Stops starting anything, without waiting for what is under way.
    pub fn shut_down(&self) {
        self.0.phase.send_if_modified(|phase| {
            let opens = *phase == Phase::Open;
            *phase = (*phase).max(Phase::Closing);
            opens
        });
    }

    pub(super) fn phase(&self) -> Phase {
        *self.0.phase.borrow()
    }

    /// Ends when the engine has been shut down that far.
    pub(super) async fn until(&self, phase: Phase) {
        // The sender lives as long as the engine.
        let _ = self.0.phase.subscribe().wait_for(|now| *now >= phase).await;
    }

    async fn until_idle(&self) {
        let _ = self.0.driving.subscribe().wait_for(std::collections::BTreeMap::is_empty).await;
    }

    /// Whether a driver stops here. What is durable as begun is done: nobody else could tell whether
    /// it was.
    pub(super) fn stops_before(&self, due: Do) -> bool {
        match self.phase() {
            Phase::Open => false,
            Phase::Closing => !matches!(due, Do::Run { .. } | Do::Undo { .. }),
            Phase::Cut => true,
        }
    }

    /// Gives up the ownership of a run, so that nobody has to wait for the lease.
    pub(super) async fn hand_over(&self, loaded: Loaded) {
        let run = loaded.run.plan.run;
        // If somebody else has it already, or the store is gone, the lease decides.
        let _ = self.0.journal.own(loaded, None).await;
        self.0.handed_over.lock().unwrap_or_else(PoisonError::into_inner).push(run);
    }

    pub(super) fn was_handed_over(&self, run: RunId) -> bool {
        self.0.handed_over.lock().unwrap_or_else(PoisonError::into_inner).contains(&run)
    }

    /// Notes that a run is driven, until the guard is dropped.
    pub(super) fn note_driving(&self, run: RunId) -> Driving {
        let mut turn = Arc::default();
        self.0.driving.send_modify(|driving| {
            let drivers = driving.entry(run).or_default();
            drivers.callers += 1;
            turn = drivers.turn.clone();
        });
        Driving { engine: self.clone(), run, turn }
    }

    /// Runs that this engine drives now.
    pub(super) fn driven(&self) -> BTreeSet<RunId> {
        self.0.driving.borrow().keys().copied().collect()
    }
}

/// Those who drive one run: one does, the others wait for their turn.
#[derive(Default)]
pub(super) struct Drivers {
    callers: usize,
    turn: Arc<Mutex<()>>,
}

pub(super) struct Driving {
    engine: Engine,
    run: RunId,
    turn: Arc<Mutex<()>>,
}

impl Driving {
    /// Waits until no other caller of this engine drives the run.
    pub(super) async fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }
}

impl Drop for Driving {
    fn drop(&mut self) {
        self.engine.0.driving.send_modify(|driving| {
            if let Some(drivers) = driving.get_mut(&self.run) {
                drivers.callers -= 1;
                if drivers.callers == 0 {
                    driving.remove(&self.run);
                }
            }
        });
    }
}
