//! Time as an argument: [`Timestamp`] is what every stage is handed, and only drivers ask a [`Clock`].

use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// Nanoseconds since the Unix epoch, UTC. Covers the years 1678 to 2262.
///
/// Arithmetic saturates at both ends instead of wrapping: a wrong clock must not turn "far in the
/// future" into "long ago". Serialises as a plain integer.
///
/// ```
/// use aiops_core::Timestamp;
/// use std::time::Duration;
///
/// let onset = Timestamp::from_secs(1_000);
/// let now = onset + Duration::from_millis(1_500);
/// assert_eq!(now.since(onset), Duration::from_millis(1_500));
/// assert_eq!(onset.since(now), Duration::ZERO, "never negative");
/// assert_eq!(onset.seconds_after(now), -1.5, "signed when asked for");
/// ```
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The earliest representable time.
    pub const MIN: Timestamp = Timestamp(i64::MIN);
    /// The latest representable time; also "never" where a deadline is optional.
    pub const MAX: Timestamp = Timestamp(i64::MAX);
    /// The Unix epoch.
    pub const EPOCH: Timestamp = Timestamp(0);

    /// From nanoseconds since the epoch.
    pub const fn from_nanos(nanos: i64) -> Self {
        Timestamp(nanos)
    }

    /// From milliseconds since the epoch, saturating.
    pub const fn from_millis(millis: i64) -> Self {
        Timestamp(millis.saturating_mul(1_000_000))
    }

    /// From whole seconds since the epoch, saturating.
    pub const fn from_secs(secs: i64) -> Self {
        Timestamp(secs.saturating_mul(1_000_000_000))
    }

    /// Nanoseconds since the epoch.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// Milliseconds since the epoch, rounded towards negative infinity.
    pub const fn as_millis(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Seconds since the epoch, rounded towards negative infinity.
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1_000_000_000)
    }

    /// How long `self` is after `earlier`; zero when it is not after it.
    pub const fn since(self, earlier: Timestamp) -> Duration {
        if self.0 <= earlier.0 {
            return Duration::ZERO;
        }
        // The true difference of two i64 always fits a u64.
        Duration::from_nanos(self.0.wrapping_sub(earlier.0) as u64)
    }

    /// Signed seconds by which `self` is after `other`; negative when it is before.
    pub fn seconds_after(self, other: Timestamp) -> f64 {
        (i128::from(self.0) - i128::from(other.0)) as f64 / 1e9
    }

    /// The start of the window of length `width` that contains this time, windows being aligned
    /// to the epoch. A zero width returns the time itself.
    pub fn window_start(self, width: Duration) -> Timestamp {
        match i64::try_from(width.as_nanos()) {
            Ok(0) => self,
            Ok(nanos) => Timestamp(self.0.saturating_sub(self.0.rem_euclid(nanos))),
            Err(_) => Timestamp::EPOCH, // wider than all of time: one window
        }
    }
}

impl fmt::Display for Timestamp {
    /// Seconds since the epoch with nine decimals, without trailing zeros.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (secs, nanos) = (self.as_secs(), self.0.rem_euclid(1_000_000_000));
        if nanos == 0 {
            return write!(f, "{secs}s");
        }
        // Rounded down, so -0.5 s reads as -1 + 0.5; print the sign of the whole value instead.
        let text = format!("{:.9}", self.0 as f64 / 1e9);
        write!(f, "{}s", text.trim_end_matches('0'))
    }
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

impl Add<Duration> for Timestamp {
    type Output = Timestamp;
    fn add(self, rhs: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(nanos(rhs)))
    }
}

impl AddAssign<Duration> for Timestamp {
    fn add_assign(&mut self, rhs: Duration) {
        *self = *self + rhs;
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Timestamp;
    fn sub(self, rhs: Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(nanos(rhs)))
    }
}

impl SubAssign<Duration> for Timestamp {
    fn sub_assign(&mut self, rhs: Duration) {
        *self = *self - rhs;
    }
}

/// Where a driver reads the time. Stages never see one: they are handed a [`Timestamp`].
pub trait Clock: Send + Sync {
    /// The current time.
    fn now(&self) -> Timestamp;
}

/// The machine's wall clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the one place that asks the machine")]
    fn now(&self) -> Timestamp {
        match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
            Ok(after) => Timestamp::EPOCH + after,
            Err(before) => Timestamp::EPOCH - before.duration(),
        }
    }
}

/// A clock that moves only when it is told to: for tests, replays and simulations.
///
/// ```
/// use aiops_core::{Clock, ManualClock, Timestamp};
/// let clock = ManualClock::new(Timestamp::from_secs(10));
/// clock.advance(std::time::Duration::from_secs(5));
/// assert_eq!(clock.now(), Timestamp::from_secs(15));
/// ```
#[derive(Debug, Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that stands at `now`.
    pub fn new(now: Timestamp) -> Self {
        ManualClock(AtomicI64::new(now.as_nanos()))
    }

    /// Moves the clock to `now`, backwards too: clocks do jump.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.as_nanos(), Ordering::SeqCst);
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(nanos(by), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_time_saturate() {
        assert_eq!(Timestamp::MAX + Duration::from_secs(1), Timestamp::MAX);
        assert_eq!(Timestamp::MIN - Duration::MAX, Timestamp::MIN);
        assert_eq!(Timestamp::MAX.since(Timestamp::MIN), Duration::from_nanos(u64::MAX));
        assert_eq!(Timestamp::from_secs(i64::MAX), Timestamp::MAX);
    }

    #[test]
    fn windows_before_the_epoch_are_aligned_too() {
        let width = Duration::from_secs(60);
        assert_eq!(Timestamp::from_secs(-1).window_start(width), Timestamp::from_secs(-60));
        assert_eq!(Timestamp::from_secs(119).window_start(width), Timestamp::from_secs(60));
        assert_eq!(Timestamp::from_secs(7).window_start(Duration::ZERO), Timestamp::from_secs(7));
    }

    #[test]
    fn reads_as_seconds() {
        assert_eq!(Timestamp::from_millis(1_500).to_string(), "1.5s");
        assert_eq!(Timestamp::from_secs(-3).to_string(), "-3s");
    }
}
