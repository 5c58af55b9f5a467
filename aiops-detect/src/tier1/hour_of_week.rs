//! [`HourOfWeek`]: what is usual at this hour of the week.

use aiops_core::{Sample, SnapshotReader, SnapshotWriter, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    Error, Method, Result, Single, Tail, Tier, Verdict,
    error::{at_least, not_negative, positive},
    saved,
    yardstick::Yardstick,
};

/// The offset of local time from UTC from some moment on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffsetFrom {
    /// When it begins to hold.
    pub from: Timestamp,
    /// Seconds by which local clocks are ahead of UTC; at most a day either way.
    pub seconds: i32,
}

/// Settings of [`HourOfWeek`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HourOfWeekConfig {
    /// The offsets of the local time that people and their traffic live by, oldest first: one for a zone
    /// without daylight saving, one a transition otherwise. Before the first, its offset holds too.
    /// Default: none, UTC.
    pub offsets: Vec<OffsetFrom>,
    /// Values after which one counts half in a band. Default 200.
    pub memory: f64,
    /// Values that a band needs before it is believed, at least 4. Default 12. Until the band of the hour of
    /// the week has them, that of the hour of the day stands in, and before that the one of all hours.
    pub needed: u32,
    /// Tolerated share of normal samples that are flagged. Default 0.001.
    pub false_positive_rate: f64,
    /// Reference distribution for p-values. Default [`Tail::HeavyTailed`].
    pub tail: Tail,
    /// Least scale, as a share of the median. Default 0.001.
    pub relative_floor: f64,
    /// Least scale in the unit of the series. Default 1e-9.
    pub absolute_floor: f64,
}

impl Default for HourOfWeekConfig {
    fn default() -> Self {
        HourOfWeekConfig {
            offsets: Vec::new(),
            memory: 200.0,
            needed: 12,
            false_positive_rate: 1e-3,
            tail: Tail::default(),
            relative_floor: 1e-3,
            absolute_floor: 1e-9,
        }
    }
}

impl HourOfWeekConfig {
    /// A detector of one series.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] names the field that is out of range.
    pub fn build(self) -> Result<Single<HourOfWeek>> {
        Ok(Single::new(self.method()?))
    }

    /// What [`Single`] and [`Columns`](crate::Columns) are made of.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn method(self) -> Result<HourOfWeek> {
        positive("memory", self.memory)?;
        at_least("needed", self.needed as usize, 4)?;
        not_negative("relative_floor", self.relative_floor)?;
        positive("absolute_floor", self.absolute_floor)?;
        let sorted = self.offsets.windows(2).all(|pair| pair[0].from < pair[1].from);
        if !sorted || self.offsets.iter().any(|offset| offset.seconds.abs() > 86_400) {
            let reason = "must be in order of time, each at most a day from UTC";
            return Err(Error::config("offsets", reason));
        }
        Ok(HourOfWeek {
            yardstick: Yardstick::new(self.tail, self.false_positive_rate)?,
            forget: 1.0 - 0.5_f64.powf(1.0 / self.memory),
            config: self,
        })
    }
}

/// Quantile bands by hour of the week, in local time.
///
/// Finds what is unusual for the hour: high traffic on a Sunday night, none on Monday at nine. Nothing
/// needs to be periodic but people's habits, and samples may be irregular. Fails on seasons that do
/// not follow the clock, and for the first weeks knows hours of the day at best.
///
/// Each of 168 hours keeps its median `m` and its 5 % and 95 % quantiles `l` and `u`, and so do the 24
/// hours of the day and all hours together. Score = `(x - m) / s` with `s = (u - m) / 1.645` above the
/// median and `(m - x) / s` with `s = (m - l) / 1.645` below, at least `relative_floor · |m| +
/// absolute_floor`: the two sides of a band may differ. The p-value is the chance of the score in [`HourOfWeekConfig::tail`].
///
/// Quantiles are followed by stochastic approximation: `q += g (τ - [x < q])`, where `g` falls with the
/// values seen, to one over [`memory`](HourOfWeekConfig::memory), in units of the band's mean distance from its median. The hour of a sample
/// is that of its time plus the offset that holds then, so after a change of the clocks nine o'clock
/// is still nine o'clock; the hour that comes twice learns twice, the one that is left out is not judged.
///
/// A gap changes nothing. Values are taken as at most 1e100 in size. Time O(1), memory 7.7 KiB.
///
/// Source: Robbins & Monro 1951; Tierney 1983, "A space-efficient recursive procedure for estimating a
/// quantile of an unknown distribution". Deviations: gains from the density of a normal distribution
/// instead of an estimated one; the gain stops falling.
#[derive(Debug, Clone)]
pub struct HourOfWeek {
    config: HourOfWeekConfig,
    yardstick: Yardstick,
    forget: f64,
}

/// What an [`HourOfWeek`] knows of one series.
#[derive(Debug, Clone, PartialEq)]
pub struct Bands(Box<[Band]>);

/// Quantiles of the values of some hours.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Band {
    /// 5 %, 50 % and 95 %.
    quantiles: [f64; 3],
    /// Mean distance from the median.
    spread: f64,
    seen: u32,
}

const HOURS: usize = 168;
/// Place of the band of hour zero of the day, and of that of all hours.
const DAY: usize = HOURS;
const ALL: usize = HOURS + 24;
const BANDS: usize = ALL + 1;

const LARGEST: f64 = 1e100;
const LEVELS: [f64; 3] = [0.05, 0.5, 0.95];
/// One over the normal density at the quantiles, in mean absolute deviations: the best gains.
const GAINS: [f64; 3] = [12.15, std::f64::consts::PI, 12.15];
/// From the distance of the 95 % quantile to a standard deviation.
const TO_SIGMA: f64 = 1.0 / 1.644_853_626_951_472_7;

const EMPTY: Band = Band { quantiles: [0.0; 3], spread: 0.0, seen: 0 };

impl Band {
    fn learn(&mut self, value: f64, forget: f64) {
        self.seen = self.seen.saturating_add(1);
        if self.seen == 1 {
            self.quantiles = [value; 3];
            return;
        }
        let weight = forget.max(1.0 / f64::from(self.seen));
        let off = (value - self.quantiles[1]).abs();
        // A single absurd value counts as ten usual distances.
        let off = if self.seen > 8 { off.min(10.0 * self.spread.max(1e-300)) } else { off };
        self.spread += weight * (off - self.spread);
        for i in 0..3 {
            let below = f64::from(u8::from(value < self.quantiles[i]));
            let step = weight * GAINS[i] * self.spread * (LEVELS[i] - below);
            // Where values repeat, a step must not jump over the value that asks for it.
            let next = self.quantiles[i] + step;
            let over = (next - value) * (self.quantiles[i] - value) < 0.0;
            self.quantiles[i] = if over { value } else { next };
        }
        let [low, middle, high] = self.quantiles;
        self.quantiles = [low.min(middle), middle, high.max(middle)];
    }
}

impl HourOfWeek {
    /// Hour of the week in local time, from Monday at midnight.
    fn hour(&self, time: Timestamp) -> usize {
        let offsets = &self.config.offsets;
        let holds = offsets.partition_point(|offset| offset.from <= time).saturating_sub(1);
        let offset = offsets.get(holds).map_or(0, |offset| i64::from(offset.seconds));
        // The epoch was a Thursday.
        ((time.as_secs() + offset).div_euclid(3600) + 72).rem_euclid(HOURS as i64) as usize
    }

    /// The band to believe at an hour.
    fn band<'a>(&self, bands: &'a Bands, hour: usize) -> Option<&'a Band> {
        [hour, DAY + hour % 24, ALL]
            .into_iter()
            .map(|place| &bands.0[place])
            .find(|band| band.seen >= self.config.needed)
    }
}

impl Method for HourOfWeek {
    type State = Bands;

    fn name(&self) -> &'static str {
        "hour_of_week"
    }

    fn tier(&self) -> Tier {
        Tier::One
    }

    fn fresh(&self) -> Bands {
        Bands(vec![EMPTY; BANDS].into())
    }

    fn judge(&self, bands: &Bands, sample: Sample) -> Option<Verdict> {
        let band = self.band(bands, self.hour(sample.time))?;
        let value = sample.value.clamp(-LARGEST, LARGEST);
        let [low, middle, high] = band.quantiles;
        let floor = self.config.relative_floor * middle.abs() + self.config.absolute_floor;
        let below = (TO_SIGMA * (middle - low)).max(floor);
        let above = (TO_SIGMA * (high - middle)).max(floor);
        let scale = if value < middle { below } else { above };
        let verdict = self.yardstick.verdict(Tier::One, value, middle, scale);
        // The other side of the band has a width of its own.
        let half = verdict.upper - middle;
        Some(Verdict {
            lower: middle - half * (below / scale),
            upper: middle + half * (above / scale),
            ..verdict
        })
    }

    fn learn(&self, bands: &mut Bands, sample: Sample) {
        let value = sample.value.clamp(-LARGEST, LARGEST);
        let hour = self.hour(sample.time);
        for place in [hour, DAY + hour % 24, ALL] {
            bands.0[place].learn(value, self.forget);
        }
    }

    fn p_value(&self, _bands: &Bands, score: f64) -> f64 {
        self.yardstick.p_value(score)
    }

    fn bytes(&self) -> usize {
        size_of::<Bands>() + BANDS * size_of::<Band>()
    }

    fn save(&self, bands: &Bands, out: &mut SnapshotWriter) {
        for band in &bands.0 {
            out.u32(band.seen);
            if band.seen > 0 {
                band.quantiles.iter().for_each(|q| out.f64(*q));
                out.f64(band.spread);
            }
        }
    }

    fn load(&self, from: &mut SnapshotReader<'_>) -> Result<Bands> {
        let mut bands = self.fresh();
        for band in &mut bands.0 {
            band.seen = from.u32()?;
            if band.seen == 0 {
                continue;
            }
            for quantile in &mut band.quantiles {
                *quantile = saved::within(from, "quantile", 1e102)?;
            }
            band.spread = saved::not_negative(from, "spread")?;
            if !band.quantiles.is_sorted() {
                return Err(saved::invalid("order of quantiles", band.quantiles[1]));
            }
        }
        Ok(bands)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DetectorExt, testing::Noise};

    #[test]
    fn hours_are_local_and_survive_the_change_of_clocks() {
        let zone = vec![
            OffsetFrom { from: Timestamp::MIN, seconds: 3600 },
            // 2026-03-29 01:00 UTC, when Berlin goes from one to two hours ahead.
            OffsetFrom { from: Timestamp::from_secs(1_774_746_000), seconds: 7200 },
        ];
        let method = HourOfWeekConfig { offsets: zone, ..Default::default() }.method().unwrap();
        // Friday 2026-03-27 08:00 UTC and Monday 2026-03-30 07:00 UTC are both nine o'clock there.
        assert_eq!(method.hour(Timestamp::from_secs(1_774_598_400)), 4 * 24 + 9);
        assert_eq!(method.hour(Timestamp::from_secs(1_774_854_000)), 9);
        let utc = HourOfWeekConfig::default().method().unwrap();
        assert_eq!(utc.hour(Timestamp::from_secs(0)), 72, "Thursday at midnight");
        assert_eq!(utc.hour(Timestamp::from_secs(-1)), 71);
    }

    #[test]
    fn bands_come_to_the_quantiles() {
        let mut noise = Noise::new(9);
        let mut band = EMPTY;
        for _ in 0..20_000 {
            band.learn(10.0 + 2.0 * noise.normal(), 1e-9);
        }
        let expected = [10.0 - 3.29, 10.0, 10.0 + 3.29];
        for (found, expected) in band.quantiles.iter().zip(expected) {
            assert!((found - expected).abs() < 0.15, "{found}, expected {expected}");
        }
    }

    #[test]
    fn noon_at_midnight_is_unusual() {
        let mut noise = Noise::new(10);
        let hourly = |hour: i64| if (9..17).contains(&(hour % 24)) { 100.0 } else { 10.0 };
        let mut samples: Vec<Sample> = (0..24 * 60 * 4)
            .map(|quarter| {
                let value = hourly(quarter / 4) + noise.normal();
                Sample::new(Timestamp::from_secs(900 * quarter), value)
            })
            .collect();
        let at = samples.len() as i64;
        samples.push(Sample::new(Timestamp::from_secs(900 * at), 100.0));
        let verdicts = HourOfWeekConfig::default().build().unwrap().replay(samples);
        let last = verdicts[at as usize];
        assert!(last.flagged && last.expected < 15.0, "{last:?}");
        let flagged = verdicts[24 * 14 * 4..at as usize].iter().filter(|v| v.flagged).count();
        assert!(flagged < 20, "{flagged} of six weeks");
    }
}
