//! How the parts of the service are, and how much it does without those that are not well.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aiops_act::Mode;
use aiops_act::modes::{Health, Part};
use aiops_core::Timestamp;

use crate::{Error, Result};

/// A part that says nothing for so long is not well.
const SILENCE: Duration = Duration::from_secs(5);

/// How long all must be well before more is done again.
const HOLD: Duration = Duration::from_secs(30);

/// Health as the ticks report it. The topology is in memory and needs nobody.
#[derive(Debug)]
pub struct Condition(Mutex<Health>);

impl Condition {
    /// All well at `now`.
    pub fn new(now: Timestamp) -> Self {
        let parts = [Part::Store, Part::Model, Part::Notifier, Part::Engine];
        Condition(Mutex::new(Health::new(parts, SILENCE, HOLD, now)))
    }

    fn with<T>(&self, work: impl FnOnce(&mut Health) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A part says how it is.
    pub fn report(&self, part: Part, is_well: bool, now: Timestamp) {
        self.with(|health| health.report(part, is_well, now));
    }

    /// What a tick of the stages says of the store and of ranking; that there was one says that the service works.
    pub fn ticked<T>(&self, result: &Result<T>, now: Timestamp) {
        self.report(Part::Engine, true, now);
        match result {
            Ok(_) => {
                self.report(Part::Store, true, now);
                self.report(Part::Model, true, now);
            }
            Err(Error::Stage { stage: "rank", .. }) => {
                self.report(Part::Store, true, now);
                self.report(Part::Model, false, now);
            }
            Err(_) => self.report(Part::Store, false, now),
        }
    }

    /// How much is done now.
    pub fn mode(&self, now: Timestamp) -> Mode {
        self.with(|health| health.mode(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_is_done_at_once_and_more_after_a_while() {
        let at = Timestamp::from_secs;
        let condition = Condition::new(at(0));
        let tick = |second, result: Result<()>| {
            condition.ticked(&result, at(second));
            condition.report(Part::Notifier, true, at(second));
            condition.mode(at(second))
        };
        assert_eq!(tick(1, Ok(())), Mode::Full);
        let unranked = || Err(Error::Stage { stage: "rank", reason: "no".to_owned() });
        assert_eq!(tick(2, unranked()), Mode::SuggestOnly);
        assert_eq!(
            tick(3, Err(Error::Unknown { reason: "disk full".to_owned() })),
            Mode::NotifyOnly
        );
        assert_eq!(tick(4, Ok(())), Mode::NotifyOnly, "not well for long enough yet");
        assert_eq!(tick(34, Ok(())), Mode::Full);
        assert_eq!(condition.mode(at(40)), Mode::PassThrough, "nobody ticks");
    }
}
