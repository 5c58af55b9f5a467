//! Time for drivers: a clock that one can also wait for.

use std::sync::Arc;
use std::time::Duration;

use aiops_core::{Clock, ManualClock, SystemClock, Timestamp};

use crate::executor::BoxFuture;

/// What a wait is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitFor {
    /// A person; somebody else ends the wait, or its deadline does.
    Person,
    /// Time itself: a pause, the next measurement.
    Time,
}

/// A clock that one can wait for.
pub trait Timekeeper: Clock {
    /// Ends at `at`, or right away when that is past.
    fn sleep_until(&self, at: Timestamp, wait: WaitFor) -> BoxFuture<'_, ()>;
}

/// The longest single sleep. The wall clock may be set meanwhile, and a deadline is wall time: it is
/// looked at again at least this often.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

impl Timekeeper for SystemClock {
    fn sleep_until(&self, at: Timestamp, _: WaitFor) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            loop {
                let left = at.since(self.now());
                if left.is_zero() {
                    return;
                }
                tokio::time::sleep(left.min(LOOK_AGAIN)).await;
            }
        })
    }
}

/// Replays time: waiting for time moves the clock there at once, waiting for a person never ends
/// (in a replay, people take as long as they take).
#[derive(Debug, Clone)]
pub struct ReplayClock(pub Arc<ManualClock>);

impl Clock for ReplayClock {
    fn now(&self) -> Timestamp {
        self.0.now()
    }
}

impl Timekeeper for ReplayClock {
    fn sleep_until(&self, at: Timestamp, wait: WaitFor) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            match wait {
                WaitFor::Person => std::future::pending().await,
                WaitFor::Time => {
                    let ahead = at.since(self.0.now());
                    if !ahead.is_zero() {
                        self.0.advance(ahead);
                    }
                }
            }
        })
    }
}
