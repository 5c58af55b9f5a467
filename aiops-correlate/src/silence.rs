//! Stage 4b: silences and maintenance windows, once or every week, in any time zone; when one ends,
//! that is said.

use aiops_core::{Alert, EventId, EventKind, Timestamp};
use serde::{Deserialize, Serialize};
use std::time::Duration;

use crate::{Error, Matcher, Result};

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "they are the days of the week")]
pub enum Weekday {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

const WEEK: [Weekday; 7] = [
    Weekday::Monday,
    Weekday::Tuesday,
    Weekday::Wednesday,
    Weekday::Thursday,
    Weekday::Friday,
    Weekday::Saturday,
    Weekday::Sunday,
];

/// The clock that a weekly window is read on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Zone {
    /// Coordinated universal time.
    #[default]
    Utc,
    /// Always so many minutes ahead of it (east is positive).
    Offset(i32),
    /// A zone of the system's time zone database, such as `Europe/Berlin`, with its summer time.
    /// Needs the feature `zones`.
    Named(String),
}

/// When a [`Silence`] holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "when", rename_all = "snake_case")]
pub enum When {
    /// Once, from `from` until before `until`.
    Once {
        /// From here on.
        from: Timestamp,
        /// Until before here.
        until: Timestamp,
    },
    /// On these days of every week.
    Weekly {
        /// The days on which it begins.
        days: Vec<Weekday>,
        /// Minutes after midnight at which it begins, on the clock of `zone`.
        minute: u16,
        /// How long it lasts, up to a week; it may run over midnight.
        lasts: Duration,
        /// On which clock.
        #[serde(default)]
        zone: Zone,
    },
}

/// Alerts that people have asked not to be told of, for a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    /// What it is called, and for whom it is: it stands in reasons.
    pub name: String,
    /// The alerts that it covers.
    pub matcher: Matcher,
    /// When it holds.
    #[serde(flatten)]
    pub when: When,
}

/// A silence that has just ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expired {
    /// Which.
    pub id: EventId,
    /// What it was called.
    pub name: String,
    /// When it ended.
    pub at: Timestamp,
    /// Alert records that it covered since it began.
    pub hidden: u64,
}

/// Silences and maintenance windows.
///
/// They cover alerts, they do not delete them: whoever asks gets the identity of the silence and the
/// time until which it holds, and when that time has come [`tick`](Self::tick) says so with the number
/// of records that it hid. What still fires then is no longer covered.
///
/// Time O(silences) an alert; windows of the week are computed when they begin and end only.
///
/// ```
/// use aiops_core::{Alert, Labels, Timestamp};
/// use aiops_correlate::{Silence, Silences, Weekday, When, Zone};
/// use std::time::Duration;
///
/// let mut silences = Silences::default();
/// silences.add(Silence {
///     name: "backup of the databases".into(),
///     matcher: "service~db-*".parse()?,
///     // Sundays from 02:00 to 04:00, two hours east of Greenwich.
///     when: When::Weekly {
///         days: vec![Weekday::Sunday],
///         minute: 120,
///         lasts: Duration::from_secs(7_200),
///         zone: Zone::Offset(120),
///     },
/// })?;
/// let alert = Alert::new("Slow", Labels::from([("service", "db-1")]), Timestamp::EPOCH);
/// let sunday = 3 * 86_400_i64; // 4 January 1970, 00:00 UTC
/// let at = |second| Timestamp::from_secs(sunday + second);
/// assert!(silences.cover(&alert, at(-1)).is_none());
/// let (_, until) = silences.cover(&alert, at(60)).expect("02:01 there");
/// assert_eq!(until, at(7_200));
/// let expired = silences.tick(at(7_200));
/// assert_eq!((expired.len(), expired[0].hidden), (1, 1), "it says that it is over");
/// # Ok::<(), aiops_correlate::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Silences {
    known: Vec<Known>,
}

#[derive(Debug, Clone)]
struct Known {
    id: EventId,
    silence: Silence,
    clock: Clock,
    /// The window that holds, or the next one.
    window: Option<(Timestamp, Timestamp)>,
    /// Whether it has been entered.
    holds: bool,
    hidden: u64,
}

/// A silence, whether it holds, what it hid, and its window.
pub(crate) type SavedSilence = (Silence, bool, u64, Option<(Timestamp, Timestamp)>);

/// A zone that exists.
#[derive(Debug, Clone)]
enum Clock {
    Fixed(i64),
    #[cfg(feature = "zones")]
    Zoned(jiff::tz::TimeZone),
}

impl Silences {
    /// Adds one. The same one twice is one.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] for an empty window, a window longer than a week, a minute past
    /// midnight that no day has, a zone that is not known, or a matcher without a condition.
    pub fn add(&mut self, silence: Silence) -> Result<EventId> {
        if silence.matcher.is_empty() {
            return Err(Error::config("silence.matcher", "must have a condition"));
        }
        let clock = silence.clock()?;
        let begins = match &silence.when {
            When::Once { from, .. } => *from,
            When::Weekly { .. } => Timestamp::EPOCH,
        };
        let title = format!("{}: {}", silence.name, silence.matcher);
        let id = EventId::of("", EventKind::Silence, None, &title, begins);
        if !self.known.iter().any(|known| known.id == id) {
            let (window, holds, hidden) = (None, false, 0);
            self.known.push(Known { id, silence, clock, window, holds, hidden });
        }
        Ok(id)
    }

    /// Ends a silence before its time. Returns whether it was known.
    pub fn remove(&mut self, id: EventId) -> bool {
        let before = self.known.len();
        self.known.retain(|known| known.id != id);
        self.known.len() < before
    }

    /// The silence that covers `alert` at `now`, and until when; the one that ends last, if several
    /// do. Counts the alert as hidden by it.
    pub fn cover(&mut self, alert: &Alert, now: Timestamp) -> Option<(EventId, Timestamp)> {
        let mut best: Option<(Timestamp, usize)> = None;
        for (at, known) in self.known.iter_mut().enumerate() {
            let Some(until) = known.until(now) else { continue };
            if best.is_none_or(|(latest, _)| until > latest) && known.silence.matcher.matches(alert)
            {
                best = Some((until, at));
            }
        }
        let (until, at) = best?;
        self.known[at].hidden += 1;
        Some((self.known[at].id, until))
    }

    /// Moves the clock; the silences and windows that ended since, in the order in which they did.
    pub fn tick(&mut self, now: Timestamp) -> Vec<Expired> {
        let mut expired: Vec<Expired> = self.known.iter_mut().filter_map(|k| k.end(now)).collect();
        expired.sort_by_key(|expired| (expired.at, expired.id));
        self.known.retain(|known| !known.is_over(now));
        expired
    }

    /// When the next silence begins or ends, after `now`.
    pub fn next_due(&mut self, now: Timestamp) -> Option<Timestamp> {
        let next = |known: &mut Known| {
            let (from, until) = known.at(now)?;
            Some(if from > now { from } else { until })
        };
        self.known.iter_mut().filter_map(next).min()
    }

    /// What is known, and whether each holds and has hidden how much: what a snapshot keeps.
    pub(crate) fn saved(&self) -> Vec<SavedSilence> {
        let saved = |k: &Known| (k.silence.clone(), k.holds, k.hidden, k.window);
        self.known.iter().map(saved).collect()
    }

    /// Takes back what [`saved`](Self::saved) gave, in place of what is known.
    pub(crate) fn restore(&mut self, saved: Vec<SavedSilence>) -> Result<()> {
        self.known.clear();
        for (silence, holds, hidden, window) in saved {
            self.add(silence)?;
            if let Some(known) = self.known.last_mut() {
                (known.holds, known.hidden, known.window) = (holds, hidden, window);
            }
        }
        Ok(())
    }

    /// The name of a silence.
    pub fn name(&self, id: EventId) -> Option<&str> {
        self.known.iter().find(|known| known.id == id).map(|known| known.silence.name.as_str())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

impl Known {
    /// The window that holds at `now` or else the next one.
    fn at(&mut self, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        if self.window.is_none_or(|(from, until)| now >= until || now < from) {
            self.window = self.silence.window(&self.clock, now);
        }
        self.window
    }

    fn until(&mut self, now: Timestamp) -> Option<Timestamp> {
        let (from, until) = self.at(now)?;
        self.holds |= from <= now;
        (from <= now).then_some(until)
    }

    /// Says so if the window that was entered is over.
    fn end(&mut self, now: Timestamp) -> Option<Expired> {
        let ended = self.window.filter(|(_, until)| self.holds && *until <= now);
        if let Some((_, at)) = ended {
            self.holds = false;
            let hidden = std::mem::take(&mut self.hidden);
            return Some(Expired { id: self.id, name: self.silence.name.clone(), at, hidden });
        }
        self.until(now);
        None
    }

    fn is_over(&self, now: Timestamp) -> bool {
        matches!(self.silence.when, When::Once { until, .. } if until <= now)
    }
}

const DAY: i64 = 86_400;

impl Silence {
    fn clock(&self) -> Result<Clock> {
        match &self.when {
            When::Once { from, until } if until <= from => {
                Err(Error::config("silence.until", "must be after from"))
            }
            When::Once { .. } => Ok(Clock::Fixed(0)),
            When::Weekly { days, minute, lasts, zone } => {
                if days.is_empty() {
                    return Err(Error::config("silence.days", "must name a day"));
                }
                if *minute >= 1_440 {
                    let reason = format!("must be below 1440, got {minute}");
                    return Err(Error::config("silence.minute", reason));
                }
                if lasts.is_zero() || lasts.as_secs() > 7 * DAY as u64 {
                    return Err(Error::config("silence.lasts", "must be up to a week"));
                }
                zone.clock()
            }
        }
    }

    /// The window that holds at `now`, or the next one after it.
    fn window(&self, clock: &Clock, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        match &self.when {
            When::Once { from, until } => (now < *until).then_some((*from, *until)),
            When::Weekly { days, minute, lasts, .. } => {
                let today = clock.day(now);
                // One that began up to a week ago may still hold; the next is a week away at most.
                let windows = (today - 8..=today + 8).filter_map(|day| {
                    let weekday = WEEK[(day + 3).rem_euclid(7) as usize];
                    let from = days.contains(&weekday).then(|| clock.time(day, *minute))??;
                    Some((from, from + *lasts))
                });
                windows.filter(|(_, until)| now < *until).min()
            }
        }
    }
}

impl Zone {
    fn clock(&self) -> Result<Clock> {
        match self {
            Zone::Utc => Ok(Clock::Fixed(0)),
            Zone::Offset(minutes) if minutes.abs() <= 18 * 60 => {
                Ok(Clock::Fixed(i64::from(*minutes) * 60))
            }
            Zone::Offset(minutes) => {
                Err(Error::config("silence.zone", format!("no clock is {minutes} minutes ahead")))
            }
            #[cfg(feature = "zones")]
            Zone::Named(name) => jiff::tz::TimeZone::get(name)
                .map(Clock::Zoned)
                .map_err(|error| Error::config("silence.zone", format!("{name:?}: {error}"))),
            #[cfg(not(feature = "zones"))]
            Zone::Named(name) => Err(Error::config(
                "silence.zone",
                format!("{name:?}: zones with a name need the feature `zones`"),
            )),
        }
    }
}

impl Clock {
    /// Days since 1 January 1970 on this clock.
    fn day(&self, at: Timestamp) -> i64 {
        match self {
            Clock::Fixed(ahead) => (at.as_secs() + ahead).div_euclid(DAY),
            #[cfg(feature = "zones")]
            Clock::Zoned(zone) => {
                let stamp = jiff::Timestamp::from_second(at.as_secs()).unwrap_or_default();
                let ahead = zone.to_offset(stamp).seconds();
                (at.as_secs() + i64::from(ahead)).div_euclid(DAY)
            }
        }
    }

    /// When it is `minute` of `day` on this clock. A time that summer time skips is taken an hour
    /// later, one that comes twice is taken the first time.
    fn time(&self, day: i64, minute: u16) -> Option<Timestamp> {
        let local = day * DAY + i64::from(minute) * 60;
        match self {
            Clock::Fixed(ahead) => Some(Timestamp::from_secs(local - ahead)),
            #[cfg(feature = "zones")]
            Clock::Zoned(zone) => {
                let civil =
                    jiff::tz::Offset::UTC.to_datetime(jiff::Timestamp::from_second(local).ok()?);
                let stamp = zone.to_ambiguous_timestamp(civil).compatible().ok()?;
                Some(Timestamp::from_secs(stamp.as_second()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aiops_core::Labels;

    fn alert() -> Alert {
        Alert::new("Slow", Labels::from([("service", "db")]), Timestamp::EPOCH)
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_secs(second)
    }

    fn weekly(days: &[Weekday], minute: u16, hours: u64, zone: Zone) -> Silence {
        let lasts = Duration::from_secs(hours * 3_600);
        let when = When::Weekly { days: days.to_vec(), minute, lasts, zone };
        Silence { name: "window".into(), matcher: "service=db".parse().unwrap(), when }
    }

    #[test]
    fn a_silence_ends_once_and_loudly() {
        let mut silences = Silences::default();
        let when = When::Once { from: at(100), until: at(200) };
        let matcher = "service=db".parse().unwrap();
        let silence = Silence { name: "asked".into(), matcher, when };
        let id = silences.add(silence.clone()).unwrap();
        assert_eq!(silences.add(silence).unwrap(), id);
        assert_eq!(silences.next_due(at(0)), Some(at(100)));
        assert_eq!(silences.cover(&alert(), at(99)), None);
        assert_eq!(silences.cover(&alert(), at(100)), Some((id, at(200))));
        assert_eq!(silences.cover(&alert(), at(199)), Some((id, at(200))));
        assert_eq!(silences.next_due(at(150)), Some(at(200)));
        assert!(silences.tick(at(199)).is_empty());
        let told = silences.tick(at(500));
        assert_eq!(told, [Expired { id, name: "asked".into(), at: at(200), hidden: 2 }]);
        assert!(silences.is_empty() && silences.tick(at(501)).is_empty());
    }

    #[test]
    fn a_window_over_midnight_and_the_end_of_the_week_holds() {
        let mut silences = Silences::default();
        // Sunday 23:00 to Monday 05:00. 1 January 1970 was a Thursday.
        silences.add(weekly(&[Weekday::Sunday], 23 * 60, 6, Zone::Utc)).unwrap();
        let monday = 4 * DAY;
        assert!(silences.cover(&alert(), at(monday - 3_601)).is_none());
        assert!(silences.cover(&alert(), at(monday - 3_600)).is_some());
        assert!(silences.cover(&alert(), at(monday + 5 * 3_600 - 1)).is_some());
        let told = silences.tick(at(monday + 5 * 3_600));
        assert_eq!((told.len(), told[0].hidden), (1, 2));
        assert!(silences.cover(&alert(), at(monday + 5 * 3_600)).is_none());
        assert!(silences.cover(&alert(), at(monday + 7 * DAY)).is_some(), "and again next week");
        assert_eq!(silences.next_due(at(monday + 2 * DAY)), Some(at(monday + 7 * DAY - 3_600)));
    }

    #[test]
    fn what_cannot_hold_is_refused() {
        let mut silences = Silences::default();
        let once = When::Once { from: at(5), until: at(5) };
        let matcher: Matcher = "a=b".parse().unwrap();
        let empty = Silence { name: String::new(), matcher, when: once };
        assert!(silences.add(empty).is_err());
        assert!(silences.add(weekly(&[], 0, 1, Zone::Utc)).is_err());
        assert!(silences.add(weekly(&WEEK, 1_440, 1, Zone::Utc)).is_err());
        assert!(silences.add(weekly(&WEEK, 0, 169, Zone::Utc)).is_err());
        assert!(silences.add(weekly(&WEEK, 0, 1, Zone::Offset(2_000))).is_err());
        assert!(silences.add(weekly(&WEEK, 0, 1, Zone::Named("Nowhere/Never".into()))).is_err());
    }

    /// Berlin leaves summer time on 25 October 2026 at 01:00 UTC.
    #[cfg(feature = "zones")]
    #[test]
    fn a_named_zone_keeps_its_hour_over_summer_time() {
        let mut silences = Silences::default();
        if silences.add(weekly(&WEEK, 180, 1, Zone::Named("Europe/Berlin".into()))).is_err() {
            return; // a machine without a time zone database
        }
        // 24 October 2026, 03:00 in Berlin is 01:00 UTC; two days later it is 02:00 UTC.
        let saturday = 1_792_803_600;
        assert!(silences.cover(&alert(), at(saturday)).is_some());
        assert!(silences.cover(&alert(), at(saturday - 1)).is_none());
        let monday = saturday + 2 * DAY + 3_600;
        assert!(silences.cover(&alert(), at(monday)).is_some());
        assert!(silences.cover(&alert(), at(monday - 1)).is_none());
    }
}
