//! Tier 2: adaptive and seasonal models of one series, around a microsecond a sample.

mod auto_regression;
mod bocpd;
mod esd;
#[cfg(feature = "augurs")]
mod fitted;
mod hindsight;
mod holt_winters;
mod loess;
mod online_stl;
mod periods;
mod poly;
mod stl;
mod sub_pca;
mod surprise;
mod trend_filter;

pub(crate) use periods::bridge;

pub use auto_regression::{AutoRegression, AutoRegressionConfig};
pub use bocpd::{Bocpd, BocpdConfig, Runs};
pub use esd::{Outlier, SeasonalEsd, SeasonalEsdConfig};
#[cfg(feature = "augurs")]
#[cfg_attr(docsrs, doc(cfg(feature = "augurs")))]
pub use fitted::{MstlEtsConfig, ProphetConfig, ProphetSearch};
pub use hindsight::{Hindsight, HindsightConfig};
pub use holt_winters::{HoltWinters, HoltWintersConfig};
pub use online_stl::{OnlineStl, OnlineStlConfig};
pub use periods::{Period, PeriodsConfig, autocorrelation, periods};
pub use poly::{Poly, PolyConfig};
pub use stl::{Decomposition, StlConfig, stl};
pub use sub_pca::{SubPca, SubPcaConfig};
pub use surprise::{Surprise, SurpriseConfig};

#[cfg(test)]
/// The series of the golden values, see `tests/golden/tier2.py`: a season of twelve, a bend, something
/// like noise, two outliers.
fn example() -> Vec<f64> {
    let season = [0, 2, 5, 3, 1, 0, -1, -4, -6, -3, -1, 0];
    (0..121)
        .map(|i: usize| {
            let bend = if i < 60 { 0.0 } else { 3.0 };
            let outlier = [(40, 25.0), (90, -30.0)].iter().find(|o| o.0 == i).map_or(0.0, |o| o.1);
            let noise = (i * 37 % 11) as f64 / 5.0 - 1.0;
            10.0 + 0.05 * i as f64 + f64::from(season[i % 12]) + noise + bend + outlier
        })
        .collect()
}

/// Fails unless both are equal to within `tolerance`, absolutely.
#[cfg(test)]
fn assert_near(what: &str, found: impl IntoIterator<Item = f64>, expected: &[f64], tolerance: f64) {
    let found: Vec<f64> = found.into_iter().collect();
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= tolerance, "{what}[{i}]: {found}, expected {expected}");
    }
}
