//! From any score to a p-value: one knob, the tolerated false-positive rate, for every detector.

use aiops_core::{Reason, Sample, SnapshotReader, SnapshotWriter};
use serde::{Deserialize, Serialize};

use crate::{
    Detector, Error, Result, Verdict,
    error::{at_least, probability},
    saved,
};

/// Settings of a [`Calibrator`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CalibratorConfig {
    /// Scores to learn before giving p-values. Default 30.
    pub warm_up: usize,
    /// Scores after which older ones count half. Default 100,000; at most 4,000,000.
    pub horizon: usize,
    /// Share of the highest scores that the tail is fitted to, within 20 and 500 of them; it is used
    /// beyond 50 of them at most, since where more were seen their ranks say it better. Default 0.01.
    pub tail: f64,
}

impl Default for CalibratorConfig {
    fn default() -> Self {
        CalibratorConfig { warm_up: 30, horizon: 100_000, tail: 0.01 }
    }
}

impl CalibratorConfig {
    /// A calibrator that has seen nothing yet.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] names the field that is out of range.
    pub fn build(self) -> Result<Calibrator> {
        at_least("warm_up", self.warm_up, 1)?;
        probability("tail", self.tail)?;
        if !(1_000..=4_000_000).contains(&self.horizon) || self.warm_up > self.horizon {
            let reason = format!("must be within 1000 and 4000000, got {}", self.horizon);
            return Err(Error::config("horizon", reason));
        }
        Ok(Calibrator { config: self, counts: [0.0; BINS], total: 0.0, top: i32::MIN, seen: 0 })
    }
}

/// Streaming distribution of one detector's scores on one series: the chance that normal data
/// scores at least this high.
///
/// The body is the empirical distribution: a score that `k` of `n` earlier ones reached has
/// p-value `(k + ½)/(n + 1)`. For scores in random order that is exact whatever their distribution,
/// which is why all scores are learnt, anomalies too: leaving out what looks abnormal makes the
/// next normal extreme look abnormal, and the observed rate runs away (measured: 5 to 50 times
/// the knob). Anomalies in the history make p-values larger, that is, the detector quieter.
///
/// From two hundred scores on, a tail continues beyond the highest [`CalibratorConfig::tail`] share of them,
/// at most 50. With `t` where it begins and `γ` the mean of `ln(s/t)` over the scores above it (Hill), a
/// heavy tail is `p(s) = p(t) · (s/t)^(-1/γ)`, and errs on the quiet side where tails are light. The more
/// scores there are, up to 500 of the highest, the more it is corrected towards the moment estimator, which
/// knows light tails and ends:
/// `p(s) = p(t) · (1 + ξ(s/t - 1)/σ)^(-1/ξ)` with `ξ = γ + λξ₋`, `σ = γ(1 - λξ₋)`,
/// `ξ₋ = 1 - ½/(1 - γ²/m)` not above 0, `m` the mean of `ln²(s/t)` and `λ = 1 - 50/k` for `k` scores. Trust it
/// to about a tenth of one over the number of scores seen.
///
/// Scores are kept as counts in logarithmic bins, eight to an octave, over 32 octaves below the
/// highest score; within a bin they are taken to fall in proportion. Time O(bins above the score), memory
/// 1 KiB.
///
/// Source: body, Vovk, Gammerman & Shafer 2005, "Algorithmic learning in a random world"
/// (conformal p-values); tail, Hill 1975 and Dekkers, Einmahl & de Haan 1989, "A moment estimator for the
/// index of an extreme-value distribution". The weight `λ` is ours: from few scores the moment estimator
/// alone is too sure of light tails (measured on the cloud monitoring set: twice the knob at 0.1 %).
///
/// ```
/// use aiops_detect::CalibratorConfig;
/// let mut calibrator = CalibratorConfig::default().build()?;
/// for score in (1..=1000).map(f64::from) {
///     calibrator.learn(score);
/// }
/// let p = calibrator.p_value(900.0).unwrap();
/// assert!((p - 0.1).abs() < 0.02, "a tenth of the scores are higher");
/// # Ok::<(), aiops_detect::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Calibrator {
    config: CalibratorConfig,
    counts: [f32; BINS],
    total: f64,
    /// The highest bin ends at 2^(top/8); `i32::MIN` before the first score above zero.
    top: i32,
    seen: u64,
}

const BINS: usize = 256;
const PER_OCTAVE: f64 = 8.0;
const ENOUGH_FOR_A_TAIL: f64 = 200.0;
/// A tail is fitted to no fewer scores, their ranks are believed from `ENOUGH` on, and the shape of the tail
/// gains nothing from more than the most.
const FEWEST: f64 = 20.0;
const ENOUGH: f64 = 50.0;
const MOST_FITTED: f64 = 500.0;

impl Calibrator {
    /// The chance of a score at least this high when all is as before; `None` while warming up.
    /// Never zero, falling in the score.
    pub fn p_value(&self, score: f64) -> Option<f64> {
        if !self.is_warm() {
            return None;
        }
        let at = self.position(score);
        let bin = at as usize;
        let mut reached: f64 =
            self.counts[(bin + 1).min(BINS)..].iter().map(|count| f64::from(*count)).sum();
        if let Some(count) = self.counts.get(bin) {
            let all = reached + f64::from(*count);
            // Tails fall in proportion within a bin; the highest bin, with nothing above it, evenly.
            // Scores of zero share the lowest bin and are all equal.
            let within = at - bin as f64;
            reached = if bin == 0 {
                all
            } else if reached > 0.0 {
                all * (reached / all).powf(within)
            } else {
                all * (1.0 - within)
            };
        }
        let rank = (reached + 0.5) / (self.total + 1.0);
        let enough = (self.config.tail * self.total).clamp(FEWEST, ENOUGH);
        // The highest scores of a few say too little about a tail to go beyond them.
        if reached >= enough || self.total < ENOUGH_FOR_A_TAIL {
            return Some(rank);
        }
        Some(self.tail(at, enough).unwrap_or(rank).max(f64::MIN_POSITIVE))
    }

    /// How many scores the distribution stands for, older ones counting less.
    pub(crate) fn learnt(&self) -> f64 {
        self.total
    }

    /// Whether enough scores were learnt to give p-values.
    pub fn is_warm(&self) -> bool {
        self.seen >= self.config.warm_up as u64
    }

    /// How much of what it takes to judge beyond the ranks of a few has been seen: 0 while warming up, 1
    /// from two hundred scores on.
    pub fn confidence(&self) -> f64 {
        if self.is_warm() { (self.total / ENOUGH_FOR_A_TAIL).min(1.0) } else { 0.0 }
    }

    /// Takes a score in. What is not finite or below zero counts as the nearest that is.
    pub fn learn(&mut self, score: f64) {
        let score = score.clamp(0.0, f64::MAX); // NaN passes through and lands in the lowest bin
        self.seen = self.seen.saturating_add(1);
        if score > 0.0 {
            let end = (score.log2() * PER_OCTAVE).floor() as i32 + 1;
            if self.top == i32::MIN {
                self.top = end;
            }
            if end > self.top {
                self.raise(end);
            }
        }
        let bin = (self.position(score) as usize).min(BINS - 1);
        self.counts[bin] += 1.0;
        self.total += 1.0;
        if self.total >= self.config.horizon as f64 {
            self.counts.iter_mut().for_each(|count| *count *= 0.5);
            self.total *= 0.5;
        }
    }

    /// Moves the bins up so that the highest ends at `top`; what falls off joins the lowest.
    fn raise(&mut self, top: i32) {
        let by = (top.abs_diff(self.top) as usize).min(BINS);
        let fallen: f32 = self.counts[..by].iter().sum();
        self.counts.copy_within(by.., 0);
        self.counts[BINS - by..].fill(0.0);
        self.counts[0] += fallen;
        self.top = top;
    }

    /// Position on the scale of bins: the whole part is the bin; `BINS` and more is above all.
    fn position(&self, score: f64) -> f64 {
        if !(score > 0.0) || self.top == i32::MIN {
            return if score > 0.0 { BINS as f64 } else { 0.0 };
        }
        (score.min(f64::MAX).log2() * PER_OCTAVE - f64::from(self.top) + BINS as f64).max(0.0)
    }

    /// The share of scores beyond `at` by the tail above the bin edge that `enough` scores reach; `None`
    /// where only the lowest bin, of unknown extent, has so many.
    fn tail(&self, at: f64, enough: f64) -> Option<f64> {
        let (start, above) = self.edge(enough)?;
        let (fitted_from, fitted) =
            self.edge((self.config.tail * self.total).clamp(FEWEST, MOST_FITTED))?;
        let to_ln = std::f64::consts::LN_2 / PER_OCTAVE;
        let (mut first, mut second) = (0.0, 0.0);
        for bin in fitted_from..BINS {
            let excess = ((bin - fitted_from) as f64 + 0.5) * to_ln;
            first += f64::from(self.counts[bin]) * excess;
            second += f64::from(self.counts[bin]) * (excess * excess + to_ln * to_ln / 12.0);
        }
        let heavy = (first / fitted).max(0.02);
        let equal = heavy * heavy / (second / fitted); // 1/2 for a Pareto tail, up to 1 where all lie at one height
        let lighter =
            (1.0 - 0.5 / (1.0 - equal).max(0.1)).min(0.0) * (1.0 - ENOUGH / fitted).max(0.0);
        let (shape, scale) = (heavy + lighter, heavy * (1.0 - lighter));
        let beyond = |at: f64| {
            let ln = (at - fitted_from as f64) * to_ln;
            let excess = ln.exp_m1() / scale;
            let share = if shape.abs() < 1e-6 {
                (-excess).exp()
            } else {
                (1.0 + shape * excess).max(0.0).powf(-1.0 / shape)
            };
            share.max(1e-3 * (-ln / heavy).exp()) // a tail that ends goes on as a thin Pareto one
        };
        Some(above / self.total * beyond(at) / beyond(start as f64))
    }

    /// The highest bin above whose lower edge lie at least `enough` scores, and how many do.
    fn edge(&self, enough: f64) -> Option<(usize, f64)> {
        let (mut above, mut bin) = (0.0, BINS);
        while above < enough {
            bin = bin.checked_sub(1).filter(|bin| *bin > 0)?;
            above += f64::from(self.counts[bin]);
        }
        Some((bin, above))
    }

    /// Writes everything that was learnt.
    pub fn save(&self, out: &mut SnapshotWriter) {
        out.u64(self.seen);
        out.f64(self.total);
        out.u32(self.top as u32);
        // Most bins are empty: pairs of index and count.
        let used = self.counts.iter().enumerate().filter(|(_, count)| **count > 0.0);
        out.u32(used.clone().count() as u32);
        for (bin, count) in used {
            out.u8(bin as u8);
            out.f32(*count);
        }
    }

    /// Replaces what was learnt by what [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// When the bytes are cut or make no sense; the calibrator is then as it was.
    pub fn load(&mut self, from: &mut SnapshotReader<'_>) -> Result<()> {
        let mut loaded = Calibrator { counts: [0.0; BINS], ..self.clone() };
        loaded.seen = from.u64()?;
        loaded.total = saved::not_negative(from, "total")?;
        loaded.top = from.u32()? as i32;
        if loaded.top != i32::MIN && loaded.top.abs() > 10_000 {
            return Err(saved::invalid("highest bin", loaded.top));
        }
        for _ in 0..from.u32()? {
            let bin = from.u8()?;
            let count = from.f32()?;
            if !(count >= 0.0 && count.is_finite()) {
                return Err(saved::invalid("count", count));
            }
            loaded.counts[usize::from(bin)] = count;
        }
        *self = loaded;
        Ok(())
    }
}

/// A detector whose p-values come from its own past scores on the series.
///
/// Score, expectation and direction are those of the detector within; p-value and flag are
/// calibrated. Until the calibrator is warm, the p-value of the detector within stands.
#[derive(Debug, Clone)]
pub struct Calibrated<D> {
    inner: D,
    calibrator: Calibrator,
    rate: f64,
}

impl<D: Detector> Calibrated<D> {
    /// Calibrates `inner`, and flags at the tolerated false-positive rate.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] when the rate is not within 0 and 1 or the calibrator's settings are
    /// out of range.
    pub fn new(inner: D, config: CalibratorConfig, false_positive_rate: f64) -> Result<Self> {
        probability("false_positive_rate", false_positive_rate)?;
        Ok(Calibrated { inner, calibrator: config.build()?, rate: false_positive_rate })
    }

    fn calibrated(&self, verdict: Verdict) -> Verdict {
        if !verdict.is_scored() {
            return verdict;
        }
        let p_value = self.calibrator.p_value(verdict.score).unwrap_or(verdict.p_value);
        Verdict { p_value, flagged: p_value <= self.rate, ..verdict }
    }
}

#[deny(clippy::missing_trait_methods)]
impl<D: Detector> Detector for Calibrated<D> {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn assess(&self, sample: Sample) -> Verdict {
        self.calibrated(self.inner.assess(sample))
    }

    fn learn(&mut self, sample: Sample) {
        let verdict = self.inner.assess(sample);
        if verdict.is_scored() {
            self.calibrator.learn(verdict.score);
        }
        self.inner.learn(sample);
    }

    fn update(&mut self, sample: Sample) -> Verdict {
        let raw = self.inner.update(sample);
        let verdict = self.calibrated(raw);
        if raw.is_scored() {
            self.calibrator.learn(raw.score);
        }
        verdict
    }

    fn p_value(&self, score: f64) -> f64 {
        self.calibrator.p_value(score).unwrap_or_else(|| self.inner.p_value(score))
    }

    fn confidence(&self) -> f64 {
        self.inner.confidence().min(self.calibrator.confidence())
    }

    fn explain(&self, sample: Sample, verdict: &Verdict) -> Reason {
        self.inner.explain(sample, verdict)
    }

    fn save(&self, out: &mut SnapshotWriter) {
        self.calibrator.save(out);
        self.inner.save(out);
    }

    fn load(&mut self, from: &mut SnapshotReader<'_>) -> Result<()> {
        let mut calibrator = self.calibrator.clone();
        calibrator.load(from)?;
        self.inner.load(from)?;
        self.calibrator = calibrator;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Noise;

    /// Share of scores whose p-value, given before they are learnt, is at or below each rate.
    fn observed(scores: impl Iterator<Item = f64>, rates: &[f64]) -> Vec<f64> {
        let mut calibrator = CalibratorConfig::default().build().unwrap();
        let (mut n, mut hits) = (0.0, vec![0.0; rates.len()]);
        for score in scores {
            if let Some(p) = calibrator.p_value(score) {
                n += 1.0;
                for (hits, rate) in hits.iter_mut().zip(rates) {
                    *hits += if p <= *rate { 1.0 } else { 0.0 };
                }
            }
            calibrator.learn(score);
        }
        hits.iter().map(|hits| hits / n).collect()
    }

    #[test]
    fn the_observed_rate_is_the_knob_for_light_and_heavy_tails() {
        let rates = [0.1, 0.01, 0.001];
        let mut noise = Noise::new(11);
        let normal = observed((0..60_000).map(|_| noise.normal().abs()), &rates);
        let mut noise = Noise::new(12);
        let pareto = observed((0..60_000).map(|_| noise.uniform().max(1e-12).powf(-0.5)), &rates);
        let mut noise = Noise::new(13);
        let mut level = 0.0;
        let correlated = (0..60_000).map(|_| {
            level = 0.9 * level + noise.normal();
            f64::abs(level)
        });
        let correlated = observed(correlated, &rates);
        for (what, found) in [("normal", normal), ("pareto", pareto), ("correlated", correlated)] {
            for (rate, share) in rates.iter().zip(&found) {
                assert!((share / rate - 1.0).abs() < 0.3, "{what}: {share} for {rate}");
            }
        }
    }

    #[test]
    fn odd_scores_have_p_values() {
        let mut calibrator = CalibratorConfig::default().build().unwrap();
        for score in [0.0, f64::NAN, f64::INFINITY, f64::MAX, f64::MIN_POSITIVE, -1.0] {
            (0..10).for_each(|_| calibrator.learn(score));
        }
        let p = [0.0, 1e-300, 1.0, f64::MAX].map(|score| calibrator.p_value(score).unwrap());
        assert!(p.windows(2).all(|w| w[0] >= w[1]) && p[3] > 0.0 && p[0] <= 1.0, "{p:?}");
        let mut zeros = CalibratorConfig::default().build().unwrap();
        (0..100).for_each(|_| zeros.learn(0.0));
        assert!(zeros.p_value(0.0).unwrap() > 0.9, "nothing is rare about a constant");
        assert!(
            zeros.p_value(1.0).unwrap() < 0.01,
            "and what never was is as rare as it can be said"
        );
    }
}
