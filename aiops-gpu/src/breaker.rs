//! [`Breaker`]: when to ask an engine again that failed.

use serde::{Deserialize, Serialize};

/// Settings of a breaker. Time is counted in batches, so that the same failures give the same answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BreakerConfig {
    /// Failures in a row that open it. Default 1: the next engine has the batch already.
    pub failures: u32,
    /// Batches it stays open for at first; twice as many after each trial that fails. Default 64.
    pub back_off: u32,
    /// Batches it stays open for at most. Default 4,096.
    pub longest: u32,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        BreakerConfig { failures: 1, back_off: 64, longest: 4096 }
    }
}

/// Whether an engine is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It is, and failed so often in a row.
    Closed { failures: u32 },
    /// It is not, for so many batches; it was last opened for so many.
    Open { left: u32, length: u32 },
    /// It is on trial, after having been open for so long.
    Trial { length: u32 },
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// A batch arrived, for whichever engine.
    Batch,
    /// The engine answered.
    Answered,
    /// The engine failed.
    Failed,
}

impl State {
    pub(crate) const FRESH: State = State::Closed { failures: 0 };

    /// Whether the engine may be asked.
    pub(crate) fn asks(self) -> bool {
        !matches!(self, State::Open { .. })
    }

    #[must_use]
    pub(crate) fn after(self, event: Event, config: &BreakerConfig) -> State {
        let open = |length: u32| State::Open { left: length, length };
        match (self, event) {
            (State::Closed { failures }, Event::Failed) if failures + 1 >= config.failures => {
                open(config.back_off)
            }
            (State::Closed { failures }, Event::Failed) => State::Closed { failures: failures + 1 },
            (State::Closed { .. } | State::Trial { .. }, Event::Answered) => State::FRESH,
            (State::Open { left: 0 | 1, length }, Event::Batch) => State::Trial { length },
            (State::Open { left, length }, Event::Batch) => State::Open { left: left - 1, length },
            (State::Trial { length }, Event::Failed) => {
                open(length.saturating_mul(2).min(config.longest))
            }
            (state, _) => state, // an answer of an engine that is not asked changes nothing
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_tries_again_later_and_later_and_closes() {
        let config = BreakerConfig { failures: 2, back_off: 3, longest: 6 };
        let mut state = State::FRESH;
        let mut step = |event| {
            state = state.after(event, &config);
            state
        };
        assert_eq!(step(Event::Failed), State::Closed { failures: 1 });
        assert_eq!(step(Event::Answered), State::FRESH, "an answer forgives");
        step(Event::Failed);
        assert_eq!(step(Event::Failed), State::Open { left: 3, length: 3 });
        assert!(!step(Event::Batch).asks() && !step(Event::Batch).asks());
        assert_eq!(step(Event::Batch), State::Trial { length: 3 });
        for length in [6, 6] {
            assert_eq!(
                step(Event::Failed),
                State::Open { left: length, length },
                "no longer than 6"
            );
            for _ in 0..6 {
                step(Event::Batch);
            }
        }
        assert_eq!(step(Event::Answered), State::FRESH);
    }
}
