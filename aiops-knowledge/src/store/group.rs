//! Group commit: batches that wait while one commit is made durable share the next.
//!
//! There is no thread: the first caller that finds nobody leading leads, takes everything that
//! waits, and hands out the results. A durable commit costs a disk flush whatever its size, so the
//! rate under load grows with the number of callers.

use aiops_core::{Batch, StoreError, Version, telemetry};
use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

type Outcome = Result<Version, StoreError>;

/// More batches than this wait for the commit after the next: a bound on what one failure can take
/// with it, far above what 100 concurrent runs need.
const MAX_GROUP: usize = 512;

#[derive(Debug, Default)]
pub(crate) struct GroupCommit {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    next_ticket: u64,
    waiting: Vec<(u64, Batch)>,
    outcomes: BTreeMap<u64, Outcome>,
    leading: bool,
}

impl GroupCommit {
    /// Commits `batch` in a group that `apply` makes durable. `apply` returns one outcome for each
    /// batch, in order; a batch that it leaves out counts as failed, applied or not.
    pub(crate) fn commit(
        &self,
        batch: Batch,
        apply: impl Fn(Vec<Batch>) -> Vec<Outcome>,
    ) -> Outcome {
        let mut queue = self.queue();
        let ticket = queue.next_ticket;
        queue.next_ticket += 1;
        queue.waiting.push((ticket, batch));
        loop {
            if let Some(outcome) = queue.outcomes.remove(&ticket) {
                return outcome;
            }
            if queue.leading {
                queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            queue.leading = true;
            let size = queue.waiting.len().min(MAX_GROUP);
            let (tickets, batches) = queue.waiting.drain(..size).unzip();
            drop(queue);
            let mut lead = Lead { group: self, tickets, outcomes: Vec::new() };
            lead.outcomes = apply(batches);
            drop(lead);
            queue = self.queue();
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hands out the outcomes when it goes, also when `apply` panicked: nobody waits for ever.
struct Lead<'a> {
    group: &'a GroupCommit,
    tickets: Vec<u64>,
    outcomes: Vec<Outcome>,
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        let mut queue = self.group.queue();
        let mut outcomes = std::mem::take(&mut self.outcomes).into_iter();
        for &ticket in &self.tickets {
            let outcome = outcomes.next().unwrap_or_else(|| {
                let source = "the thread that led the group commit stopped".into();
                Err(StoreError::Failed { operation: "commit", applied: None, source })
            });
            let ended = match &outcome {
                Ok(_) => "committed",
                Err(error) if error.is_conflict() => "conflict",
                Err(_) => "failed",
            };
            telemetry::count("aiops_knowledge_commits_total", "outcome", ended, 1);
            queue.outcomes.insert(ticket, outcome);
        }
        queue.leading = false;
        drop(queue);
        self.group.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    #[test]
    fn waiting_batches_share_a_commit_and_each_gets_its_own_outcome() {
        let group = GroupCommit::default();
        let commits = AtomicUsize::new(0);
        let apply = |batches: Vec<Batch>| -> Vec<Outcome> {
            commits.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(20));
            batches.iter().map(|batch| Ok(batch.expects[0].1)).collect()
        };
        std::thread::scope(|scope| {
            for n in 1..=16 {
                let (group, apply) = (&group, &apply);
                scope.spawn(move || {
                    assert_eq!(group.commit(Batch::new().expect("k", n), apply).ok(), Some(n));
                });
            }
        });
        assert!(commits.load(Ordering::SeqCst) < 16, "some shared");
    }

    #[test]
    fn a_leader_that_panics_leaves_nobody_waiting() {
        let group = GroupCommit::default();
        std::thread::scope(|scope| {
            let leader = scope.spawn(|| group.commit(Batch::new(), |_| panic!("disk on fire")));
            assert!(leader.join().is_err());
        });
        assert!(group.commit(Batch::new(), |_| vec![Ok(1)]).is_ok());
        assert!(group.commit(Batch::new(), |_| vec![]).is_err(), "a missing outcome is a failure");
    }
}
