//! [`Bocpd`]: how likely it is that the level or the noise of a series has just changed.

use aiops_core::{Sample, SnapshotReader, SnapshotWriter};
use serde::{Deserialize, Serialize};

use crate::{
    Calibrator, CalibratorConfig, Error, Method, Result, Single, State, Tier, Verdict,
    error::{at_least, positive, probability},
    saved,
    verdict::side,
    window,
};

/// Settings of [`Bocpd`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BocpdConfig {
    /// Samples between changes, on average. Default 500.
    pub between: f64,
    /// A change counts as recent for so many samples. Default 20.
    pub recent: usize,
    /// Runs longer than this are one; more costs time. Default 200; within `recent` and 10,000.
    pub longest: usize,
    /// Samples that the unit of the series is learnt from before anything is judged. Default 30.
    pub warm_up: usize,
    /// How many samples the prior of a run's level is worth. Default 0.05: a new level may be
    /// anywhere within a few scales.
    pub prior_level: f64,
    /// How many samples the prior of a run's variance is worth, of one squared scale. Default 2.
    pub prior_variance: f64,
    /// Tolerated share of normal samples that are flagged. Default 0.001.
    pub false_positive_rate: f64,
    /// Turns the chance of a change into p-values.
    pub calibrator: CalibratorConfig,
}

impl Default for BocpdConfig {
    fn default() -> Self {
        BocpdConfig {
            between: 500.0,
            recent: 20,
            longest: 200,
            warm_up: 30,
            prior_level: 0.05,
            prior_variance: 2.0,
            false_positive_rate: 1e-3,
            calibrator: CalibratorConfig { horizon: 8_000, ..CalibratorConfig::default() },
        }
    }
}

impl BocpdConfig {
    /// A detector of one series.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] names the field that is out of range.
    pub fn build(self) -> Result<Single<Bocpd>> {
        Ok(Single::new(self.method()?))
    }

    /// What [`Single`] and [`Columns`](crate::Columns) are made of.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn method(self) -> Result<Bocpd> {
        if !(self.between > 1.0 && self.between.is_finite()) {
            let reason = format!("must be above 1 and finite, got {}", self.between);
            return Err(Error::config("between", reason));
        }
        at_least("recent", self.recent, 1)?;
        at_least("warm_up", self.warm_up, 4)?;
        if !(self.recent..=10_000).contains(&self.longest) || self.warm_up > 10_000 {
            let reason = format!("must be within recent and 10000, got {}", self.longest);
            return Err(Error::config("longest", reason));
        }
        positive("prior_level", self.prior_level)?;
        positive("prior_variance", self.prior_variance)?;
        probability("false_positive_rate", self.false_positive_rate)?;
        let calibrator = self.calibrator.clone().build()?;
        let half = |r: usize| 0.5 * (self.prior_variance + r as f64);
        let normaliser = |r: usize| {
            let a = half(r);
            let gamma = statrs::function::gamma::ln_gamma;
            gamma(a + 0.5) - gamma(a) - 0.5 * std::f64::consts::TAU.ln()
        };
        let normalisers = (0..=self.longest).map(normaliser).collect();
        Ok(Bocpd { config: self, calibrator, normalisers })
    }
}

/// Bayesian online change-point detection with a normal level and unknown variance.
///
/// Finds level shifts and changes of the noise, also small ones that no single sample shows, a few
/// samples after they happen. Fails on seasons and drifts, which it takes for changes: give it the
/// residual of a seasonal model there.
///
/// Kept is the distribution of the run length `r`, the samples since the last change. Each run predicts
/// the next sample by Student's t from its own mean and variance (normal-gamma prior); a sample
/// multiplies each run's weight by what it predicted, a share `1/between` of all weight goes to `r = 0`.
/// Score = the chance that `r <` [`recent`](BocpdConfig::recent), within 0 and 1. The p-value is that of
/// the score on the series' own past ([`Calibrator`]); expectation and band are those of the weighted
/// runs, at four standard deviations.
///
/// The series is put into units of the median and spread of its first
/// [`warm_up`](BocpdConfig::warm_up) samples. Runs beyond `longest` are merged into the longest one, which
/// goes on learning as if it were of that length, so it forgets. A gap changes nothing. Time O(longest) a sample, memory 24 bytes a run
/// length, 6 KiB with the defaults.
///
/// Source: Adams & MacKay 2007, "Bayesian online changepoint detection", algorithm 1; predictive
/// distributions as in Murphy 2007, "Conjugate Bayesian analysis of the Gaussian distribution", section 3.
/// Deviation: the merged longest run.
#[derive(Debug, Clone)]
pub struct Bocpd {
    config: BocpdConfig,
    calibrator: Calibrator,
    /// By run length, the part of the logarithm of Student's t that does not depend on the sample.
    normalisers: Vec<f64>,
}

/// What a [`Bocpd`] knows of one series.
#[derive(Debug, Clone)]
pub struct Runs {
    first: Vec<f64>,
    shift: f64,
    /// Zero until known.
    scale: f64,
    /// By run length: weight, mean, and sum of squared deviations with the prior's share.
    runs: Vec<Run>,
    calibrator: Calibrator,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Run {
    weight: f64,
    mean: f64,
    /// Twice the β of the normal-gamma distribution.
    squares: f64,
}

impl Runs {
    /// The chance of each run length, from 0; empty while warming up.
    pub fn run_lengths(&self) -> Vec<f64> {
        self.runs.iter().map(|run| run.weight).collect()
    }
}

/// Scaled values are cut to this.
const CUT: f64 = 1e4;
/// Half the band that is shown, in standard deviations.
const BAND: f64 = 4.0;
/// Weights below this are taken for zero, and never let the longest run die out by rounding.
const NEGLIGIBLE: f64 = 1e-12;

impl Bocpd {
    fn prior(&self) -> Run {
        Run { weight: 1.0, mean: 0.0, squares: self.config.prior_variance }
    }

    fn scaled(&self, state: &Runs, value: f64) -> f64 {
        ((value - state.shift) / state.scale).clamp(-CUT, CUT)
    }

    /// Variance of what a run of length `r` predicts, as the scale of Student's t.
    fn variance(&self, r: usize, run: &Run) -> f64 {
        let kappa = self.config.prior_level + r as f64;
        let freedom = self.config.prior_variance + r as f64;
        run.squares * (kappa + 1.0) / (kappa * freedom)
    }

    /// How likely `x` was for a run of length `r`.
    fn predicted(&self, r: usize, run: &Run, x: f64) -> f64 {
        let freedom = self.config.prior_variance + r as f64;
        let variance = self.variance(r, run);
        let d = x - run.mean;
        let ln = self.normalisers[r]
            - 0.5 * (0.5 * freedom * variance).ln()
            - 0.5 * (freedom + 1.0) * (d * d / (freedom * variance)).ln_1p();
        ln.exp()
    }

    /// The chance of a change within the last samples.
    fn changed(&self, runs: &[Run]) -> f64 {
        // Before there were that many samples, a young run says nothing.
        if runs.len() <= self.config.recent {
            return 0.0;
        }
        let old: f64 = runs[self.config.recent..].iter().map(|run| run.weight).sum();
        (1.0 - old).clamp(0.0, 1.0)
    }

    /// Mean and standard deviation of the next sample.
    fn expected(&self, runs: &[Run]) -> (f64, f64) {
        let mean: f64 = runs.iter().map(|run| run.weight * run.mean).sum();
        let variance: f64 = runs
            .iter()
            .enumerate()
            .map(|(r, run)| run.weight * (self.variance(r, run) + (run.mean - mean).powi(2)))
            .sum();
        (mean, variance.max(0.0).sqrt())
    }

    /// The runs after `x`.
    fn step(&self, runs: &[Run], x: f64, out: &mut Vec<Run>) {
        let hazard = 1.0 / self.config.between;
        out.clear();
        out.push(self.prior());
        let mut total = 0.0;
        for (r, run) in runs.iter().enumerate() {
            // A change may have come before this sample: then the sample is the first of a new run.
            let weight = run.weight * self.predicted(r, run, x);
            total += weight;
            let kappa = self.config.prior_level + r as f64;
            let d = x - run.mean;
            let next = Run {
                weight: weight * (1.0 - hazard),
                mean: run.mean + d / (kappa + 1.0),
                squares: run.squares + d * d * kappa / (kappa + 1.0),
            };
            if r < self.config.longest {
                out.push(next);
                continue;
            }
            // The longest run goes on as one of its own length: its squares shrink by one sample's
            // share, and what just became as long joins it, weighted.
            let freedom = self.config.prior_variance + r as f64;
            let kept = Run { squares: next.squares * freedom / (freedom + 1.0), ..next };
            if let Some(last) = out.last_mut() {
                let both = last.weight + kept.weight;
                if both > 0.0 {
                    let share = kept.weight / both;
                    last.mean += share * (kept.mean - last.mean);
                    last.squares += share * (kept.squares - last.squares);
                }
                last.weight = both;
            }
        }
        if !(total > 0.0) {
            // So unlikely under every run that nothing is left: it is a change.
            out.iter_mut().for_each(|run| run.weight = 0.0);
            out[0].weight = 1.0;
            return;
        }
        out[0].weight = total * hazard;
        let mut sum = 0.0;
        for run in out.iter_mut() {
            run.weight /= total;
            if run.weight < NEGLIGIBLE {
                run.weight = 0.0;
            }
            sum += run.weight;
        }
        out.iter_mut().for_each(|run| run.weight /= sum);
    }

    fn start(&self, state: &mut Runs) {
        let first = std::mem::take(&mut state.first);
        let mut sorted = first.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        state.shift = window::median(&sorted);
        let spread = sorted.iter().map(|v| (v - state.shift).abs()).sum::<f64>();
        let spread = 1.2533 * spread / sorted.len() as f64;
        let floor = (1e-3 * state.shift.abs()).max(1e-9);
        state.scale = spread.max(floor);
        state.runs = vec![self.prior()];
        let mut next = Vec::new();
        for value in first {
            let x = self.scaled(state, value);
            self.step(&state.runs, x, &mut next);
            std::mem::swap(&mut state.runs, &mut next);
        }
    }

    fn verdict(&self, state: &Runs, value: f64, after: &[Run]) -> Verdict {
        let score = self.changed(after);
        let p_value = state.calibrator.p_value(score).unwrap_or(1.0);
        let (mean, deviation) = self.expected(&state.runs);
        let expected = state.shift + state.scale * mean;
        let half_band = BAND * state.scale * deviation;
        Verdict {
            state: State::Scored,
            tier: Tier::Two,
            direction: side(value, expected),
            flagged: p_value <= self.config.false_positive_rate,
            score,
            p_value,
            expected,
            lower: expected - half_band,
            upper: expected + half_band,
        }
    }

    fn judged(&self, state: &Runs, sample: Sample) -> Option<(Verdict, Vec<Run>)> {
        if state.scale == 0.0 {
            return None;
        }
        let value = sample.value.clamp(-LARGEST, LARGEST);
        let mut after = Vec::with_capacity(state.runs.len() + 1);
        self.step(&state.runs, self.scaled(state, value), &mut after);
        Some((self.verdict(state, value, &after), after))
    }

    fn take(&self, state: &mut Runs, sample: Sample, judged: Option<(Verdict, Vec<Run>)>) {
        match judged {
            Some((verdict, after)) => {
                state.runs = after;
                state.calibrator.learn(verdict.score);
            }
            None => {
                state.first.push(sample.value.clamp(-LARGEST, LARGEST));
                if state.first.len() == self.config.warm_up {
                    self.start(state);
                }
            }
        }
    }
}

const LARGEST: f64 = 1e100;

impl Method for Bocpd {
    type State = Runs;

    fn name(&self) -> &'static str {
        "bocpd"
    }

    fn tier(&self) -> Tier {
        Tier::Two
    }

    fn fresh(&self) -> Runs {
        let calibrator = self.calibrator.clone();
        Runs { first: Vec::new(), shift: 0.0, scale: 0.0, runs: Vec::new(), calibrator }
    }

    fn judge(&self, state: &Runs, sample: Sample) -> Option<Verdict> {
        self.judged(state, sample).map(|(verdict, _)| verdict)
    }

    fn learn(&self, state: &mut Runs, sample: Sample) {
        let judged = self.judged(state, sample);
        self.take(state, sample, judged);
    }

    fn judge_and_learn(&self, state: &mut Runs, sample: Sample) -> Option<Verdict> {
        let judged = self.judged(state, sample);
        let verdict = judged.as_ref().map(|(verdict, _)| *verdict);
        self.take(state, sample, judged);
        verdict
    }

    fn p_value(&self, state: &Runs, score: f64) -> f64 {
        state.calibrator.p_value(score).unwrap_or(1.0)
    }

    fn confidence(&self, state: &Runs) -> f64 {
        if state.scale > 0.0 { state.calibrator.confidence() } else { 0.0 }
    }

    fn bytes(&self) -> usize {
        size_of::<Runs>() + (self.config.longest + 1) * size_of::<Run>()
    }

    fn save(&self, state: &Runs, out: &mut SnapshotWriter) {
        out.f64s(&state.first);
        out.f64(state.shift);
        out.f64(state.scale);
        out.u32(state.runs.len() as u32);
        for run in &state.runs {
            [run.weight, run.mean, run.squares].iter().for_each(|v| out.f64(*v));
        }
        state.calibrator.save(out);
    }

    fn load(&self, from: &mut SnapshotReader<'_>) -> Result<Runs> {
        let mut state = self.fresh();
        state.first = saved::numbers(from, "first values", self.config.warm_up - 1, LARGEST)?;
        state.shift = saved::within(from, "shift", LARGEST)?;
        state.scale = saved::within(from, "scale", 1e102)?;
        let n = from.u32()? as usize;
        let known = state.scale >= 1e-60;
        if n > self.config.longest + 1 || (n > 0) != known || (!known && state.scale != 0.0) {
            return Err(saved::invalid("number of runs", n));
        }
        for _ in 0..n {
            let weight = saved::within(from, "weight", 1.0)?;
            let mean = saved::within(from, "mean", CUT)?;
            let squares = saved::within(from, "squares", 1e16)?;
            if !(weight >= 0.0 && squares > 0.0) {
                return Err(saved::invalid("squares", squares));
            }
            state.runs.push(Run { weight, mean, squares });
        }
        state.calibrator.load(from)?;
        Ok(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DetectorExt, testing::Noise};
    use aiops_core::Timestamp;

    // Golden: bayesian-changepoint-detection 0.2.dev1, `online_changepoint_detection` with
    // `StudentT(1, 1, 0.05, 0)` and a constant hazard of 1/50, see `tests/golden/tier2.py`; 1e-9.
    #[test]
    fn run_lengths_match_the_python_package() {
        let config = BocpdConfig { between: 50.0, longest: 100, ..BocpdConfig::default() };
        let method = config.method().unwrap();
        let mut runs = vec![method.prior()];
        let mut next = Vec::new();
        for i in 0..60 {
            let level = if i < 30 { 0.0 } else { 3.0 };
            let x = level + f64::from(i * 37 % 11) / 5.0 - 1.0;
            method.step(&runs, x, &mut next);
            std::mem::swap(&mut runs, &mut next);
            if let Some((_, expected)) = RUN_LENGTHS.iter().find(|golden| golden.0 == i) {
                let found = [0, 1, 2, 5, 31].map(|r| runs.get(r).map_or(0.0, |run| run.weight));
                super::super::assert_near("weights", found, expected, 1e-9);
            }
        }
    }

    #[test]
    fn a_small_lasting_shift_is_found_soon_and_a_spike_does_not_last() {
        let mut noise = Noise::new(6);
        let samples: Vec<Sample> = (0..2000)
            .map(|i| {
                let level = if i >= 1500 { 3.0 } else { 0.0 };
                let spike = if i == 1000 { 12.0 } else { 0.0 };
                Sample::new(Timestamp::from_secs(i), 50.0 + level + spike + noise.normal())
            })
            .collect();
        let verdicts = BocpdConfig::default().build().unwrap().replay(samples);
        let found = (1500..1510).find(|i| verdicts[*i].score > 0.9);
        assert!(found.is_some(), "three standard deviations within ten samples");
        assert!(verdicts[1100].score < 0.2, "a spike is no new level");
        let often = verdicts[300..1000].iter().filter(|v| v.flagged).count();
        assert!(often <= 7, "{often} of 700");
    }

    const RUN_LENGTHS: [(i32, [f64; 5]); 5] = [
        (0, [0.02, 0.98, 0.0, 0.0, 0.0]),
        (
            30,
            [
                0.020_000_000_000_000_007,
                0.922_362_230_732_428_3,
                0.039_686_728_943_468_245,
                0.001_620_185_627_611_418,
                0.001_964_152_528_489_936,
            ],
        ),
        (
            31,
            [
                0.020_000_000_000_000_004,
                0.007_219_559_534_603_186,
                0.915_700_382_862_083_4,
                0.004_438_824_536_427_335,
                1.574_270_621_857_239_6e-06,
            ],
        ),
        (
            35,
            [
                0.02,
                0.003_320_736_689_255_185_4,
                0.002_158_063_512_178_637,
                0.005_514_255_627_289_149,
                1.571_418_151_335_508e-10,
            ],
        ),
        (
            59,
            [
                0.019_999_999_999_999_997,
                0.002_041_262_475_944_503_3,
                0.001_739_738_658_218_376,
                0.000_925_001_375_569_943_6,
                0.001_086_904_379_387_973_6,
            ],
        ),
    ];
}
