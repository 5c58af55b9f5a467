//! [`RunForest`]: an isolation forest over the last values of a series.

use aiops_core::{Frame, SeriesKey, Timestamp};
use aiops_detect::tier3::{IsolationForestConfig, PackedForest};

use crate::{
    Error, Result, RuleConfig,
    cpu::check_forest,
    rule::{CLIP, Moments},
};

/// Values in a run.
pub const RUN: usize = 8;

/// An isolation forest over runs: the last eight standardised values of a series, newest first.
///
/// It sees what no single value shows, such as a series that freezes or saws, and knows nothing of time
/// beyond eight samples. One forest serves all series, because values are standardised per series.
///
/// The p-value of a score is its rank among the scores of the runs it was made from; above the highest
/// three in a hundred, an exponential tail with their mean excess continues.
///
/// Source: Liu, Ting & Zhou 2008, "Isolation forest"; runs as in Guha et al. 2016, "Robust random cut forest
/// based anomaly detection on streams" (shingles).
#[derive(Debug, Clone, PartialEq)]
pub struct RunForest {
    packed: PackedForest,
    /// Scores of usual runs, ascending.
    usual: Vec<f64>,
    /// Mean excess over the score that three in a hundred reach.
    excess: f64,
}

const TAIL: f64 = 0.03;
/// Scores kept of the training runs, evenly over their ranks.
const KEPT: usize = 512;
/// Runs that a forest is made from at most, evenly over what is given.
const MOST_RUNS: usize = 20_000;

impl RunForest {
    /// Fits a forest to the runs of series of mostly normal data; gaps are left out.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] when a setting is out of range, [`Error::Weights`] when the series hold
    /// fewer than a hundred runs behind their warm-up.
    pub fn fit(
        series: &[&[f64]],
        rule: &RuleConfig,
        config: &IsolationForestConfig,
    ) -> Result<Self> {
        let checked = rule.build()?;
        let mut runs: Vec<[f32; RUN]> = Vec::new();
        for values in series {
            let mut moments = Moments::default();
            let mut run = [0.0; RUN];
            for value in values.iter().filter(|v| v.is_finite()) {
                let deviation = moments.deviation(*value);
                push(&mut run, deviation);
                checked.learn(&mut moments, *value, deviation, None);
                if moments.seen > checked.warm_up + RUN as u32 {
                    runs.push(run);
                }
            }
        }
        if runs.len() < 100 {
            return Err(Error::weights(format!("100 runs are needed, got {}", runs.len())));
        }
        let every = runs.len().div_ceil(MOST_RUNS);
        let runs: Vec<_> = runs.into_iter().step_by(every).collect();
        let keys = (0..RUN).map(|lag| SeriesKey::new(format!("lag_{lag}"), [("of", "run")]));
        let columns = (0..RUN).flat_map(|lag| runs.iter().map(move |run| f64::from(run[lag])));
        let second = std::time::Duration::from_secs(1);
        let fitted = Frame::new(keys.collect(), Timestamp::EPOCH, second, columns.collect())
            .map_err(aiops_detect::Error::from)
            .and_then(|frame| config.train(&frame));
        let packed = match fitted {
            Ok(forest) => forest.packed().clone(),
            Err(aiops_detect::Error::InvalidConfig { field, reason }) => {
                return Err(Error::config(field, reason));
            }
            Err(error) => return Err(Error::weights(error.to_string())),
        };
        let mut scores = vec![0.0; runs.len()];
        packed.score_many(&runs.concat(), &mut scores);
        scores.sort_by(f64::total_cmp);
        let above = &scores[((1.0 - TAIL) * scores.len() as f64) as usize..];
        let excess = above.iter().map(|s| s - above[0]).sum::<f64>() / above.len() as f64;
        let kept = KEPT.min(scores.len());
        let usual = (0..kept).map(|i| scores[i * (scores.len() - 1) / (kept - 1)]).collect();
        RunForest::new(packed, usual, excess.max(1e-4))
    }

    /// A forest over runs with the scores of usual runs in ascending order, and the mean excess of the
    /// highest three in a hundred over the lowest of them.
    ///
    /// # Errors
    /// [`Error::Weights`] when the table is no forest over runs, or the scores are not ascending.
    pub fn new(packed: PackedForest, usual: Vec<f64>, excess: f64) -> Result<Self> {
        check_forest(&packed)?;
        if packed.n_series != RUN {
            return Err(Error::weights(format!("{} values a run, not {RUN}", packed.n_series)));
        }
        let ascending = usual.windows(2).all(|pair| pair[0] <= pair[1]);
        if usual.len() < 100 || !ascending || !usual.iter().all(|s| s.is_finite()) {
            return Err(Error::weights("scores of usual runs: 100 or more, ascending"));
        }
        if !(excess > 0.0 && excess.is_finite()) {
            return Err(Error::weights(format!("a mean excess of {excess}")));
        }
        Ok(RunForest { packed, usual, excess })
    }

    /// The forest as one table.
    pub fn packed(&self) -> &PackedForest {
        &self.packed
    }

    /// Scores of usual runs in ascending order, the score at which the tail begins, its share, and the
    /// mean excess over it: what [`p_value`](Self::p_value) is made of.
    #[cfg(any(feature = "cuda", feature = "wgpu"))]
    pub(crate) fn ranks(&self) -> (&[f64], f64, f64, f64) {
        (&self.usual, self.tail_start(), TAIL, self.excess)
    }

    fn tail_start(&self) -> f64 {
        let n = self.usual.len();
        self.usual[(((1.0 - TAIL) * n as f64) as usize).min(n - 1)]
    }

    /// Chance that a usual run scores at least so high; never 0.
    pub fn p_value(&self, score: f64) -> f64 {
        let n = self.usual.len();
        let start = self.tail_start();
        if score > start {
            return (TAIL * (-(score - start) / self.excess).exp()).max(f64::MIN_POSITIVE);
        }
        let below = self.usual.partition_point(|usual| *usual < score);
        ((n - below) as f64 / n as f64).clamp(TAIL, 1.0)
    }
}

/// Takes a deviation in as the newest of a run.
pub(crate) fn push(run: &mut [f32; RUN], deviation: f64) {
    run.copy_within(0..RUN - 1, 1);
    run[0] = deviation.clamp(-CLIP, CLIP) as f32;
}
