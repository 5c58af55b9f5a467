//! [`SpectralResidual`]: what stands out of a series once its usual rhythms are evened out.

use std::sync::Arc;

use aiops_core::{Frame, Sample, SnapshotReader, SnapshotWriter};
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use serde::{Deserialize, Serialize};

use crate::{
    BatchDetector, Calibrator, CalibratorConfig, Error, Fit, Method, OneSeries, Ranked, Result,
    Single, State, Tier, Verdict,
    error::{at_least, probability},
    saved,
    tier2::bridge,
    verdict::side,
};

/// Settings of [`SpectralResidual`], for streams.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SpectralResidualConfig {
    /// Values that are transformed together, the newest and the estimated ones included; 16 to 65,536.
    /// Fastest at powers of two. Default 128.
    pub window: usize,
    /// Frequencies that the spectrum is averaged over, odd. Default 3, as in the source.
    pub smoothing: usize,
    /// Values that are guessed behind the newest, since the ends of a transform say little. Default 5,
    /// as in the source; at most a quarter of the window.
    pub estimated: usize,
    /// Tolerated share of normal samples that are flagged. Default 0.001.
    pub false_positive_rate: f64,
    /// Turns saliency into p-values.
    pub calibrator: CalibratorConfig,
}

impl Default for SpectralResidualConfig {
    fn default() -> Self {
        SpectralResidualConfig {
            window: 128,
            smoothing: 3,
            estimated: 5,
            false_positive_rate: 1e-3,
            calibrator: CalibratorConfig { horizon: 8_000, ..CalibratorConfig::default() },
        }
    }
}

impl SpectralResidualConfig {
    /// A detector of one series.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] names the field that is out of range.
    pub fn build(self) -> Result<Single<SpectralResidual>> {
        Ok(Single::new(self.method()?))
    }

    /// What [`Single`] and [`Columns`](crate::Columns) are made of.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn method(self) -> Result<SpectralResidual> {
        check_sizes("window", self.window, self.smoothing)?;
        if self.estimated > self.window / 4 {
            let reason = format!("must be at most a quarter of window, got {}", self.estimated);
            return Err(Error::config("estimated", reason));
        }
        probability("false_positive_rate", self.false_positive_rate)?;
        Ok(SpectralResidual {
            calibrator: self.calibrator.clone().build()?,
            transform: Transform::new(self.window, self.smoothing),
            config: self,
        })
    }
}

fn check_sizes(field: &'static str, window: usize, smoothing: usize) -> Result<()> {
    if !(16..=65_536).contains(&window) {
        return Err(Error::config(field, format!("must be within 16 and 65536, got {window}")));
    }
    if smoothing.is_multiple_of(2) || smoothing > window / 2 {
        let reason = format!("must be odd and at most half of {field}, got {smoothing}");
        return Err(Error::config("smoothing", reason));
    }
    Ok(())
}

/// Saliency of the newest value, by the spectral residual of the last ones.
///
/// Finds single values and short bursts that break the rhythm of a series, without knowing its periods.
/// Fails to see lasting shifts, whose edges alone stand out, and anything much longer than a few
/// samples; needs no training.
///
/// Of the window, with a few guessed values behind the newest, the log amplitude spectrum minus its
/// moving average is taken, phases kept, and transformed back: `S = |F⁻¹(exp(log|F x| - avg(log|F x|) + i·arg F x))|`.
/// Score = `S / mean S` at the newest value. The p-value is that of the score on the series' own past ([`Calibrator`]).
/// The guessed values repeat what the mean slope of the values before the newest leads to.
///
/// A gap changes nothing: values on both sides of it become neighbours. Values are taken as at most
/// 1e100 in size. Time O(w log w), a few microseconds with the defaults; memory 8 bytes a value of the window and 1 KiB.
///
/// Source: Ren et al. 2019, "Time-series anomaly detection service at Microsoft" (KDD), section 3.2; Hou & Zhang
/// 2007. Deviations: the guess does not use the newest value, which would turn a spike into a plateau; the score is not compared with a local average of the saliency, which the calibrator
/// does better; p-values instead of a threshold.
#[derive(Clone)]
pub struct SpectralResidual {
    config: SpectralResidualConfig,
    calibrator: Calibrator,
    transform: Transform,
}

impl std::fmt::Debug for SpectralResidual {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SpectralResidual").field("config", &self.config).finish_non_exhaustive()
    }
}

/// What a [`SpectralResidual`] knows of one series.
#[derive(Debug, Clone)]
pub struct Recent {
    /// Last values; the oldest is at `head` when full.
    ring: Vec<f64>,
    head: usize,
    calibrator: Calibrator,
}

/// Both directions of the transform of one length, ready to be used.
#[derive(Clone)]
struct Transform {
    forward: Arc<dyn RealToComplex<f64>>,
    back: Arc<dyn ComplexToReal<f64>>,
    smoothing: usize,
}

const LARGEST: f64 = 1e100;

impl Transform {
    fn new(n: usize, smoothing: usize) -> Self {
        let mut planner = RealFftPlanner::new();
        let (forward, back) = (planner.plan_fft_forward(n), planner.plan_fft_inverse(n));
        Transform { forward, back, smoothing }
    }

    /// Replaces values by their saliency over its mean; all zero where nothing varies.
    fn saliency(&self, values: &mut [f64], scratch: &mut Scratch) {
        let n = values.len();
        let mean = values.iter().map(|v| v / n as f64).sum::<f64>();
        let largest = values.iter().fold(0.0, |a: f64, v| a.max((v - mean).abs()));
        // In units of the largest deviation: neither offset nor unit matter.
        if !(largest > 1e-12 * mean.abs() && largest > 1e-200) {
            values.fill(0.0);
            return;
        }
        values.iter_mut().for_each(|v| *v = (*v - mean) / largest);
        let Scratch { spectrum, logs, work } = scratch;
        let done = self.forward.process_with_scratch(values, spectrum, work);
        debug_assert!(done.is_ok(), "buffers have the lengths of the plan");
        // The mean is not part of the rhythm.
        let bins = &mut spectrum[1..];
        logs.clear();
        // Amplitudes of nothing are held at what rounding leaves.
        let floor = 1e-26 * n as f64;
        logs.extend(bins.iter().map(|c| 0.5 * c.norm_sqr().max(floor).ln()));
        let reach = self.smoothing / 2;
        let count = logs.len();
        let mut sum: f64 = logs[..reach.min(count)].iter().sum();
        for (i, bin) in bins.iter_mut().enumerate() {
            if i + reach < count {
                sum += logs[i + reach];
            }
            if i > reach {
                sum -= logs[i - reach - 1];
            }
            let width = (i + reach).min(count - 1) - i.saturating_sub(reach) + 1;
            // exp(log a - avg) and the phase: the bin itself, scaled by exp(-avg).
            *bin *= (-sum / width as f64).exp();
        }
        spectrum[0] = Default::default();
        if n.is_multiple_of(2) {
            spectrum[n / 2].im = 0.0;
        }
        let done = self.back.process_with_scratch(spectrum, values, work);
        debug_assert!(done.is_ok(), "buffers have the lengths of the plan");
        values.iter_mut().for_each(|v| *v = v.abs());
        let mean = values.iter().sum::<f64>() / n as f64;
        let scale = if mean > 0.0 { 1.0 / mean } else { 0.0 };
        values.iter_mut().for_each(|v| *v *= scale);
    }
}

/// Buffers of a transform.
struct Scratch {
    spectrum: Vec<realfft::num_complex::Complex<f64>>,
    logs: Vec<f64>,
    work: Vec<realfft::num_complex::Complex<f64>>,
}

impl Scratch {
    fn new(transform: &Transform) -> Self {
        let work = transform.forward.get_scratch_len().max(transform.back.get_scratch_len());
        Scratch {
            spectrum: transform.forward.make_output_vec(),
            logs: Vec::new(),
            work: vec![Default::default(); work],
        }
    }
}

impl SpectralResidual {
    /// Values that are known when the newest has come.
    fn known(&self) -> usize {
        self.config.window - self.config.estimated
    }

    fn score(&self, recent: &Recent, value: f64) -> Option<f64> {
        let known = self.known();
        if recent.ring.len() + 1 < known {
            return None;
        }
        let mut values = Vec::with_capacity(self.config.window);
        values.extend_from_slice(&recent.ring[recent.head..]);
        values.extend_from_slice(&recent.ring[..recent.head]);
        values.push(value);
        let m = self.config.estimated;
        if m > 0 {
            let before = known - 2;
            let slopes = (1..=m).map(|i| (values[before] - values[before - i]) / i as f64);
            let slope = slopes.sum::<f64>() / m as f64;
            let guess = (values[before - m] + slope * (m + 2) as f64).clamp(-LARGEST, LARGEST);
            values.resize(self.config.window, guess);
        }
        self.transform.saliency(&mut values, &mut Scratch::new(&self.transform));
        Some(values[known - 1])
    }
}

impl Method for SpectralResidual {
    type State = Recent;

    fn name(&self) -> &'static str {
        "spectral_residual"
    }

    fn tier(&self) -> Tier {
        Tier::One
    }

    fn fresh(&self) -> Recent {
        Recent { ring: Vec::new(), head: 0, calibrator: self.calibrator.clone() }
    }

    fn judge(&self, recent: &Recent, sample: Sample) -> Option<Verdict> {
        let value = sample.value.clamp(-LARGEST, LARGEST);
        let score = self.score(recent, value)?;
        let p_value = self.p_value(recent, score);
        let n = recent.ring.len() as f64;
        let mean = recent.ring.iter().map(|v| v / n).sum::<f64>();
        Some(Verdict {
            direction: side(value, mean),
            flagged: p_value <= self.config.false_positive_rate,
            score,
            p_value,
            ..Verdict::unjudged(State::Scored, Tier::One)
        })
    }

    fn learn(&self, recent: &mut Recent, sample: Sample) {
        self.judge_and_learn(recent, sample);
    }

    fn judge_and_learn(&self, recent: &mut Recent, sample: Sample) -> Option<Verdict> {
        let verdict = self.judge(recent, sample);
        if let Some(verdict) = verdict {
            recent.calibrator.learn(verdict.score);
        }
        let value = sample.value.clamp(-LARGEST, LARGEST);
        let before = self.known() - 1;
        if recent.ring.len() < before {
            recent.ring.push(value);
        } else {
            recent.ring[recent.head] = value;
            recent.head = (recent.head + 1) % before;
        }
        verdict
    }

    fn p_value(&self, recent: &Recent, score: f64) -> f64 {
        recent.calibrator.p_value(score).unwrap_or(1.0)
    }

    fn confidence(&self, recent: &Recent) -> f64 {
        if recent.ring.len() + 1 < self.known() { 0.0 } else { recent.calibrator.confidence() }
    }

    fn bytes(&self) -> usize {
        size_of::<Recent>() + self.known() * size_of::<f64>()
    }

    fn save(&self, recent: &Recent, out: &mut SnapshotWriter) {
        out.f64s(&recent.ring);
        out.u32(recent.head as u32);
        recent.calibrator.save(out);
    }

    fn load(&self, from: &mut SnapshotReader<'_>) -> Result<Recent> {
        let mut recent = self.fresh();
        recent.ring = saved::numbers(from, "window", self.known() - 1, LARGEST)?;
        recent.head = from.u32()? as usize;
        if recent.head > 0 && recent.head >= recent.ring.len() {
            return Err(saved::invalid("head", recent.head));
        }
        recent.calibrator.load(from)?;
        Ok(recent)
    }
}

/// Settings of [`SpectralSaliency`], for whole series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SpectralSaliencyConfig {
    /// Values that are transformed together, 16 to 65,536; blocks overlap by half. Default 8192.
    pub block: usize,
    /// Frequencies that the spectrum is averaged over, odd. Default 101.
    pub smoothing: usize,
    /// Samples that the saliency is averaged over, the judged one in their middle; odd. Default 21: an
    /// anomaly is more than its peak.
    pub average: usize,
}

impl Default for SpectralSaliencyConfig {
    fn default() -> Self {
        SpectralSaliencyConfig { block: 8192, smoothing: 101, average: 21 }
    }
}

/// Saliency of every sample of a series, by the spectral residual of its blocks: for looking back.
///
/// As [`SpectralResidual`], with both sides of a sample in view, and averaged over its neighbours: the
/// best single judge of point-like anomalies in whole series that is as fast as it. Series shorter than a
/// block are one block. Gaps are bridged by straight lines and get score 0. The p-value is the rank among the
/// scores of the training series. **Looks ahead.** Time O(n log block), memory O(n + block).
///
/// Source: as [`SpectralResidual`]; the wide average of the spectrum is that of TSB-AD (Liu & Paparrizos 2024). Deviations
/// from the latter: the average stops at the ends of the spectrum, where it pads with values of the series.
pub type SpectralSaliency = Ranked<SpectralSaliencyConfig>;

impl SpectralSaliencyConfig {
    fn check(&self) -> Result<()> {
        check_sizes("block", self.block, self.smoothing)?;
        at_least("average", self.average, 1)?;
        if self.average.is_multiple_of(2) {
            return Err(Error::config("average", format!("must be odd, got {}", self.average)));
        }
        Ok(())
    }
}

impl OneSeries for SpectralSaliencyConfig {
    fn name(&self) -> &'static str {
        "spectral_saliency"
    }

    fn tier(&self) -> Tier {
        Tier::One
    }

    fn judge(&self, series: &Frame) -> Result<Vec<f64>> {
        Ok(self.scores(series.row(0)))
    }
}

impl SpectralSaliencyConfig {
    fn scores(&self, values: &[f64]) -> Vec<f64> {
        let n = values.len();
        let cut = |v: &f64| if v.is_finite() { v.clamp(-LARGEST, LARGEST) } else { f64::NAN };
        let mut filled: Vec<f64> = values.iter().map(cut).collect();
        bridge(&mut filled);
        let mut scores = vec![0.0; n];
        if n < 4 || !filled[0].is_finite() {
            return scores;
        }
        let block = self.block.min(n);
        let transform = Transform::new(block, self.smoothing.min((block / 2) | 1));
        let mut scratch = Scratch::new(&transform);
        let mut part = vec![0.0; block];
        let hop = (block / 2).max(1);
        let mut done = 0;
        while done < n {
            // The last block ends with the series; of each, what is far from its ends is kept.
            let from = done.saturating_sub(block / 4).min(n - block);
            let to = if from + block == n { n } else { (from + block / 4 + hop).min(n) };
            part.copy_from_slice(&filled[from..from + block]);
            transform.saliency(&mut part, &mut scratch);
            scores[done..to].copy_from_slice(&part[done - from..to - from]);
            done = to;
        }
        if self.average > 1 {
            scores = averaged(&scores, self.average / 2);
        }
        for (score, value) in scores.iter_mut().zip(values) {
            if !value.is_finite() {
                *score = 0.0;
            }
        }
        scores
    }
}

/// Means of the values within `reach` to both sides.
fn averaged(values: &[f64], reach: usize) -> Vec<f64> {
    let n = values.len();
    let mut sum: f64 = values[..reach.min(n)].iter().sum();
    (0..n)
        .map(|i| {
            if i + reach < n {
                sum += values[i + reach];
            }
            if i > reach {
                sum -= values[i - reach - 1];
            }
            let width = (i + reach).min(n - 1) - i.saturating_sub(reach) + 1;
            (sum / width as f64).max(0.0)
        })
        .collect()
}

impl Fit for SpectralSaliencyConfig {
    /// Learns the distribution of scores; the frame has one series.
    fn fit(&self, train: &Frame) -> Result<Box<dyn BatchDetector>> {
        self.check()?;
        Ok(Box::new(Ranked::train(self.clone(), train, 8)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        DetectorExt,
        testing::{Noise, check_batch_detector},
    };
    use aiops_core::Timestamp;

    #[test]
    fn keeps_the_contract() {
        check_batch_detector(&SpectralSaliencyConfig::default(), 1);
        check_batch_detector(&SpectralSaliencyConfig { block: 64, smoothing: 5, average: 1 }, 1);
    }

    // Golden: numpy 2.4.6, the definition with `numpy.fft`, see `tests/golden/tier1.py`; 1e-9.
    #[test]
    fn saliency_matches_numpy() {
        let values: Vec<f64> = (0..64)
            .map(|i| {
                let spike = if i == 40 { 9.0 } else { 0.0 };
                f64::from(i % 8) + f64::from(i * 37 % 11) / 5.0 + spike
            })
            .collect();
        let config = SpectralSaliencyConfig { block: 64, smoothing: 3, average: 1 };
        let scores = config.scores(&values);
        for (i, expected) in SALIENCY {
            assert!((scores[i] - expected).abs() < 1e-9, "{i}: {}", scores[i]);
        }
    }

    #[test]
    fn a_spike_in_a_season_is_flagged_as_it_comes() {
        let mut noise = Noise::new(12);
        let samples: Vec<Sample> = (0..3000)
            .map(|i| {
                let season = 10.0 * (i as f64 / 24.0 * std::f64::consts::TAU).sin();
                let spike = if i == 2500 { 12.0 } else { 0.0 };
                Sample::new(Timestamp::from_secs(i), season + spike + 0.5 * noise.normal())
            })
            .collect();
        let verdicts = SpectralResidualConfig::default().build().unwrap().replay(samples);
        let flagged: Vec<usize> = (300..3000).filter(|i| verdicts[*i].flagged).collect();
        assert!(flagged.contains(&2500) && flagged.len() <= 12, "{flagged:?}");
    }

    #[test]
    fn long_series_are_scored_in_blocks_without_seams() {
        let mut noise = Noise::new(13);
        let mut values: Vec<f64> =
            (0..1000).map(|i| f64::from(i % 20) + 0.2 * noise.normal()).collect();
        values[500] += 40.0;
        values[255] += 40.0;
        let config = SpectralSaliencyConfig { block: 128, smoothing: 9, average: 1 };
        let scores = config.scores(&values);
        let mut order: Vec<usize> = (0..1000).collect();
        order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
        let mut top = order[..2].to_vec();
        top.sort_unstable();
        assert_eq!(top, [255, 500]);
    }

    const SALIENCY: [(usize, f64); 6] = [
        (0, 2.652_524_995_538_289),
        (1, 1.424_519_524_974_470_2),
        (20, 0.288_107_166_108_151_46),
        (39, 1.246_269_211_817_163_2),
        (40, 4.253_584_353_959_763),
        (63, 2.419_501_339_594_680_3),
    ];
}
