//! Instants and freeze windows.

use aiops_core::Timestamp;
use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp as Instant, ToSpan};

use super::schema::{Day, Freeze, Weekly};

/// Reads an RFC 3339 instant.
pub(crate) fn instant(text: &str) -> Option<Timestamp> {
    let parsed: Instant = text.parse().ok()?;
    Some(Timestamp::from_nanos(i64::try_from(parsed.as_nanosecond()).ok()?))
}

/// Checks that a freeze window means something.
pub(crate) fn check(freeze: &Freeze) -> Result<(), String> {
    match (&freeze.from, &freeze.until, &freeze.weekly) {
        (Some(from), Some(until), None) => {
            let read = |text: &str| {
                instant(text).ok_or_else(|| format!("`{text}` is not an RFC 3339 instant"))
            };
            if read(from)? < read(until)? {
                Ok(())
            } else {
                Err("`until` must be after `from`".to_owned())
            }
        }
        (None, None, Some(weekly)) => {
            if weekly.days.is_empty() {
                return Err("`days` must name at least one day".to_owned());
            }
            local_time(&weekly.from)?;
            local_time(&weekly.until)?;
            zone(&weekly.zone).map(|_| ())
        }
        _ => Err("give `from` and `until`, or `weekly`".to_owned()),
    }
}

/// Whether `now` is in the window. A window that cannot be read counts as closed: what forbids
/// must not fail open.
pub(crate) fn is_frozen(freeze: &Freeze, now: Timestamp) -> bool {
    match (&freeze.from, &freeze.until, &freeze.weekly) {
        (Some(from), Some(until), None) => match (instant(from), instant(until)) {
            (Some(from), Some(until)) => from <= now && now < until,
            _ => true,
        },
        (None, None, Some(weekly)) => in_week(weekly, now).unwrap_or(true),
        _ => true,
    }
}

/// Whether `now` is in one of the weekly windows. Each window is laid out as instants on its own
/// local date, so that a day with a change of clocks keeps its local hours; a local time that
/// such a day skips or repeats is taken as jiff's "compatible" rule says (RFC 5545).
pub(crate) fn in_week(weekly: &Weekly, now: Timestamp) -> Result<bool, String> {
    let (from, until) = (local_time(&weekly.from)?, local_time(&weekly.until)?);
    let zone = zone(&weekly.zone)?;
    let instant =
        Instant::from_nanosecond(i128::from(now.as_nanos())).map_err(|e| e.to_string())?;
    let today = instant.to_zoned(zone.clone()).date();
    // A window that crosses midnight may have begun yesterday.
    for back in 0..=1 {
        let begins = today.checked_sub(back.days()).map_err(|e| e.to_string())?;
        if !weekly.days.iter().any(|day| weekday(*day) == begins.weekday()) {
            continue;
        }
        let ends = if until > from {
            begins
        } else {
            begins.checked_add(1.day()).map_err(|e| e.to_string())?
        };
        let at = |date: jiff::civil::Date, time: Time| {
            zone.to_zoned(date.to_datetime(time)).map(|z| z.timestamp()).map_err(|e| e.to_string())
        };
        if at(begins, from)? <= instant && instant < at(ends, until)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn weekday(day: Day) -> Weekday {
    match day {
        Day::Mon => Weekday::Monday,
        Day::Tue => Weekday::Tuesday,
        Day::Wed => Weekday::Wednesday,
        Day::Thu => Weekday::Thursday,
        Day::Fri => Weekday::Friday,
        Day::Sat => Weekday::Saturday,
        Day::Sun => Weekday::Sunday,
    }
}

fn zone(name: &str) -> Result<TimeZone, String> {
    if name == "UTC" {
        return Ok(TimeZone::UTC);
    }
    TimeZone::get(name).map_err(|_| format!("`{name}` is not a time zone known on this machine"))
}

fn local_time(text: &str) -> Result<Time, String> {
    let wrong = || format!("`{text}` is not a local time HH:MM");
    let (hour, minute) = text.split_once(':').ok_or_else(wrong)?;
    if hour.len() != 2 || minute.len() != 2 {
        return Err(wrong());
    }
    let number = |t: &str| t.parse::<i8>().map_err(|_| wrong());
    Time::new(number(hour)?, number(minute)?, 0, 0).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weekly(days: Vec<Day>, from: &str, until: &str, zone: &str) -> Freeze {
        let weekly =
            Weekly { days, from: from.to_owned(), until: until.to_owned(), zone: zone.to_owned() };
        Freeze { reason: String::new(), from: None, until: None, weekly: Some(weekly) }
    }

    fn at(text: &str) -> Timestamp {
        instant(text).unwrap()
    }

    #[test]
    fn a_window_over_midnight_covers_the_next_morning_only() {
        let freeze = weekly(vec![Day::Fri], "18:00", "08:00", "UTC");
        assert_eq!(check(&freeze), Ok(()));
        for (when, frozen) in [
            ("2026-11-20T17:59:59Z", false), // a Friday
            ("2026-11-20T18:00:00Z", true),
            ("2026-11-21T07:59:59Z", true),
            ("2026-11-21T08:00:00Z", false),
            ("2026-11-21T19:00:00Z", false),
        ] {
            assert_eq!(is_frozen(&freeze, at(when)), frozen, "{when}");
        }
    }

    #[test]
    fn a_window_keeps_its_local_hours_when_clocks_change() {
        // Central European clocks went from 03:00 back to 02:00 on 2026-10-25 at 01:00 UTC.
        let freeze = weekly(vec![Day::Sun], "01:00", "04:00", "Europe/Berlin");
        if check(&freeze).is_err() {
            return; // a machine without a time-zone database
        }
        for (when, frozen) in [
            ("2026-10-24T22:59:59Z", false), // 00:59 local, summer time
            ("2026-10-24T23:00:00Z", true),
            ("2026-10-25T01:30:00Z", true), // the second 02:30
            ("2026-10-25T02:59:59Z", true), // 03:59 local, winter time
            ("2026-10-25T03:00:00Z", false),
        ] {
            assert_eq!(is_frozen(&freeze, at(when)), frozen, "{when}");
        }
    }

    #[test]
    fn a_window_that_means_nothing_is_refused_and_forbids() {
        let broken = Freeze { reason: String::new(), from: None, until: None, weekly: None };
        assert!(check(&broken).is_err());
        assert!(is_frozen(&broken, at("2026-01-01T00:00:00Z")));
        assert!(check(&weekly(vec![Day::Mon], "8:00", "09:00", "UTC")).is_err());
        assert!(check(&weekly(vec![Day::Mon], "08:00", "24:00", "UTC")).is_err());
        assert!(check(&weekly(vec![Day::Mon], "08:00", "09:00", "Moon/Base")).is_err());
        assert!(check(&weekly(vec![], "08:00", "09:00", "UTC")).is_err());
    }
}
