//! The models that `augurs` fits: they need the clock of a series, for the seasons of the calendar.

use std::time::Duration;

use aiops_core::{Frame, Timestamp};
use aiops_detect::tier2::{MstlEtsConfig, ProphetConfig};
use jiff::{civil::DateTime, tz::TimeZone};

use super::{
    Failure,
    contender::{Output, batch, batch_of, frame_from, several, several_of},
    data::Series,
};

pub(super) fn mstl(series: &Series) -> Result<Output, Failure> {
    several(&MstlEtsConfig::default(), series)
}

pub(super) fn mstl_offline(series: &Series) -> Result<Output, Failure> {
    batch(&MstlEtsConfig::default(), series, series)
}

pub(super) fn prophet(series: &Series) -> Result<Output, Failure> {
    several_of(&ProphetConfig::default(), series, &by_the_clock(series)?)
}

pub(super) fn prophet_offline(series: &Series) -> Result<Output, Failure> {
    let frame = by_the_clock(series)?;
    batch_of(&ProphetConfig::default(), &frame, &frame)
}

/// A series that begins at its first stamp and goes on in the step between its first two different ones: what
/// is known when the second has come. Stamps that are no time are taken as a second apart.
fn by_the_clock(series: &Series) -> Result<Frame, Failure> {
    let mut seconds = series.stamps.iter().map_while(|stamp| seconds(stamp));
    let start = seconds.next().unwrap_or(0);
    let step = seconds.map(|next| next - start).find(|step| *step > 0).unwrap_or(1);
    frame_from(series, Timestamp::from_secs(start), Duration::from_secs(step as u64))
}

/// Seconds since 1970 of a number of them, or of `2014-04-01 00:05:00`, which is taken as UTC where it does not say.
fn seconds(stamp: &str) -> Option<i64> {
    if let Ok(seconds) = stamp.parse::<f64>() {
        return (seconds.abs() < 1e12).then_some(seconds as i64);
    }
    let in_utc = |stamp: &str| stamp.parse::<DateTime>()?.to_zoned(TimeZone::UTC);
    let time = stamp.parse().or_else(|_| in_utc(stamp).map(|zoned| zoned.timestamp()));
    time.ok().map(jiff::Timestamp::as_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    // By `date -u -d ... +%s`.
    #[test]
    fn stamps_are_read() {
        assert_eq!(seconds("2014-04-01 00:05:00"), Some(1_396_310_700));
        assert_eq!(seconds("2024-02-29T23:59:59.5Z"), Some(1_709_251_199));
        assert_eq!((seconds("1970-01-01 00:00:00"), seconds("17.0")), (Some(0), Some(17)));
        assert_eq!(seconds("2014-04-01T02:05:00+02:00"), Some(1_396_310_700));
        assert_eq!((seconds("noon"), seconds(""), seconds("-1e300")), (None, None, None));
    }
}
