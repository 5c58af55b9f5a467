//! [`OnlineStl`]: trend and seasons of a stream, in constant time whatever their periods.

use aiops_core::{SnapshotReader, SnapshotWriter};
use serde::{Deserialize, Serialize};

use super::{
    periods::{PeriodsConfig, periods},
    stl::{StlConfig, stl},
    trend_filter::{MOST_ROUNDS, TrendFilter},
};
use crate::{
    Error, Forecaster, Residual, ResidualConfig, Result, Single,
    error::{at_least, positive},
    saved, window,
};

/// Settings of [`OnlineStl`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OnlineStlConfig {
    /// Samples in each season, at most 4. Default `None`: found from the series.
    pub periods: Option<Vec<usize>>,
    /// Samples that periods are looked for in, where they are not given: at 256 samples, then each
    /// time twice as many have come, at last here; 64 to 2^20. A period is found once it fits three
    /// times. Default 8192, four weeks of five-minute samples.
    pub history: usize,
    /// How periods are found.
    pub search: PeriodsConfig,
    /// How strongly the trend resists: the size, in scales of the residual, of a bend that costs as
    /// much as a residual of one scale. Default 30.
    pub smoothness: f64,
    /// How strongly a season resists: it moves by `1 / (stiffness + number of seasons)` of what is left.
    /// Default 4.
    pub stiffness: f64,
    /// Rounds of reweighting, 1 to 8. One makes the trend a linear filter. Default 4.
    pub rounds: usize,
    /// How distances from the forecast are judged.
    pub residual: ResidualConfig,
}

impl Default for OnlineStlConfig {
    fn default() -> Self {
        OnlineStlConfig {
            periods: None,
            history: 8192,
            search: PeriodsConfig::default(),
            smoothness: 30.0,
            stiffness: 4.0,
            rounds: 4,
            residual: ResidualConfig::default(),
        }
    }
}

const MOST_PERIODS: usize = 4;
const MOST_HISTORY: usize = 1 << 20;
/// Samples at which periods are looked for first.
const FIRST_LOOK: usize = 256;

impl OnlineStlConfig {
    /// A detector of one series.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] names the field that is out of range.
    pub fn build(self) -> Result<Single<Residual<OnlineStl>>> {
        Ok(Single::new(self.method()?))
    }

    /// What [`Single`] and [`Columns`](crate::Columns) are made of.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn method(self) -> Result<Residual<OnlineStl>> {
        self.residual.clone().of(self.forecaster()?)
    }

    /// The forecaster alone.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn forecaster(&self) -> Result<OnlineStl> {
        positive("smoothness", self.smoothness)?;
        positive("stiffness", self.stiffness)?;
        if !(self.smoothness <= 1e6 && self.stiffness <= 1e6) {
            return Err(Error::config("smoothness", "and stiffness must be at most 1e6"));
        }
        if !(1..=MOST_ROUNDS).contains(&self.rounds) {
            let reason = format!("must be within 1 and {MOST_ROUNDS}, got {}", self.rounds);
            return Err(Error::config("rounds", reason));
        }
        if !(64..=MOST_HISTORY).contains(&self.history) {
            let reason = format!("must be within 64 and {MOST_HISTORY}, got {}", self.history);
            return Err(Error::config("history", reason));
        }
        periods(&[], &self.search)?;
        let (look, history) = match &self.periods {
            Some(periods) => {
                let longest = periods.iter().copied().max().unwrap_or(0);
                for period in periods {
                    at_least("periods", *period, 2)?;
                }
                if periods.len() > MOST_PERIODS || longest > MOST_HISTORY / 2 {
                    let reason = format!("at most {MOST_PERIODS}, each at most 2^19");
                    return Err(Error::config("periods", reason));
                }
                let needed = (2 * longest).max(16);
                (needed, needed)
            }
            None => (FIRST_LOOK.min(self.history), self.history),
        };
        Ok(OnlineStl {
            settings: Settings {
                given: self.periods.clone(),
                search: self.search.clone(),
                history,
                smoothness: self.smoothness,
                stiffness: self.stiffness,
                rounds: self.rounds,
            },
            buffer: Vec::new(),
            look,
            model: None,
        })
    }
}

/// Online seasonal-trend decomposition.
///
/// Finds values that neither trend nor seasons explain; the trend may jump, so a level shift is
/// flagged when it comes and then followed. Fails before a season was seen three times (twice where its
/// period is given), and on seasons that change their shape from one time to the next.
///
/// A batch decomposition ([`stl`]) of the first samples gives trend, seasons and scale. From then on,
/// with `d = y - Σ sₖ` the deseasonalised value, the trend `τ` minimises
/// `Σ ω(d - τ)² + λ Σ |Δτ| + λ Σ |Δ²τ|` over the whole past, `λ` being
/// [`smoothness`](OnlineStlConfig::smoothness), in units of the scale; then each season takes
/// `sₖ += (d - τ) / (κ + K)`, with `κ` the stiffness and `K` the number of seasons, and
/// `ω = κ / (κ + K)`: both minimise `(y - τ - Σ s)² + κ Σ (s - s_before)²`. The forecast is the trend plus
/// the seasons' last values.
///
/// A missing step moves the seasons on. Time O(1) per sample whatever the periods, `rounds` solutions
/// of a system of two; memory 8 bytes a phase and 40 a round, and 8 a sample of
/// [`history`](OnlineStlConfig::history) until periods are settled.
///
/// Source: He, Li, Tan, Wu & Li 2023, "OneShotSTL: one-shot seasonal-trend decomposition for online
/// time series anomaly detection and forecasting" (VLDB 16.6), equations 7 to 9. Deviations: a recursion for the
/// quadratic in the last two values in place of a banded factorisation; several seasons; a season
/// remembers its last value instead of several; no search for shifted seasons; units of the scale, so
/// that the result does not depend on the unit of the series.
///
/// ```
/// use aiops_core::{Sample, Timestamp};
/// use aiops_detect::{Detector, tier2::OnlineStlConfig};
/// let mut detector = OnlineStlConfig { periods: Some(vec![24]), ..Default::default() }.build()?;
/// let season = |hour: i64| 50.0 + 30.0 * (hour as f64 / 24.0 * std::f64::consts::TAU).sin();
/// for hour in 0..240 {
///     let usual = season(hour) + (hour * 37 % 11) as f64 / 5.0;
///     assert!(!detector.update(Sample::new(Timestamp::from_secs(3600 * hour), usual)).flagged);
/// }
/// // 70 is a usual value of the series, but not at midnight.
/// let verdict = detector.update(Sample::new(Timestamp::from_secs(3600 * 240), 70.0));
/// assert!(verdict.flagged && (verdict.expected - 51.0).abs() < 5.0);
/// # Ok::<(), aiops_detect::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct OnlineStl {
    settings: Settings,
    /// The first samples, gaps as NaN; empty once periods are settled.
    buffer: Vec<f64>,
    /// Samples at which the next look for periods is due; 0 when settled.
    look: usize,
    model: Option<Model>,
}

#[derive(Debug, Clone)]
struct Settings {
    given: Option<Vec<usize>>,
    search: PeriodsConfig,
    history: usize,
    smoothness: f64,
    stiffness: f64,
    rounds: usize,
}

/// Everything in units of `scale`, around `shift`.
#[derive(Debug, Clone)]
struct Model {
    shift: f64,
    scale: f64,
    trend: TrendFilter,
    seasons: Vec<Season>,
}

#[derive(Debug, Clone, PartialEq)]
struct Season {
    values: Vec<f64>,
    phase: usize,
}

/// Scaled values are cut to this.
const CUT: f64 = 1e6;

impl Model {
    /// Takes apart what has come so far; `None` where it has no values.
    fn fit(values: &[f64], lengths: &[usize], settings: &Settings) -> Option<Model> {
        let mut sorted: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
        if sorted.is_empty() {
            return None;
        }
        sorted.sort_unstable_by(f64::total_cmp);
        let shift = window::median(&sorted);
        let mut rest: Vec<f64> = values.iter().map(|v| v - shift).collect();
        let mut lengths = lengths.to_vec();
        lengths.sort_unstable();
        lengths.retain(|length| values.len() >= 2 * length);
        let n = values.len();
        let mut seasonal: Vec<Vec<f64>> = vec![vec![0.0; n]; lengths.len()];
        let mut trend = vec![window::median(&sorted) - shift; n];
        // Two rounds let overlapping seasons settle which part belongs to whom.
        for _ in 0..if lengths.len() > 1 { 2 } else { 1 } {
            for (season, length) in seasonal.iter_mut().zip(&lengths) {
                rest.iter_mut().zip(&*season).for_each(|(rest, s)| *rest += s);
                let config = StlConfig {
                    period: *length,
                    seasonal: Some(7),
                    robust_passes: 2,
                    ..StlConfig::default()
                };
                let parts = stl(&rest, &config).ok()?;
                *season = parts.seasonal;
                trend = parts.trend;
                rest.iter_mut().zip(&*season).for_each(|(rest, s)| *rest -= s);
            }
        }
        let (before, last) = if lengths.is_empty() {
            let mut tail: Vec<f64> =
                rest.iter().rev().copied().filter(|v| v.is_finite()).take(16).collect();
            tail.sort_unstable_by(f64::total_cmp);
            (window::median(&tail), window::median(&tail))
        } else {
            (trend[n - 2], trend[n - 1])
        };
        // The scale of what a step of the stream leaves, at least a thousandth of the season's.
        let left: Vec<f64> = if lengths.is_empty() {
            rest.windows(2).map(|w| (w[1] - w[0]).abs() / std::f64::consts::SQRT_2).collect()
        } else {
            rest.iter().zip(&trend).map(|(rest, trend)| (rest - trend).abs()).collect()
        };
        let mean = |values: &mut dyn Iterator<Item = f64>| {
            let (mut sum, mut n) = (0.0, 0.0);
            for value in values.filter(|v| v.is_finite()) {
                sum += value;
                n += 1.0;
            }
            if n > 0.0 { sum / n } else { 0.0 }
        };
        let size = mean(&mut values.iter().map(|v| (v - shift).abs()));
        let scale = mean(&mut left.into_iter()).max(1e-3 * size).max(1e-9 * shift.abs()).max(1e-50);
        let seasons = seasonal
            .iter()
            .zip(&lengths)
            .map(|(season, length)| {
                let phase = n % length;
                let mut values = vec![0.0; *length];
                for (i, value) in season[n - length..].iter().enumerate() {
                    values[(phase + i) % length] = (value / scale).clamp(-CUT, CUT);
                }
                Season { values, phase }
            })
            .collect();
        let scaled = |v: f64| (v / scale).clamp(-CUT, CUT);
        let trend = TrendFilter::new(settings.rounds, scaled(before), scaled(last));
        Some(Model { shift, scale, trend, seasons })
    }

    fn forecast(&self, skipped: u64) -> f64 {
        let seasons: f64 = self.seasons.iter().map(|season| season.ahead(skipped)).sum();
        self.shift + self.scale * (self.trend.trend() + seasons)
    }

    fn learn(&mut self, value: f64, settings: &Settings) {
        let scaled = ((value - self.shift) / self.scale).clamp(-CUT, CUT);
        let seasons: f64 = self.seasons.iter().map(|season| season.ahead(0)).sum();
        let deseasonalised = scaled - seasons;
        let stiff = settings.stiffness;
        let total = stiff + self.seasons.len() as f64;
        let trend = self.trend.push(deseasonalised, stiff / total, settings.smoothness);
        let share = (deseasonalised - trend) / total;
        for season in &mut self.seasons {
            let value = &mut season.values[season.phase];
            *value = (*value + share).clamp(-CUT, CUT);
            season.skip(1);
        }
    }
}

impl Season {
    fn ahead(&self, steps: u64) -> f64 {
        let n = self.values.len();
        self.values[(self.phase + (steps % n as u64) as usize) % n]
    }

    fn skip(&mut self, steps: u64) {
        let n = self.values.len();
        self.phase = (self.phase + (steps % n as u64) as usize) % n;
    }
}

impl OnlineStl {
    /// The lengths of the seasons in use, shortest first; empty before any is known.
    pub fn periods(&self) -> Vec<usize> {
        let seasons = self.model.iter().flat_map(|model| &model.seasons);
        seasons.map(|season| season.values.len()).collect()
    }

    /// The trend at the last sample.
    pub fn trend(&self) -> Option<f64> {
        self.model.as_ref().map(|model| model.shift + model.scale * model.trend.trend())
    }

    /// Keeps a sample of the start, NaN for a gap, and looks for periods where it is time.
    fn remember(&mut self, value: f64) {
        if self.look == 0 {
            return;
        }
        self.buffer.push(value);
        if self.buffer.len() < self.look {
            return;
        }
        let settled = self.look >= self.settings.history;
        let lengths: Vec<usize> = match &self.settings.given {
            Some(given) => given.clone(),
            None => periods(&self.buffer, &self.settings.search)
                .map(|found| found.iter().map(|p| p.length).take(MOST_PERIODS).collect())
                .unwrap_or_default(),
        };
        let mut sorted = lengths.clone();
        sorted.sort_unstable();
        if self.model.is_none() || sorted != self.periods() {
            self.model = Model::fit(&self.buffer, &lengths, &self.settings).or(self.model.take());
        }
        if settled && self.model.is_some() {
            self.look = 0;
            self.buffer = Vec::new();
        } else if settled {
            // Nothing but gaps so far.
            self.buffer.clear();
        } else {
            self.look = (2 * self.look).min(self.settings.history);
        }
    }
}

impl Forecaster for OnlineStl {
    fn name(&self) -> &'static str {
        "online_stl"
    }

    fn forecast(&self, skipped: u64) -> Option<f64> {
        self.model.as_ref().map(|model| model.forecast(skipped))
    }

    fn learn(&mut self, value: f64) {
        if let Some(model) = &mut self.model {
            model.learn(value, &self.settings);
        }
        self.remember(value);
    }

    fn skip(&mut self, steps: u64) {
        if let Some(model) = &mut self.model {
            model.seasons.iter_mut().for_each(|season| season.skip(steps));
        }
        if self.look > 0 {
            for _ in 0..steps.min(self.settings.history as u64) {
                self.remember(f64::NAN);
            }
        }
    }

    fn bytes(&self) -> usize {
        let model = self.model.as_ref().map_or(0, |model| {
            let phases: usize = model.seasons.iter().map(|season| season.values.len()).sum();
            size_of::<Model>() + (phases + 5 * self.settings.rounds) * size_of::<f64>()
        });
        size_of::<Self>() + model.max(self.settings.history * size_of::<f64>())
    }

    fn save(&self, out: &mut SnapshotWriter) {
        out.u32(self.look as u32);
        out.f64s(&self.buffer);
        let Some(model) = &self.model else { return out.u8(0) };
        out.u8(1);
        out.f64(model.shift);
        out.f64(model.scale);
        model.trend.save(out);
        out.u8(model.seasons.len() as u8);
        for season in &model.seasons {
            out.u32(season.phase as u32);
            out.f64s(&season.values);
        }
    }

    fn load(&mut self, from: &mut SnapshotReader<'_>) -> Result<()> {
        let look = from.u32()? as usize;
        let history = self.settings.history;
        let buffer = saved::numbers_or_gaps(from, "history", history, 1e100)?;
        if look > history || (look > 0 && buffer.len() >= look) {
            return Err(saved::invalid("samples before the next look", look));
        }
        let model = if from.u8()? == 0 {
            None
        } else {
            let shift = saved::within(from, "shift", 1e100)?;
            let scale = saved::within(from, "scale", 1e101)?;
            if !(scale >= 1e-60) {
                return Err(saved::invalid("scale", scale));
            }
            let trend = TrendFilter::load(self.settings.rounds, from)?;
            let mut seasons = Vec::new();
            for _ in 0..from.u8()?.min(MOST_PERIODS as u8) {
                let phase = from.u32()? as usize;
                let values = saved::numbers(from, "season", MOST_HISTORY, CUT)?;
                if phase >= values.len() {
                    return Err(saved::invalid("phase", phase));
                }
                seasons.push(Season { values, phase });
            }
            Some(Model { shift, scale, trend, seasons })
        };
        if look == 0 && model.is_none() {
            return Err(saved::invalid("samples before the next look", look));
        }
        (self.look, self.buffer, self.model) = (look, buffer, model);
        Ok(())
    }
}
