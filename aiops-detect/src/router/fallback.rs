//! Who steps in when a higher tier cannot judge, and when it comes back.

use std::collections::BTreeMap;
use std::time::Duration;

use aiops_core::{Reason, SeriesId, SnapshotReader, SnapshotWriter, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{Result, Tier, saved};

/// Why a tier does not judge a series for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Cause {
    /// It returned an error.
    Failed,
    /// It did not answer in time; an input, see [`Router::timed_out`](super::Router::timed_out).
    TimedOut,
    /// It has seen too little of the series to judge.
    Untrained,
    /// Its own confidence is below [`RouterConfig::min_confidence`](super::RouterConfig).
    NotConfident,
    /// The budget has no seat for the series in this tier.
    OverBudget,
    /// It had a seat and lost it to an overload.
    Overloaded,
}

impl Cause {
    /// Whether the tier goes on learning the series meanwhile: what is untrained would stay so
    /// otherwise, and what is late would get later.
    pub(super) fn keeps_learning(self) -> bool {
        matches!(self, Cause::Untrained | Cause::NotConfident)
    }

    fn words(self) -> &'static str {
        match self {
            Cause::Failed => "returned an error",
            Cause::TimedOut => "did not answer in time",
            Cause::Untrained => "has seen too little of the series",
            Cause::NotConfident => "is not confident",
            Cause::OverBudget => "has no seat left for this series",
            Cause::Overloaded => "gave up this series in an overload",
        }
    }

    const ALL: [Cause; 6] = [
        Cause::Failed,
        Cause::TimedOut,
        Cause::Untrained,
        Cause::NotConfident,
        Cause::OverBudget,
        Cause::Overloaded,
    ];
}

/// A tier that was wanted and the one that judged instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fallback {
    /// The tier that was wanted.
    pub wanted: Tier,
    /// The tier that judged.
    pub served: Tier,
    /// Why.
    pub cause: Cause,
}

impl From<Fallback> for Reason {
    fn from(fallback: Fallback) -> Reason {
        let name = |tier: Tier| match tier {
            Tier::One => "one",
            Tier::Two => "two",
            Tier::Three => "three",
        };
        let Fallback { wanted, served, cause } = fallback;
        let sentence = format!(
            "judged by tier {} because tier {} {}",
            name(served),
            name(wanted),
            cause.words()
        );
        Reason::new("fallback", sentence)
            .with("wanted", name(wanted))
            .with("served", name(served))
            .with("cause", format!("{cause:?}"))
    }
}

/// Which tiers are held back, by series. Only those that are held take memory.
///
/// ```text
/// serving --failed, timed out, untrained, not confident--> held until now + hold
/// held    --the same again--------------------------------> held until now + hold
/// held    --asked at or after its end---------------------> serving
/// ```
#[derive(Debug, Clone, Default)]
pub(super) struct Holds(BTreeMap<(SeriesId, Tier), (Timestamp, Cause)>);

impl Holds {
    pub(super) fn hold(&mut self, id: SeriesId, tier: Tier, until: Timestamp, cause: Cause) {
        self.0.insert((id, tier), (until, cause));
    }

    /// Why `tier` is held back at `now`; a hold that is over is forgotten.
    pub(super) fn ask(&mut self, id: SeriesId, tier: Tier, now: Timestamp) -> Option<Cause> {
        let (until, cause) = *self.0.get(&(id, tier))?;
        if now < until {
            return Some(cause);
        }
        self.0.remove(&(id, tier));
        None
    }

    /// Whether `tier` must not even see the samples of the series.
    pub(super) fn rests(&self, id: SeriesId, tier: Tier, now: Timestamp) -> bool {
        let held = self.0.get(&(id, tier));
        held.is_some_and(|(until, cause)| now < *until && !cause.keeps_learning())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn release(&mut self, id: SeriesId) {
        for tier in [Tier::One, Tier::Two, Tier::Three] {
            self.0.remove(&(id, tier));
        }
    }

    pub(super) fn save(&self, id: SeriesId, out: &mut SnapshotWriter) {
        for tier in [Tier::Two, Tier::Three] {
            let held = self.0.get(&(id, tier));
            out.u8(held.map_or(0, |(_, cause)| {
                Cause::ALL.iter().position(|known| known == cause).map_or(0, |i| i as u8 + 1)
            }));
            out.i64(held.map_or(0, |(until, _)| until.as_nanos()));
        }
    }

    pub(super) fn load(&mut self, id: SeriesId, from: &mut SnapshotReader<'_>) -> Result<()> {
        for tier in [Tier::Two, Tier::Three] {
            let (code, until) = (from.u8()?, Timestamp::from_nanos(from.i64()?));
            match code.checked_sub(1) {
                None => _ = self.0.remove(&(id, tier)),
                Some(i) => match Cause::ALL.get(usize::from(i)) {
                    Some(cause) => self.hold(id, tier, until, *cause),
                    None => return Err(saved::invalid("cause of a fallback", code)),
                },
            }
        }
        Ok(())
    }
}

/// When a hold that begins at `now` ends.
pub(super) fn end_of(now: Timestamp, hold: Duration) -> Timestamp {
    now + hold
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_tier_comes_back_after_the_hold_and_not_before() {
        let at = Timestamp::from_secs;
        let (id, mut holds) = (SeriesId(4), Holds::default());
        holds.hold(id, Tier::Three, at(100), Cause::TimedOut);
        assert_eq!(holds.ask(id, Tier::Three, at(99)), Some(Cause::TimedOut));
        assert!(holds.rests(id, Tier::Three, at(99)), "what is late is not fed");
        assert_eq!(holds.ask(id, Tier::Two, at(99)), None, "only the tier that was late");
        holds.hold(id, Tier::Three, at(130), Cause::Untrained);
        assert!(!holds.rests(id, Tier::Three, at(120)), "what is untrained is fed");
        assert_eq!(holds.ask(id, Tier::Three, at(130)), None);
        assert!(holds.is_empty());
    }

    #[test]
    fn a_fallback_says_what_happened() {
        let fallback = Fallback { wanted: Tier::Three, served: Tier::One, cause: Cause::TimedOut };
        let reason = Reason::from(fallback);
        assert_eq!(reason.sentence, "judged by tier one because tier three did not answer in time");
    }

    #[test]
    fn a_hold_is_over_at_its_end_and_when_its_series_is_released() {
        let at = Timestamp::from_secs;
        let mut holds = Holds::default();
        for id in [SeriesId(1), SeriesId(2)] {
            holds.hold(id, Tier::Three, at(100), Cause::Failed);
        }
        assert!(holds.rests(SeriesId(1), Tier::Three, at(99)));
        assert!(!holds.rests(SeriesId(1), Tier::Three, at(100)));
        holds.release(SeriesId(1));
        assert_eq!(holds.ask(SeriesId(1), Tier::Three, at(99)), None);
        assert_eq!(holds.ask(SeriesId(2), Tier::Three, at(99)), Some(Cause::Failed));
    }
}
