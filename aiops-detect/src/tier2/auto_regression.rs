//! [`AutoRegression`]: the next value as a linear function of the last ones, learnt as it goes.

use aiops_core::{SnapshotReader, SnapshotWriter};
use serde::{Deserialize, Serialize};

use crate::{Error, Forecaster, Residual, ResidualConfig, Result, Single, error::positive, saved};

/// Settings of [`AutoRegression`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AutoRegressionConfig {
    /// How many last values the next one depends on, 1 to 64. Default 8.
    pub order: usize,
    /// Samples after which an observation counts half. Default 2000. Infinite to forget nothing.
    pub half_life: f64,
    /// Strength of the pull towards "as the last value" while little is known, as if so many
    /// squared scales of the series had been seen. Default 1.
    pub ridge: f64,
    /// How distances from the forecast are judged.
    pub residual: ResidualConfig,
}

impl Default for AutoRegressionConfig {
    fn default() -> Self {
        AutoRegressionConfig {
            order: 8,
            half_life: 2000.0,
            ridge: 1.0,
            residual: ResidualConfig::default(),
        }
    }
}

impl AutoRegressionConfig {
    /// A detector of one series.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] names the field that is out of range.
    pub fn build(self) -> Result<Single<Residual<AutoRegression>>> {
        Ok(Single::new(self.method()?))
    }

    /// What [`Single`] and [`Columns`](crate::Columns) are made of.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn method(self) -> Result<Residual<AutoRegression>> {
        self.residual.clone().of(self.forecaster()?)
    }

    /// The forecaster alone.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn forecaster(&self) -> Result<AutoRegression> {
        if !(1..=MOST).contains(&self.order) {
            let reason = format!("must be within 1 and {MOST}, got {}", self.order);
            return Err(Error::config("order", reason));
        }
        if !(self.half_life >= 2.0) {
            let reason = format!("must be at least 2, got {}", self.half_life);
            return Err(Error::config("half_life", reason));
        }
        positive("ridge", self.ridge)?;
        let keep = 0.5_f64.powf(1.0 / self.half_life);
        let n = self.order + 1;
        Ok(AutoRegression {
            order: self.order,
            keep,
            ridge: self.ridge,
            first: Vec::new(),
            shift: 0.0,
            scale: 0.0,
            window: vec![0.0; self.order],
            weights: vec![0.0; n],
            inverse: vec![0.0; n * n],
            learnt: 0,
        })
    }
}

const MOST: usize = 64;

/// An autoregression with intercept, fitted by recursive least squares.
///
/// Finds values that do not follow from those before them: jumps, spikes, a changed rhythm. Fails to
/// see what arrives smoothly, and after a level shift lasts only as long as its order.
///
/// `ŷ = w₀ + Σ wᵢ y₋ᵢ`, with the weights `w` that minimise `Σ λ^(t-s) (yₛ - ŷₛ)²` plus a ridge that
/// pulls towards `ŷ = y₋₁`; `λ = ½^(1/half_life)`. In the recursive form, with `x = (1, y₋₁ … y₋ₚ)`:
/// `g = Px / (λ + xᵀPx)`, `w += g (y - xᵀw)`, `P = (P - g (Px)ᵀ)/λ`. The trace of `P` is bounded, so that
/// a constant series does not wind it up. Values are shifted and scaled by the median and spread of
/// the first `2·order + 2` (at least 16), which also are all that is needed before the first forecast.
///
/// A missing step takes its own forecast. Time O(order²), memory `8·(order + 2)²` bytes, about 1 KiB with
/// the defaults.
///
/// Source: Plackett 1950; Haykin 2002, "Adaptive filter theory", chapter 9. Deviations: the ridge
/// towards the last value, the bounded trace.
#[derive(Debug, Clone)]
pub struct AutoRegression {
    order: usize,
    keep: f64,
    ridge: f64,
    /// The first values, until there are enough for shift and scale.
    first: Vec<f64>,
    shift: f64,
    /// Zero until known.
    scale: f64,
    /// Last values in scaled units, newest first.
    window: Vec<f64>,
    /// Intercept, then one a lag, newest first.
    weights: Vec<f64>,
    /// Row by row, symmetric.
    inverse: Vec<f64>,
    /// Steps learnt since scale is known, counted up to the order.
    learnt: u32,
}

/// Scaled values are cut to this, so that the recursion stays finite.
const CUT: f64 = 1e6;
/// Largest trace of the inverse, per weight and over the ridge's own.
const WOUND_UP: f64 = 1e6;

impl AutoRegression {
    /// The weights in the unit of the series, intercept first; `None` before the first forecast.
    pub fn weights(&self) -> Option<Vec<f64>> {
        if self.scale == 0.0 {
            return None;
        }
        let lags: f64 = self.weights[1..].iter().sum();
        let mut weights = self.weights.clone();
        weights[0] = self.weights[0] * self.scale + self.shift * (1.0 - lags);
        Some(weights)
    }

    fn needed(&self) -> usize {
        (2 * self.order + 2).max(16)
    }

    /// The forecast in scaled units.
    fn scaled(&self, window: &[f64]) -> f64 {
        let lags: f64 = self.weights[1..].iter().zip(window).map(|(w, x)| w * x).sum();
        (self.weights[0] + lags).clamp(-CUT, CUT)
    }

    fn start(&mut self) {
        let first = std::mem::take(&mut self.first);
        let mut sorted = first.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        self.shift = crate::window::median(&sorted);
        let spread = first.iter().map(|v| (v - self.shift).abs()).sum::<f64>() / first.len() as f64;
        // A constant start has no scale; its own size, or one, is as good as any.
        self.scale = if spread > 1e-9 * self.shift.abs() && spread > 1e-50 {
            spread
        } else {
            (1e-3 * self.shift.abs()).max(1e-9)
        };
        self.restart_inverse();
        self.weights[1] = 1.0;
        for value in first {
            self.step(self.to_scaled(value));
        }
    }

    fn restart_inverse(&mut self) {
        self.inverse.fill(0.0);
        let diagonal = self.inverse.iter_mut().step_by(self.order + 2);
        diagonal.for_each(|p| *p = 1.0 / self.ridge);
    }

    fn to_scaled(&self, value: f64) -> f64 {
        ((value - self.shift) / self.scale).clamp(-CUT, CUT)
    }

    /// Learns one scaled value and moves on.
    fn step(&mut self, y: f64) {
        let n = self.order + 1;
        if self.learnt as usize >= self.order {
            let error = y - self.scaled(&self.window);
            let mut px = [0.0; MOST + 1];
            let px = &mut px[..n];
            for (row, px) in self.inverse.chunks_exact(n).zip(px.iter_mut()) {
                *px = row[0] + row[1..].iter().zip(&self.window).map(|(p, x)| p * x).sum::<f64>();
            }
            let xpx = px[0] + px[1..].iter().zip(&self.window).map(|(p, x)| p * x).sum::<f64>();
            let gain = 1.0 / (self.keep + xpx.max(0.0));
            let (mut trace, mut sound) = (0.0, true);
            for (i, row) in self.inverse.chunks_exact_mut(n).enumerate() {
                let g = px[i] * gain;
                for (p, px) in row.iter_mut().zip(px.iter()) {
                    *p = (*p - g * px) / self.keep;
                }
                trace += row[i];
                sound &= row[i] > 0.0;
                self.weights[i] += g * error;
            }
            let most = WOUND_UP * n as f64 / self.ridge;
            if !(sound && trace.is_finite()) {
                // Rounding has made it something no inverse is: learn anew around these weights.
                self.restart_inverse();
            } else if trace > most {
                let shrink = most / trace;
                self.inverse.iter_mut().for_each(|p| *p *= shrink);
            }
        } else {
            self.learnt += 1;
        }
        self.push(y);
    }

    fn push(&mut self, y: f64) {
        self.window.rotate_right(1);
        self.window[0] = y;
    }
}

impl Forecaster for AutoRegression {
    fn name(&self) -> &'static str {
        "auto_regression"
    }

    fn forecast(&self, skipped: u64) -> Option<f64> {
        if self.scale == 0.0 {
            return None;
        }
        let mut ahead = self.scaled(&self.window);
        if skipped > 0 {
            let mut window = self.window.clone();
            for _ in 0..skipped.min(MOST_STEPS) {
                window.rotate_right(1);
                window[0] = ahead;
                ahead = self.scaled(&window);
            }
        }
        Some(self.shift + self.scale * ahead)
    }

    fn learn(&mut self, value: f64) {
        if self.scale > 0.0 {
            return self.step(self.to_scaled(value));
        }
        self.first.push(value);
        if self.first.len() == self.needed() {
            self.start();
        }
    }

    fn skip(&mut self, steps: u64) {
        if self.scale == 0.0 {
            return; // the gap is closed over: a little wrong, a few samples long
        }
        for _ in 0..steps.min(MOST_STEPS) {
            self.push(self.scaled(&self.window));
        }
    }

    fn bytes(&self) -> usize {
        let n = self.order + 1;
        size_of::<Self>() + (n * n + n + self.order) * size_of::<f64>()
    }

    fn save(&self, out: &mut SnapshotWriter) {
        out.f64s(&self.first);
        out.f64(self.shift);
        out.f64(self.scale);
        out.u32(self.learnt);
        for column in [&self.window, &self.weights, &self.inverse] {
            column.iter().for_each(|value| out.f64(*value));
        }
    }

    fn load(&mut self, from: &mut SnapshotReader<'_>) -> Result<()> {
        self.first = saved::numbers(from, "first values", self.needed() - 1, 1e100)?;
        self.shift = saved::within(from, "shift", 1e100)?;
        self.scale = saved::not_negative(from, "scale")?;
        if self.scale > 0.0 && !(1e-60..=1e101).contains(&self.scale) {
            return Err(saved::invalid("scale", self.scale));
        }
        self.learnt = from.u32()?.min(self.order as u32);
        let limits = [CUT, 1e40, 1e40];
        for (column, limit) in
            [&mut self.window, &mut self.weights, &mut self.inverse].into_iter().zip(limits)
        {
            for value in column {
                *value = saved::within(from, "weight", limit)?;
            }
        }
        Ok(())
    }
}

/// A forecast this many steps ahead has settled; a year of missing minutes must not take a year.
const MOST_STEPS: u64 = 256;

#[cfg(test)]
mod tests {
    use super::super::{assert_near, example};
    use super::*;

    fn trained(config: AutoRegressionConfig) -> AutoRegression {
        let mut model = config.forecaster().unwrap();
        example().into_iter().for_each(|value| model.learn(value));
        model
    }

    // Golden: statsmodels 0.15.0, `AutoReg(example, lags=3, trend="c").fit().params`, see
    // `tests/golden/tier2.py`; 1e-6, since a ridge of nothing cannot be written down.
    #[test]
    fn without_forgetting_it_is_the_least_squares_of_statsmodels() {
        let config = AutoRegressionConfig {
            order: 3,
            half_life: f64::INFINITY,
            ridge: 1e-6,
            ..AutoRegressionConfig::default()
        };
        assert_near("weights", trained(config).weights().unwrap(), &WEIGHTS, 1e-6);
    }

    // Golden: the weighted ridge regression solved at once in numpy, ibid.; 1e-9.
    #[test]
    fn with_forgetting_it_is_weighted_ridge_regression() {
        let config = AutoRegressionConfig {
            order: 3,
            half_life: 50.0,
            ridge: 2.0,
            ..AutoRegressionConfig::default()
        };
        assert_near("weights", trained(config).weights().unwrap(), &RIDGE_WEIGHTS, 1e-9);
    }

    #[test]
    fn a_missing_step_takes_its_forecast() {
        let mut model = trained(AutoRegressionConfig::default());
        let (one, three) = (model.forecast(0), model.forecast(2));
        assert_ne!(one, three);
        model.skip(2);
        assert_eq!(model.forecast(0), three);
    }

    #[test]
    fn a_constant_does_not_wind_it_up() {
        let mut model = AutoRegressionConfig { half_life: 20.0, ..Default::default() };
        model.order = 4;
        let mut model = model.forecaster().unwrap();
        (0..20_000).for_each(|_| model.learn(5.0));
        for i in 0..100 {
            model.learn(5.0 + f64::from(i % 2) * 1e-3);
            let forecast = model.forecast(0).unwrap();
            assert!((forecast - 5.0).abs() < 0.1, "{i}: {forecast}");
        }
    }

    const WEIGHTS: [f64; 4] = [
        6.060_953_323_155_537_5,
        0.432_784_163_194_963_7,
        0.232_227_428_900_400_93,
        -0.090_834_982_227_761_32,
    ];
    const RIDGE_WEIGHTS: [f64; 4] = [
        7.138_121_331_394_755,
        0.413_006_185_214_724_04,
        0.222_470_401_577_740_98,
        -0.098_988_497_261_249_68,
    ];
}
