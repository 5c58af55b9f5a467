//! [`EmpiricalTails`]: ECOD and COPOD, how far out in its own series each value of a step is.

use aiops_core::Frame;
use serde::{Deserialize, Serialize};

use crate::{
    BatchDetector, Calibrator, CalibratorConfig, Error, Fit, Result, Tier, batch::frame_fits,
};

/// How the tails of one series are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TailRule {
    /// The larger of both tails, and of the one towards which the training data are skewed. ECOD.
    #[default]
    Ecod,
    /// The larger of the mean of both tails, and of the one towards which they are skewed. COPOD.
    Copod,
}

/// Settings of [`EmpiricalTails`]: only the rule, there is nothing to tune.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct EmpiricalTailsConfig {
    /// ECOD by default.
    pub rule: TailRule,
}

/// Sum over the series of how rare each value is within its own training data.
///
/// Finds steps at which several series are far out at once, without settings, and says which. Fails to
/// see broken relations between series that are each within range; prefer [`Pca`](super::Pca) there.
///
/// With `L = -ln F(x)` and `R = -ln (1 - F(x-))` for the distribution `F` of the training values of a
/// series, and `S` the one of them towards which the training data are skewed (their sum when they are
/// not skewed): the score of a value is `max(L, R, S)` for ECOD, `max((L + R)/2, S)` for COPOD; that of a
/// step the sum over its series. A value beyond all `n` training values has probability `1/(n + 1)`.
///
/// A gap adds nothing; a step of gaps gets score 0. Training sorts, a score is O(series · log n); the
/// sorted training values are kept.
///
/// Sources: Li et al. 2022, "ECOD: unsupervised outlier detection using empirical cumulative
/// distribution functions"; Li et al. 2020, "COPOD: copula-based outlier detection". Deviation: new steps are
/// ranked among the training steps alone, not among both, so that no score depends on later steps.
#[derive(Debug, Clone)]
pub struct EmpiricalTails {
    rule: TailRule,
    columns: Vec<Column>,
    calibrator: Calibrator,
}

#[derive(Debug, Clone)]
struct Column {
    sorted: Vec<f64>,
    /// Sign of the skewness of the training values.
    skew: f64,
}

impl Fit for EmpiricalTailsConfig {
    fn fit(&self, train: &Frame) -> Result<Box<dyn BatchDetector>> {
        Ok(Box::new(self.train(train)?))
    }
}

impl EmpiricalTailsConfig {
    /// Sorts the training values.
    ///
    /// # Errors
    /// As [`Fit::fit`]; it needs at least eight steps with a value.
    pub fn train(&self, train: &Frame) -> Result<EmpiricalTails> {
        let columns: Vec<Column> =
            (0..train.n_series()).map(|row| Column::of(train.row(row))).collect();
        let any = |step: &usize| columns_have(train, *step);
        let usable = (0..train.n_steps()).filter(any).count();
        if usable < 8 {
            return Err(Error::NotEnoughData { needed: 8, got: usable });
        }
        let calibrator = CalibratorConfig::default().build()?;
        let mut model = EmpiricalTails { rule: self.rule, columns, calibrator };
        let mut scores = vec![0.0; train.n_steps()];
        model.score(train, &mut scores)?;
        scores.iter().for_each(|score| model.calibrator.learn(*score));
        Ok(model)
    }
}

fn columns_have(frame: &Frame, step: usize) -> bool {
    (0..frame.n_series()).any(|row| frame.row(row)[step].is_finite())
}

impl Column {
    fn of(values: &[f64]) -> Self {
        let mut sorted: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let skew = skewness_sign(&sorted);
        Column { sorted, skew }
    }

    /// Score of one value; 0 for a gap, or when the series had no value in training.
    fn score(&self, value: f64, rule: TailRule) -> f64 {
        let n = self.sorted.len();
        if n == 0 || !value.is_finite() {
            return 0.0;
        }
        let below = self.sorted.partition_point(|v| *v <= value);
        let above = n - self.sorted.partition_point(|v| *v < value);
        let rare = |count: usize| {
            let p = if count == 0 { 1.0 / (n + 1) as f64 } else { count as f64 / n as f64 };
            -p.ln()
        };
        let (left, right) = (rare(below), rare(above));
        let skewed = match self.skew {
            s if s < 0.0 => left,
            s if s > 0.0 => right,
            _ => left + right,
        };
        let both = match rule {
            TailRule::Ecod => left.max(right),
            TailRule::Copod => (left + right) / 2.0,
        };
        both.max(skewed) + 0.0
    }
}

/// Sign of the third central moment; 0 for a constant. Values are scaled first, so that no cube overflows.
fn skewness_sign(values: &[f64]) -> f64 {
    let largest = values.iter().fold(0.0, |most: f64, v| most.max(v.abs()));
    if values.is_empty() || largest == 0.0 {
        return 0.0;
    }
    let n = values.len() as f64;
    let mean = values.iter().map(|v| v / largest / n).sum::<f64>();
    let moment = |power: i32| values.iter().map(|v| (v / largest - mean).powi(power)).sum::<f64>();
    let (second, third) = (moment(2), moment(3));
    // What rounding leaves of a symmetric sample is not skewed.
    if third.abs() <= 1e-12 * second { 0.0 } else { third.signum() }
}

impl BatchDetector for EmpiricalTails {
    fn name(&self) -> &'static str {
        match self.rule {
            TailRule::Ecod => "ecod",
            TailRule::Copod => "copod",
        }
    }

    fn tier(&self) -> Tier {
        Tier::Three
    }

    fn n_series(&self) -> usize {
        self.columns.len()
    }

    fn score(&self, frame: &Frame, scores: &mut [f64]) -> Result<()> {
        frame_fits(self.columns.len(), frame, scores.len())?;
        scores.fill(0.0);
        for (row, column) in self.columns.iter().enumerate() {
            for (score, value) in scores.iter_mut().zip(frame.row(row)) {
                *score += column.score(*value, self.rule);
            }
        }
        Ok(())
    }

    fn p_value(&self, score: f64) -> f64 {
        self.calibrator.p_value(score).unwrap_or(1.0)
    }

    /// The score of each series; they sum to that of the step.
    fn contributions(&self, frame: &Frame, step: usize) -> Result<Vec<f64>> {
        frame_fits(self.columns.len(), frame, frame.n_steps())?;
        if step >= frame.n_steps() {
            let (expected, got) = (frame.n_steps(), step);
            return Err(Error::ShapeMismatch { what: "step of a frame", expected, got });
        }
        let of = |(row, column): (usize, &Column)| column.score(frame.row(row)[step], self.rule);
        Ok(self.columns.iter().enumerate().map(of).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::check_batch_detector;
    use aiops_core::{SeriesKey, Timestamp};

    #[test]
    fn keeps_the_contract() {
        for rule in [TailRule::Ecod, TailRule::Copod] {
            check_batch_detector(&EmpiricalTailsConfig { rule }, 6);
        }
    }

    // Golden: pyod 3.6.7, `ECOD().fit(X).decision_scores_` and `COPOD().fit(X).decision_scores_`; the script is
    // tests/golden/tails.py; tolerance 1e-12.
    #[test]
    fn training_scores_match_pyod() {
        let columns = [GOLDEN_A, GOLDEN_B].concat();
        let keys = ["a", "b"].map(|name| SeriesKey::new(name, [("host", "x")])).to_vec();
        let step = std::time::Duration::from_secs(1);
        let frame = Frame::new(keys, Timestamp::EPOCH, step, columns).unwrap();
        for (rule, golden) in [(TailRule::Ecod, GOLDEN_ECOD), (TailRule::Copod, GOLDEN_COPOD)] {
            let model = EmpiricalTailsConfig { rule }.train(&frame).unwrap();
            let mut scores = vec![0.0; GOLDEN_A.len()];
            model.score(&frame, &mut scores).unwrap();
            for (score, expected) in scores.iter().zip(golden) {
                assert!((score - expected).abs() < 1e-12, "{rule:?}: {score} for {expected}");
            }
        }
    }

    const GOLDEN_A: [f64; 10] = [0.5, 1.0, 1.5, 1.5, 2.0, 2.5, 3.0, 3.5, 9.0, 0.25];
    const GOLDEN_B: [f64; 10] = [4.0, 4.5, 5.0, 5.5, 5.25, 4.75, 4.25, -3.0, 5.0, 5.125];
    const GOLDEN_ECOD: [f64; 10] = [
        3.218_875_824_868_200_6,
        2.120_263_536_200_091,
        1.386_294_361_119_890_6,
        2.995_732_273_553_991,
        2.302_585_092_994_045_5,
        1.609_437_912_434_100_3,
        2.407_945_608_651_872,
        3.912_023_005_428_145_5,
        2.995_732_273_553_991,
        3.506_557_897_319_981_4,
    ];
    const GOLDEN_COPOD: [f64; 10] = [
        2.466_837_126_480_063_7,
        1.629_848_909_694_228,
        1.049_822_124_498_677_6,
        1.676_203_608_746_361_4,
        1.550_546_394_605_908_6,
        1.609_437_912_434_100_3,
        2.407_945_608_651_872,
        3.912_023_005_428_145_5,
        2.827_496_155_243_384_4,
        1.864_850_724_317_095_5,
    ];
}
