//! [`HalfSpaceTrees`]: how crowded the place of a point was lately.

use aiops_core::{Sample, SnapshotReader, SnapshotWriter, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    fits,
    shingle::{Shingle, load_points, save_points},
};
use crate::{
    Calibrator, CalibratorConfig, Detector, Error, Result, State, Tier, Verdict,
    error::{at_least, probability},
    method::unjudged,
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
        let counts = 3 * size_of::<u16>();
        let range = self.shingle * size_of::<(f64, f64)>();
        let tree = nodes * (1 + counts) + range + size_of::<HalfTree>();
        self.trees * tree + size_of::<Calibrator>() + size_of::<HalfSpaceTrees>()
    }

    /// A detector of one series.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] names the field that is out of range; also when the state would take more
    /// than 32 KiB.
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
        fits(self.bytes_per_series())?;
        Ok(HalfSpaceTrees {
            calibrator: self.calibrator.clone().build()?,
            latest: Shingle::new(self.shingle),
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
/// about `7 · trees · 2^depth` bytes, at most 32 KiB: cuts follow from the halving and are not kept, the
/// window being counted is kept by leaf.
///
/// Source: Tan, Ting & Liu 2011, "Fast anomaly detection for streaming data", algorithms 1 to 3.
/// Deviations: the range comes from the first window instead of being known; the score is turned
/// round and bounded.
#[derive(Debug, Clone)]
pub struct HalfSpaceTrees {
    config: HalfSpaceTreesConfig,
    calibrator: Calibrator,
    latest: Shingle,
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
    /// The work range, by dimension. Each node halves what its parents left of it.
    range: Vec<(f64, f64)>,
    /// The dimension that each inner node halves.
    dimensions: Vec<u8>,
    /// Points of the last full window by node, inner ones and leaves.
    usual: Vec<u16>,
    /// Points of the window being counted, by leaf.
    counted: Vec<u16>,
}

/// What a walk down a tree found.
struct Ending {
    /// Mass of the last full window where the point ends, times two for each halving.
    mass: f64,
    /// The leaf below, counted from 0.
    leaf: usize,
}

impl HalfTree {
    /// Draws the work range as the paper does, so that each tree cuts elsewhere: for each dimension, with
    /// `s` uniform on it, from `s - 2·max(s, 1-s)` to `s + 2·max(s, 1-s)`, in units of the range.
    fn grow(depth: usize, shingle: usize, (low, high): (f32, f32), random: &mut SplitMix) -> Self {
        let nodes = 1 << depth;
        let unit = f64::from(high) - f64::from(low);
        let unit = if unit > 0.0 { unit } else { 1.0 };
        let mut bounds = || {
            let s = random.uniform();
            let reach = 2.0 * s.max(1.0 - s);
            (f64::from(low) + (s - reach) * unit, f64::from(low) + (s + reach) * unit)
        };
        let range = (0..shingle).map(|_| bounds()).collect();
        let mut tree = HalfTree {
            range,
            dimensions: vec![0; nodes],
            usual: vec![0; 2 * nodes],
            counted: vec![0; nodes],
        };
        let mut open = vec![1];
        while let Some(node) = open.pop() {
            if node < nodes {
                tree.dimensions[node] = (random.next() % shingle as u64) as u8;
                open.extend([2 * node + 1, 2 * node]);
            }
        }
        tree
    }

    /// Follows a point down. A node with less than `few` points of the last full window ends it.
    fn walk(&self, point: &[f32], few: u16, range: &mut Vec<(f64, f64)>) -> Ending {
        let nodes = self.dimensions.len();
        range.clone_from(&self.range);
        let (mut node, mut depth, mut mass) = (1, 0, None);
        while node < nodes {
            if mass.is_none() && self.usual[node] < few {
                mass = Some(self.mass(node, depth));
            }
            let dimension = usize::from(self.dimensions[node]);
            let (low, high) = range[dimension];
            let middle = f64::midpoint(low, high);
            let right = point[dimension] >= middle as f32;
            range[dimension] = if right { (middle, high) } else { (low, middle) };
            node = 2 * node + usize::from(right);
            depth += 1;
        }
        let mass = mass.unwrap_or_else(|| self.mass(node, depth));
        Ending { mass, leaf: node - nodes }
    }

    fn mass(&self, node: usize, depth: u32) -> f64 {
        f64::from(self.usual[node]) * f64::from(1_u32 << depth)
    }

    /// The counted window becomes the usual one.
    fn turn(&mut self) {
        let nodes = self.dimensions.len();
        self.usual[nodes..].copy_from_slice(&self.counted);
        for node in (1..nodes).rev() {
            self.usual[node] = self.usual[2 * node] + self.usual[2 * node + 1];
        }
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

    /// The verdict on a point, and the leaf in which it ends in each tree.
    fn judge(&self, point: Option<&[f32]>) -> (Verdict, Vec<usize>) {
        let Some(point) = point.filter(|_| self.range.is_some()) else {
            return (Verdict::unjudged(State::WarmingUp, Tier::Three), Vec::new());
        };
        let few = (self.config.window / 10) as u16;
        let mut range = Vec::new();
        let mut mass = 0.0;
        let end = |tree: &HalfTree| {
            let ending = tree.walk(point, few, &mut range);
            mass += ending.mass;
            ending.leaf
        };
        let leaves = self.trees.iter().map(end).collect();
        let mean = mass / self.trees.len() as f64 / self.config.window as f64;
        let score = 1.0 / (1.0 + mean);
        let p_value = self.calibrator.p_value(score).unwrap_or(1.0);
        let verdict = Verdict {
            flagged: p_value <= self.config.false_positive_rate,
            score,
            p_value,
            ..Verdict::unjudged(State::Scored, Tier::Three)
        };
        (verdict, leaves)
    }

    /// Takes in a point of the first window, which says where the trees stand.
    fn take_first(&mut self, point: &[f32]) {
        self.first.extend(point);
        if self.first.len() < self.config.window * self.config.shingle {
            return;
        }
        let low = self.first.iter().copied().fold(f32::INFINITY, f32::min);
        let high = self.first.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        self.range = Some((low, high));
        self.trees = Self::grow(&self.config, (low, high));
        let first = std::mem::take(&mut self.first);
        let mut range = Vec::new();
        for tree in &mut self.trees {
            for point in first.chunks_exact(self.config.shingle) {
                let leaf = tree.walk(point, 0, &mut range).leaf;
                tree.counted[leaf] += 1;
            }
            tree.turn();
        }
    }

    /// Counts a point that ends in these leaves.
    fn take(&mut self, leaves: &[usize]) {
        for (tree, leaf) in self.trees.iter_mut().zip(leaves) {
            tree.counted[*leaf] += 1;
        }
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
        match unjudged(self.last, sample, Tier::Three) {
            Some(verdict) => verdict,
            None => self.judge(self.latest.point(sample.value).as_deref()).0,
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
        let point = self.latest.point(sample.value);
        let (verdict, leaves) = self.judge(point.as_deref());
        self.last = sample.time;
        self.latest.push(sample.value);
        if verdict.is_scored() {
            self.calibrator.learn(verdict.score);
            self.take(&leaves);
        } else if let Some(point) = point {
            self.take_first(&point);
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
        self.latest.save(out);
        save_points(self.first.iter(), out);
        let (low, high) = self.range.unwrap_or((f32::NAN, f32::NAN));
        out.f32(low);
        out.f32(high);
        out.u64(self.filled as u64);
        for tree in &self.trees {
            let usual = &tree.usual[tree.dimensions.len()..];
            usual.iter().chain(&tree.counted).for_each(|count| out.u32(u32::from(*count)));
        }
        self.calibrator.save(out);
    }

    fn load(&mut self, from: &mut SnapshotReader<'_>) -> Result<()> {
        let mut loaded = self.clone();
        loaded.last = Timestamp::from_nanos(from.i64()?);
        loaded.latest = self.latest.load(from)?;
        let window = self.config.window;
        loaded.first = load_points(from, window * self.config.shingle - 1)?;
        if !loaded.first.len().is_multiple_of(self.config.shingle) {
            return Err(saved::invalid("values of the first window", loaded.first.len()));
        }
        let (low, high) = (from.f32()?, from.f32()?);
        loaded.range = (low.is_finite() && high.is_finite()).then_some((low, high));
        let filled = from.u64()?;
        if filled >= window as u64 {
            return Err(saved::invalid("points of a window", filled));
        }
        loaded.filled = filled as usize;
        loaded.trees = loaded.range.map_or_else(Vec::new, |range| Self::grow(&self.config, range));
        for tree in &mut loaded.trees {
            load_counts(&mut tree.counted, window, from)?;
            tree.turn();
            load_counts(&mut tree.counted, loaded.filled, from)?;
        }
        loaded.calibrator.load(from)?;
        *self = loaded;
        Ok(())
    }
}

/// Reads the points of every leaf, which are `sum` in all.
fn load_counts(counts: &mut [u16], sum: usize, from: &mut SnapshotReader<'_>) -> Result<()> {
    let mut left = sum;
    for count in counts {
        let points = from.u32()?;
        left = left
            .checked_sub(points as usize)
            .ok_or_else(|| saved::invalid("points of a leaf", points))?;
        *count = points as u16; // no window has more
    }
    if left > 0 { Err(saved::invalid("points of a window", sum - left)) } else { Ok(()) }
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
            range: vec![(-1.25, 1.75)],
            dimensions: vec![0; 4],
            usual: vec![0; 8],
            counted: vec![0; 4],
        };
        for x in [0.1, 0.2, 0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9] {
            let leaf = tree.walk(&[x], 0, &mut Vec::new()).leaf;
            tree.counted[leaf] += 1;
        }
        tree.turn();
        let mass = |x: f32, few| tree.walk(&[x], few, &mut Vec::new()).mass;
        assert_eq!(mass(0.5, 1), 7.0 * 4.0, "seven at depth two");
        assert_eq!(mass(0.1, 1), 3.0 * 4.0);
        assert_eq!(mass(1.5, 1), 0.0, "nothing was beyond one");
        assert_eq!(mass(0.1, 5), 3.0 * 2.0, "three are few: the walk ends at depth one");
    }

    #[test]
    fn a_series_takes_less_than_the_limit() {
        let bytes = HalfSpaceTreesConfig::default().bytes_per_series();
        assert!(bytes <= 32 * 1024, "{bytes}");
        let config = HalfSpaceTreesConfig { depth: 9, ..HalfSpaceTreesConfig::default() };
        assert!(matches!(config.build(), Err(Error::InvalidConfig { field: "trees", .. })));
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
