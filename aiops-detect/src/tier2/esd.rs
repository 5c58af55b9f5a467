//! [`SeasonalEsd`]: outliers of a whole series, as many as a test confirms (S-H-ESD).

use aiops_core::Frame;
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};

use super::{
    periods::{PeriodsConfig, periods},
    stl::{StlConfig, stl},
};
use crate::{
    BatchDetector, Error, Fit, OneSeries, Ranked, Result,
    error::probability,
    window::{median, median_absolute_deviation},
};

/// Settings of [`SeasonalEsd`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SeasonalEsdConfig {
    /// Samples in a season. Default `None`: the strongest that [`periods`] finds; without one, the
    /// series is judged around its median.
    pub period: Option<usize>,
    /// Largest share of the series that may be outliers, above 0 and below 0.5. Default 0.02.
    pub at_most: f64,
    /// Chance of finding an outlier in a series of normal noise. Default 0.05.
    pub significance: f64,
    /// Median and MAD instead of mean and standard deviation: outliers do not hide each other.
    /// Default true (S-H-ESD; false is S-ESD).
    pub robust: bool,
}

impl Default for SeasonalEsdConfig {
    fn default() -> Self {
        SeasonalEsdConfig { period: None, at_most: 0.02, significance: 0.05, robust: true }
    }
}

/// An outlier that the test confirmed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outlier {
    /// Its place in the series.
    pub index: usize,
    /// Its distance from the centre of what is left when those before it are out, in scales.
    pub statistic: f64,
    /// What the statistic had to exceed.
    pub critical: f64,
}

/// The generalised extreme Studentised deviate test on what season and median leave of a series
/// (S-H-ESD), for looking back.
///
/// Finds single values that are odd for their phase, and says how many there are. Fails on outliers
/// that are half of the series, and calls a trend's ends outliers: like its source it subtracts the
/// median, not the trend, so give it a few periods at a time.
///
/// The season is that of a robust [`stl`] with equal seasons. With `R` the largest distance from the
/// centre, in scales, of what is left after `i - 1` removals, the `i`-th is critical beyond
/// `λ = t (n - i) / √((n - i - 1 + t²)(n - i + 1))`, where `t` is the `1 - α/(2(n - i + 1))` quantile of Student's
/// t with `n - i - 1` degrees of freedom; outliers are all up to the last `i` with `R > λ`.
///
/// As a [`BatchDetector`] every sample's score is its distance from the median, in `1.4826 · MAD`,
/// and the p-value its rank among those of the training series. Gaps have score 0. **Looks ahead.**
/// Time O(n log n): removals take from the ends of the sorted residuals.
///
/// Source: Rosner 1983, "Percentage points for a generalized ESD many-outlier procedure"; Hochenbaum, Vallis
/// & Kejariwal 2017, "Automatic anomaly detection in the cloud via statistical learning", with the
/// choices of their R package. Deviation: two robust passes of the decomposition instead of fifteen.
pub type SeasonalEsd = Ranked<SeasonalEsdConfig>;

impl SeasonalEsdConfig {
    fn check(&self) -> Result<()> {
        probability("significance", self.significance)?;
        if !(self.at_most > 0.0 && self.at_most < 0.5) {
            let reason = format!("must be above 0 and below 0.5, got {}", self.at_most);
            return Err(Error::config("at_most", reason));
        }
        if self.period.is_some_and(|period| period < 2) {
            return Err(Error::config("period", "must be at least 2"));
        }
        Ok(())
    }

    /// The outliers of a series, the most extreme first.
    ///
    /// ```
    /// use aiops_detect::tier2::SeasonalEsdConfig;
    /// let season = [0.0, 3.0, 1.0, -4.0];
    /// let mut values: Vec<f64> =
    ///     (0..200).map(|i| season[i % 4] + (i * 37 % 11) as f64 / 11.0).collect();
    /// values[101] = -4.0; // usual a phase later
    /// let found = SeasonalEsdConfig { period: Some(4), ..Default::default() }.outliers(&values)?;
    /// assert_eq!(found.iter().map(|o| o.index).collect::<Vec<_>>(), [101]);
    /// # Ok::<(), aiops_detect::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] names the field that is out of range; [`Error::NotEnoughData`] when
    /// fewer than five values are no gaps.
    pub fn outliers(&self, values: &[f64]) -> Result<Vec<Outlier>> {
        self.check()?;
        let mut rest: Vec<(f64, usize)> = self
            .residuals(values)?
            .into_iter()
            .enumerate()
            .filter_map(|(i, r)| r.is_finite().then_some((r, i)))
            .collect();
        let n = rest.len();
        if n < 5 {
            return Err(Error::NotEnoughData { needed: 5, got: n });
        }
        rest.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let sorted: Vec<f64> = rest.iter().map(|r| r.0).collect();
        let (mut from, mut to) = (0, n);
        let mut candidates = Vec::new();
        let mut confirmed = 0;
        let most = ((n as f64 * self.at_most) as usize).clamp(1, n - 3);
        for i in 1..=most {
            let (centre, scale) = self.centre_and_scale(&sorted[from..to]);
            if !(scale > 0.0) {
                break;
            }
            // The most extreme value is at one of the ends.
            let below = centre - sorted[from];
            let above = sorted[to - 1] - centre;
            let index = if below > above {
                from += 1;
                rest[from - 1].1
            } else {
                to -= 1;
                rest[to].1
            };
            let statistic = below.max(above) / scale;
            let critical = critical(n, i, self.significance)?;
            if statistic > critical {
                confirmed = i;
            }
            candidates.push(Outlier { index, statistic, critical });
        }
        candidates.truncate(confirmed);
        Ok(candidates)
    }

    fn centre_and_scale(&self, sorted: &[f64]) -> (f64, f64) {
        if self.robust {
            let centre = median(sorted);
            return (centre, MAD_TO_SIGMA * median_absolute_deviation(sorted, centre));
        }
        let n = sorted.len() as f64;
        let mean = sorted.iter().sum::<f64>() / n;
        let squares: f64 = sorted.iter().map(|v| (v - mean).powi(2)).sum();
        (mean, (squares / (n - 1.0)).sqrt())
    }

    /// The series without its season and around its median; NaN at gaps.
    fn residuals(&self, values: &[f64]) -> Result<Vec<f64>> {
        let mut rest: Vec<f64> = values
            .iter()
            .map(|v| if v.is_finite() { v.clamp(-LARGEST, LARGEST) } else { f64::NAN })
            .collect();
        let period = match self.period {
            Some(period) => Some(period),
            None => {
                let search = PeriodsConfig { at_most: 1, ..PeriodsConfig::default() };
                periods(values, &search)?.first().map(|period| period.length)
            }
        };
        if let Some(period) = period.filter(|period| values.len() >= 2 * period) {
            let config =
                StlConfig { period, seasonal: None, robust_passes: 2, ..StlConfig::default() };
            match stl(values, &config) {
                Ok(parts) => rest.iter_mut().zip(parts.seasonal).for_each(|(r, s)| *r -= s),
                Err(Error::NotEnoughData { .. }) => {} // only gaps
                Err(error) => return Err(error),
            }
        }
        // The median of the values, as in the source, not of what is left.
        let mut plain: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
        plain.sort_unstable_by(f64::total_cmp);
        let centre = median(&plain);
        rest.iter_mut().for_each(|r| *r -= centre);
        Ok(rest)
    }
}

impl OneSeries for SeasonalEsdConfig {
    fn name(&self) -> &'static str {
        "seasonal_esd"
    }

    fn judge(&self, series: &Frame) -> Result<Vec<f64>> {
        self.scores(series.row(0))
    }
}

impl SeasonalEsdConfig {
    fn scores(&self, values: &[f64]) -> Result<Vec<f64>> {
        let rest = self.residuals(values)?;
        let mut sorted: Vec<f64> = rest.iter().copied().filter(|r| r.is_finite()).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let centre = median(&sorted);
        let scale = MAD_TO_SIGMA * median_absolute_deviation(&sorted, centre);
        // Where more than half is equal, distances themselves are all there is.
        let scale = if scale > 0.0 { scale } else { 1.0 };
        let score =
            |r: f64| if r.is_finite() { ((r - centre).abs() / scale).min(f64::MAX) } else { 0.0 };
        Ok(rest.into_iter().map(score).collect())
    }
}

const LARGEST: f64 = 1e100;
const MAD_TO_SIGMA: f64 = 1.482_602_218_505_602;

/// What the `i`-th statistic of `n` values must exceed.
fn critical(n: usize, i: usize, significance: f64) -> Result<f64> {
    let (n, i) = (n as f64, i as f64);
    let p = 1.0 - significance / (2.0 * (n - i + 1.0));
    let freedom = n - i - 1.0;
    let distribution = StudentsT::new(0.0, 1.0, freedom)
        .map_err(|error| Error::config("at_most", error.to_string()))?;
    let t = distribution.inverse_cdf(p);
    Ok(t * (n - i) / ((freedom + t * t) * (n - i + 1.0)).sqrt())
}

impl Fit for SeasonalEsdConfig {
    /// Learns the distribution of distances; the frame has one series.
    fn fit(&self, train: &Frame) -> Result<Box<dyn BatchDetector>> {
        self.check()?;
        Ok(Box::new(Ranked::train(self.clone(), train, 5)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::check_batch_detector;

    #[test]
    fn keeps_the_contract() {
        check_batch_detector(&SeasonalEsdConfig::default(), 1);
    }

    // Golden: the example of Rosner 1983 as worked in the NIST/SEMATECH e-Handbook of Statistical
    // Methods, section 1.3.5.17.3, with its three decimals: of up to ten, three are outliers, although the
    // first two statistics are below their critical values.
    #[test]
    fn rosners_example() {
        let values = [
            -0.25, 0.68, 0.94, 1.15, 1.20, 1.26, 1.26, 1.34, 1.38, 1.43, 1.49, 1.49, 1.55, 1.56,
            1.58, 1.65, 1.69, 1.70, 1.76, 1.77, 1.81, 1.91, 1.94, 1.96, 1.99, 2.06, 2.09, 2.10,
            2.14, 2.15, 2.23, 2.24, 2.26, 2.35, 2.37, 2.40, 2.47, 2.54, 2.62, 2.64, 2.90, 2.92,
            2.92, 2.93, 3.21, 3.26, 3.30, 3.59, 3.68, 4.30, 4.64, 5.34, 5.42, 6.01,
        ];
        let config = SeasonalEsdConfig { at_most: 0.19, robust: false, ..Default::default() };
        let found = config.outliers(&values).unwrap();
        let expected = [(53, 3.118, 3.158), (52, 2.942, 3.151), (51, 3.179, 3.143)];
        assert_eq!(found.len(), 3);
        for (found, (index, statistic, critical)) in found.iter().zip(expected) {
            assert_eq!(found.index, index);
            assert!((found.statistic - statistic).abs() < 1.1e-3, "{found:?}");
            assert!((found.critical - critical).abs() < 1.1e-3, "{found:?}");
        }
    }

    // Golden: a plain S-H-ESD in numpy over statsmodels 0.15.0's STL, see `tests/golden/tier2.py`.
    #[test]
    fn outliers_match_a_plain_implementation() {
        let config = SeasonalEsdConfig { period: Some(12), at_most: 0.1, ..Default::default() };
        let found = config.outliers(&super::super::example()).unwrap();
        assert_eq!(found.iter().map(|o| o.index).collect::<Vec<_>>(), OUTLIERS);
        super::super::assert_near(
            "statistics",
            found.iter().map(|o| o.statistic),
            &STATISTICS,
            1e-6,
        );
    }

    #[test]
    fn noise_has_few_and_constants_none() {
        let mut noise = crate::testing::Noise::new(4);
        let mut with = 0;
        for _ in 0..100 {
            let values: Vec<f64> = (0..300).map(|_| noise.normal()).collect();
            let config = SeasonalEsdConfig { robust: false, ..Default::default() };
            with += usize::from(!config.outliers(&values).unwrap().is_empty());
        }
        assert!((1..=12).contains(&with), "{with} of 100, where 5 are expected");
        assert_eq!(SeasonalEsdConfig::default().outliers(&[3.0; 100]).unwrap(), []);
    }

    const OUTLIERS: [usize; 2] = [90, 40];
    const STATISTICS: [f64; 2] = [5.988_648_754_447_111, 4.809_386_277_528_345];
}
