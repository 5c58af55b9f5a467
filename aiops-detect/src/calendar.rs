//! [`Calendar`]: time that must not be learnt or told of, in the clock of the people it is about.

use std::time::Duration;

use aiops_core::{Reason, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Maintenance windows, holidays and changes of the clock.
///
/// Windows and holidays are in local time, so that "Sunday at two" stays there when the clock changes.
/// The changes of the clock are data of yours ([`ClockChange`]): this crate carries no time-zone
/// database, and a replay needs the rules that held then.
///
/// ```
/// use aiops_core::Timestamp;
/// use aiops_detect::{Calendar, ClockChange, Weekly};
/// # use std::time::Duration;
/// let calendar = Calendar {
///     // Central Europe: summer time ended on 2026-10-25 at 01:00 UTC.
///     clock: vec![
///         ClockChange { from: Timestamp::from_secs(1_774_746_000), offset_s: 7_200 },
///         ClockChange { from: Timestamp::from_secs(1_792_890_000), offset_s: 3_600 },
///     ],
///     // Every Sunday from 04:00 to 05:00, whatever the clock says elsewhere.
///     weekly: vec![Weekly { weekday: 6, from_s: 4 * 3600, until_s: 5 * 3600 }],
///     ..Calendar::default()
/// };
/// calendar.check()?;
/// let before = Timestamp::from_secs(1_792_287_000); // Sunday 2026-10-18 01:30 UTC, 03:30 local
/// let after = Timestamp::from_secs(1_792_899_000); // Sunday 2026-10-25 03:30 UTC, 04:30 local
/// assert!(calendar.excludes(before).is_none());
/// assert_eq!(calendar.excludes(after).unwrap().code, "maintenance");
/// # Ok::<(), aiops_detect::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Calendar {
    /// When the local clock changed, in order. Before the first change it is that of the first one; with
    /// none it is UTC.
    pub clock: Vec<ClockChange>,
    /// For this long after the clock was changed nothing is learnt: a model that knows the hour of the day
    /// is an hour off until it has learnt better. Default none.
    pub settle: Duration,
    /// Windows that come back every week.
    pub weekly: Vec<Weekly>,
    /// Whole local days.
    pub holidays: Vec<Date>,
    /// Single spans, from the first until before the second: a maintenance, a known incident.
    pub spans: Vec<(Timestamp, Timestamp)>,
}

/// From when on the local clock is how far ahead of UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockChange {
    /// When.
    pub from: Timestamp,
    /// Seconds ahead of UTC, less than a day to either side.
    pub offset_s: i32,
}

/// A window of local time that comes back every week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weekly {
    /// 0 is Monday, 6 Sunday.
    pub weekday: u8,
    /// Seconds after local midnight at which it begins.
    pub from_s: u32,
    /// Seconds after that midnight at which it is over; beyond 86,400 it goes on into the next day.
    pub until_s: u32,
}

/// A day of the Gregorian calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Date {
    /// Year.
    pub year: i32,
    /// Month, 1 to 12.
    pub month: u8,
    /// Day of the month, 1 to 31.
    pub day: u8,
}

/// Local time: days since 1970-01-01 and seconds into the day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalTime {
    /// Days since 1970-01-01, a Thursday.
    pub day: i64,
    /// Seconds since local midnight by the clock on the wall.
    pub second: u32,
}

impl LocalTime {
    /// 0 is Monday, 6 Sunday.
    pub fn weekday(self) -> u8 {
        (self.day + 3).rem_euclid(7) as u8
    }

    /// Hours since Monday, 0 to 167: the key of weekly profiles.
    pub fn hour_of_week(self) -> u8 {
        self.weekday() * 24 + (self.second / 3_600) as u8
    }
}

impl Calendar {
    /// Checks that changes are in order and windows within a week.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] names the field that is out of range.
    pub fn check(&self) -> Result<()> {
        if !self.clock.windows(2).all(|pair| pair[0].from < pair[1].from) {
            return Err(Error::config("clock", "changes must be in order of time"));
        }
        if let Some(change) = self.clock.iter().find(|change| change.offset_s.abs() >= 86_400) {
            let reason = format!("must be less than a day, got {} s", change.offset_s);
            return Err(Error::config("clock", reason));
        }
        for Weekly { weekday, from_s, until_s } in &self.weekly {
            if !(*weekday < 7 && *from_s < 86_400 && from_s < until_s && *until_s <= 7 * 86_400) {
                let reason =
                    format!("weekday {weekday} from {from_s} until {until_s} is no window");
                return Err(Error::config("weekly", reason));
            }
        }
        if let Some(date) = self.holidays.iter().find(|date| date.days().is_none()) {
            let Date { year, month, day } = date;
            return Err(Error::config("holidays", format!("no such day: {year}-{month}-{day}")));
        }
        Ok(())
    }

    /// Why nothing is learnt or told at `time`; `None` on a usual day.
    pub fn excludes(&self, time: Timestamp) -> Option<Reason> {
        if self.spans.iter().any(|(from, until)| *from <= time && time < *until) {
            return Some(Reason::new("excluded", "this span of time was excluded"));
        }
        let changed = self.clock.iter().rev().find(|change| change.from <= time);
        // The first entry says what the clock is, not that it was changed.
        if let Some(change) = changed.filter(|change| Some(*change) != self.clock.first())
            && time.since(change.from) < self.settle
        {
            let sentence = "the local clock was changed a short time before";
            return Some(Reason::new("clock_change", sentence).with("changed_at", change.from));
        }
        if self.weekly.is_empty() && self.holidays.is_empty() {
            return None;
        }
        let local = self.local(time);
        let is_holiday = |date: &&Date| date.days() == Some(local.day);
        if let Some(Date { year, month, day }) = self.holidays.iter().find(is_holiday) {
            let sentence = format!("{year:04}-{month:02}-{day:02} is a holiday");
            return Some(Reason::new("holiday", sentence));
        }
        let within = |window: &&Weekly| {
            // Back from now to the weekday of the window, this week and, for long windows, the last one.
            let since = i64::from(local.weekday()) - i64::from(window.weekday);
            let into = since.rem_euclid(7) * 86_400 + i64::from(local.second);
            let (from, until) = (i64::from(window.from_s), i64::from(window.until_s));
            (from..until).contains(&into) || (from..until).contains(&(into + 7 * 86_400))
        };
        let window = self.weekly.iter().find(within)?;
        let sentence = "this is a weekly maintenance window";
        Some(Reason::new("maintenance", sentence).with("weekday", u32::from(window.weekday)))
    }

    /// What the clock on the wall shows at `time`.
    pub fn local(&self, time: Timestamp) -> LocalTime {
        let change = self.clock.iter().rev().find(|change| change.from <= time);
        let offset = change.or(self.clock.first()).map_or(0, |change| change.offset_s);
        let seconds = time.as_nanos().div_euclid(1_000_000_000) + i64::from(offset);
        LocalTime { day: seconds.div_euclid(86_400), second: seconds.rem_euclid(86_400) as u32 }
    }
}

impl Date {
    /// Days since 1970-01-01; `None` when there is no such day.
    ///
    /// Source: Hinnant 2013, "chrono-compatible low-level date algorithms", `days_from_civil`.
    fn days(self) -> Option<i64> {
        let Date { year, month, day } = self;
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let lengths = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let length = *lengths.get(usize::from(month.checked_sub(1)?))?;
        if !(1..=length).contains(&day) || year.abs() > 1_000_000 {
            return None;
        }
        let (month, day) = (i64::from(month), i64::from(day));
        let year = i64::from(year) - i64::from(month <= 2);
        let era = year.div_euclid(400);
        let of_era = year.rem_euclid(400);
        let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        let days = of_era * 365 + of_era / 4 - of_era / 100 + of_year;
        Some(era * 146_097 + days - 719_468)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // By hand: 2000-02-29 is 11,016 days after the epoch, 2026-12-25 is 20,812 (a Friday).
    #[test]
    fn days_by_hand() {
        let days = |year, month, day| Date { year, month, day }.days();
        assert_eq!([days(1970, 1, 1), days(2000, 2, 29)], [Some(0), Some(11_016)]);
        assert_eq!(days(2026, 12, 25), Some(20_812));
        assert_eq!([days(2026, 2, 29), days(2026, 13, 1), days(2026, 0, 1)], [None; 3]);
        assert_eq!(LocalTime { day: 20_812, second: 0 }.weekday(), 4);
        assert_eq!(LocalTime { day: 20_812, second: 3_600 }.hour_of_week(), 97);
    }

    #[test]
    fn a_holiday_is_a_local_day_and_a_window_may_cross_midnight() {
        let calendar = Calendar {
            clock: vec![ClockChange { from: Timestamp::EPOCH, offset_s: -5 * 3_600 }],
            holidays: vec![Date { year: 2026, month: 12, day: 25 }],
            weekly: vec![Weekly { weekday: 6, from_s: 23 * 3_600, until_s: 25 * 3_600 }],
            ..Calendar::default()
        };
        calendar.check().unwrap();
        let code = |seconds: i64| calendar.excludes(Timestamp::from_secs(seconds)).map(|r| r.code);
        let christmas = 20_812 * 86_400;
        assert_eq!(code(christmas + 4 * 3_600), None, "still the 24th in New York");
        assert_eq!(code(christmas + 5 * 3_600).as_deref(), Some("holiday"));
        let sunday = (20_812 + 2) * 86_400 + 5 * 3_600;
        assert_eq!(code(sunday + 23 * 3_600).as_deref(), Some("maintenance"));
        assert_eq!(code(sunday + 24 * 3_600 + 1_800).as_deref(), Some("maintenance"), "Monday");
        assert_eq!(code(sunday + 25 * 3_600), None);
        let unordered = Calendar {
            weekly: vec![Weekly { weekday: 7, from_s: 0, until_s: 1 }],
            ..Calendar::default()
        };
        assert!(unordered.check().is_err());
    }

    #[test]
    fn nothing_is_learnt_while_the_change_of_the_clock_settles() {
        let at = Timestamp::from_secs;
        let calendar = Calendar {
            clock: vec![
                ClockChange { from: at(0), offset_s: 3_600 },
                ClockChange { from: at(1_000_000), offset_s: 7_200 },
            ],
            settle: Duration::from_secs(3_600),
            ..Calendar::default()
        };
        assert!(calendar.excludes(at(10)).is_none(), "the first entry is no change");
        assert_eq!(calendar.excludes(at(1_000_000)).unwrap().code, "clock_change");
        assert!(calendar.excludes(at(1_003_600)).is_none());
        assert_eq!(calendar.local(at(1_000_000)).second, (1_000_000 + 7_200) % 86_400);
    }
}
