//! Is a series stationary? The augmented Dickey-Fuller test.

use super::lagged::centred;
use crate::linalg::{Symmetric, dot};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use statrs::function::erf::erfc;

/// What the stationary alternative may contain beside the series' own past.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deterministic {
    /// A level: stationary around a constant.
    Constant,
    /// A level and a slope: stationary around a line.
    ConstantAndTrend,
}

/// One augmented Dickey-Fuller test of "it has a unit root", i.e. of "it wanders".
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UnitRootTest {
    /// The t statistic of the last level; the more negative, the more it returns.
    pub statistic: f64,
    /// Chance of a statistic this small when it wanders, after MacKinnon.
    pub p_value: f64,
    /// How many lagged differences entered.
    pub lags: usize,
}

/// Tests whether `values`, free of gaps, has a unit root:
///
/// ```text
/// Δx(t) = a (+ b t) + g x(t − 1) + Σ d(i) Δx(t − i) + e(t),    statistic = g / standard error of g
/// ```
///
/// A small p-value says that it is stationary (around a line, with
/// [`ConstantAndTrend`](Deterministic::ConstantAndTrend)). A level shift or a strong outlier inside
/// passes for wandering, so give it normal time. `max_lags` bounds the lagged differences, of which
/// Akaike's criterion chooses; `None` is Schwert's 12 (n / 100)^(1/4).
///
/// Time O(n · lags²).
///
/// Sources: Said & Dickey 1984; p-values by the response surface of MacKinnon 1994.
/// The golden tests compare with `adfuller` of statsmodels (`autolag="AIC"`).
///
/// ```
/// use aiops_rca::{Deterministic, unit_root};
/// let noise = |t: u64| ((t * t * 7919) % 97) as f64 / 97.0;
/// let steady: Vec<f64> = (0..200).map(noise).collect();
/// assert!(unit_root(&steady, Deterministic::Constant, None)?.p_value < 0.01);
/// # Ok::<(), aiops_rca::Error>(())
/// ```
///
/// # Errors
/// [`Error::NotEnoughData`] for fewer than 12 values, [`Error::Singular`] for a series that never
/// changes or is a straight line.
pub fn unit_root(
    values: &[f64],
    deterministic: Deterministic,
    max_lags: Option<usize>,
) -> Result<UnitRootTest> {
    const NEEDED: usize = 12;
    let n = values.len();
    if n < NEEDED {
        let what = "a unit root test";
        return Err(Error::NotEnoughData { what, needed: NEEDED, got: n });
    }
    let terms = match deterministic {
        Deterministic::Constant => 1,
        Deterministic::ConstantAndTrend => 2,
    };
    let schwert = (12.0 * (n as f64 / 100.0).powf(0.25)).ceil() as usize;
    let max_lags = max_lags.unwrap_or(schwert).min(n / 2 - terms - 1);
    // All orders over the same steps, then the chosen one over all that it can use.
    let all = Regression::new(values, deterministic, max_lags, max_lags);
    let criterion = |lags: usize| Some((all.fit(lags)?.akaike, lags));
    let orders = (0..=max_lags).filter_map(criterion);
    let best = orders.min_by(|a, b| a.0.total_cmp(&b.0));
    let singular = Error::Singular { what: "the design of a unit root test" };
    let Some((_, lags)) = best else { return Err(singular) };
    let fit = Regression::new(values, deterministic, lags, lags).fit(lags).ok_or(singular)?;
    let p_value = mackinnon(fit.statistic, deterministic);
    Ok(UnitRootTest { statistic: fit.statistic, p_value, lags })
}

/// Moments of: the difference, the last level, the trend if any, then the lagged differences.
struct Regression {
    moments: Symmetric,
    samples: usize,
    /// Columns before the lagged differences, the target left out.
    fixed: usize,
}

struct Fitted {
    statistic: f64,
    akaike: f64,
}

impl Regression {
    /// Over the steps from `skip + 1` on.
    fn new(values: &[f64], deterministic: Deterministic, lags: usize, skip: usize) -> Self {
        let differences: Vec<f64> = values.windows(2).map(|w| w[1] - w[0]).collect();
        let n = differences.len();
        let mut columns =
            vec![centred(differences[skip..].to_vec()), centred(values[skip..n].to_vec())];
        if deterministic == Deterministic::ConstantAndTrend {
            columns.push(centred((0..n - skip).map(|t| t as f64).collect()));
        }
        let fixed = columns.len() - 1;
        columns.extend((1..=lags).map(|lag| centred(differences[skip - lag..n - lag].to_vec())));
        let views: Vec<&[f64]> = columns.iter().map(Vec::as_slice).collect();
        Regression { moments: Symmetric::gram(&views), samples: n - skip, fixed }
    }

    /// With the first `lags` lagged differences; `None` when the columns repeat each other.
    fn fit(&self, lags: usize) -> Option<Fitted> {
        let on: Vec<usize> = (1..=self.fixed + lags).collect();
        let factor = self.moments.select(&on).cholesky()?;
        let with: Vec<f64> = on.iter().map(|&column| self.moments.at(0, column)).collect();
        let slopes = factor.solve(&with);
        let rest = self.moments.at(0, 0) - dot(&slopes, &with);
        if rest <= 1e-14 * self.moments.at(0, 0) {
            return None;
        }
        let n = self.samples as f64;
        // Plus one for the constant, which centring has taken out.
        let parameters = on.len() as f64 + 1.0;
        let mut unit = vec![0.0; on.len()];
        unit[0] = 1.0;
        let error = (rest / (n - parameters) * factor.solve(&unit)[0]).sqrt();
        Some(Fitted {
            statistic: slopes[0] / error,
            akaike: n * (rest / n).ln() + 2.0 * parameters,
        })
    }
}

/// The p-value of a Dickey-Fuller t statistic of one series.
fn mackinnon(statistic: f64, deterministic: Deterministic) -> f64 {
    let polynomial = |c: &[f64]| c.iter().rev().fold(0.0, |sum, c| sum * statistic + c);
    // Bounds, turning point, and the two polynomials of the table's first row.
    let (low, turn, high, small, large) = match deterministic {
        Deterministic::Constant => {
            let small = [2.1659, 1.4412, 0.038_269];
            (-18.83, -1.61, 2.74, small, [1.7339, 0.932_02, -0.127_45, -0.010_368])
        }
        Deterministic::ConstantAndTrend => {
            let small = [3.2512, 1.6047, 0.049_588];
            (-16.18, -2.89, 0.7, small, [2.5261, 0.616_54, -0.379_56, -0.060_285])
        }
    };
    if statistic > high {
        return 1.0;
    }
    if statistic < low {
        return 0.0;
    }
    let z = if statistic <= turn { polynomial(&small) } else { polynomial(&large) };
    0.5 * erfc(-z / std::f64::consts::SQRT_2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_tested_is_an_error() {
        let short = unit_root(&[1.0; 5], Deterministic::Constant, None);
        assert!(matches!(short, Err(Error::NotEnoughData { .. })));
        for odd in [vec![3.0; 50], (0..50).map(f64::from).collect()] {
            for deterministic in [Deterministic::Constant, Deterministic::ConstantAndTrend] {
                let result = unit_root(&odd, deterministic, None);
                assert!(matches!(result, Err(Error::Singular { .. })), "{result:?}");
            }
        }
    }

    #[test]
    fn the_bounds_of_the_table_are_answered() {
        assert_eq!(mackinnon(3.0, Deterministic::Constant), 1.0);
        assert_eq!(mackinnon(-20.0, Deterministic::ConstantAndTrend), 0.0);
    }
}
