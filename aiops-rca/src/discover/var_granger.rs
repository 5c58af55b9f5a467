//! Conditional Granger causality: given the past of everything else, does this past still help?

use super::granger::tail;
use super::lagged::Lagged;
use super::{CausalDiscovery, CausalEdge, CausalGraph, Knowledge, Mark};
use crate::error::within;
use crate::linalg::{Symmetric, dot};
use crate::{Adjust, Error, Result, parallel};
use aiops_core::Frame;
use serde::{Deserialize, Serialize};
use statrs::distribution::{ChiSquared, FisherSnedecor};

/// One Wald test of "no lag of the cause enters the equation of the effect".
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WaldTest {
    /// The cause, a row.
    pub cause: usize,
    /// The effect, a row.
    pub effect: usize,
    /// b' Cov(b)⁻¹ b over the lags of the cause.
    pub wald: f64,
    /// Its p-value under chi-square with as many degrees of freedom as lags.
    pub wald_p_value: f64,
    /// wald / lags.
    pub f: f64,
    /// Its p-value under F(lags, rows · residual degrees of freedom).
    pub f_p_value: f64,
    /// The lag with the largest coefficient in standard errors.
    pub lag: u32,
    /// That coefficient, in the effect's unit per unit of the cause.
    pub coefficient: f64,
}

/// Granger causality in the vector autoregression of all rows at once.
///
/// Finds direct linear predictive influence and, unlike the bivariate test, is not fooled by what
/// another measured series explains. Fails with an unmeasured common driver, with effects inside one
/// step, and when rows · lags nears the number of samples (then see `ridge`). Assumes stationarity;
/// heavy tails cost power rather than correctness.
///
/// One Gram matrix of all lagged columns serves all equations: with Z the design, b = (Z'Z)⁻¹ Z'y,
/// Cov(b) = σ² (Z'Z)⁻¹, and each test inverts one block of lags × lags. Time O(n (rows · lags)² +
/// (rows · lags)³) in all, not per pair; memory O((rows · lags)²).
///
/// Source: Lütkepohl 2005, section 3.6; statistics as in statsmodels `VARResults.test_causality`
/// (kinds `wald` and `f`), which the golden tests compare with. Deviation: with a ridge the tests are
/// approximate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConditionalGrangerConfig {
    /// How many lags of every row enter. Default 2.
    pub lags: usize,
    /// An edge needs an adjusted p-value at or below it. Default 0.05.
    pub level: f64,
    /// How p-values are adjusted over all pairs. Default Benjamini-Hochberg.
    pub adjust: Adjust,
    /// Added to the diagonal, as a share of it. `None`: 0 while there are at least three samples for
    /// each coefficient, 0.01 otherwise. Default `None`.
    pub ridge: Option<f64>,
}

impl Default for ConditionalGrangerConfig {
    fn default() -> Self {
        ConditionalGrangerConfig { lags: 2, level: 0.05, adjust: Adjust::default(), ridge: None }
    }
}

impl ConditionalGrangerConfig {
    /// Checks the values and builds the method.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] names the field that is out of range.
    pub fn build(self) -> Result<ConditionalGranger> {
        within("lags", self.lags as f64, 1.0, 1e4)?;
        within("level", self.level, 0.0, 1.0)?;
        within("ridge", self.ridge.unwrap_or(0.0), 0.0, 1e6)?;
        Ok(ConditionalGranger { config: self })
    }
}

/// The method of [`ConditionalGrangerConfig`].
#[derive(Debug, Clone)]
pub struct ConditionalGranger {
    config: ConditionalGrangerConfig,
}

impl ConditionalGranger {
    /// The test of every ordered pair of rows that vary, by effect and then cause.
    ///
    /// # Errors
    /// [`Error::NotEnoughData`] when fewer samples than coefficients remain without gaps and no ridge
    /// was asked for, [`Error::Singular`] when rows repeat each other.
    pub fn tests(&self, data: &Frame) -> Result<Vec<WaldTest>> {
        let lags = self.config.lags;
        let lagged = Lagged::new("conditional Granger", data, lags, 3)?;
        let rows: Vec<usize> =
            (0..data.n_series()).filter(|&row| !lagged.is_constant(row)).collect();
        let coefficients = rows.len() * lags + 1;
        if lagged.samples <= coefficients && self.config.ridge.is_none_or(|ridge| ridge == 0.0) {
            let (what, needed) = ("conditional Granger", coefficients + 1);
            return Err(Error::NotEnoughData { what, needed, got: lagged.samples });
        }
        let tight = lagged.samples < 3 * coefficients;
        let ridge = self.config.ridge.unwrap_or(if tight { 0.01 } else { 0.0 });

        // The design: every lag of every row, the lags of one row side by side.
        let past: Vec<&[f64]> = rows
            .iter()
            .flat_map(|&row| (1..=lags).map(move |lag| (row, lag)))
            .map(|(row, lag)| lagged.column(row, lag))
            .collect();
        let gram = gram(&past);
        let ridged = Symmetric::from_fn(gram.len(), |i, j| {
            gram.at(i, j) * if i == j { 1.0 + ridge } else { 1.0 }
        });
        let singular = Error::Singular { what: "the moments of the lagged rows" };
        let inverse = ridged.cholesky().ok_or(singular)?;
        let (factor, inverse) = (&inverse, inverse.inverse());

        let freedom = lagged.samples.saturating_sub(coefficients).max(1) as f64;
        let equation = |effect: usize| {
            let now = lagged.column(rows[effect], 0);
            let with: Vec<f64> = past.iter().map(|column| dot(column, now)).collect();
            let b = factor.solve(&with);
            let variance = (dot(now, now) - dot(&b, &with)).max(0.0) / freedom;
            let tests = (0..rows.len()).filter(move |&cause| cause != effect);
            let tests = tests.filter_map(|cause| {
                let test = wald(&b[cause * lags..][..lags], &inverse, cause * lags, variance)?;
                let df = rows.len() as f64 * freedom;
                Some(WaldTest {
                    cause: rows[cause],
                    effect: rows[effect],
                    wald: test.0,
                    wald_p_value: tail(ChiSquared::new(lags as f64), test.0),
                    f: test.0 / lags as f64,
                    f_p_value: tail(FisherSnedecor::new(lags as f64, df), test.0 / lags as f64),
                    lag: test.1,
                    coefficient: b[cause * lags + test.1 as usize - 1],
                })
            });
            tests.collect::<Vec<_>>()
        };
        let tests: Vec<Vec<WaldTest>> = parallel::map_below(rows.len(), equation);
        Ok(tests.concat())
    }
}

fn gram(columns: &[&[f64]]) -> Symmetric {
    let row = |i: usize| -> Vec<f64> { (0..=i).map(|j| dot(columns[i], columns[j])).collect() };
    let lower = parallel::map_below(columns.len(), row);
    Symmetric::from_fn(columns.len(), |i, j| lower[i][j])
}

/// b' (σ² block)⁻¹ b and the lag with the largest |b| in standard errors; `None` when the effect is
/// predicted perfectly and nothing can be tested.
fn wald(b: &[f64], inverse: &Symmetric, at: usize, variance: f64) -> Option<(f64, u32)> {
    let keep: Vec<usize> = (at..at + b.len()).collect();
    let factor = inverse.select(&keep).cholesky()?;
    let statistic = dot(&factor.solve(b), b) / variance;
    let errors = |i: usize| b[i].abs() / inverse.at(at + i, at + i).sqrt();
    let lag = (0..b.len()).max_by(|&i, &j| errors(i).total_cmp(&errors(j)))?;
    statistic.is_finite().then_some((statistic, lag as u32 + 1))
}

impl CausalDiscovery for ConditionalGranger {
    fn id(&self) -> &str {
        "conditional_granger"
    }

    fn discover(&self, data: &Frame, knowledge: &Knowledge) -> Result<CausalGraph> {
        knowledge.check(data.n_series())?;
        let mut tests = self.tests(data)?;
        tests.retain(|test| knowledge.permits(test.cause, test.effect));
        let raw: Vec<f64> = tests.iter().map(|test| test.wald_p_value).collect();
        let adjusted = self.config.adjust.apply(&raw);
        let accepted = tests.iter().zip(adjusted).filter(|(_, p)| *p <= self.config.level);
        let mut edges: Vec<CausalEdge> = accepted
            .map(|(test, p_value)| CausalEdge {
                from: test.cause,
                to: test.effect,
                lag: test.lag,
                mark: Mark::Directed,
                strength: test.coefficient,
                p_value,
            })
            .collect();
        knowledge.complete(&mut edges);
        Ok(CausalGraph::new(data.series().to_vec(), edges))
    }
}
