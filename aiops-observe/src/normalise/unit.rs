//! Units: what a metric is counted in, and the factor to the canonical unit.

use super::words::Words;
use aiops_core::Unit;

/// A unit as found, with the factor that makes it canonical: seconds, bytes, a share of 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scaled {
    pub(crate) unit: Unit,
    pub(crate) factor: f64,
}

const fn scaled(unit: Unit, factor: f64) -> Option<Scaled> {
    Some(Scaled { unit, factor })
}

const KIB: f64 = 1024.0;

/// The unit that the sender declares: the words of Prometheus and OpenMetrics, or UCUM.
///
/// UCUM's `kBy` is a thousand bytes and `KiBy` 1,024. An annotation such as `{request}` is a count.
pub(crate) fn declared(text: &str) -> Option<Scaled> {
    if let Some(head) = text.strip_suffix("/s") {
        return match declared(head)? {
            Scaled { unit: Unit::Bytes, factor } => scaled(Unit::BytesPerSecond, factor),
            Scaled { unit: Unit::Count, .. } => scaled(Unit::PerSecond, 1.0),
            _ => None,
        };
    }
    if text.starts_with('{') && text.ends_with('}') {
        return scaled(Unit::Count, 1.0);
    }
    match text {
        "By" => scaled(Unit::Bytes, 1.0),
        "kBy" => scaled(Unit::Bytes, 1e3),
        "MBy" => scaled(Unit::Bytes, 1e6),
        "GBy" => scaled(Unit::Bytes, 1e9),
        "KiBy" => scaled(Unit::Bytes, KIB),
        "MiBy" => scaled(Unit::Bytes, KIB * KIB),
        "GiBy" => scaled(Unit::Bytes, KIB * KIB * KIB),
        "min" => scaled(Unit::Seconds, 60.0),
        "h" => scaled(Unit::Seconds, 3_600.0),
        "d" => scaled(Unit::Seconds, 86_400.0),
        // UCUM's 1 is any plain number: a count as often as a share. The name has to say which.
        "1" | "" => None,
        "s" => scaled(Unit::Seconds, 1.0),
        "%" => scaled(Unit::Ratio, 0.01),
        word => of_word(word),
    }
}

/// The unit that the words of a name give away; the last word that is a unit counts, because
/// `disk_read_time_seconds_total` and `pool_wait_ms_p99` carry suffixes behind it.
///
/// A `s` alone is not one: it is more often a column of a recording than a unit.
pub(crate) fn in_name(words: &Words) -> Option<Scaled> {
    words.iter().rev().find_map(of_word)
}

fn of_word(word: &str) -> Option<Scaled> {
    match word {
        "seconds" | "second" | "secs" | "sec" => scaled(Unit::Seconds, 1.0),
        "milliseconds" | "millisecond" | "millis" | "msec" | "ms" => scaled(Unit::Seconds, 1e-3),
        "microseconds" | "microsecond" | "micros" | "usec" | "us" => scaled(Unit::Seconds, 1e-6),
        "nanoseconds" | "nanosecond" | "nanos" | "nsec" | "ns" => scaled(Unit::Seconds, 1e-9),
        "minutes" => scaled(Unit::Seconds, 60.0),
        "hours" => scaled(Unit::Seconds, 3_600.0),
        "bytes" | "byte" => scaled(Unit::Bytes, 1.0),
        "kilobytes" | "kb" | "kib" | "kibibytes" => scaled(Unit::Bytes, KIB),
        "megabytes" | "mb" | "mib" | "mebibytes" => scaled(Unit::Bytes, KIB * KIB),
        "gigabytes" | "gb" | "gib" | "gibibytes" => scaled(Unit::Bytes, KIB * KIB * KIB),
        "bits" => scaled(Unit::Bytes, 0.125),
        "ratio" | "fraction" => scaled(Unit::Ratio, 1.0),
        "percent" | "percentage" | "pct" => scaled(Unit::Ratio, 0.01),
        _ => None,
    }
}

/// The unit of how fast something grows that is counted in `unit`. Seconds per second are a share
/// of time.
pub(crate) const fn per_second(unit: Unit) -> Unit {
    match unit {
        Unit::Seconds => Unit::Ratio,
        Unit::Bytes => Unit::BytesPerSecond,
        _ => Unit::PerSecond,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ucum_and_words_reach_the_same_units() {
        for (text, unit, factor) in [
            ("ms", Unit::Seconds, 1e-3),
            ("milliseconds", Unit::Seconds, 1e-3),
            ("By", Unit::Bytes, 1.0),
            ("MiBy", Unit::Bytes, 1_048_576.0),
            ("By/s", Unit::BytesPerSecond, 1.0),
            ("{request}", Unit::Count, 1.0),
            ("{request}/s", Unit::PerSecond, 1.0),
            ("%", Unit::Ratio, 0.01),
        ] {
            assert_eq!(declared(text), scaled(unit, factor), "{text}");
        }
        assert_eq!(declared("1"), None);
        assert_eq!(declared("Cel"), None);
    }

    #[test]
    fn the_last_unit_of_a_name_counts() {
        let unit = |name| in_name(&Words::of(name)).map(|found| (found.unit, found.factor));
        assert_eq!(unit("pool_wait_ms_p99"), Some((Unit::Seconds, 1e-3)));
        assert_eq!(unit("node_disk_read_time_seconds_total"), Some((Unit::Seconds, 1.0)));
        assert_eq!(unit("disk_used_percent"), Some((Unit::Ratio, 0.01)));
        assert_eq!(unit("queue_depth"), None);
    }
}
