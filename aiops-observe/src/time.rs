//! Times as text.

use aiops_core::Timestamp;

const NANOS: i64 = 1_000_000_000;

/// RFC 3339, as all webhooks write it, with the offset `+0000` of PagerDuty as well.
pub(crate) fn rfc3339(text: &str) -> Option<Timestamp> {
    let parsed: jiff::Timestamp = text.trim().parse().ok()?;
    // What lies beyond the years 1678 to 2262 saturates: Alertmanager's year 1 means "not yet".
    let nanos = parsed.as_nanosecond().clamp(i128::from(i64::MIN), i128::from(i64::MAX));
    Some(Timestamp::from_nanos(nanos as i64))
}

/// As RFC 3339 in UTC, to the nanosecond where it is needed.
pub(crate) fn to_rfc3339(time: Timestamp) -> String {
    // Every i64 of nanoseconds is within the years that jiff knows.
    let time = jiff::Timestamp::from_nanosecond(time.as_nanos().into());
    time.unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}

/// Seconds since the epoch as a decimal number, read exactly to the nanosecond: as `f64` they would
/// be off by up to 120 ns.
pub(crate) fn seconds(text: &str) -> Option<Timestamp> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let decimal = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !decimal(whole) || !decimal(fraction) {
        // An exponent: only then through a float.
        return float_seconds(text.parse().ok()?);
    }
    let whole: i64 = whole.parse().ok()?;
    let digit = |place: usize| i64::from(fraction.as_bytes().get(place).map_or(0, |b| b - b'0'));
    let nanos = (0..9).fold(0, |nanos, place| nanos * 10 + digit(place));
    let total = whole.checked_mul(NANOS)?.checked_add(nanos)?;
    Some(Timestamp::from_nanos(if negative { -total } else { total }))
}

/// Seconds since the epoch; rounded to microseconds, which is about what an `f64` of today holds.
pub(crate) fn float_seconds(seconds: f64) -> Option<Timestamp> {
    let micros = (seconds * 1e6).round();
    let representable = micros.abs() < i64::MAX as f64 / 1e3;
    representable.then(|| Timestamp::from_nanos(micros as i64 * 1_000))
}

/// Seconds as a number, or RFC 3339.
pub(crate) fn any(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    seconds(text).or_else(|| rfc3339(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_exact() {
        let nanos = |text| seconds(text).map(Timestamp::as_nanos);
        assert_eq!(nanos("1700000000.123456789"), Some(1_700_000_000_123_456_789));
        assert_eq!(nanos("-1.5"), Some(-1_500_000_000));
        assert_eq!(nanos("1.7e9"), Some(1_700_000_000_000_000_000));
        assert_eq!(nanos("12."), Some(12 * NANOS));
        for bad in ["", ".", "x", "1e300", "NaN", "99999999999999999999", "--1", "1.2.3"] {
            assert_eq!(nanos(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for nanos in [0, 1, -1_500_000_000, 1_700_000_000_123_456_789, i64::MIN, i64::MAX] {
            let time = Timestamp::from_nanos(nanos);
            assert_eq!(rfc3339(&to_rfc3339(time)), Some(time));
        }
    }

    #[test]
    fn webhook_times_are_read() {
        let secs = |text| rfc3339(text).map(|time| time.seconds_after(Timestamp::EPOCH));
        assert_eq!(secs("1970-01-01T00:01:00.5Z"), Some(60.5));
        assert_eq!(secs("1970-01-01T01:00:00+01:00"), Some(0.0));
        assert_eq!(secs("1970-01-01T00:00:01.250+0000"), Some(1.25));
        assert_eq!(rfc3339("0001-01-01T00:00:00Z"), Some(Timestamp::MIN));
        assert_eq!(secs("1970-01-01"), None);
        assert_eq!(secs("yesterday"), None);
    }
}
