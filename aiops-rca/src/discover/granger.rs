//! Bivariate Granger causality: does the past of one series help to predict another?

use super::lagged::centred;
use super::{CausalDiscovery, CausalEdge, CausalGraph, Knowledge, Mark};
use crate::error::within;
use crate::linalg::{Symmetric, dot};
use crate::{Adjust, Error, Result, parallel};
use aiops_core::Frame;
use serde::{Deserialize, Serialize};
use statrs::distribution::{ChiSquared, ContinuousCDF, FisherSnedecor};

/// How the number of lags is chosen for each pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LagChoice {
    /// So many.
    Fixed(usize),
    /// The order in 1..=max that minimises Akaike's criterion of the pair's VAR: finds short effects
    /// with some that are none.
    Aic {
        /// The largest order tried.
        max: usize,
    },
    /// The same by Schwarz's criterion: fewer lags.
    Bic {
        /// The largest order tried.
        max: usize,
    },
}

/// One test of "the past of the cause helps to predict the effect".
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GrangerTest {
    /// How many lags of each series entered.
    pub lags: usize,
    /// F = ((RSS₀ − RSS₁) / L) / (RSS₁ / (n − 2L − 1)), with RSS₀ of the effect's own past alone.
    pub f: f64,
    /// Its p-value under F(L, n − 2L − 1).
    pub f_p_value: f64,
    /// n (RSS₀ − RSS₁) / RSS₁.
    pub chi2: f64,
    /// Its p-value under chi-square with L degrees of freedom.
    pub chi2_p_value: f64,
}

/// Pairwise Granger causality between all rows.
///
/// Finds linear predictive influence; says nothing about instantaneous effects. Fails, by design of
/// the test, where a third series drives both or lies between them: on a sparse VAR(2) of 50
/// variables it finds all true links and almost as many false ones even after adjustment. Prefer
/// [`ConditionalGranger`](super::ConditionalGranger) for more than two series; this one is for pairs
/// and for comparison. Assumes stationarity.
///
/// Time O(rows² · n · L²), in parallel over effects.
///
/// Source: Granger 1969; statistics as in statsmodels `grangercausalitytests` (`ssr_ftest`,
/// `ssr_chi2test`), which the golden tests compare with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GrangerConfig {
    /// How many lags. Default: by BIC, up to 5.
    pub lags: LagChoice,
    /// An edge needs an adjusted p-value at or below it. Default 0.05.
    pub level: f64,
    /// How p-values are adjusted over all pairs. Default Benjamini-Hochberg.
    pub adjust: Adjust,
}

impl Default for GrangerConfig {
    fn default() -> Self {
        let (lags, adjust) = (LagChoice::Bic { max: 5 }, Adjust::default());
        GrangerConfig { lags, level: 0.05, adjust }
    }
}

impl GrangerConfig {
    /// Checks the values and builds the method.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] names the field that is out of range.
    pub fn build(self) -> Result<Granger> {
        let (LagChoice::Fixed(lags) | LagChoice::Aic { max: lags } | LagChoice::Bic { max: lags }) =
            self.lags;
        within("lags", lags as f64, 1.0, 1e4)?;
        within("level", self.level, 0.0, 1.0)?;
        Ok(Granger { config: self })
    }
}

/// The method of [`GrangerConfig`].
#[derive(Debug, Clone)]
pub struct Granger {
    config: GrangerConfig,
}

impl Granger {
    /// Tests whether `cause` helps to predict `effect`. Both are equally long and free of gaps.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for different lengths, [`Error::NotEnoughData`] when no degrees of freedom
    /// remain, and [`Error::Singular`] for constant series or such that repeat each other.
    pub fn test(&self, cause: &[f64], effect: &[f64]) -> Result<GrangerTest> {
        if cause.len() != effect.len() {
            let (expected, got) = (effect.len(), cause.len());
            return Err(Error::Mismatch { what: "samples of a pair", expected, got });
        }
        let lags = match self.config.lags {
            LagChoice::Fixed(lags) => lags,
            LagChoice::Aic { max } => order(cause, effect, max, |_| 2.0)?,
            LagChoice::Bic { max } => order(cause, effect, max, f64::ln)?,
        };
        test(cause, effect, lags)
    }
}

/// Columns of the design: the effect now, its past, the past of the cause, over the steps from
/// `skip` on.
fn design(cause: &[f64], effect: &[f64], lags: usize, skip: usize) -> Vec<Vec<f64>> {
    let past =
        |series: &[f64], lag: usize| centred(series[skip - lag..series.len() - lag].to_vec());
    let own = (0..=lags).map(|lag| past(effect, lag));
    own.chain((1..=lags).map(|lag| past(cause, lag))).collect()
}

fn enough(n: usize, lags: usize) -> Result<usize> {
    let (needed, what) = (3 * lags + 2, "a Granger test");
    if n < needed { Err(Error::NotEnoughData { what, needed, got: n }) } else { Ok(n - lags) }
}

fn test(cause: &[f64], effect: &[f64], lags: usize) -> Result<GrangerTest> {
    let n = enough(effect.len(), lags)?;
    let columns = design(cause, effect, lags, lags);
    let views: Vec<&[f64]> = columns.iter().map(Vec::as_slice).collect();
    let moments = Symmetric::gram(&views);
    let own: Vec<usize> = (1..=lags).collect();
    let both: Vec<usize> = (1..=2 * lags).collect();
    let (alone, with) = (residual(&moments, &own)?, residual(&moments, &both)?);
    let freedom = (n - 2 * lags - 1) as f64;
    let gain = (alone - with).max(0.0);
    let f = gain / lags as f64 / (with / freedom);
    let chi2 = n as f64 * gain / with;
    let f_p_value = tail(FisherSnedecor::new(lags as f64, freedom), f);
    let chi2_p_value = tail(ChiSquared::new(lags as f64), chi2);
    Ok(GrangerTest { lags, f, f_p_value, chi2, chi2_p_value })
}

/// The residual sum of squares of column 0 on the columns `on`.
fn residual(moments: &Symmetric, on: &[usize]) -> Result<f64> {
    let singular = || Error::Singular { what: "the design of a Granger test" };
    let factor = moments.select(on).cholesky().ok_or_else(singular)?;
    let with: Vec<f64> = on.iter().map(|&column| moments.at(0, column)).collect();
    let rest = moments.at(0, 0) - dot(&factor.solve(&with), &with);
    if rest > 1e-14 * moments.at(0, 0) { Ok(rest) } else { Err(singular()) }
}

/// The upper tail; a distribution that cannot be made has nothing to say against chance, and neither
/// has a statistic that is no number.
pub(super) fn tail<D: ContinuousCDF<f64, f64>, E>(made: std::result::Result<D, E>, at: f64) -> f64 {
    match made {
        Ok(distribution) if !at.is_nan() => distribution.sf(at).clamp(0.0, 1.0),
        _ => 1.0,
    }
}

/// The order of the pair's VAR with the smallest ln det Σ + penalty(n) · parameters / n, all orders
/// over the same steps; at least 1.
///
/// As statsmodels `VAR.select_order`, which may also choose 0: then nothing predicts anything, and
/// one lag is the test to make.
fn order(cause: &[f64], effect: &[f64], max: usize, penalty: impl Fn(f64) -> f64) -> Result<usize> {
    let n = enough(effect.len(), max)?;
    let mut best = (f64::INFINITY, 1);
    for lags in 1..=max {
        let past = design(cause, effect, lags, max);
        let now = centred(cause[max..].to_vec());
        let mut views: Vec<&[f64]> = past.iter().map(Vec::as_slice).collect();
        views.push(&now);
        let moments = Symmetric::gram(&views);
        let on: Vec<usize> = (1..=2 * lags).collect();
        let singular = || Error::Singular { what: "the design of a Granger test" };
        let factor = moments.select(&on).cholesky().ok_or_else(singular)?;
        let with =
            |target: usize| -> Vec<f64> { on.iter().map(|&c| moments.at(target, c)).collect() };
        let ends = [0, 2 * lags + 1];
        let left = ends.map(with);
        let solved = [factor.solve(&left[0]), factor.solve(&left[1])];
        let residual = Symmetric::from_fn(2, |i, j| {
            (moments.at(ends[i], ends[j]) - dot(&solved[i], &left[j])) / n as f64
        });
        let fit = residual.cholesky().ok_or_else(singular)?.ln_det();
        let parameters = (4 * lags + 2) as f64;
        let criterion = fit + penalty(n as f64) * parameters / n as f64;
        if criterion < best.0 {
            best = (criterion, lags);
        }
    }
    Ok(best.1)
}

impl CausalDiscovery for Granger {
    fn id(&self) -> &str {
        "granger"
    }

    fn discover(&self, data: &Frame, knowledge: &Knowledge) -> Result<CausalGraph> {
        let rows = data.n_series();
        knowledge.check(rows)?;
        let whole: Vec<usize> = (0..data.n_steps())
            .filter(|&t| (0..rows).all(|row| data.row(row)[t].is_finite()))
            .collect();
        // Lags need neighbours in time: the longest stretch without a gap.
        let stretch = longest_run(&whole);
        let pairs: Vec<(usize, usize)> = (0..rows)
            .flat_map(|effect| (0..rows).map(move |cause| (cause, effect)))
            .filter(|&(cause, effect)| cause != effect && knowledge.permits(cause, effect))
            .collect();
        let tests = parallel::map(&pairs, |&(cause, effect)| {
            let series = |row: usize| &data.row(row)[stretch.clone()];
            match self.test(series(cause), series(effect)) {
                Ok(test) => Ok(Some(test)),
                Err(Error::Singular { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        });
        let tests: Vec<Option<GrangerTest>> = tests.into_iter().collect::<Result<_>>()?;
        let raw: Vec<f64> = tests.iter().map(|t| t.map_or(f64::NAN, |t| t.f_p_value)).collect();
        let adjusted = self.config.adjust.apply(&raw);
        let mut edges = vec![];
        for ((&(from, to), test), p_value) in pairs.iter().zip(tests).zip(adjusted) {
            if let Some(test) = test
                && p_value <= self.config.level
            {
                let (lag, mark) = (test.lags as u32, Mark::Directed);
                edges.push(CausalEdge { from, to, lag, mark, strength: test.f, p_value });
            }
        }
        knowledge.complete(&mut edges);
        Ok(CausalGraph::new(data.series().to_vec(), edges))
    }
}

/// The longest run of consecutive steps among `steps`, which rise.
pub(crate) fn longest_run(steps: &[usize]) -> std::ops::Range<usize> {
    let mut best = 0..0;
    let mut begin = 0;
    for i in 0..steps.len() {
        if i > 0 && steps[i] != steps[i - 1] + 1 {
            begin = i;
        }
        if i + 1 - begin > best.len() {
            best = steps[begin]..steps[i] + 1;
        }
    }
    best
}
