//! Rows made fit for discovery: what wanders is differenced, what drifts is detrended, what says
//! nothing is dropped, each with its reason.

use super::granger::longest_run;
use super::{CausalDiscovery, CausalEdge, CausalGraph, Deterministic, Knowledge, unit_root};
use crate::error::within;
use crate::stats::{correlation, finite, mean_std};
use crate::{Error, Result, parallel};
use aiops_core::Frame;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// How rows are made fit for a method that assumes stationarity.
///
/// A row is dropped when it has too few values, is constant, or repeats an earlier one (by name, so
/// that the order of rows decides nothing). Of what is left, each row is tested with [`unit_root`]
/// over its longest stretch without a gap: stationary around a constant, it stays; around a line, the
/// line is taken away; otherwise it is differenced, up to `max_differences` times. Rows that are too
/// short to be tested stay as they are.
///
/// Differencing turns "a moves b" into "a change of a moves b": edges keep their meaning, coefficients
/// do not. A differenced row loses one step, and one more at each gap.
///
/// ```
/// use aiops_core::{Frame, Labels, SeriesKey, Timestamp};
/// use aiops_rca::{TidyConfig, Treatment, Unfit};
/// use std::time::Duration;
///
/// let noise = |t: u64| ((t * t * 7919) % 97) as f64 / 97.0;
/// let disk = (0..200).map(|t| 0.1 * t as f64 + noise(t)); // fills up
/// let limit = std::iter::repeat_n(4.0, 200);
/// let keys = ["disk", "limit"].map(|n| SeriesKey::new(n, Labels::new())).to_vec();
/// let data = Frame::new(keys, Timestamp::EPOCH, Duration::from_secs(1), disk.chain(limit).collect())?;
///
/// let tidied = TidyConfig::default().build()?.tidy(&data)?;
/// assert!(matches!(tidied.treatments[0], Treatment::Detrended { .. }));
/// assert_eq!(tidied.treatments[1], Treatment::Dropped(Unfit::Constant));
/// assert_eq!(tidied.rows, [0]);
/// # Ok::<(), aiops_rca::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TidyConfig {
    /// A row is stationary when the test's p-value is at or below it. Default 0.05.
    pub level: f64,
    /// At most so many lagged differences in the test; `None` as [`unit_root`] chooses.
    pub max_lags: Option<usize>,
    /// A row that wanders is differenced at most so many times. 0 never does. Default 1.
    pub max_differences: usize,
    /// A row whose correlation with another reaches this, in size, is dropped. Default 0.99, as in
    /// RCAEval.
    pub collinear: f64,
    /// A row with a smaller share of values is dropped. Default 0.5.
    pub min_coverage: f64,
}

impl Default for TidyConfig {
    fn default() -> Self {
        TidyConfig {
            level: 0.05,
            max_lags: None,
            max_differences: 1,
            collinear: 0.99,
            min_coverage: 0.5,
        }
    }
}

impl TidyConfig {
    /// Checks the values and builds the step.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] names the field that is out of range.
    pub fn build(self) -> Result<Tidy> {
        within("level", self.level, 0.0, 1.0)?;
        within("collinear", self.collinear, 0.0, 1.0)?;
        within("min_coverage", self.min_coverage, 0.0, 1.0)?;
        within("max_differences", self.max_differences as f64, 0.0, 4.0)?;
        Ok(Tidy { config: self })
    }
}

/// What was done to one row.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Treatment {
    /// Nothing: it is stationary, or too short to tell.
    AsItIs,
    /// A line was taken away.
    Detrended {
        /// How much it rose each step.
        slope: f64,
    },
    /// Each value became the change since the step before.
    Differenced {
        /// How often.
        times: usize,
    },
    /// It is not among the rows that are left.
    Dropped(Unfit),
}

/// Why a row says nothing to discovery.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Unfit {
    /// Too few values.
    Gaps {
        /// The share of steps that have one.
        coverage: f64,
    },
    /// It never changes.
    Constant,
    /// It repeats another row.
    Repeats {
        /// The row that stays.
        row: usize,
        /// Their correlation.
        r: f64,
    },
}

/// What is left, and what was done.
#[derive(Debug, Clone, PartialEq)]
pub struct Tidied {
    /// The rows that are left, treated.
    pub frame: Frame,
    /// Their numbers in the frame that was given.
    pub rows: Vec<usize>,
    /// One for each row that was given.
    pub treatments: Vec<Treatment>,
}

/// The step of [`TidyConfig`].
#[derive(Debug, Clone)]
pub struct Tidy {
    config: TidyConfig,
}

impl Tidy {
    /// Treats every row of `data`. Time O(rows · steps · lags² + rows² · steps).
    ///
    /// # Errors
    /// Those of [`Frame::new`], which do not occur for a frame that was made by it.
    pub fn tidy(&self, data: &Frame) -> Result<Tidied> {
        let treated =
            parallel::map_below(data.n_series(), |row| treat(&self.config, data.row(row)));
        let mut treatments: Vec<Treatment> = treated.iter().map(|(t, _)| *t).collect();
        let mut by_name: Vec<usize> = (0..data.n_series()).collect();
        by_name.sort_by(|&a, &b| data.series()[a].cmp(&data.series()[b]).then(a.cmp(&b)));
        let mut rows: Vec<usize> = vec![];
        for row in by_name {
            if matches!(treatments[row], Treatment::Dropped(_)) {
                continue;
            }
            let like = |&kept: &usize| (kept, correlation(&treated[kept].1, &treated[row].1));
            let like = parallel::map(&rows, like);
            match like.into_iter().find(|(_, r)| r.abs() >= self.config.collinear) {
                Some((kept, r)) => {
                    treatments[row] = Treatment::Dropped(Unfit::Repeats { row: kept, r });
                }
                None => rows.push(row),
            }
        }
        rows.sort_unstable();
        let series = rows.iter().map(|&row| data.series()[row].clone()).collect();
        let values = rows.iter().flat_map(|&row| treated[row].1.iter().copied()).collect();
        let frame = Frame::new(series, data.start(), data.step(), values)?;
        Ok(Tidied { frame, rows, treatments })
    }

    /// `method`, given tidied rows. Its graph is over the rows that were given; dropped ones have
    /// only the edges that are required.
    pub fn before<D: CausalDiscovery>(self, method: D) -> Tidying<D> {
        Tidying { tidy: self, method }
    }
}

fn treat(config: &TidyConfig, values: &[f64]) -> (Treatment, Vec<f64>) {
    let known = finite(values);
    let coverage = known.len() as f64 / values.len().max(1) as f64;
    if known.is_empty() || coverage < config.min_coverage {
        return (Treatment::Dropped(Unfit::Gaps { coverage }), vec![]);
    }
    let (mean, spread) = mean_std(&known);
    if spread <= 1e-13 * mean.abs() {
        return (Treatment::Dropped(Unfit::Constant), vec![]);
    }
    let mut treated = values.to_vec();
    let mut times = 0;
    loop {
        let steps: Vec<usize> = (0..treated.len()).filter(|&t| treated[t].is_finite()).collect();
        let stretch = &treated[longest_run(&steps)];
        let stationary = |around| {
            unit_root(stretch, around, config.max_lags).map_or(true, |t| t.p_value <= config.level)
        };
        if stationary(Deterministic::Constant) {
            break;
        }
        // Differences have no slope worth a line of their own.
        if times == 0 && stationary(Deterministic::ConstantAndTrend) {
            let slope = detrend(&mut treated);
            return (Treatment::Detrended { slope }, treated);
        }
        if times == config.max_differences {
            break;
        }
        times += 1;
        let before = std::iter::once(f64::NAN).chain(treated.iter().copied());
        treated = treated.iter().zip(before).map(|(now, before)| now - before).collect();
    }
    match times {
        0 => (Treatment::AsItIs, treated),
        _ => (Treatment::Differenced { times }, treated),
    }
}

/// Takes the least-squares line away, keeping the mean, and says how steep it was.
fn detrend(values: &mut [f64]) -> f64 {
    let known = || values.iter().enumerate().filter(|(_, v)| v.is_finite());
    let n = known().count().max(1) as f64;
    let (t, x) = known().fold((0.0, 0.0), |sums, (t, v)| (sums.0 + t as f64, sums.1 + v));
    let (t_mean, x_mean) = (t / n, x / n);
    let (both, square) = known().fold((0.0, 0.0), |sums, (t, v)| {
        let t = t as f64 - t_mean;
        (sums.0 + t * (v - x_mean), sums.1 + t * t)
    });
    let slope = if square > 0.0 { both / square } else { 0.0 };
    values.iter_mut().enumerate().for_each(|(t, v)| *v -= slope * (t as f64 - t_mean));
    slope
}

/// A discovery method that is given tidied rows; made by [`Tidy::before`].
#[derive(Debug, Clone)]
pub struct Tidying<D> {
    tidy: Tidy,
    method: D,
}

impl<D: CausalDiscovery> CausalDiscovery for Tidying<D> {
    fn id(&self) -> &str {
        self.method.id()
    }

    fn discover(&self, data: &Frame, knowledge: &Knowledge) -> Result<CausalGraph> {
        knowledge.check(data.n_series())?;
        let Tidied { frame, rows, .. } = self.tidy.tidy(data)?;
        let place = |row: usize| rows.binary_search(&row).ok();
        let inside = |pairs: &BTreeSet<(usize, usize)>| {
            pairs.iter().filter_map(|&(a, b)| Some((place(a)?, place(b)?))).collect()
        };
        let within = Knowledge {
            required: inside(&knowledge.required),
            forbidden: inside(&knowledge.forbidden),
            permitted: knowledge.permitted.as_ref().map(inside),
        };
        // A frame without rows has no steps of its own, so the method could not tell that it is short.
        let short = Error::NotEnoughData { what: "tidying", needed: 4, got: data.n_steps() };
        let mut edges = match rows.len() {
            _ if data.n_steps() < 4 => return Err(short),
            0 => vec![],
            _ => self.method.discover(&frame, &within)?.edges,
        };
        for CausalEdge { from, to, .. } in &mut edges {
            (*from, *to) = (rows[*from], rows[*to]);
        }
        knowledge.complete(&mut edges);
        Ok(CausalGraph::new(data.series().to_vec(), edges))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aiops_core::{Labels, SeriesKey, Timestamp};
    use std::time::Duration;

    fn frame(rows: &[(&str, Vec<f64>)]) -> Frame {
        let keys = rows.iter().map(|(name, _)| SeriesKey::new(*name, Labels::new())).collect();
        let values = rows.iter().flat_map(|(_, values)| values.clone()).collect();
        Frame::new(keys, Timestamp::EPOCH, Duration::from_secs(1), values).unwrap()
    }

    fn noise(seed: u64) -> impl Iterator<Item = f64> {
        let mut state = seed;
        std::iter::repeat_with(move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888);
            (state >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
        })
    }

    #[test]
    fn each_row_gets_what_it_needs_and_says_so() {
        let white: Vec<f64> = noise(1).take(300).collect();
        let walk: Vec<f64> = noise(2)
            .scan(0.0, |level, step| {
                *level += step;
                Some(*level)
            })
            .take(300)
            .collect();
        let mut sparse = vec![f64::NAN; 300];
        sparse[..100].copy_from_slice(&white[..100]);
        let data = frame(&[
            ("z-copy", white.iter().map(|v| 3.0 - 2.0 * v).collect()),
            ("white", white.clone()),
            ("walk", walk.clone()),
            ("sparse", sparse),
            ("flat", vec![1e9 + 0.1; 300]),
        ]);
        let tidied = TidyConfig::default().build().unwrap().tidy(&data).unwrap();
        let Treatment::Dropped(Unfit::Repeats { row: 1, r }) = tidied.treatments[0] else {
            panic!("{:?}", tidied.treatments)
        };
        assert!((r + 1.0).abs() < 1e-12);
        assert_eq!(tidied.treatments[1], Treatment::AsItIs);
        assert_eq!(tidied.treatments[2], Treatment::Differenced { times: 1 });
        assert!(matches!(tidied.treatments[3], Treatment::Dropped(Unfit::Gaps { .. })));
        assert_eq!(tidied.treatments[4], Treatment::Dropped(Unfit::Constant));
        assert_eq!(tidied.rows, [1, 2]);
        assert!(tidied.frame.row(1)[0].is_nan());
        assert_eq!(tidied.frame.row(1)[1], walk[1] - walk[0]);
    }
}
