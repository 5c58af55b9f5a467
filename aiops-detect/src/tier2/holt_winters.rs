//! [`HoltWinters`]: level, trend and season, each smoothed exponentially.

use aiops_core::{SnapshotReader, SnapshotWriter};
use serde::{Deserialize, Serialize};

use crate::{
    Error, Forecaster, Residual, ResidualConfig, Result, Single,
    error::{at_least, probability},
    saved,
};

/// Settings of [`HoltWinters`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HoltWintersConfig {
    /// Samples in a season, 2 to 2^20. Default 288, a day of five-minute samples.
    pub period: usize,
    /// Weight of the newest value in the level, between 0 and 1. Default 0.2.
    pub level: f64,
    /// Weight of the newest change in the trend, 0 to 1; at 0 there is none. Default 0: a trend
    /// learnt from minutes is noise.
    pub trend: f64,
    /// Weight of the newest season, between 0 and 1. Default 0.2.
    pub season: f64,
    /// The trend fades by this factor a step, above 0 and at most 1. Default 1.
    pub damping: f64,
    /// How distances from the forecast are judged.
    pub residual: ResidualConfig,
}

impl Default for HoltWintersConfig {
    fn default() -> Self {
        HoltWintersConfig {
            period: 288,
            level: 0.2,
            trend: 0.0,
            season: 0.2,
            damping: 1.0,
            residual: ResidualConfig::default(),
        }
    }
}

impl HoltWintersConfig {
    /// A detector of one series.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] names the field that is out of range.
    pub fn build(self) -> Result<Single<Residual<HoltWinters>>> {
        Ok(Single::new(self.method()?))
    }

    /// What [`Single`] and [`Columns`](crate::Columns) are made of.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn method(self) -> Result<Residual<HoltWinters>> {
        self.residual.clone().of(self.forecaster()?)
    }

    /// The forecaster alone.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn forecaster(&self) -> Result<HoltWinters> {
        at_least("period", self.period, 2)?;
        if self.period > 1 << 20 {
            let reason = format!("must be at most 2^20, got {}", self.period);
            return Err(Error::config("period", reason));
        }
        probability("level", self.level)?;
        probability("season", self.season)?;
        if !(0.0..=1.0).contains(&self.trend) {
            let reason = format!("must be within 0 and 1, got {}", self.trend);
            return Err(Error::config("trend", reason));
        }
        if !(self.damping > 0.0 && self.damping <= 1.0) {
            let reason = format!("must be above 0 and at most 1, got {}", self.damping);
            return Err(Error::config("damping", reason));
        }
        Ok(HoltWinters {
            weights: [self.level, self.trend, self.season],
            damping: self.damping,
            level: 0.0,
            trend: 0.0,
            season: vec![f64::NAN; self.period],
            phase: 0,
            first: Some((0.0, 0)),
        })
    }
}

/// Additive Holt-Winters smoothing with an optionally damped trend.
///
/// Finds what departs from level, trend and the last seasons. Fails while a season is longer than the
/// history, and where several seasons overlap: take [`OnlineStl`](super::OnlineStl) there.
///
/// With the forecast `ŷ = l + φb + s[i]` and weights α, β, γ for level, trend and season:
/// `l' = α(y - s[i]) + (1-α)(l + φb)`, `b' = β(l' - l) + (1-β)φb`,
/// `s'[i] = γ(y - l - φb) + (1-γ)s[i]`.
///
/// The first season only fills a table: its mean is the level, the trend is 0, the distances from
/// the mean are the season; phases without a value start at 0. Forecasts begin with the second. A
/// missing step moves on along the trend.
///
/// Time O(1), memory 8 bytes a phase.
///
/// Source: Holt 1957, Winters 1960; the equations as in Hyndman & Athanasopoulos 2021, section 8.3
/// (error-correction form of ETS(A,Ad,A), whose season is corrected with the level before the step).
#[derive(Debug, Clone)]
pub struct HoltWinters {
    /// Of level, trend and season.
    weights: [f64; 3],
    damping: f64,
    level: f64,
    trend: f64,
    /// By phase; NaN where no value was seen yet.
    season: Vec<f64>,
    phase: usize,
    /// Mean and number of values of the first season, while it lasts.
    first: Option<(f64, u32)>,
}

impl HoltWinters {
    fn start(&mut self) {
        let Some((mean, _)) = self.first.take() else { return };
        self.level = mean;
        for season in &mut self.season {
            *season = if season.is_nan() { 0.0 } else { *season - mean };
        }
    }

    /// Moves to the next phase; the first season ends where it began.
    fn advance(&mut self) {
        self.phase += 1;
        if self.phase == self.season.len() {
            self.phase = 0;
            if self.first.is_some_and(|(_, seen)| seen > 0) {
                self.start();
            }
        }
    }

    /// What a trend adds up to over `steps`.
    fn drift(&self, steps: u64) -> f64 {
        let steps = steps as f64;
        let sum = if self.damping == 1.0 {
            steps
        } else {
            self.damping * (1.0 - self.damping.powf(steps)) / (1.0 - self.damping)
        };
        self.trend * sum
    }
}

/// A trend of absurd size over an absurd time must not overflow.
const LARGEST: f64 = 1e120;

impl Forecaster for HoltWinters {
    fn name(&self) -> &'static str {
        "holt_winters"
    }

    fn forecast(&self, skipped: u64) -> Option<f64> {
        if self.first.is_some() {
            return None;
        }
        let n = self.season.len();
        let phase = (self.phase + (skipped % n as u64) as usize) % n;
        let drift = self.drift(skipped.saturating_add(1));
        Some((self.level + drift + self.season[phase]).clamp(-LARGEST, LARGEST))
    }

    fn learn(&mut self, value: f64) {
        if let Some((mean, seen)) = &mut self.first {
            *seen = seen.saturating_add(1).min(u32::MAX - 1); // the largest is written for "no first season"
            *mean += (value - *mean) / f64::from(*seen);
            self.season[self.phase] = value;
            return self.advance();
        }
        let [alpha, beta, gamma] = self.weights;
        let before = self.level + self.damping * self.trend;
        let season = self.season[self.phase];
        let level = alpha * (value - season) + (1.0 - alpha) * before;
        self.season[self.phase] = gamma * (value - before) + (1.0 - gamma) * season;
        self.trend = beta * (level - self.level) + (1.0 - beta) * self.damping * self.trend;
        self.level = level;
        self.advance();
    }

    fn skip(&mut self, steps: u64) {
        let n = self.season.len();
        let mut left = steps;
        if self.first.is_some() {
            let to_end = (n - self.phase) as u64;
            if left < to_end {
                self.phase += left as usize;
                return;
            }
            left -= to_end;
            self.phase = n - 1;
            self.advance();
        }
        if self.first.is_none() {
            self.level = (self.level + self.drift(left)).clamp(-LARGEST, LARGEST);
            self.trend *= self.damping.powf(left as f64);
        }
        self.phase = (self.phase + (left % n as u64) as usize) % n;
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + self.season.len() * size_of::<f64>()
    }

    fn save(&self, out: &mut SnapshotWriter) {
        let (mean, seen) = self.first.unwrap_or((0.0, u32::MAX));
        out.f64(mean);
        out.u32(seen);
        out.f64(self.level);
        out.f64(self.trend);
        out.u32(self.phase as u32);
        self.season.iter().for_each(|season| out.f64(*season));
    }

    fn load(&mut self, from: &mut SnapshotReader<'_>) -> Result<()> {
        let mean = saved::finite(from, "mean")?;
        let seen = from.u32()?;
        self.first = (seen != u32::MAX).then_some((mean, seen));
        self.level = saved::finite(from, "level")?;
        self.trend = saved::finite(from, "trend")?;
        let phase = from.u32()? as usize;
        if phase >= self.season.len() {
            return Err(saved::invalid("phase", phase));
        }
        self.phase = phase;
        for season in &mut self.season {
            let value = from.f64()?;
            let open = value.is_nan() && self.first.is_some();
            if !(open || value.abs() <= LARGEST) {
                return Err(saved::invalid("season", value));
            }
            *season = value;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{assert_near, example};
    use super::*;

    // Golden: statsmodels 0.15.0, `ExponentialSmoothing` with the first season as known start, see
    // `tests/golden/tier2.py`; 1e-9.
    #[test]
    fn forecasts_match_statsmodels() {
        let config = HoltWintersConfig {
            period: 12,
            level: 0.3,
            trend: 0.1,
            season: 0.2,
            damping: 0.9,
            ..HoltWintersConfig::default()
        };
        let mut model = config.forecaster().unwrap();
        let mut forecasts = Vec::new();
        for value in example() {
            forecasts.extend(model.forecast(0));
            model.learn(value);
        }
        let at = [0, 1, 11, 12, 13, 50, 108].map(|i: usize| forecasts[i]);
        assert_near("one step", at, &ONE_STEP, 1e-9);
        let ahead = (0..3).map(|skipped| model.forecast(skipped).unwrap());
        assert_near("ahead", ahead, &AHEAD, 1e-9);
        model.skip(2);
        assert_near("after a gap", model.forecast(0), &AHEAD[2..], 1e-9);
    }

    #[test]
    fn gaps_in_the_first_season_keep_the_phase() {
        let mut model = HoltWintersConfig { period: 4, ..Default::default() }.forecaster().unwrap();
        model.learn(1.0);
        model.skip(2);
        model.learn(3.0);
        assert_eq!(model.forecast(0), Some(1.0));
        assert_eq!([1, 2, 3].map(|skipped| model.forecast(skipped).unwrap()), [2.0, 2.0, 3.0]);
        model.skip(7);
        assert_eq!(model.forecast(0), Some(3.0));
    }

    const ONE_STEP: [f64; 7] = [
        9.0,
        12.307_800_000_000_002,
        9.803_768_427_998_556,
        9.884_369_823_197_954,
        13.275_279_622_251_293,
        19.905_606_366_970_204,
        19.020_662_860_659_31,
    ];
    const AHEAD: [f64; 3] = [21.130_926_506_781_307, 23.872_509_297_823_083, 21.735_969_320_984_31];
}
