//! [`RandomCutForest`]: how much of a forest moves when a point comes in.

mod tree;

use aiops_core::{Reason, Sample, SnapshotReader, SnapshotWriter, Timestamp};
use serde::{Deserialize, Serialize};

use super::{fits, shingle::Shingle};
use crate::{
    Calibrator, CalibratorConfig, Detector, Error, Result, State, Tier, Verdict,
    error::{positive, probability},
    method::unjudged,
    random::SplitMix,
    saved,
    verdict::side,
};
use tree::{Bounds, MOST, Tree};

/// Settings of [`RandomCutForest`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RandomCutForestConfig {
    /// How many latest samples make a point. Default 4: more see longer shapes and blur single spikes.
    pub shingle: usize,
    /// How many trees. Default 14, which keeps a series below 32 KiB.
    pub trees: usize,
    /// Points in each tree, 2 to 254. Default 64.
    pub sample: usize,
    /// Points after which an older one is half as likely to be kept. Default 2,000.
    pub half_life: f64,
    /// Samples to learn before judging. Default 64.
    pub warm_up: usize,
    /// Tolerated share of normal samples that are flagged. Default 0.001.
    pub false_positive_rate: f64,
    /// Turns scores into p-values. Default horizon 8,000.
    pub calibrator: CalibratorConfig,
    /// Seed of all random choices. Default 1.
    pub seed: u64,
}

impl Default for RandomCutForestConfig {
    fn default() -> Self {
        RandomCutForestConfig {
            shingle: 4,
            trees: 14,
            sample: 64,
            half_life: 2_000.0,
            warm_up: 64,
            false_positive_rate: 1e-3,
            calibrator: CalibratorConfig { horizon: 8_000, ..CalibratorConfig::default() },
            seed: 1,
        }
    }
}

impl RandomCutForestConfig {
    /// Bytes of state a series takes with these settings.
    pub fn bytes_per_series(&self) -> usize {
        let point = (self.shingle + 1) * size_of::<f32>();
        let tree = self.sample * point + self.sample * 8 + size_of::<Tree>();
        self.trees * tree + size_of::<Calibrator>() + 16 * self.shingle + 256
    }

    /// A detector of one series.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] names the field that is out of range; also when the state would take more
    /// than 32 KiB.
    pub fn build(self) -> Result<RandomCutForest> {
        for (field, value, most) in [
            ("shingle", self.shingle, 64),
            ("trees", self.trees, 256),
            ("sample", self.sample, MOST),
        ] {
            let least = if field == "sample" { 2 } else { 1 };
            if !(least..=most).contains(&value) {
                return Err(Error::config(
                    field,
                    format!("must be {least} to {most}, got {value}"),
                ));
            }
        }
        fits(self.bytes_per_series())?;
        positive("half_life", self.half_life)?;
        probability("false_positive_rate", self.false_positive_rate)?;
        Ok(RandomCutForest {
            forest: Forest::new(&self),
            calibrator: self.calibrator.clone().build()?,
            latest: Shingle::new(self.shingle),
            mean: 0.0,
            seen: 0,
            last: Timestamp::MIN,
            config: self,
        })
    }
}

/// How much a sample, with the few before it, disturbs a forest of random cuts: streaming, with
/// attribution.
///
/// Finds values and short shapes unlike those seen, at any level of the series, without an assumption
/// about their distribution. Fails to see what is odd only for its time of day; scales with the largest
/// differences, so that small anomalies hide in a series with rare large ones.
///
/// The last `shingle` samples are a point. Each tree holds a sample of earlier points, the older the
/// less likely, cut at random in proportion to the sides of their box until each is alone. The score is
/// the share of a tree's points that the new one would displace, in expectation over where it would be
/// inserted and over all trees: near 1 when it falls outside all that was seen, near `1/sample` within a
/// crowd, 0 for an exact copy. [`attribution`](Self::attribution) splits the score by the samples of the
/// shingle, oldest first. The p-value is calibrated on the series' own past.
///
/// A gap is answered with [`State::Gap`] and skipped; the shingle goes on with the next value. Values
/// are compared as `f32` differences from the first one. About a dozen times `sample` flops a tree and
/// sample; state at most 32 KiB, 27 KiB with the defaults.
///
/// Source: Guha, Mishra, Roy & Schrijvers 2016, "Robust random cut forest based anomaly detection on
/// streams", algorithms 1 and 2, definition 3 (displacement). Deviations: displacement in
/// expectation instead of after an insertion, so that judging changes nothing and needs no randomness;
/// displacement instead of collusive displacement; the sample decays with time (Efraimidis & Spirakis
/// 2006, with weights that grow); small samples (64 for 256), for the memory.
#[derive(Debug, Clone)]
pub struct RandomCutForest {
    config: RandomCutForestConfig,
    forest: Forest,
    calibrator: Calibrator,
    latest: Shingle,
    /// Running mean of [`Shingle::half`], which the direction is told from.
    mean: f64,
    seen: u64,
    last: Timestamp,
}

/// The trees and what they draw from.
#[derive(Debug, Clone, PartialEq)]
struct Forest {
    sample: usize,
    /// How much less likely a point is to be kept for each point that came after it, as a logarithm.
    decay: f32,
    /// Points since the keys were last moved back.
    age: u32,
    trees: Vec<Tree>,
    random: SplitMix,
}

impl Forest {
    fn new(config: &RandomCutForestConfig) -> Self {
        Forest {
            sample: config.sample,
            decay: (std::f64::consts::LN_2 / config.half_life) as f32,
            age: 0,
            trees: vec![Tree::new(config.shingle); config.trees],
            random: SplitMix(config.seed),
        }
    }

    fn score(&self, point: &[f32], mut parts: Option<&mut [f64]>) -> f64 {
        let mut bounds = Bounds::new(point.len());
        let mut sum = 0.0;
        for tree in &self.trees {
            sum += tree.displacement(point, &mut bounds, parts.as_deref_mut());
        }
        let n = self.trees.len() as f64;
        parts.into_iter().flatten().for_each(|part| *part /= n);
        sum / n
    }

    /// Offers a point to each tree's sample. The `sample` points with the smallest keys are kept; a key is
    /// `ln(-ln u)` for uniform `u`, less the decay times its age, so that later points win more often.
    fn learn(&mut self, point: &[f32]) {
        let mut bounds = Bounds::new(point.len());
        self.age = self.age.saturating_add(1);
        if self.decay * self.age as f32 > 16.0 {
            // Keys would lose their digits against the age.
            let by = self.decay * self.age as f32;
            self.trees.iter_mut().for_each(|tree| tree.add_to_keys(by));
            self.age = 0;
        }
        let aged = self.decay * self.age as f32;
        for tree in &mut self.trees {
            let u = self.random.uniform().clamp(1e-12, 1.0 - 1e-12);
            let key = (-u.ln()).ln() as f32 - aged;
            if tree.len() >= self.sample {
                match tree.next_to_go() {
                    Some((leaf, most)) if key < most => tree.remove(leaf),
                    _ => continue,
                }
            }
            tree.insert(point, key, &mut bounds, &mut self.random);
        }
    }
}

impl RandomCutForest {
    /// How much each sample of the shingle, oldest first, contributes to the score that `value` would get
    /// now. The parts add up to the score.
    pub fn attribution(&self, value: f64) -> Vec<f64> {
        let mut parts = vec![0.0; self.config.shingle];
        if let Some(point) = self.latest.point(value) {
            self.forest.score(&point, Some(&mut parts));
        }
        parts
    }

    fn judge(&self, sample: Sample, point: Option<&[f32]>) -> Verdict {
        let warm = self.seen >= self.config.warm_up as u64;
        let Some(point) = point.filter(|_| warm) else {
            return Verdict::unjudged(State::WarmingUp, Tier::Three);
        };
        let score = self.forest.score(point, None);
        let p_value = self.calibrator.p_value(score).unwrap_or(1.0);
        Verdict {
            direction: side(self.latest.half(sample.value), self.mean),
            flagged: p_value <= self.config.false_positive_rate,
            score,
            p_value,
            ..Verdict::unjudged(State::Scored, Tier::Three)
        }
    }
}

impl Detector for RandomCutForest {
    fn name(&self) -> &'static str {
        "random_cut_forest"
    }

    fn assess(&self, sample: Sample) -> Verdict {
        match unjudged(self.last, sample, Tier::Three) {
            Some(verdict) => verdict,
            None => self.judge(sample, self.latest.point(sample.value).as_deref()),
        }
    }

    fn learn(&mut self, sample: Sample) {
        self.update(sample);
    }

    fn update(&mut self, sample: Sample) -> Verdict {
        if let Some(verdict) = unjudged(self.last, sample, Tier::Three) {
            self.last = self.last.max(sample.time);
            return verdict;
        }
        self.last = sample.time;
        let point = self.latest.point(sample.value);
        let verdict = self.judge(sample, point.as_deref());
        if let Some(point) = &point {
            if verdict.is_scored() {
                self.calibrator.learn(verdict.score);
            }
            self.forest.learn(point);
        }
        self.latest.push(sample.value);
        self.seen = self.seen.saturating_add(1);
        let off = self.latest.half(sample.value) - self.mean;
        self.mean += off / (self.seen as f64).min(1_000.0);
        verdict
    }

    fn p_value(&self, score: f64) -> f64 {
        self.calibrator.p_value(score).unwrap_or(1.0)
    }

    fn confidence(&self) -> f64 {
        let warm = self.seen >= self.config.warm_up as u64;
        if warm { self.calibrator.confidence() } else { 0.0 }
    }

    fn explain(&self, sample: Sample, verdict: &Verdict) -> Reason {
        let reason = crate::explain_band(self.name(), sample, verdict);
        let parts = self.attribution(sample.value);
        let most = (0..parts.len()).max_by(|a, b| parts[*a].total_cmp(&parts[*b]));
        match most.filter(|most| parts[*most] > 0.0) {
            Some(most) => reason.with("samples_before", parts.len() - 1 - most),
            None => reason,
        }
    }

    fn save(&self, out: &mut SnapshotWriter) {
        out.u64(self.seen);
        out.i64(self.last.as_nanos());
        out.f64(self.mean);
        self.latest.save(out);
        out.u64(self.forest.random.0);
        out.u32(self.forest.age);
        self.forest.trees.iter().for_each(|tree| tree.save(out));
        self.calibrator.save(out);
    }

    fn load(&mut self, from: &mut SnapshotReader<'_>) -> Result<()> {
        let mut loaded = self.clone();
        loaded.seen = from.u64()?;
        loaded.last = Timestamp::from_nanos(from.i64()?);
        loaded.mean = saved::within(from, "mean", 1e31)?;
        loaded.latest = self.latest.load(from)?;
        loaded.forest.random = SplitMix(from.u64()?);
        loaded.forest.age = from.u32()?;
        for tree in &mut loaded.forest.trees {
            *tree = Tree::load(self.config.shingle, from)?;
            if tree.len() > self.config.sample {
                return Err(saved::invalid("leaves of a tree", tree.len()));
            }
        }
        loaded.calibrator.load(from)?;
        *self = loaded;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DetectorExt, testing::Noise};

    #[test]
    fn an_odd_shape_is_seen_and_the_odd_sample_blamed() {
        let mut noise = Noise::new(4);
        // A saw tooth; at 1500 it stands still, at a value it has all the time.
        let value = |i: i64| if i == 1500 { 2.0 } else { (i % 8) as f64 };
        let config = RandomCutForestConfig { false_positive_rate: 0.01, ..Default::default() };
        let mut detector = config.build().unwrap();
        let samples: Vec<_> = (0..1501)
            .map(|i| Sample::new(Timestamp::from_secs(i), value(i) + 0.05 * noise.normal()))
            .collect();
        detector.replay(samples[..1500].iter().copied());
        let verdict = detector.assess(samples[1500]);
        assert!(verdict.flagged, "{verdict:?}");
        let parts = detector.attribution(samples[1500].value);
        assert!(parts[3] > 0.5 * verdict.score, "the last sample is to blame: {parts:?}");
        assert!((parts.iter().sum::<f64>() - verdict.score).abs() < 1e-9);
    }

    #[test]
    fn too_large_a_forest_is_refused() {
        let config = RandomCutForestConfig { trees: 100, ..Default::default() };
        assert!(matches!(config.build(), Err(Error::InvalidConfig { field: "trees", .. })));
    }
}
