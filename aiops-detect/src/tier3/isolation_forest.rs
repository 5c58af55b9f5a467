//! [`IsolationForest`]: how few random cuts set a step apart.

use aiops_core::Frame;
use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Serialize};

use super::complete::CompleteForest;
use crate::{
    BatchDetector, Calibrator, CalibratorConfig, Error, Fit, Result, Tier, batch::frame_fits,
    error::at_least,
};

/// Settings of [`IsolationForest`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct IsolationForestConfig {
    /// How many trees. Default 100, where the paper finds path lengths to converge.
    pub trees: usize,
    /// Training steps per tree, drawn without replacement. Default 256, as in the paper.
    pub sample: usize,
    /// Seed of all random choices. Default 1.
    pub seed: u64,
}

impl Default for IsolationForestConfig {
    fn default() -> Self {
        IsolationForestConfig { trees: 100, sample: 256, seed: 1 }
    }
}

/// How few random cuts set a step apart from training steps.
///
/// Finds steps that are unusual in any combination of series, without assuming a shape of normal.
/// Fails to see small deviations of few series among many; prefer [`Pca`](super::Pca) where series move
/// together.
///
/// Each tree halves its sample by a random series at a random value between the sample's extremes until
/// steps are alone or the tree is `⌈log2 sample⌉` deep. The score is `2^(-E[h]/c(sample))`, with `h`
/// the depth at which a step ends, plus `c(size)` where a leaf holds several training steps, and `c(n)`
/// the mean depth of an unsuccessful search in a binary tree of `n`. It lies between 0 and 1; 0.5 is
/// usual.
///
/// A gap counts as the median of its series in training; a step of gaps gets score 0. Scoring is
/// O(trees · depth) a step. The packed table takes 16 bytes a node, the layout for scoring 2.5 KiB a tree
/// of the defaults: about 0.5 MiB together, shared by all series it models; values are compared as `f32`.
///
/// Source: Liu, Ting & Zhou 2008, "Isolation forest", algorithms 1 to 3 and equations 1 and 2.
#[derive(Debug, Clone)]
pub struct IsolationForest {
    packed: PackedForest,
    /// The same, laid out for scoring; trees of very large samples are too deep for it.
    complete: Option<CompleteForest>,
    medians: Vec<f64>,
    calibrator: Calibrator,
}

/// A forest as one flat table, for scoring here or on a device.
///
/// A step starts at the root of each tree and goes from node to `child + (value >= cut)`, with `value`
/// that of series `feature`, `depth` times. A leaf is its own child and has an infinite cut, so a step
/// that arrives early stays there and the walk needs no branch. `paths` holds the path length of
/// each leaf at its index. The score is `2^(-mean path length / normal)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PackedForest {
    /// All nodes of all trees; children of a node lie side by side.
    pub nodes: Vec<PackedNode>,
    /// Path length of each node that is a leaf; 0 for the others.
    pub paths: Vec<f32>,
    /// Index of the root of each tree.
    pub roots: Vec<u32>,
    /// The deepest leaf of any tree.
    pub depth: u32,
    /// How many series a step has.
    pub n_series: usize,
    /// Mean path length of an unsuccessful search, which path lengths are measured in.
    pub normal: f64,
}

/// One node of a [`PackedForest`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[repr(C)]
pub struct PackedNode {
    /// Values below go left. Infinite in a leaf, larger than any value.
    pub cut: f32,
    /// The series that is asked; 0 in a leaf.
    pub feature: u32,
    /// Index of the left child; the right one follows it. In a leaf: its own index.
    pub child: u32,
}

impl Fit for IsolationForestConfig {
    fn fit(&self, train: &Frame) -> Result<Box<dyn BatchDetector>> {
        Ok(Box::new(self.train(train)?))
    }
}

impl IsolationForestConfig {
    /// Grows the forest.
    ///
    /// # Errors
    /// As [`Fit::fit`]; it needs at least eight steps with a value.
    pub fn train(&self, train: &Frame) -> Result<IsolationForest> {
        at_least("trees", self.trees, 1)?;
        at_least("sample", self.sample, 2)?;
        if self.trees > 10_000 || self.sample > 65_536 {
            let reason = format!(
                "at most 10,000 trees of 65,536 steps, got {} of {}",
                self.trees, self.sample
            );
            return Err(Error::config("trees", reason));
        }
        let n = train.n_series();
        let medians: Vec<f64> = (0..n).map(|row| median(train.row(row))).collect();
        let has_value = |step: &usize| (0..n).any(|row| train.row(row)[*step].is_finite());
        let steps: Vec<usize> = (0..train.n_steps()).filter(has_value).collect();
        if steps.len() < 8 {
            return Err(Error::NotEnoughData { needed: 8, got: steps.len() });
        }
        let value = |row: usize, step: usize| known(train.row(row)[step], medians[row]);
        let mut random = Pcg64Mcg::seed_from_u64(self.seed);
        let sample = self.sample.min(steps.len());
        let mut packed = PackedForest {
            nodes: Vec::new(),
            paths: Vec::new(),
            roots: Vec::new(),
            depth: (sample as f64).log2().ceil() as u32,
            n_series: n,
            normal: search_depth(sample).max(1.0),
        };
        let mut pool = steps.clone();
        for _ in 0..self.trees {
            // The first `sample` places of a partial shuffle are a draw without replacement.
            for i in 0..sample {
                let j = i + below(&mut random, pool.len() - i);
                pool.swap(i, j);
            }
            let mut drawn = pool[..sample].to_vec();
            let root = packed.nodes.len();
            packed.roots.push(root as u32);
            packed.push_leaf();
            grow(&mut packed, root, &mut drawn, 0, &value, &mut random);
        }
        let complete = CompleteForest::of(&packed);
        let calibrator = CalibratorConfig::default().build()?;
        let mut forest = IsolationForest { packed, complete, medians, calibrator };
        let mut scores = vec![0.0; train.n_steps()];
        forest.score(train, &mut scores)?;
        scores.iter().for_each(|score| forest.calibrator.learn(*score));
        Ok(forest)
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    if sorted.is_empty() { 0.0 } else { crate::window::median(&sorted) }
}

/// The value as the trees compare it.
#[inline(always)]
fn known(value: f64, median: f64) -> f32 {
    let value = if value.is_finite() { value } else { median };
    value.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32
}

/// A number below `n`, which is above 0. The bias of the remainder is below 2^-40 for all n here.
fn below(random: &mut Pcg64Mcg, n: usize) -> usize {
    (random.next_u64() % n as u64) as usize
}

/// Mean depth of an unsuccessful search in a binary search tree of `n`: c(n), equation 1.
fn search_depth(n: usize) -> f64 {
    const EULER: f64 = 0.577_215_664_901_532_9;
    match n {
        0 | 1 => 0.0,
        2 => 1.0,
        _ => {
            let m = (n - 1) as f64;
            2.0 * (m.ln() + EULER) - 2.0 * m / n as f64
        }
    }
}

/// Cuts `steps` at node `at`, which is a leaf so far, and goes on below it.
fn grow(
    forest: &mut PackedForest,
    at: usize,
    steps: &mut [usize],
    depth: u32,
    value: &dyn Fn(usize, usize) -> f32,
    random: &mut Pcg64Mcg,
) {
    let may_cut = depth < forest.depth && steps.len() > 1;
    let cut = if may_cut { choose_cut(forest.n_series, steps, value, random) } else { None };
    let Some((feature, cut)) = cut else {
        forest.paths[at] = (f64::from(depth) + search_depth(steps.len())) as f32;
        return;
    };
    let mut split = 0;
    for i in 0..steps.len() {
        if value(feature, steps[i]) < cut {
            steps.swap(i, split);
            split += 1;
        }
    }
    let child = forest.nodes.len();
    forest.nodes[at] = PackedNode { cut, feature: feature as u32, child: child as u32 };
    forest.push_leaf();
    forest.push_leaf();
    let (left, right) = steps.split_at_mut(split);
    grow(forest, child, left, depth + 1, value, random);
    grow(forest, child + 1, right, depth + 1, value, random);
}

/// A random series at a random value between the extremes of `steps`; `None` when they are all alike.
fn choose_cut(
    n_series: usize,
    steps: &[usize],
    value: &dyn Fn(usize, usize) -> f32,
    random: &mut Pcg64Mcg,
) -> Option<(usize, f32)> {
    let first = below(random, n_series);
    // A series that is constant here cannot be cut. A few draws find one that can, if many can; then
    // each is asked in turn.
    for tried in 0..n_series + 4 {
        let feature = if tried < 4 { below(random, n_series) } else { (first + tried) % n_series };
        let (low, high) = steps
            .iter()
            .map(|step| value(feature, *step))
            .fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        if low < high {
            let share = (random.next_u64() >> 40) as f32 / (1 << 24) as f32;
            let cut = f64::from(low) + f64::from(share) * (f64::from(high) - f64::from(low));
            // At least one value lies below the cut and one not, whatever the rounding.
            return Some((feature, (cut as f32).max(low.next_up()).min(high)));
        }
    }
    None
}

impl PackedForest {
    fn push_leaf(&mut self) {
        let own = self.nodes.len() as u32;
        self.nodes.push(PackedNode { cut: f32::INFINITY, feature: 0, child: own });
        self.paths.push(0.0);
    }

    /// Score of one step, whose `n_series` values are in the order of the series.
    pub fn score(&self, values: &[f32]) -> f64 {
        let mut score = [0.0];
        self.score_many(values, &mut score);
        score[0]
    }

    /// Scores of several steps: `values` holds `n_series` finite values a step.
    ///
    /// A tree is walked by many steps before the next one, so that its nodes stay in the nearest cache,
    /// and the walks of a group wait for memory together instead of in turn.
    pub fn score_many(&self, values: &[f32], scores: &mut [f64]) {
        const GROUP: usize = 16;
        const BLOCK: usize = 128;
        let n = self.n_series.max(1);
        for (values, scores) in values.chunks(n * BLOCK).zip(scores.chunks_mut(BLOCK)) {
            let mut totals = [0.0_f32; BLOCK];
            for root in &self.roots {
                let groups = values.chunks(n * GROUP).zip(totals.chunks_mut(GROUP));
                for (values, totals) in groups {
                    let mut at = [*root; GROUP];
                    for _ in 0..self.depth {
                        for (at, values) in at.iter_mut().zip(values.chunks_exact(n)) {
                            let node = self.nodes[*at as usize];
                            let right = values[node.feature as usize] >= node.cut;
                            *at = node.child + u32::from(right);
                        }
                    }
                    for (total, at) in totals.iter_mut().zip(at) {
                        *total += self.paths[at as usize];
                    }
                }
            }
            for (score, total) in scores.iter_mut().zip(totals) {
                let mean = f64::from(total) / self.roots.len() as f64;
                *score = (-mean / self.normal).exp2();
            }
        }
    }
}

impl IsolationForest {
    /// The forest as one table.
    pub fn packed(&self) -> &PackedForest {
        &self.packed
    }
}

impl BatchDetector for IsolationForest {
    fn name(&self) -> &'static str {
        "isolation_forest"
    }

    fn tier(&self) -> Tier {
        Tier::Three
    }

    fn n_series(&self) -> usize {
        self.medians.len()
    }

    fn score(&self, frame: &Frame, scores: &mut [f64]) -> Result<()> {
        let n = self.medians.len();
        frame_fits(n, frame, scores.len())?;
        let mut block = Vec::new();
        for (index, out) in scores.chunks_mut(1024).enumerate() {
            let from = index * 1024;
            block.clear();
            block.resize(out.len() * n, 0.0_f32);
            // A column a series for the complete forest, a row a step for the packed one.
            let (series, step) = if self.complete.is_some() { (out.len(), 1) } else { (1, n) };
            for row in 0..n {
                let values = &frame.row(row)[from..from + out.len()];
                for (i, value) in values.iter().enumerate() {
                    block[i * step + row * series] = known(*value, self.medians[row]);
                }
            }
            match &self.complete {
                Some(complete) => complete.score_many(&block, out),
                None => self.packed.score_many(&block, out),
            }
            for (i, score) in out.iter_mut().enumerate() {
                if (0..n).all(|row| !frame.row(row)[from + i].is_finite()) {
                    *score = 0.0;
                }
            }
        }
        Ok(())
    }

    fn p_value(&self, score: f64) -> f64 {
        self.calibrator.p_value(score).unwrap_or(1.0)
    }

    /// How much the score falls when a series takes its training median.
    fn contributions(&self, frame: &Frame, step: usize) -> Result<Vec<f64>> {
        let n = self.medians.len();
        frame_fits(n, frame, frame.n_steps())?;
        if step >= frame.n_steps() {
            let (expected, got) = (frame.n_steps(), step);
            return Err(Error::ShapeMismatch { what: "step of a frame", expected, got });
        }
        let mut values: Vec<f32> =
            (0..n).map(|row| known(frame.row(row)[step], self.medians[row])).collect();
        let score = self.packed.score(&values);
        Ok((0..n)
            .map(|row| {
                let usual = known(self.medians[row], 0.0);
                let own = std::mem::replace(&mut values[row], usual);
                let without = self.packed.score(&values);
                values[row] = own;
                (score - without).max(0.0)
            })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::check_batch_detector;

    #[test]
    fn keeps_the_contract() {
        check_batch_detector(&IsolationForestConfig { trees: 20, ..Default::default() }, 6);
    }

    // By hand, from equation 1 of the paper: c(2) = 1, c(3) = 2(ln 2 + γ) - 4/3.
    #[test]
    fn search_depths() {
        assert_eq!(search_depth(2), 1.0);
        assert!((search_depth(3) - 1.207_392_357_6).abs() < 1e-9);
        assert!(
            (search_depth(256) - 10.244_770_9).abs() < 1e-6,
            "scikit-learn's average path length"
        );
    }

    #[test]
    fn one_at_a_time_or_together_is_the_same() {
        let keys = vec![
            aiops_core::SeriesKey::new("a", [("x", "y")]),
            aiops_core::SeriesKey::new("b", [("x", "y")]),
        ];
        let values: Vec<f64> = (0..1000).map(|i| f64::from((i * 7919) % 997)).collect();
        let step = std::time::Duration::from_secs(1);
        let frame = Frame::new(keys, aiops_core::Timestamp::EPOCH, step, values).unwrap();
        let forest = IsolationForestConfig::default().train(&frame).unwrap();
        let mut scores = vec![0.0; 500];
        forest.score(&frame, &mut scores).unwrap();
        for step in [0, 15, 16, 63, 64, 250, 495, 496, 499] {
            let values = [frame.row(0)[step] as f32, frame.row(1)[step] as f32];
            assert_eq!(scores[step], forest.packed().score(&values), "{step}");
        }
    }
}
