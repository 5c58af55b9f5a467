//! Stage 1a: how far the clocks of the senders are off, estimated from arrivals.

use aiops_core::Timestamp;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::Duration;

/// How clocks are corrected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SkewConfig {
    /// No time is moved further than this. Default 2 hours; zero corrects nothing.
    pub max: Duration,
    /// Offsets smaller than this are left alone: they are within the jitter of delivery. Default 10 s.
    pub ignore: Duration,
    /// Records of a source before it is corrected. Default 8.
    pub records: u32,
    /// Records of a source that its estimate looks back over. Default 64.
    pub window: u32,
}

impl Default for SkewConfig {
    fn default() -> Self {
        SkewConfig {
            max: Duration::from_secs(7_200),
            ignore: Duration::from_secs(10),
            records: 8,
            window: 64,
        }
    }
}

/// Clock offsets by source, learned from how long records seem to be on their way.
///
/// A record cannot arrive before it was sent. So the *shortest* apparent delay of a source, over its
/// last `window` records, is its clock's offset plus the shortest true delay, which is about the same
/// for everybody: the median over sources is taken for it. Late records and resends that repeat an
/// old beginning only ever look slower, and leave a minimum as it is. This is the one-way half of
/// Cristian's algorithm (1989), with the median of the fleet in place of a round trip; deviation: a
/// fleet whose clocks are all off together looks right, because only differences can be seen.
///
/// Time O(1) amortised a record (the minimum over a window is kept as a monotone queue), memory
/// O(window) a source at most.
///
/// ```
/// use aiops_core::Timestamp;
/// use aiops_correlate::{ClockSkew, SkewConfig};
///
/// let mut skew = ClockSkew::new(SkewConfig::default());
/// for second in 0..20 {
///     let sent = Timestamp::from_secs(1_000 + 10 * second);
///     for source in ["a", "b", "c"] {
///         let ahead = if source == "c" { 3_600 } else { 0 };
///         let said = Timestamp::from_secs(sent.as_secs() + ahead);
///         skew.learn(source, said, Timestamp::from_secs(sent.as_secs() + 1));
///     }
/// }
/// assert_eq!(skew.offset_s("c"), 3_600.0);
/// assert_eq!(skew.correct("c", Timestamp::from_secs(9_000)), Timestamp::from_secs(5_400));
/// assert_eq!(skew.correct("a", Timestamp::from_secs(9_000)), Timestamp::from_secs(9_000));
/// ```
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ClockSkew {
    config: SkewConfig,
    #[serde(serialize_with = "crate::snapshot::sorted_map")]
    sources: FxHashMap<Box<str>, Source>,
    /// Median of the shortest delays, and how many records ago it was taken.
    typical_s: f64,
    age: usize,
}

/// Apparent delays of one source: number of the record and seconds, both ascending.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Source {
    records: u32,
    shortest: VecDeque<(u32, f64)>,
}

impl Source {
    fn shortest_s(&self) -> f64 {
        self.shortest.front().map_or(0.0, |shortest| shortest.1)
    }
}

impl ClockSkew {
    /// Nothing known yet.
    pub fn new(config: SkewConfig) -> Self {
        ClockSkew { config, ..ClockSkew::default() }
    }

    /// A record of `source` that says it is of `said` arrived at `received`.
    pub fn learn(&mut self, source: &str, said: Timestamp, received: Timestamp) {
        if self.config.max.is_zero() {
            return;
        }
        let delay = received.seconds_after(said);
        let of = match self.sources.get_mut(source) {
            Some(of) => of,
            None => self.sources.entry(source.into()).or_default(),
        };
        of.records = of.records.wrapping_add(1);
        let number = of.records;
        while of.shortest.back().is_some_and(|(_, longer)| *longer >= delay) {
            of.shortest.pop_back();
        }
        of.shortest.push_back((number, delay));
        let window = self.config.window.max(1);
        while of.shortest.front().is_some_and(|(old, _)| number.wrapping_sub(*old) >= window) {
            of.shortest.pop_front();
        }
        // The median moves slowly: it is taken anew after as many records as there are sources.
        self.age += 1;
        if self.age > self.sources.len() {
            self.age = 0;
            self.typical_s = self.median();
        }
    }

    fn median(&self) -> f64 {
        let known = self.sources.values().filter(|of| of.records >= self.config.records);
        let mut shortest: Vec<f64> = known.map(Source::shortest_s).collect();
        if shortest.is_empty() {
            return 0.0;
        }
        let middle = shortest.len() / 2;
        *shortest.select_nth_unstable_by(middle, f64::total_cmp).1
    }

    /// Seconds by which the clock of `source` is ahead of the others; 0 while too little is known of
    /// it, or while the offset is too small to matter. Never more than the bound.
    pub fn offset_s(&self, source: &str) -> f64 {
        let Some(of) = self.sources.get(source).filter(|of| of.records >= self.config.records)
        else {
            return 0.0;
        };
        let offset = self.typical_s - of.shortest_s();
        if offset.abs() < self.config.ignore.as_secs_f64() {
            return 0.0;
        }
        let max = self.config.max.as_secs_f64();
        offset.clamp(-max, max)
    }

    /// `said` by `source`, on the clock of the others.
    pub fn correct(&self, source: &str, said: Timestamp) -> Timestamp {
        let offset = self.offset_s(source);
        let by = Duration::from_secs_f64(offset.abs());
        if offset > 0.0 { said - by } else { said + by }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fed(skewed_s: i64, records: i64) -> ClockSkew {
        let mut skew = ClockSkew::new(SkewConfig::default());
        for number in 0..records {
            for (source, offset) in [("a", 0), ("b", 1), ("c", -1), ("off", skewed_s)] {
                let sent = 10_000 + 60 * number;
                // One in four is late by minutes; a resend repeats an old beginning.
                let late = if number % 4 == 0 { 400 } else { 1 + number % 3 };
                let said = Timestamp::from_secs(sent + offset);
                skew.learn(source, said, Timestamp::from_secs(sent + late));
            }
        }
        skew
    }

    #[test]
    fn late_records_and_resends_do_not_look_like_skew() {
        let skew = fed(300, 40);
        assert!((skew.offset_s("off") - 300.0).abs() <= 2.0, "{}", skew.offset_s("off"));
        for source in ["a", "b", "c", "nobody"] {
            assert_eq!(skew.offset_s(source), 0.0, "{source}");
        }
    }

    #[test]
    fn a_clock_behind_is_moved_forward_and_no_further_than_the_bound() {
        let skew = fed(-20_000, 40);
        assert_eq!(skew.offset_s("off"), -7_200.0);
        let said = Timestamp::from_secs(1_000);
        assert_eq!(skew.correct("off", said), Timestamp::from_secs(8_200));
    }

    #[test]
    fn little_is_no_reason_and_a_repaired_clock_is_believed_again() {
        assert_eq!(fed(300, 5).offset_s("off"), 0.0, "five records are too few");
        let mut skew = fed(300, 40);
        for number in 0..70 {
            let at = Timestamp::from_secs(20_000 + 60 * number);
            for source in ["a", "b", "c", "off"] {
                skew.learn(source, at, at + Duration::from_secs(1));
            }
        }
        assert_eq!(skew.offset_s("off"), 0.0);
    }

    #[test]
    fn a_bound_of_zero_corrects_nothing() {
        let config = SkewConfig { max: Duration::ZERO, ..SkewConfig::default() };
        let mut skew = ClockSkew::new(config);
        (0..50)
            .for_each(|s| skew.learn("a", Timestamp::from_secs(s), Timestamp::from_secs(s + 900)));
        assert_eq!(skew.offset_s("a"), 0.0);
    }
}
