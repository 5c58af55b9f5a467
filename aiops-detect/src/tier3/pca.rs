//! [`Pca`]: the default detector of several series.

use aiops_core::{Frame, SnapshotReader, SnapshotWriter};
use serde::{Deserialize, Serialize};

use super::eigen::symmetric_eigen;
use crate::{
    BatchDetector, Calibrator, CalibratorConfig, Error, Fit, Result, Tier,
    batch::frame_fits,
    error::{not_negative, positive, probability},
    hold::{Hold, HoldRule},
    saved,
};

/// How series of different units are made comparable.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scaling {
    /// Taken as they are: shares, utilisations, anything in one unit.
    Common,
    /// Each divided by its standard deviation, or by `floor` times the largest of them if that is more.
    /// Without a floor, the last digit of a metric that is nearly constant outweighs all others; that
    /// floor matters more than the model does.
    PerSeries {
        /// Share of the largest standard deviation that every scale is at least.
        floor: f64,
    },
    /// `Common` when every training value lies between -1.5 and 1.5, else `PerSeries` with floor 0.1.
    #[default]
    Auto,
}

/// Settings of [`Pca`]. The defaults are `default-multi` of the leaderboard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PcaConfig {
    /// Share of the training variance that the components explain. Default 0.95.
    pub variance: f64,
    /// How series are made comparable. Default [`Scaling::Auto`].
    pub scaling: Scaling,
    /// Span, in steps, of the average of reconstruction errors. Default 10.
    pub span: f64,
    /// Steps for which a peak is held, falling to zero in a straight line. Default 30.
    pub hold: f64,
}

impl Default for PcaConfig {
    fn default() -> Self {
        PcaConfig { variance: 0.95, scaling: Scaling::Auto, span: 10.0, hold: 30.0 }
    }
}

/// How badly the usual relations between series explain a step.
///
/// Finds steps at which series that move together do not, even if each is within its own range, and
/// says which series contribute. Fails to see what moves along the usual relations (a load step that
/// moves everything in proportion), and needs training data that is mostly normal.
///
/// With `z` the scaled deviations from the training means and `W` the leading eigenvectors of their
/// covariance: the error is `‖z‖² - ‖Wᵀz‖²`. The score is its exponentially weighted mean of span
/// `span`, held for `hold` steps. It is in squared scales. The p-value is calibrated on the scores of
/// the training frame, which the components fit best: expect more than the knob says on new data until
/// a [`Calibrator`] has learnt some.
///
/// A gap counts as its series' mean; a step of gaps gets score 0. Time O(series · components) a
/// step, memory the same and 4 KiB. Training O(series² · steps + series³).
///
/// Source: Jackson & Mudholkar 1979, "Control procedures for residuals associated with principal
/// component analysis" (the residual as statistic); deviations: the floor, the average and the hold.
#[derive(Debug, Clone)]
pub struct Pca {
    config: PcaConfig,
    means: Vec<f64>,
    /// One over the scale of each series.
    weights: Vec<f64>,
    components: Vec<Vec<f64>>,
    calibrator: Calibrator,
}

/// Steps that are scored together, so that one column of each series stays in the first-level cache.
const BLOCK: usize = 256;
/// Larger deviations are cut, so that no square overflows.
const LARGEST: f64 = 1e100;

impl Fit for PcaConfig {
    fn fit(&self, train: &Frame) -> Result<Box<dyn BatchDetector>> {
        Ok(Box::new(self.train(train)?))
    }
}

impl PcaConfig {
    /// Trains the model.
    ///
    /// # Errors
    /// As [`Fit::fit`]; it needs at least two steps more than there are series.
    pub fn train(&self, train: &Frame) -> Result<Pca> {
        probability("variance", self.variance)?;
        positive("span", self.span)?;
        positive("hold", self.hold)?;
        if let Scaling::PerSeries { floor } = self.scaling {
            not_negative("floor", floor)?;
        }
        let n = train.n_series();
        let usable = usable_steps(train);
        if n == 0 || usable < n + 2 {
            return Err(Error::NotEnoughData { needed: n + 2, got: usable });
        }
        let moments: Vec<(f64, f64)> = (0..n).map(|row| moments(train.row(row))).collect();
        let means: Vec<f64> = moments.iter().map(|(mean, _)| *mean).collect();
        let largest = moments.iter().map(|(_, deviation)| *deviation).fold(0.0, f64::max);
        let within = |v: &f64| !v.is_finite() || v.abs() <= 1.5;
        let scaling = match self.scaling {
            Scaling::Auto if train.values().iter().all(within) => Scaling::Common,
            Scaling::Auto => Scaling::PerSeries { floor: 0.1 },
            given => given,
        };
        let scale = |deviation: f64| match scaling {
            Scaling::PerSeries { floor } => deviation.max(floor * largest),
            Scaling::Common | Scaling::Auto => 1.0,
        };
        let weights = moments.iter().map(|(_, d)| 1.0 / scale(*d).clamp(1e-50, 1e50)).collect();
        let mut model = Pca {
            config: self.clone(),
            means,
            weights,
            components: Vec::new(),
            calibrator: CalibratorConfig::default().build()?,
        };
        model.components = leading(model.covariance(train), n, self.variance);
        let mut scores = vec![0.0; train.n_steps()];
        model.score(train, &mut scores)?;
        scores.iter().for_each(|score| model.calibrator.learn(*score));
        Ok(model)
    }
}

/// Steps with at least one value.
fn usable_steps(frame: &Frame) -> usize {
    let any = |step: &usize| (0..frame.n_series()).any(|row| frame.row(row)[*step].is_finite());
    (0..frame.n_steps()).filter(any).count()
}

/// Mean and standard deviation of the values that are not gaps; zeros when there are none.
fn moments(values: &[f64]) -> (f64, f64) {
    let finite = || values.iter().filter(|v| v.is_finite()).map(|v| v.clamp(-LARGEST, LARGEST));
    let n = finite().count().max(1) as f64;
    let mean = finite().map(|v| v / n).sum::<f64>();
    // Values are shifted before they are squared, or a large mean would eat the digits.
    let variance = finite().map(|v| (v - mean).powi(2) / n).sum::<f64>();
    (mean, variance.sqrt())
}

/// The leading eigenvectors that explain the share of the variance.
fn leading(covariance: Vec<f64>, n: usize, share: f64) -> Vec<Vec<f64>> {
    let pairs = symmetric_eigen(covariance, n);
    let total: f64 = pairs.iter().map(|(value, _)| value.max(0.0)).sum();
    let mut explained = 0.0;
    let mut components = Vec::new();
    for (value, vector) in pairs {
        if explained >= share * total || value <= 0.0 {
            break;
        }
        explained += value;
        components.push(vector);
    }
    components
}

impl Pca {
    /// How many components explain the training data.
    pub fn n_components(&self) -> usize {
        self.components.len()
    }

    /// The distribution of training scores, to go on learning from.
    pub fn calibrator(&self) -> &Calibrator {
        &self.calibrator
    }

    /// Writes everything that was learnt, as bytes that a model registry can keep.
    pub fn save(&self, out: &mut SnapshotWriter) {
        let PcaConfig { variance, scaling, span, hold } = &self.config;
        out.f64(*variance);
        match scaling {
            Scaling::Common => out.u8(0),
            Scaling::PerSeries { floor } => {
                out.u8(1);
                out.f64(*floor);
            }
            Scaling::Auto => out.u8(2),
        }
        out.f64(*span);
        out.f64(*hold);
        out.f64s(&self.means);
        out.f64s(&self.weights);
        out.u32(self.components.len() as u32);
        self.components.iter().for_each(|component| out.f64s(component));
        self.calibrator.save(out);
    }

    /// The model that [`save`](Self::save) wrote; it judges bit for bit as that one did.
    ///
    /// # Errors
    /// When the bytes are cut or make no sense.
    pub fn load(from: &mut SnapshotReader<'_>) -> Result<Pca> {
        let variance = from.f64()?;
        probability("variance", variance)?;
        let scaling = match from.u8()? {
            0 => Scaling::Common,
            1 => Scaling::PerSeries { floor: saved::not_negative(from, "floor")? },
            2 => Scaling::Auto,
            other => return Err(saved::invalid("scaling", other)),
        };
        let (span, hold) = (from.f64()?, from.f64()?);
        positive("span", span)?;
        positive("hold", hold)?;
        let means = saved::numbers(from, "means", usize::MAX, f64::MAX)?;
        let weights = saved::numbers(from, "weights", means.len(), 1e50)?;
        let count = from.u32()? as usize;
        if weights.len() != means.len() || count > means.len() {
            return Err(saved::invalid("components", count));
        }
        let mut components = Vec::new();
        for _ in 0..count {
            let component = saved::numbers(from, "component", means.len(), 1.0 + 1e-6)?;
            if component.len() != means.len() {
                return Err(saved::invalid("length of a component", component.len()));
            }
            components.push(component);
        }
        let mut calibrator = CalibratorConfig::default().build()?;
        calibrator.load(from)?;
        let config = PcaConfig { variance, scaling, span, hold };
        Ok(Pca { config, means, weights, components, calibrator })
    }

    #[inline]
    fn scaled(&self, row: usize, value: f64) -> f64 {
        let z = (value - self.means[row]) * self.weights[row];
        // A gap is no deviation. Written as selects, which vectorise.
        let z = if z.is_finite() { z } else { 0.0 };
        z.clamp(-LARGEST, LARGEST)
    }

    fn covariance(&self, train: &Frame) -> Vec<f64> {
        let n = train.n_series();
        let steps = train.n_steps();
        let z: Vec<Vec<f64>> = (0..n)
            .map(|row| train.row(row).iter().map(|v| self.scaled(row, *v)).collect())
            .collect();
        let mut covariance = vec![0.0; n * n];
        for i in 0..n {
            for j in 0..=i {
                let sum: f64 = z[i].iter().zip(&z[j]).map(|(a, b)| a * b / steps as f64).sum();
                covariance[i * n + j] = sum;
                covariance[j * n + i] = sum;
            }
        }
        covariance
    }

    /// Reconstruction errors of a few steps; -1 marks a step of gaps.
    fn errors(&self, frame: &Frame, from: usize, errors: &mut [f64]) {
        let steps = errors.len();
        let mut z = [0.0; BLOCK];
        let mut energy = [0.0; BLOCK];
        let mut seen = [false; BLOCK];
        let mut projections = vec![[0.0; BLOCK]; self.components.len()];
        for row in 0..frame.n_series() {
            let values = &frame.row(row)[from..from + steps];
            for i in 0..steps {
                z[i] = self.scaled(row, values[i]);
                energy[i] += z[i] * z[i];
                seen[i] |= values[i].is_finite();
            }
            for (projection, component) in projections.iter_mut().zip(&self.components) {
                let weight = component[row];
                for i in 0..steps {
                    projection[i] += weight * z[i];
                }
            }
        }
        for projection in &projections {
            for i in 0..steps {
                energy[i] -= projection[i] * projection[i];
            }
        }
        for i in 0..steps {
            // The difference of two equal sums may round below zero.
            errors[i] = if seen[i] { energy[i].max(0.0) } else { -1.0 };
        }
    }
}

impl BatchDetector for Pca {
    fn name(&self) -> &'static str {
        "pca"
    }

    fn tier(&self) -> Tier {
        Tier::Three
    }

    fn n_series(&self) -> usize {
        self.means.len()
    }

    fn score(&self, frame: &Frame, scores: &mut [f64]) -> Result<()> {
        frame_fits(self.means.len(), frame, scores.len())?;
        for (block, errors) in scores.chunks_mut(BLOCK).enumerate() {
            self.errors(frame, block * BLOCK, errors);
        }
        let weight = (2.0 / (self.config.span + 1.0)).min(1.0);
        let rule = HoldRule { least: self.config.hold, share: 0.0, alike: 0.3 };
        let mut hold = Hold::new(rule);
        let mut average = None;
        for score in scores {
            if *score < 0.0 {
                *score = 0.0;
                continue;
            }
            let before = average.unwrap_or(*score);
            let now = before + weight * (*score - before);
            average = Some(now);
            *score = hold.push(now);
        }
        Ok(())
    }

    fn p_value(&self, score: f64) -> f64 {
        self.calibrator.p_value(score).unwrap_or(1.0)
    }

    /// Squared residual of each series; they sum to the error of the step, before average and hold.
    fn contributions(&self, frame: &Frame, step: usize) -> Result<Vec<f64>> {
        frame_fits(self.means.len(), frame, frame.n_steps())?;
        if step >= frame.n_steps() {
            let (expected, got) = (frame.n_steps(), step);
            return Err(Error::ShapeMismatch { what: "step of a frame", expected, got });
        }
        let z: Vec<f64> =
            (0..frame.n_series()).map(|row| self.scaled(row, frame.row(row)[step])).collect();
        let mut residual = z.clone();
        for component in &self.components {
            let projection: f64 = component.iter().zip(&z).map(|(w, z)| w * z).sum();
            residual.iter_mut().zip(component).for_each(|(r, w)| *r -= projection * w);
        }
        Ok(residual.iter().map(|r| r * r).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Noise, check_batch_detector};
    use aiops_core::{SeriesKey, Timestamp};

    #[test]
    fn keeps_the_contract() {
        check_batch_detector(&PcaConfig::default(), 8);
        let scaling = Scaling::PerSeries { floor: 0.3 };
        check_batch_detector(&PcaConfig { scaling, ..PcaConfig::default() }, 3);
    }

    fn frame(values: Vec<f64>, n: usize) -> Frame {
        let keys = (0..n).map(|i| SeriesKey::new(format!("v{i}"), [("host", "a")])).collect();
        Frame::new(keys, Timestamp::EPOCH, std::time::Duration::from_secs(1), values).unwrap()
    }

    #[test]
    fn a_model_that_was_kept_judges_as_before_and_cut_bytes_are_an_error() {
        let mut noise = Noise::new(3);
        let data = frame((0..900).map(|_| noise.normal()).collect(), 3);
        let scaling = Scaling::PerSeries { floor: 0.2 };
        let model = PcaConfig { scaling, ..PcaConfig::default() }.train(&data).unwrap();
        let mut out = SnapshotWriter::new();
        model.save(&mut out);
        let bytes = out.finish();
        let kept = Pca::load(&mut SnapshotReader::new(&bytes)).unwrap();
        let judged = |model: &Pca| {
            let mut scores = vec![0.0; data.n_steps()];
            model.score(&data, &mut scores).unwrap();
            let p_values: Vec<f64> = scores.iter().map(|score| model.p_value(*score)).collect();
            (scores, p_values)
        };
        assert_eq!(judged(&kept), judged(&model));
        for length in 0..bytes.len() {
            assert!(
                Pca::load(&mut SnapshotReader::new(&bytes[..length])).is_err(),
                "{length} bytes"
            );
        }
    }

    #[test]
    fn a_broken_relation_is_seen_within_both_ranges_and_blamed() {
        let mut noise = Noise::new(9);
        let load: Vec<f64> = (0..2000).map(|_| 50.0 + 10.0 * noise.normal()).collect();
        let follows = |share: f64, noise: &mut Noise| -> Vec<f64> {
            load.iter().map(|l| share * l + 0.1 * noise.normal()).collect()
        };
        let mut columns =
            [follows(1.0, &mut noise), follows(2.0, &mut noise), follows(0.5, &mut noise)];
        columns[1][1500] = 2.0 * load[1500] + 8.0; // 8 of a range of 80
        let model = PcaConfig::default().train(&frame(columns.concat(), 3)).unwrap();
        let all = frame(columns.concat(), 3);
        let mut scores = vec![0.0; 2000];
        model.score(&all, &mut scores).unwrap();
        let peak = (0..2000).max_by(|a, b| scores[*a].total_cmp(&scores[*b])).unwrap();
        assert_eq!(peak, 1500);
        let blamed = model.contributions(&all, 1500).unwrap();
        assert!(blamed[1] > blamed[0] && blamed[1] > blamed[2], "{blamed:?}");
    }
}
