//! [`SubPca`]: stretches of a series that are no mixture of its usual shapes.

use aiops_core::Frame;
use serde::{Deserialize, Serialize};

use super::loess::dot;
use crate::{
    BatchDetector, Error, Fit, OneSeries, Ranked, Result, batch::frame_fits, eval::dominant_period,
    tier3::symmetric_eigen,
};

/// Settings of [`SubPca`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SubPcaConfig {
    /// Samples of a stretch, 2 to 1024. Default `None`: the dominant period, 125 without one.
    pub window: Option<usize>,
    /// Share of the variance that the usual shapes explain, 0 to 1. Default 0.5. At 0 there are none,
    /// and the score is how far a stretch is from the mean of the series.
    pub variance: f64,
    /// At most so many usual shapes, at most 16. Default 8.
    pub components: usize,
    /// Whether a stretch's score goes to the sample in its middle instead of its last. Default false.
    pub centred: bool,
}

impl Default for SubPcaConfig {
    fn default() -> Self {
        SubPcaConfig { window: None, variance: 0.5, components: 8, centred: false }
    }
}

/// Distance of each stretch of a series from the space of its usual shapes.
///
/// Finds stretches whose shape or level is not a mixture of those seen in training: a missing peak, a
/// flat day, a burst. Fails on what is shorter than a tenth of the window, and when the training
/// part holds the anomaly often enough to make it a usual shape.
///
/// With `z` the series in standard deviations around its mean, both from the training series, and
/// `c₁ … cₖ` the leading eigenvectors of the covariance of all its stretches of `w` samples, the score of
/// the stretch `x` is `√((‖x‖² - Σ (x·cᵢ)²) / w)`. Trained on a series of which less than a tenth is
/// abnormal, `k` need not be chosen well: the shapes with most variance are the usual ones.
///
/// A gap repeats the value before it and gets score 0, and so do the first `w - 1` samples. The p-value
/// is the rank among the scores of the training series. Training O(n·w + w²·components), scoring
/// O(components) products of `w` a sample, memory O(w · components).
///
/// Source: Aggarwal 2017, "Outlier analysis", sections 3.3 and 9.3; the covariance's diagonals are updated
/// instead of summed, as in singular-spectrum analysis (Golyandina & Zhigljavsky 2013). Deviation from
/// Sub-PCA of TSB-AD: that one sums the distances of `x` to all unit eigenvectors, each divided by its share
/// of the variance; since `‖x - c‖² = ‖x‖² + 1 - 2x·c` and the smallest shares dominate, it ranks
/// stretches by `‖x‖` up to rounding, which is `variance: 0` here.
#[derive(Debug, Clone)]
pub struct SubPca {
    shift: f64,
    /// One over the standard deviation.
    weight: f64,
    window: usize,
    centred: bool,
    components: Vec<Vec<f64>>,
}

/// Standardised values are cut to this.
const CUT: f64 = 1e6;
const MOST_WINDOW: usize = 1024;
const MOST_COMPONENTS: usize = 16;

impl SubPcaConfig {
    /// Trains on the one series of a frame.
    ///
    /// # Errors
    /// As [`Fit::fit`].
    pub fn train(&self, train: &Frame) -> Result<Ranked<SubPca>> {
        if let Some(window) = self.window.filter(|w| !(2..=MOST_WINDOW).contains(w)) {
            let reason = format!("must be within 2 and {MOST_WINDOW}, got {window}");
            return Err(Error::config("window", reason));
        }
        if !(0.0..=1.0).contains(&self.variance) {
            let reason = format!("must be within 0 and 1, got {}", self.variance);
            return Err(Error::config("variance", reason));
        }
        if self.components > MOST_COMPONENTS {
            let reason = format!("must be at most {MOST_COMPONENTS}, got {}", self.components);
            return Err(Error::config("components", reason));
        }
        frame_fits(1, train, train.n_steps())?;
        let values = train.row(0);
        let window = self.window.unwrap_or_else(|| dominant_period(values));
        let finite = || values.iter().filter(|v| v.is_finite()).map(|v| v.clamp(-1e100, 1e100));
        let (needed, got) = (2 * window, finite().count());
        if got < needed {
            return Err(Error::NotEnoughData { needed, got });
        }
        let n = got as f64;
        let shift = finite().map(|v| v / n).sum::<f64>();
        let deviation = (finite().map(|v| (v - shift).powi(2) / n).sum::<f64>()).sqrt();
        // A constant has no scale: a thousandth of its size is as good as any.
        let floor = (1e-9 * shift.abs()).max(1e-50);
        let deviation = if deviation > floor { deviation } else { (1e-3 * shift.abs()).max(1e-9) };
        let mut model = SubPca {
            shift,
            weight: 1.0 / deviation,
            window,
            centred: self.centred,
            components: Vec::new(),
        };
        if self.variance > 0.0 && self.components > 0 {
            let covariance = covariance(&model.scaled(values), window);
            model.components = leading(&covariance, window, self.variance, self.components);
        }
        Ranked::train(model, train, needed)
    }
}

impl Fit for SubPcaConfig {
    fn fit(&self, train: &Frame) -> Result<Box<dyn BatchDetector>> {
        Ok(Box::new(self.train(train)?))
    }
}

/// Covariance of all stretches of `w` samples, row by row. The first row is summed; each further entry
/// is the one before it on its diagonal, moved on by one sample.
fn covariance(z: &[f64], w: usize) -> Vec<f64> {
    let n = z.len() + 1 - w;
    let mut sums = vec![0.0; w * w];
    for j in 0..w {
        sums[j] = dot(&z[..n], &z[j..j + n]);
    }
    for i in 1..w {
        for j in i..w {
            let before = sums[(i - 1) * w + j - 1];
            sums[i * w + j] = before + z[n - 1 + i] * z[n - 1 + j] - z[i - 1] * z[j - 1];
        }
    }
    for i in 0..w {
        for j in 0..i {
            sums[i * w + j] = sums[j * w + i];
        }
    }
    sums.iter_mut().for_each(|sum| *sum /= n as f64);
    sums
}

/// The leading eigenvectors that explain a share of the variance, at most `most`.
///
/// Subspace iteration with Rayleigh-Ritz projections (Golub & Van Loan 2013, section 8.2): a few vectors of
/// a matrix of hundreds, where rotations for all of them would take seconds.
fn leading(covariance: &[f64], w: usize, share: f64, most: usize) -> Vec<Vec<f64>> {
    let total: f64 = (0..w).map(|i| covariance[i * w + i]).sum();
    if !(total > 0.0) {
        return Vec::new();
    }
    let k = (most + 2).min(w);
    // Waves of rising frequency: near the answer for whatever is smooth, and the same every time.
    let wave =
        |c: usize, i: usize| ((i as f64 + 0.5) * c as f64 / w as f64 * std::f64::consts::PI).cos();
    let mut vectors: Vec<Vec<f64>> = (0..k).map(|c| (0..w).map(|i| wave(c, i)).collect()).collect();
    let mut values = vec![0.0; k];
    let mut explained = 0.0;
    for _ in 0..200 {
        orthonormalise(&mut vectors);
        let images: Vec<Vec<f64>> = vectors
            .iter()
            .map(|v| covariance.chunks_exact(w).map(|row| dot(row, v)).collect())
            .collect();
        let small: Vec<f64> =
            images.iter().flat_map(|a| vectors.iter().map(|b| dot(a, b))).collect();
        let small: Vec<f64> =
            (0..k * k).map(|i| 0.5 * (small[i] + small[(i % k) * k + i / k])).collect();
        let pairs = symmetric_eigen(small, k);
        let now: f64 = pairs.iter().take(most).map(|(value, _)| value).sum();
        vectors = pairs
            .iter()
            .map(|(_, mix)| {
                let mut image = vec![0.0; w];
                for (share, v) in mix.iter().zip(&images) {
                    image.iter_mut().zip(v).for_each(|(out, v)| *out += share * v);
                }
                image
            })
            .collect();
        values = pairs.into_iter().map(|(value, _)| value).collect();
        if (now - explained).abs() <= 1e-13 * total {
            break;
        }
        explained = now;
    }
    orthonormalise(&mut vectors);
    let mut sum = 0.0;
    let enough = values.iter().take(most).take_while(|value| {
        let more = sum < share * total && **value > 1e-12 * total;
        sum += **value;
        more
    });
    let n = enough.count();
    vectors.truncate(n);
    vectors
}

/// Gram-Schmidt, twice; what depends on those before it becomes zero.
fn orthonormalise(vectors: &mut [Vec<f64>]) {
    for i in 0..vectors.len() {
        let (before, rest) = vectors.split_at_mut(i);
        let v = &mut rest[0];
        let first = dot(v, v).sqrt();
        for _ in 0..2 {
            for b in &*before {
                let share = dot(v, b);
                v.iter_mut().zip(b).for_each(|(v, b)| *v -= share * b);
            }
        }
        let length = dot(v, v).sqrt();
        let scale = if length > 1e-10 * first && length > 0.0 { 1.0 / length } else { 0.0 };
        v.iter_mut().for_each(|v| *v *= scale);
    }
}

impl SubPca {
    /// How many usual shapes there are.
    pub fn n_components(&self) -> usize {
        self.components.len()
    }

    /// Samples of a stretch.
    pub fn window(&self) -> usize {
        self.window
    }

    /// In standard deviations around the mean, gaps repeating the value before them.
    fn scaled(&self, values: &[f64]) -> Vec<f64> {
        let mut last = 0.0;
        values
            .iter()
            .map(|value| {
                if value.is_finite() {
                    last = ((value - self.shift) * self.weight).clamp(-CUT, CUT);
                }
                last
            })
            .collect()
    }
}

impl OneSeries for SubPca {
    fn name(&self) -> &'static str {
        "sub_pca"
    }

    fn looks_ahead(&self) -> bool {
        self.centred
    }

    fn judge(&self, series: &Frame) -> Result<Vec<f64>> {
        Ok(self.scores(series.row(0)))
    }
}

impl SubPca {
    fn scores(&self, values: &[f64]) -> Vec<f64> {
        let (n, w) = (values.len(), self.window);
        let mut scores = vec![0.0; n];
        if n < w {
            return scores;
        }
        let z = self.scaled(values);
        let mut squares: Vec<f64> = z.iter().map(|z| z * z).collect();
        // Sums of whole stretches, anew at each block: a running sum would carry the rounding of
        // one huge value on for ever.
        let mut run = 0.0;
        for i in 0..n {
            let old = if i >= w { squares[i - w] } else { 0.0 };
            run = if i % w == 0 {
                squares[(i + 1).saturating_sub(w)..=i].iter().sum()
            } else {
                run + squares[i] - old
            };
            scores[i] = run;
        }
        squares.clear();
        for component in &self.components {
            for (score, stretch) in scores[w - 1..].iter_mut().zip(z.windows(w)) {
                let share = dot(component, stretch);
                *score -= share * share;
            }
        }
        let early = if self.centred { w / 2 } else { 0 };
        for i in 0..n {
            let from = i + early;
            let judged = from >= w - 1 && from < n && values[i].is_finite();
            scores[i] = if judged { (scores[from].max(0.0) / w as f64).sqrt() } else { 0.0 };
        }
        scores
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::check_batch_detector;
    use aiops_core::{SeriesKey, Timestamp};

    fn frame(values: Vec<f64>) -> Frame {
        let keys = vec![SeriesKey::new("v", [("host", "a")])];
        Frame::new(keys, Timestamp::EPOCH, std::time::Duration::from_secs(60), values).unwrap()
    }

    #[test]
    fn keeps_the_contract() {
        let config = SubPcaConfig { window: Some(12), ..SubPcaConfig::default() };
        check_batch_detector(&config, 1);
        check_batch_detector(&SubPcaConfig { centred: true, ..config }, 1);
    }

    // Golden: numpy 2.4.6, the singular vectors of all stretches, see `tests/golden/tier2.py`; 1e-6.
    #[test]
    fn scores_match_the_singular_vectors() {
        let config = SubPcaConfig { window: Some(12), variance: 0.7, ..SubPcaConfig::default() };
        let train = frame(super::super::example());
        let model = config.train(&train).unwrap();
        assert_eq!(model.rule().n_components(), COMPONENTS);
        let mut scores = vec![0.0; 121];
        model.score(&train, &mut scores).unwrap();
        let found = [11, 12, 40, 51, 52, 89, 101, 120].map(|i| scores[i]);
        super::super::assert_near("scores", found, &SCORES, 1e-6);
    }

    #[test]
    fn a_flat_day_is_no_usual_shape() {
        let mut noise = crate::testing::Noise::new(7);
        let wave = |i: usize| (i as f64 / 48.0 * std::f64::consts::TAU).sin();
        let mut values: Vec<f64> =
            (0..2000).map(|i| 10.0 + 5.0 * wave(i) + 0.2 * noise.normal()).collect();
        values[1500..1548].fill(10.0);
        let model =
            SubPcaConfig { variance: 0.9, ..Default::default() }.train(&frame(values.clone()));
        let model = model.unwrap();
        let model = model.rule();
        assert_eq!((model.window(), model.n_components()), (48, 2), "a wave has two shapes");
        let scores = model.scores(&values);
        let top = (0..2000).max_by(|a, b| scores[*a].total_cmp(&scores[*b])).unwrap();
        assert!((1500..1560 + 48).contains(&top), "{top}");
    }

    #[test]
    fn constants_and_unit_do_not_matter() {
        let constant = SubPcaConfig::default().train(&frame(vec![3.0; 500])).unwrap();
        assert!(constant.rule().scores(&[3.0; 300]).iter().all(|score| *score == 0.0));
        let values = super::super::example();
        let config = SubPcaConfig { window: Some(12), ..SubPcaConfig::default() };
        let scores = |values: Vec<f64>| {
            let model = config.train(&frame(values.clone())).unwrap();
            model.rule().scores(&values)
        };
        let moved: Vec<f64> = values.iter().map(|v| 1e6 + 1e3 * v).collect();
        super::super::assert_near("scores", scores(moved), &scores(values), 1e-6);
    }

    const COMPONENTS: usize = 4;
    const SCORES: [f64; 8] = [
        0.217_686_459_310_310_08,
        0.198_843_419_072_021_38,
        1.068_202_471_083_382_2,
        1.012_870_578_861_682_7,
        0.212_374_037_271_532_34,
        0.222_819_414_362_520_76,
        1.177_565_298_555_639_5,
        0.195_306_038_123_102_38,
    ];
}
