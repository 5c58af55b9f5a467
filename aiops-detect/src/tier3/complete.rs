//! A forest of shallow trees, laid out for scoring.

use super::PackedForest;

/// Every tree filled up to the full depth, in heap order: below node `i` lie `2i + 1` and `2i + 2`.
///
/// The place of a child is arithmetic instead of a load, a cut and its series lie in two small columns
/// that stay in the nearest cache, and every tree is a slice of known length, so that one check serves a
/// whole walk. A leaf above the bottom is filled up with cuts that send everything left. Scores equal
/// those of the packed table bit for bit; 2.6 KiB a tree of depth 8.
#[derive(Debug, Clone)]
pub(super) struct CompleteForest {
    depth: u32,
    n_series: usize,
    normal: f64,
    /// Cuts and the series they ask, `2^depth - 1` a tree and one to make it even.
    cuts: Vec<f32>,
    features: Vec<u16>,
    /// Path lengths, `2^depth` a tree.
    paths: Vec<f32>,
}

/// Deeper trees are mostly air when filled up.
const DEEPEST: u32 = 12;
/// Steps that walk a tree together, so that their loads overlap.
const GROUP: usize = 16;
/// Steps that are scored with one tree after the other.
const BLOCK: usize = 128;

impl CompleteForest {
    /// `None` where the trees are too deep or the series too many; score with the packed table then.
    pub(super) fn of(packed: &PackedForest) -> Option<Self> {
        if packed.depth > DEEPEST || packed.n_series > usize::from(u16::MAX) {
            return None;
        }
        let width = 1_usize << packed.depth;
        let trees = packed.roots.len();
        let mut forest = CompleteForest {
            depth: packed.depth,
            n_series: packed.n_series,
            normal: packed.normal,
            cuts: vec![f32::INFINITY; trees * width],
            features: vec![0; trees * width],
            paths: vec![0.0; trees * width],
        };
        for (tree, root) in packed.roots.iter().enumerate() {
            let mut open = vec![(*root as usize, 0, 0)];
            while let Some((node, place, depth)) = open.pop() {
                let found = packed.nodes.get(node)?;
                if depth == packed.depth {
                    forest.paths[tree * width + place + 1 - width] = *packed.paths.get(node)?;
                    continue;
                }
                forest.cuts[tree * width + place] = found.cut;
                forest.features[tree * width + place] = found.feature as u16;
                let child = found.child as usize;
                // A leaf is its own child, and what lies to its right is never reached.
                open.push((child, 2 * place + 1, depth + 1));
                if child != node {
                    open.push((child + 1, 2 * place + 2, depth + 1));
                }
            }
        }
        Some(forest)
    }

    /// Scores of steps, whose values lie in `columns`, one column of `scores.len()` a series.
    pub(super) fn score_many(&self, columns: &[f32], scores: &mut [f64]) {
        let width = 1_usize << self.depth;
        let n = scores.len();
        let trees = self.cuts.len() / width;
        // One row a step in a fixed number of places, so that a series is found without a check.
        let mut rows = vec![0.0_f32; GROUP * self.n_series];
        for (block, scores) in scores.chunks_mut(BLOCK).enumerate() {
            let mut totals = [0.0_f32; BLOCK];
            for group in 0..scores.len().div_ceil(GROUP) {
                let from = block * BLOCK + group * GROUP;
                for series in 0..self.n_series {
                    let column = &columns[series * n..(series + 1) * n];
                    for lane in 0..GROUP {
                        // The last group is filled up with its last step.
                        rows[series * GROUP + lane] = column[(from + lane).min(n - 1)];
                    }
                }
                let lanes = &mut totals[group * GROUP..(group + 1) * GROUP];
                for tree in 0..trees {
                    let places = tree * width..(tree + 1) * width;
                    walk(
                        &self.cuts[places.clone()],
                        &self.features[places.clone()],
                        &self.paths[places],
                        &rows,
                        self.depth,
                        lanes,
                    );
                }
            }
            for (score, total) in scores.iter_mut().zip(totals) {
                let mean = f64::from(total) / trees as f64;
                *score = (-mean / self.normal).exp2();
            }
        }
    }
}

/// Walks one tree with a group of steps and adds the path lengths where they end.
fn walk(
    cuts: &[f32],
    features: &[u16],
    paths: &[f32],
    rows: &[f32],
    depth: u32,
    totals: &mut [f32],
) {
    // Equal lengths, a power of two: an index that is masked with it needs no check.
    let width = cuts.len();
    let (features, paths) = (&features[..width], &paths[..width]);
    let mask = width - 1;
    let mut at = [0_usize; GROUP];
    for _ in 0..depth {
        for (lane, at) in at.iter_mut().enumerate() {
            let place = *at & mask;
            let value = rows[usize::from(features[place]) * GROUP + lane];
            *at = 2 * place + 1 + usize::from(value >= cuts[place]);
        }
    }
    for (total, at) in totals.iter_mut().zip(at) {
        *total += paths[(at + 1 - width) & mask];
    }
}
