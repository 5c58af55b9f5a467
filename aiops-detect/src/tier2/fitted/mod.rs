//! Models of `augurs` that are fitted to a whole series and judge by what they expect of the next ones.

mod mstl_ets;
mod owl_qn;
mod posterior;
mod prophet;
mod prophet_search;

pub use mstl_ets::MstlEtsConfig;
pub use prophet::ProphetConfig;
pub use prophet_search::ProphetSearch;

use aiops_core::Frame;

use crate::{BatchDetector, Error, OneSeries, Ranked, Result, window};

/// What is expected of the one series of a frame, from its clock alone; NaN where nothing is.
trait Expects: std::fmt::Debug + Send + Sync {
    /// One expectation a step.
    fn expected(&self, series: &Frame) -> Result<Vec<f64>>;
}

/// Distance from what is expected, in robust standard deviations of the training series.
#[derive(Debug)]
struct Expectation {
    name: &'static str,
    model: Box<dyn Expects>,
    scale: f64,
}

/// Values beyond this size are taken as this.
const LARGEST: f64 = 1e100;
const MAD_TO_SIGMA: f64 = 1.482_602_218_505_602;

/// A detector from the one series of `train`: `fit` makes a model of it, unless the series is constant, which is
/// then what is expected.
fn train(
    name: &'static str,
    train: &Frame,
    needed: usize,
    fit: impl FnOnce(&Frame, &[f64]) -> Result<Box<dyn Expects>>,
) -> Result<Box<dyn BatchDetector>> {
    crate::frame_fits(1, train, train.n_steps())?;
    let values: Vec<f64> = train.row(0).iter().map(cut).collect();
    let known: Vec<f64> = values.iter().copied().filter(|v| !v.is_nan()).collect();
    if known.len() < needed {
        return Err(Error::NotEnoughData { needed, got: known.len() });
    }
    let model = if known.iter().all(|v| *v == known[0]) {
        Box::new(Constant(known[0]))
    } else {
        fit(train, &values)?
    };
    let expected = model.expected(train)?;
    let mut off: Vec<f64> = values.iter().zip(expected).map(|(v, e)| v - e).collect();
    off.retain(|off| off.is_finite());
    off.sort_unstable_by(f64::total_cmp);
    let spread = MAD_TO_SIGMA * window::median_absolute_deviation(&off, window::median(&off));
    let least = 1e-9 * known.iter().fold(0.0, |most: f64, v| most.max(v.abs()));
    let scale = spread.max(least).max(1e-100);
    Ok(Box::new(Ranked::train(Expectation { name, model, scale }, train, needed)?))
}

/// Gaps are NaN.
fn cut(value: &f64) -> f64 {
    if value.is_finite() { value.clamp(-LARGEST, LARGEST) } else { f64::NAN }
}

#[derive(Debug)]
struct Constant(f64);

impl Expects for Constant {
    fn expected(&self, series: &Frame) -> Result<Vec<f64>> {
        Ok(vec![self.0; series.n_steps()])
    }
}

impl OneSeries for Expectation {
    fn name(&self) -> &'static str {
        self.name
    }

    fn looks_ahead(&self) -> bool {
        false
    }

    fn judge(&self, series: &Frame) -> Result<Vec<f64>> {
        let expected = self.model.expected(series)?;
        let score = |(value, expected): (&f64, f64)| {
            let score = (cut(value) - expected).abs() / self.scale;
            if score.is_nan() { 0.0 } else { score.min(f64::MAX) }
        };
        Ok(series.row(0).iter().zip(expected).map(score).collect())
    }
}

/// An error of a fit that says why in words only.
fn not_fitted(model: &'static str, reason: impl std::fmt::Display) -> Error {
    Error::NotFitted { model, reason: reason.to_string() }
}
