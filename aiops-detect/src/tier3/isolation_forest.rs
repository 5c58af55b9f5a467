//! [`IsolationForest`]: how few random cuts set a step apart.

use aiops_core::Frame;
use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Serialize};

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
/// O(trees · depth) a step over one packed table of 12-byte nodes, about 0.6 MiB with the defaults, shared by
/// all series it models; values are compared as `f32`.
///
/// Source: Liu, Ting & Zhou 2008, "Isolation forest", algorithms 1 to 3 and equations 1 and 2.
#[derive(Debug, Clone)]
pub struct IsolationForest {
    packed: PackedForest,
    medians: Vec<f64>,
    calibrator: Calibrator,
}

/// A forest as one flat table, for scoring here or on a device.
///
/// A step starts at the root of each tree and goes to `child` if its value of series `feature` is
/// below `cut`, else to `child + 1`. A node with feature [`PackedNode::LEAF`] ends the path; its `cut`
/// is the path length. The score is `2^(-mean path length / normal)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PackedForest {
    /// All nodes of all trees; children of a node lie side by side.
    pub nodes: Vec<PackedNode>,
    /// Index of the root of each tree.
    pub roots: Vec<u32>,
    /// How many series a step has.
    pub n_series: usize,
    /// Mean path length of an unsuccessful search, which path lengths are measured in.
    pub normal: f64,
}

/// One node of a [`PackedForest`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[repr(C)]
pub struct PackedNode {
    /// Values below go left. In a leaf: the path length.
    pub cut: f32,
    /// The series that is asked, or [`PackedNode::LEAF`].
    pub feature: u32,
    /// Index of the left child; the right one follows it. In a leaf: its own index.
    pub child: u32,
}

impl PackedNode {
    /// The feature of a leaf.
    pub const LEAF: u32 = u32::MAX;
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
            roots: Vec::new(),
            n_series: n,
            normal: search_depth(sample).max(1.0),
        };
        let mut pool = steps.clone();
        let depth = (sample as f64).log2().ceil() as u32;
        for _ in 0..self.trees {
            // The first `sample` places of a partial shuffle are a draw without replacement.
            for i in 0..sample {
                let j = i + below(&mut random, pool.len() - i);
                pool.swap(i, j);
            }
            let mut drawn = pool[..sample].to_vec();
            let root = packed.nodes.len();
            packed.roots.push(root as u32);
            packed.nodes.push(PackedNode {
                cut: 0.0,
                feature: PackedNode::LEAF,
                child: root as u32,
            });
            grow(&mut packed.nodes, root, &mut drawn, depth, 0, n, &value, &mut random);
        }
        let mut forest =
            IsolationForest { packed, medians, calibrator: CalibratorConfig::default().build()? };
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

#[allow(clippy::too_many_arguments, reason = "the state of one recursion, nothing else calls it")]
fn grow(
    nodes: &mut Vec<PackedNode>,
    at: usize,
    steps: &mut [usize],
    limit: u32,
    depth: u32,
    n_series: usize,
    value: &dyn Fn(usize, usize) -> f32,
    random: &mut Pcg64Mcg,
) {
    let leaf = |depth: u32, size: usize| PackedNode {
        cut: (f64::from(depth) + search_depth(size)) as f32,
        feature: PackedNode::LEAF,
        child: at as u32,
    };
    if depth >= limit || steps.len() <= 1 {
        nodes[at] = leaf(depth, steps.len());
        return;
    }
    // A series that is constant here cannot be cut; a few draws find one that can, if many can.
    let mut choice = None;
    let mut tried = 0;
    let first = below(random, n_series);
    while choice.is_none() && tried < n_series {
        let feature = if tried < 4 { below(random, n_series) } else { (first + tried) % n_series };
        let values = steps.iter().map(|step| value(feature, *step));
        let (low, high) =
            values.fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        if low < high {
            let share = (random.next_u64() >> 40) as f32 / (1 << 24) as f32;
            // At least one value lies below the cut and one not, whatever the rounding.
            let cut = (low + share * (high - low)).max(low.next_up()).min(high);
            choice = Some((feature, cut));
        }
        tried += 1;
    }
    let Some((feature, cut)) = choice else {
        nodes[at] = leaf(depth, steps.len());
        return;
    };
    let mut split = 0;
    for i in 0..steps.len() {
        if value(feature, steps[i]) < cut {
            steps.swap(i, split);
            split += 1;
        }
    }
    let child = nodes.len();
    nodes[at] = PackedNode { cut, feature: feature as u32, child: child as u32 };
    nodes.extend([nodes[at]; 2]);
    let (left, right) = steps.split_at_mut(split);
    grow(nodes, child, left, limit, depth + 1, n_series, value, random);
    grow(nodes, child + 1, right, limit, depth + 1, n_series, value, random);
}

impl PackedForest {
    /// Score of one step, whose values are in the order of the series.
    pub fn score(&self, values: &[f32]) -> f64 {
        let mut total = 0.0;
        for root in &self.roots {
            let mut node = &self.nodes[*root as usize];
            while let Some(value) = values.get(node.feature as usize) {
                node = &self.nodes[node.child as usize + usize::from(*value >= node.cut)];
            }
            total += node.cut;
        }
        self.of_mean(f64::from(total) / self.roots.len() as f64)
    }

    fn of_mean(&self, path: f64) -> f64 {
        (-path / self.normal).exp2()
    }

    /// Scores of several steps at once: `values` holds `n_series` values a step. A tree is walked by all
    /// of them before the next one, so that its nodes stay in the nearest cache and the walks, which
    /// wait for memory, overlap.
    pub fn score_many(&self, values: &[f32], scores: &mut [f64]) {
        const TOGETHER: usize = 8;
        let n = self.n_series;
        for (values, scores) in values.chunks(n * 64).zip(scores.chunks_mut(64)) {
            let mut totals = [0.0_f32; 64];
            for root in &self.roots {
                let steps = values.chunks(n * TOGETHER).zip(totals.chunks_mut(TOGETHER));
                for (values, totals) in steps {
                    self.walk::<TOGETHER>(*root, values, totals);
                }
            }
            for (score, total) in scores.iter_mut().zip(totals) {
                *score = self.of_mean(f64::from(total) / self.roots.len() as f64);
            }
        }
    }

    /// Adds the path lengths of up to `N` steps in one tree. A step that reached its leaf stays there,
    /// because a leaf is its own child.
    #[inline]
    fn walk<const N: usize>(&self, root: u32, values: &[f32], totals: &mut [f32]) {
        let n = self.n_series;
        let count = (values.len() / n).min(N);
        let mut at = [root; N];
        loop {
            let mut moved = false;
            for i in 0..count {
                let node = &self.nodes[at[i] as usize];
                if node.feature != PackedNode::LEAF {
                    let value = values[i * n + node.feature as usize];
                    at[i] = node.child + u32::from(value >= node.cut);
                    moved = true;
                }
            }
            if !moved {
                break;
            }
        }
        for i in 0..count {
            totals[i] += self.nodes[at[i] as usize].cut;
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
            for row in 0..n {
                let values = &frame.row(row)[from..from + out.len()];
                for (i, value) in values.iter().enumerate() {
                    block[i * n + row] = known(*value, self.medians[row]);
                }
            }
            self.packed.score_many(&block, out);
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
        for step in [0, 63, 64, 250, 499] {
            let values = [frame.row(0)[step] as f32, frame.row(1)[step] as f32];
            assert_eq!(scores[step], forest.packed().score(&values), "{step}");
        }
    }
}
