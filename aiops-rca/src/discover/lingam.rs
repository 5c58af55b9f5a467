//! LiNGAM: direction from non-Gaussian noise.

use super::lagged::Lagged;
use super::{CausalDiscovery, CausalEdge, CausalGraph, Knowledge, Mark};
use crate::error::within;
use crate::independence::student_t;
use crate::linalg::{Symmetric, dot};
use crate::{Error, Result, parallel};
use aiops_core::Frame;
use serde::{Deserialize, Serialize};

/// DirectLiNGAM: a complete causal order of the rows within one step.
///
/// Finds the direction of linear effects, also between two series alone, where the noise is not
/// Gaussian. With Gaussian noise the order is arbitrary; with unmeasured common causes it is wrong.
/// Ignores time: see [`VarLingam`] for telemetry.
///
/// Repeatedly takes the row that is most independent of what remains of the others after regressing
/// on it, by a pairwise likelihood ratio with the maximum-entropy approximation of entropies, and
/// goes on with the residuals. Then each row is regressed on all before it, and coefficients whose t
/// test is above `level` are dropped.
///
/// Time O(rows³ · n), in parallel.
///
/// Source: Shimizu et al. 2011; Hyvärinen & Smith 2013, equation 8 for the measure. Deviation:
/// pruning by t test in place of the adaptive lasso. The golden tests compare order and coefficients
/// with the DirectLiNGAM of causal-learn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DirectLingamConfig {
    /// The level below which a coefficient is kept. Default 0.001: the order is taken from the same
    /// data, so the tests are too sure of themselves.
    pub level: f64,
}

impl Default for DirectLingamConfig {
    fn default() -> Self {
        DirectLingamConfig { level: 0.001 }
    }
}

impl DirectLingamConfig {
    /// Checks the values and builds the method.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] names the field that is out of range.
    pub fn build(self) -> Result<DirectLingam> {
        within("level", self.level, 0.0, 1.0)?;
        Ok(DirectLingam { config: self })
    }
}

/// The method of [`DirectLingamConfig`].
#[derive(Debug, Clone)]
pub struct DirectLingam {
    config: DirectLingamConfig,
}

/// One coefficient of a row on an earlier one.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Coefficient {
    from: usize,
    to: usize,
    value: f64,
    p_value: f64,
}

impl DirectLingam {
    /// The rows from first cause to last effect; constant rows are left out.
    ///
    /// # Errors
    /// [`Error::NotEnoughData`] when fewer steps without gaps than rows remain.
    pub fn order(&self, data: &Frame, knowledge: &Knowledge) -> Result<Vec<usize>> {
        knowledge.check(data.n_series())?;
        let (rows, columns) = columns(data)?;
        Ok(causal_order(&rows, columns, knowledge))
    }

    fn coefficients(
        &self,
        rows: &[usize],
        columns: &[Vec<f64>],
        order: &[usize],
    ) -> Result<Vec<Coefficient>> {
        let views: Vec<&[f64]> = columns.iter().map(Vec::as_slice).collect();
        let moments = Symmetric::gram(&views);
        let at = |row: usize| rows.iter().position(|&r| r == row).unwrap_or_default();
        let samples = columns.first().map_or(0, Vec::len);
        let mut found = vec![];
        for (place, &to) in order.iter().enumerate().skip(1) {
            let before: Vec<usize> = order[..place].iter().map(|&row| at(row)).collect();
            let singular = || Error::Singular { what: "the moments of the rows" };
            let factor = moments.select(&before).cholesky().ok_or_else(singular)?;
            let with: Vec<f64> = before.iter().map(|&b| moments.at(b, at(to))).collect();
            let b = factor.solve(&with);
            let freedom = samples as f64 - place as f64 - 1.0;
            let rest = (moments.at(at(to), at(to)) - dot(&b, &with)).max(0.0);
            let inverse = factor.inverse();
            for (i, &from) in order[..place].iter().enumerate() {
                let error = (rest / freedom * inverse.at(i, i)).sqrt();
                let p_value = student_t(b[i] / error.max(f64::MIN_POSITIVE), freedom);
                found.push(Coefficient { from, to, value: b[i], p_value });
            }
        }
        Ok(found)
    }
}

/// Centred rows that vary, with their numbers.
fn columns(data: &Frame) -> Result<(Vec<usize>, Vec<Vec<f64>>)> {
    let lagged = Lagged::new("lingam", data, 0, data.n_series() + 2)?;
    let rows: Vec<usize> = (0..data.n_series()).filter(|&row| !lagged.is_constant(row)).collect();
    let columns = rows.iter().map(|&row| lagged.column(row, 0).to_vec()).collect();
    Ok((rows, columns))
}

fn causal_order(rows: &[usize], mut columns: Vec<Vec<f64>>, knowledge: &Knowledge) -> Vec<usize> {
    let mut left: Vec<usize> = (0..rows.len()).collect();
    let mut order = vec![];
    while left.len() > 1 {
        let standard: Vec<Vec<f64>> = left.iter().map(|&i| standardised(&columns[i])).collect();
        let entropies: Vec<f64> = standard.iter().map(|column| entropy(column)).collect();
        let score = |place: usize| -> f64 {
            let others = (0..left.len()).filter(|&other| other != place);
            let against = others.map(|other| {
                let (x, y) = (&standard[place], &standard[other]);
                let difference = likelihood_ratio(x, y, entropies[place], entropies[other]);
                difference.min(0.0).powi(2)
            });
            against.sum()
        };
        let scores: Vec<f64> = parallel::map_below(left.len(), score);
        // Who may not be caused by any of the rest goes first, who is required to be caused waits.
        let may_lead = |place: usize| {
            let row = rows[left[place]];
            left.iter().all(|&other| !knowledge.required.contains(&(rows[other], row)))
        };
        let candidates = (0..left.len()).filter(|&place| may_lead(place));
        let best = candidates.min_by(|&a, &b| scores[a].total_cmp(&scores[b])).unwrap_or(0);
        let root = left.remove(best);
        let (cause, squares) = (columns[root].clone(), dot(&columns[root], &columns[root]));
        for &other in &left {
            let slope = dot(&columns[other], &cause) / squares;
            columns[other].iter_mut().zip(&cause).for_each(|(v, c)| *v -= slope * c);
        }
        order.push(rows[root]);
    }
    order.extend(left.into_iter().map(|i| rows[i]));
    order
}

/// H(y) + H(residual of x on y) − H(x) − H(residual of y on x): negative when y looks like the
/// cause of x. Both standardised.
fn likelihood_ratio(x: &[f64], y: &[f64], entropy_x: f64, entropy_y: f64) -> f64 {
    let r = dot(x, y) / x.len() as f64;
    let residual = |a: &[f64], b: &[f64]| {
        let rest: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - r * b).collect();
        entropy(&standardised(&rest))
    };
    (entropy_y + residual(x, y)) - (entropy_x + residual(y, x))
}

fn standardised(column: &[f64]) -> Vec<f64> {
    let n = column.len() as f64;
    let mean = column.iter().sum::<f64>() / n;
    let variance = column.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
    let scale = variance.sqrt();
    let scale = if scale > 0.0 { scale.recip() } else { 0.0 };
    column.iter().map(|v| (v - mean) * scale).collect()
}

/// The maximum-entropy approximation of the differential entropy of a standardised variable, with
/// the constants of Hyvärinen 1998.
fn entropy(column: &[f64]) -> f64 {
    const K1: f64 = 79.047;
    const K2: f64 = 7.4129;
    const GAMMA: f64 = 0.37457;
    let n = column.len() as f64;
    // ln cosh u = |u| + ln(1 + e^(-2|u|)) - ln 2, which does not overflow.
    let ln_cosh = |u: f64| u.abs() + (-2.0 * u.abs()).exp().ln_1p() - std::f64::consts::LN_2;
    let (mut cosh, mut odd) = (0.0, 0.0);
    for &u in column {
        cosh += ln_cosh(u);
        odd += u * (-u * u / 2.0).exp();
    }
    let gaussian = (1.0 + (2.0 * std::f64::consts::PI).ln()) / 2.0;
    gaussian - K1 * (cosh / n - GAMMA).powi(2) - K2 * (odd / n).powi(2)
}

impl CausalDiscovery for DirectLingam {
    fn id(&self) -> &str {
        "direct_lingam"
    }

    fn discover(&self, data: &Frame, knowledge: &Knowledge) -> Result<CausalGraph> {
        knowledge.check(data.n_series())?;
        let (rows, columns) = columns(data)?;
        let order = causal_order(&rows, columns.clone(), knowledge);
        let found = self.coefficients(&rows, &columns, &order)?;
        let mut edges = edges(&found, self.config.level, knowledge);
        knowledge.complete(&mut edges);
        Ok(CausalGraph::new(data.series().to_vec(), edges))
    }
}

fn edges(found: &[Coefficient], level: f64, knowledge: &Knowledge) -> Vec<CausalEdge> {
    let kept = found.iter().filter(|c| c.p_value <= level && knowledge.permits(c.from, c.to));
    kept.map(|c| CausalEdge {
        from: c.from,
        to: c.to,
        lag: 0,
        mark: Mark::Directed,
        strength: c.value,
        p_value: c.p_value,
    })
    .collect()
}

/// VARLiNGAM: LiNGAM on what a vector autoregression leaves unexplained, and its lagged effects.
///
/// Finds effects within one step (by LiNGAM on the innovations) and over lags; the lagged
/// coefficients are those of the structural model, (I − B₀) times those of the autoregression. Same
/// assumptions as [`DirectLingam`], about the innovations.
///
/// Source: Hyvärinen, Zhang, Shimizu & Hoyer 2010. Deviation: pruning as in [`DirectLingam`]; lagged
/// coefficients are kept by the t test of the autoregression.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VarLingamConfig {
    /// How many lags. Default 1.
    pub lags: usize,
    /// The level below which a coefficient is kept. Default 0.001.
    pub level: f64,
}

impl Default for VarLingamConfig {
    fn default() -> Self {
        VarLingamConfig { lags: 1, level: 0.001 }
    }
}

impl VarLingamConfig {
    /// Checks the values and builds the method.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] names the field that is out of range.
    pub fn build(self) -> Result<VarLingam> {
        within("lags", self.lags as f64, 1.0, 1e3)?;
        let instant = DirectLingamConfig { level: self.level }.build()?;
        Ok(VarLingam { config: self, instant })
    }
}

/// The method of [`VarLingamConfig`].
#[derive(Debug, Clone)]
pub struct VarLingam {
    config: VarLingamConfig,
    instant: DirectLingam,
}

impl CausalDiscovery for VarLingam {
    fn id(&self) -> &str {
        "var_lingam"
    }

    fn discover(&self, data: &Frame, knowledge: &Knowledge) -> Result<CausalGraph> {
        knowledge.check(data.n_series())?;
        let lags = self.config.lags;
        let needed = data.n_series() * lags + data.n_series() + 2;
        let lagged = Lagged::new("var_lingam", data, lags, needed)?;
        let rows: Vec<usize> =
            (0..data.n_series()).filter(|&row| !lagged.is_constant(row)).collect();
        let nodes: Vec<(usize, usize)> =
            rows.iter().flat_map(|&row| (1..=lags).map(move |lag| (row, lag))).collect();
        let past: Vec<&[f64]> = nodes.iter().map(|&(row, lag)| lagged.column(row, lag)).collect();
        let factor = Symmetric::gram(&past).cholesky();
        let factor = factor.ok_or(Error::Singular { what: "the moments of the lagged rows" })?;
        let inverse = factor.inverse();
        let freedom = lagged.samples as f64 - nodes.len() as f64 - 1.0;
        let mut reduced = vec![]; // coefficients of the autoregression, by effect
        let mut innovations = vec![];
        let mut errors = vec![];
        for &row in &rows {
            let now = lagged.column(row, 0);
            let with: Vec<f64> = past.iter().map(|column| dot(column, now)).collect();
            let b = factor.solve(&with);
            let mut rest = now.to_vec();
            for (column, b) in past.iter().zip(&b) {
                rest.iter_mut().zip(*column).for_each(|(v, c)| *v -= b * c);
            }
            errors.push(dot(&rest, &rest) / freedom);
            innovations.push(rest);
            reduced.push(b);
        }
        let order = causal_order(&rows, innovations.clone(), knowledge);
        let instant = self.instant.coefficients(&rows, &innovations, &order)?;
        let mut found = edges(&instant, self.config.level, knowledge);
        let at = |row: usize| rows.iter().position(|&r| r == row).unwrap_or_default();
        for (effect, b) in reduced.iter().enumerate() {
            for (node, &(cause, lag)) in nodes.iter().enumerate() {
                let error = (errors[effect] * inverse.at(node, node)).sqrt();
                let p_value = student_t(b[node] / error.max(f64::MIN_POSITIVE), freedom);
                let to = rows[effect];
                if p_value > self.config.level || cause == to || !knowledge.permits(cause, to) {
                    continue;
                }
                let through: f64 = instant
                    .iter()
                    .filter(|c| c.to == to && c.p_value <= self.config.level)
                    .map(|c| c.value * reduced[at(c.from)][node])
                    .sum();
                let strength = b[node] - through;
                let (from, lag, mark) = (cause, lag as u32, Mark::Directed);
                found.push(CausalEdge { from, to, lag, mark, strength, p_value });
            }
        }
        knowledge.complete(&mut found);
        Ok(CausalGraph::new(data.series().to_vec(), found))
    }
}
