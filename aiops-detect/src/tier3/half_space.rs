//! [`HalfSpaceTrees`]: how crowded the place of a point was lately.

use std::collections::VecDeque;

use aiops_core::{Sample, SnapshotReader, SnapshotWriter, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    Calibrator, CalibratorConfig, Detector, Error, Result, State, Tier, Verdict,
    error::{at_least, probability},
    random::SplitMix,
    saved,
};

/// Settings of [`HalfSpaceTrees`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HalfSpaceTreesConfig {
    /// How many latest samples make a point. Default 4.
    pub shingle: usize,
    /// How many trees. Default 25, as in the paper.
    pub trees: usize,
    /// How often space is halved, at most 12. Default 7; the paper takes 15, at a hundred times the memory.
    pub depth: usize,
    /// Points of a window: the last full window says what is usual. Default 250, as in the paper. The
    /// first one also says in which range values lie.
    pub window: usize,
    /// Tolerated share of normal samples that are flagged. Default 0.001.
    pub false_positive_rate: f64,
    /// Turns scores into p-values. Default horizon 8,000.
    pub calibrator: CalibratorConfig,
    /// Seed of all random choices. Default 1.
    pub seed: u64,
}

impl Default for HalfSpaceTreesConfig {
    fn default() -> Self {
        HalfSpaceTreesConfig {
            shingle: 4,
            trees: 25,
            depth: 7,
            window: 250,
            false_positive_rate: 1e-3,
            calibrator: CalibratorConfig { horizon: 8_000, ..CalibratorConfig::default() },
            seed: 1,
        }
    }
}

impl HalfSpaceTreesConfig {
    /// Bytes of state a series takes with these settings.
    pub fn bytes_per_series(&self) -> usize {
        let nodes = 1_usize << self.depth.min(20);
        self.trees * (nodes * 5 + 2 * nodes * 4) + size_of::<Calibrator>() + 256
    }

    /// A detector of one series.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] names the field that is out of range.
    pub fn build(self) -> Result<HalfSpaceTrees> {
        for (field, value, most) in
            [("shingle", self.shingle, 64), ("trees", self.trees, 1_000), ("depth", self.depth, 12)]
        {
            if !(1..=most).contains(&value) {
                return Err(Error::config(field, format!("must be 1 to {most}, got {value}")));
            }
        }
        at_least("window", self.window, 16)?;
        if self.window > 60_000 {
            let reason = format!("must be at most 60000, got {}", self.window);
            return Err(Error::config("window", reason));
        }
        probability("false_positive_rate", self.false_positive_rate)?;
        Ok(HalfSpaceTrees {
            calibrator: self.calibrator.clone().build()?,
            latest: VecDeque::with_capacity(self.shingle + 1),
            origin: None,
            first: Vec::new(),
            range: None,
            trees: Vec::new(),
            filled: 0,
            last: Timestamp::MIN,
            config: self,
        })
    }
}

/// How few points of the last window lay where a new one lies: streaming, constant work.
///
/// Finds points in places that were empty or thin lately. Fails to see what lies within the usual range
/// of every half space, and everything beyond the range of the first window looks alike.
///
/// The last `shingle` samples are a point. Each tree halves a random work range of space again and again,
/// in a random dimension, `depth` times, and counts the points of a window in every half. With `m` the
/// points of the last full window in the node in which a new point ends, at depth `k` (a node with less
/// than a tenth of the window ends it), the mass is `m·2^k`; the score is `1 / (1 + mean mass / window)`,
/// which is a half for points spread evenly, near 0 in a crowd, and 1 where nothing was.
///
/// A gap is answered with [`State::Gap`] and skipped. The first window sets the range and is not judged.
/// Values are compared as `f32` differences from the first one. Time O(trees · depth), memory
/// `13 · trees · 2^depth` bytes, 42 KiB with the defaults' 25 trees of depth 7; take 15 trees to stay below
/// 32 KiB.
///
/// Source: Tan, Ting & Liu 2011, "Fast anomaly detection for streaming data", algorithms 1 to 3.
/// Deviations: the range comes from the first window instead of being known; the score is turned
/// round and bounded.
#[derive(Debug, Clone)]
pub struct HalfSpaceTrees {
    config: HalfSpaceTreesConfig,
    calibrator: Calibrator,
    latest: VecDeque<f32>,
    /// The first value, which all are counted from.
    origin: Option<f64>,
    /// Points of the first window, until the range is known.
    first: Vec<f32>,
    /// Least and greatest value of the first window: all that the trees are made of, beside the seed.
    range: Option<(f32, f32)>,
    trees: Vec<HalfTree>,
    /// Points in the window that is being counted.
    filled: usize,
    last: Timestamp,
}

/// One tree in heap order: node 1 is the root, `2i` and `2i + 1` are below `i`.
#[derive(Debug, Clone, PartialEq)]
struct HalfTree {
    dimensions: Vec<u8>,
    cuts: Vec<f32>,
    /// Points of the last full window, and of the one being counted, by node.
    usual: Vec<u32>,
    counted: Vec<u32>,
}

impl HalfTree {
    /// Draws the work range as the paper does, so that each tree cuts elsewhere: for each dimension, with
    /// `s` uniform on it, from `s - 2·max(s, 1-s)` to `s + 2·max(s, 1-s)`, in units of the range.
    fn grow(depth: usize, shingle: usize, (low, high): (f32, f32), random: &mut SplitMix) -> Self {
        let nodes = 1 << depth;
        let unit = f64::from(high) - f64::from(low);
        let unit = if unit > 0.0 { unit } else { 1.0 };
        let range: Vec<(f64, f64)> = (0..shingle)
            .map(|_| {
                let s = random.uniform();
                let reach = 2.0 * s.max(1.0 - s);
                (f64::from(low) + (s - reach) * unit, f64::from(low) + (s + reach) * unit)
            })
            .collect();
        let mut tree = HalfTree {
            dimensions: vec![0; nodes],
            cuts: vec![0.0; nodes],
            usual: vec![0; 2 * nodes],
            counted: vec![0; 2 * nodes],
        };
        let mut open = vec![(1, range)];
        while let Some((node, range)) = open.pop() {
            if node >= nodes {
                continue;
            }
            let dimension = (random.next() % shingle as u64) as usize;
            let (low, high) = range[dimension];
            let middle = f64::midpoint(low, high);
            tree.dimensions[node] = dimension as u8;
            tree.cuts[node] = middle as f32;
            let (mut left, mut right) = (range.clone(), range);
            left[dimension].1 = middle;
            right[dimension].0 = middle;
            open.extend([(2 * node + 1, right), (2 * node, left)]);
        }
        tree
    }

    fn below(&self, node: usize, point: &[f32]) -> usize {
        2 * node + usize::from(point[usize::from(self.dimensions[node])] >= self.cuts[node])
    }

    /// Mass of the last full window where `point` ends, times two for each halving.
    fn mass(&self, point: &[f32], few: u32) -> f64 {
        let (mut node, mut depth) = (1, 0);
        while node < self.cuts.len() && self.usual[node] >= few {
            node = self.below(node, point);
            depth += 1;
        }
        f64::from(self.usual[node]) * f64::from(1_u32 << depth)
    }

    fn count(&mut self, point: &[f32]) {
        let mut node = 1;
        self.counted[node] += 1;
        while node < self.cuts.len() {
            node = self.below(node, point);
            self.counted[node] += 1;
        }
    }

    fn turn(&mut self) {
        std::mem::swap(&mut self.usual, &mut self.counted);
        self.counted.fill(0);
    }
}

impl HalfSpaceTrees {
    fn grow(config: &HalfSpaceTreesConfig, range: (f32, f32)) -> Vec<HalfTree> {
        let mut random = SplitMix(config.seed);
        (0..config.trees)
            .map(|_| HalfTree::grow(config.depth, config.shingle, range, &mut random))
            .collect()
    }

    fn relative(&self, value: f64) -> f32 {
        let origin = self.origin.unwrap_or(value);
        (value / 2.0 - origin / 2.0).clamp(-1e30, 1e30) as f32 * 2.0
    }

    fn point(&self, value: f64) -> Option<Vec<f32>> {
        if self.latest.len() + 1 < self.config.shingle {
            return None;
        }
        let mut point: Vec<f32> = self.latest.iter().copied().collect();
        point.push(self.relative(value));
        Some(point)
    }

    fn judged(&self, sample: Sample) -> Option<Verdict> {
        if sample.time <= self.last {
            return Some(Verdict::unjudged(State::Late, Tier::Three));
        }
        sample.is_gap().then(|| Verdict::unjudged(State::Gap, Tier::Three))
    }

    fn judge(&self, point: Option<&[f32]>) -> Verdict {
        let Some(point) = point.filter(|_| self.range.is_some()) else {
            return Verdict::unjudged(State::WarmingUp, Tier::Three);
        };
        let few = (self.config.window / 10) as u32;
        let mass: f64 = self.trees.iter().map(|tree| tree.mass(point, few)).sum();
        let mean = mass / self.trees.len() as f64 / self.config.window as f64;
        let score = 1.0 / (1.0 + mean);
        let p_value = self.calibrator.p_value(score).unwrap_or(1.0);
        Verdict {
            flagged: p_value <= self.config.false_positive_rate,
            score,
            p_value,
            ..Verdict::unjudged(State::Scored, Tier::Three)
        }
    }

    fn take(&mut self, point: Vec<f32>) {
        if self.range.is_none() {
            self.first.extend(&point);
            if self.first.len() < self.config.window * self.config.shingle {
                return;
            }
            let low = self.first.iter().copied().fold(f32::INFINITY, f32::min);
            let high = self.first.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            self.range = Some((low, high));
            self.trees = Self::grow(&self.config, (low, high));
            let first = std::mem::take(&mut self.first);
            for point in first.chunks_exact(self.config.shingle) {
                self.trees.iter_mut().for_each(|tree| tree.count(point));
            }
            self.trees.iter_mut().for_each(HalfTree::turn);
            return;
        }
        self.trees.iter_mut().for_each(|tree| tree.count(&point));
        self.filled += 1;
        if self.filled >= self.config.window {
            self.trees.iter_mut().for_each(HalfTree::turn);
            self.filled = 0;
        }
    }
}

impl Detector for HalfSpaceTrees {
    fn name(&self) -> &'static str {
        "half_space_trees"
    }

    fn assess(&self, sample: Sample) -> Verdict {
        match self.judged(sample) {
            Some(verdict) => verdict,
            None => self.judge(self.point(sample.value).as_deref()),
        }
    }

    fn learn(&mut self, sample: Sample) {
        self.update(sample);
    }

    fn update(&mut self, sample: Sample) -> Verdict {
        if let Some(verdict) = self.judged(sample) {
            self.last = self.last.max(sample.time);
            return verdict;
        }
        let point = self.point(sample.value);
        let verdict = self.judge(point.as_deref());
        if verdict.is_scored() {
            self.calibrator.learn(verdict.score);
        }
        let relative = self.relative(sample.value);
        self.origin.get_or_insert(sample.value);
        self.last = sample.time;
        if let Some(point) = point {
            self.take(point);
        }
        self.latest.push_back(relative);
        if self.latest.len() >= self.config.shingle {
            self.latest.pop_front();
        }
        verdict
    }

    fn p_value(&self, score: f64) -> f64 {
        self.calibrator.p_value(score).unwrap_or(1.0)
    }

    fn confidence(&self) -> f64 {
        if self.range.is_some() { self.calibrator.confidence() } else { 0.0 }
    }

    fn save(&self, out: &mut SnapshotWriter) {
        out.i64(self.last.as_nanos());
        out.f64(self.origin.unwrap_or(f64::NAN));
        out.u32(self.latest.len() as u32);
        self.latest.iter().for_each(|value| out.f32(*value));
        out.u32(self.first.len() as u32);
        self.first.iter().for_each(|value| out.f32(*value));
        let (low, high) = self.range.unwrap_or((f32::NAN, f32::NAN));
        out.f32(low);
        out.f32(high);
        out.u64(self.filled as u64);
        for tree in &self.trees {
            tree.usual.iter().chain(&tree.counted).for_each(|count| out.u32(*count));
        }
        self.calibrator.save(out);
    }

    fn load(&mut self, from: &mut SnapshotReader<'_>) -> Result<()> {
        let mut loaded = self.clone();
        loaded.last = Timestamp::from_nanos(from.i64()?);
        let origin = from.f64()?;
        if origin.is_infinite() {
            return Err(saved::invalid("origin", origin));
        }
        loaded.origin = (!origin.is_nan()).then_some(origin);
        let finite = |from: &mut SnapshotReader<'_>| {
            let value = from.f32()?;
            if value.is_finite() {
                Ok(value)
            } else {
                Err(saved::invalid("value of a point", value))
            }
        };
        let len = from.u32()? as usize;
        if len >= self.config.shingle {
            return Err(saved::invalid("length of a shingle", len));
        }
        loaded.latest = (0..len).map(|_| finite(from)).collect::<Result<_>>()?;
        let len = from.u32()? as usize;
        if !len.is_multiple_of(self.config.shingle)
            || len >= self.config.window * self.config.shingle
        {
            return Err(saved::invalid("points of the first window", len));
        }
        loaded.first = (0..len).map(|_| finite(from)).collect::<Result<_>>()?;
        let (low, high) = (from.f32()?, from.f32()?);
        loaded.range = (low.is_finite() && high.is_finite()).then_some((low, high));
        let filled = from.u64()?;
        if filled >= self.config.window as u64 {
            return Err(saved::invalid("points of a window", filled));
        }
        loaded.filled = filled as usize;
        loaded.trees = loaded.range.map_or_else(Vec::new, |range| Self::grow(&self.config, range));
        for tree in &mut loaded.trees {
            for count in tree.usual.iter_mut().chain(&mut tree.counted) {
                *count = from.u32()?;
                if *count as usize > self.config.window {
                    return Err(saved::invalid("points of a node", *count));
                }
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

    // By hand: one dimension, range 0 to 1, s = 0.25: the work range is -1.25 to 1.75, so the root cuts at
    // 0.25 and the right child at 1; ten points of which three lie below 0.25.
    #[test]
    fn masses_by_hand() {
        let mut tree = HalfTree {
            dimensions: vec![0; 4],
            cuts: vec![0.0, 0.25, -0.5, 1.0],
            usual: vec![0; 8],
            counted: vec![0; 8],
        };
        for x in [0.1, 0.2, 0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9] {
            tree.count(&[x]);
        }
        tree.turn();
        assert_eq!(tree.mass(&[0.5], 1), 7.0 * 4.0, "seven at depth two");
        assert_eq!(tree.mass(&[0.1], 1), 3.0 * 4.0);
        assert_eq!(tree.mass(&[1.5], 1), 0.0, "nothing was beyond one");
        assert_eq!(tree.mass(&[0.1], 5), 3.0 * 2.0, "three are few: the walk ends at depth one");
    }

    #[test]
    fn an_empty_place_is_seen() {
        let mut noise = Noise::new(2);
        let value = |i: i64| if i == 1400 { 16.0 } else { if i % 2 == 0 { 10.0 } else { 20.0 } };
        let samples = (0..1500)
            .map(|i| Sample::new(Timestamp::from_secs(i), value(i) + 0.2 * noise.normal()));
        let config = HalfSpaceTreesConfig { shingle: 1, ..HalfSpaceTreesConfig::default() };
        let verdicts = config.build().unwrap().replay(samples);
        let most = (300..1500).max_by(|a, b| verdicts[*a].score.total_cmp(&verdicts[*b].score));
        assert_eq!(most, Some(1400), "between the two levels, where no point was");
    }
}
