//! [`ForestScorer`]: an isolation forest on many rows at once.

use aiops_detect::tier3::PackedForest;

use crate::{
    Error, Result, Simd,
    simd::{
        Lines,
        forest::{BLOCK, Program},
    },
};

/// Fewer rows are walked: the program's price is that of a whole block.
const FEW: usize = 24;

/// Scores many rows with the forest that `aiops-detect` fits and packs.
///
/// The same scores as [`PackedForest::score_many`], bit for bit: the same comparisons and the same sums in
/// the same order, only for a register of rows at a time. Small trees run as a branch-free program, which
/// costs about two instructions a cut for each register of rows; trees of more than about 200 cuts are
/// walked.
///
/// ```
/// use aiops_detect::tier3::{PackedForest, PackedNode};
/// use aiops_gpu::ForestScorer;
/// let leaf = |own: u32| PackedNode { cut: f32::INFINITY, feature: 0, child: own };
/// let forest = PackedForest {
///     nodes: vec![PackedNode { cut: 10.0, feature: 0, child: 1 }, leaf(1), leaf(2)],
///     paths: vec![0.0, 9.0, 1.0],
///     roots: vec![0],
///     depth: 1,
///     n_series: 1,
///     normal: 10.0,
/// };
/// let mut scorer = ForestScorer::new(&forest)?;
/// let mut scores = [0.0; 2];
/// scorer.score(&[3.0, 30.0], &mut scores)?;
/// assert!(scores[1] > scores[0], "30 is alone after one cut");
/// # Ok::<(), aiops_gpu::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct ForestScorer {
    forest: PackedForest,
    program: Option<Program>,
    columns: Lines,
    scratch: Lines,
}

impl ForestScorer {
    /// On the widest instructions that this processor has.
    ///
    /// # Errors
    /// [`Error::Weights`] when the table is no forest.
    pub fn new(forest: &PackedForest) -> Result<Self> {
        ForestScorer::on(forest, Simd::detect())
    }

    /// On given instructions.
    ///
    /// # Errors
    /// As [`new`](Self::new), and [`Error::Unavailable`] when this processor does not have them.
    pub fn on(forest: &PackedForest, simd: Simd) -> Result<Self> {
        check(forest)?;
        let program = Program::new(forest, simd.check()?);
        let scratch = Lines::zeros(program.as_ref().map_or(0, Program::scratch));
        let columns = Lines::zeros(forest.n_series * BLOCK);
        Ok(ForestScorer { forest: forest.clone(), program, columns, scratch })
    }

    /// How many values a row has.
    pub fn features(&self) -> usize {
        self.forest.n_series
    }

    /// Bytes of the tables that scoring reads.
    pub fn table_bytes(&self) -> usize {
        let walked = size_of_val(&self.forest.nodes[..]) + size_of_val(&self.forest.paths[..]);
        self.program.as_ref().map_or(walked, Program::bytes)
    }

    /// Scores rows of [`features`](Self::features) values each, between 0 and 1. Values must be finite.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`] when `rows` is not one row for each score.
    pub fn score(&mut self, rows: &[f32], scores: &mut [f64]) -> Result<()> {
        let d = self.features();
        if rows.len() != d * scores.len() {
            let (expected, got) = (d * scores.len(), rows.len());
            return Err(Error::ShapeMismatch { what: "values of rows", expected, got });
        }
        let Some(program) = self.program.as_ref().filter(|_| scores.len() >= FEW) else {
            self.forest.score_many(rows, scores);
            return Ok(());
        };
        let mut sums = [0.0; BLOCK];
        for (rows, scores) in rows.chunks(d * BLOCK).zip(scores.chunks_mut(BLOCK)) {
            for (i, row) in rows.chunks_exact(d).enumerate() {
                for (feature, value) in row.iter().enumerate() {
                    self.columns[feature * BLOCK + i] = *value;
                }
            }
            program.path_sums(&self.columns, &mut self.scratch, &mut sums);
            for (score, sum) in scores.iter_mut().zip(&sums) {
                let mean = f64::from(*sum) / self.forest.roots.len() as f64;
                *score = (-mean / self.forest.normal).exp2();
            }
        }
        Ok(())
    }
}

/// Checks that a table is a forest: every walk stays inside it and ends.
pub(crate) fn check(forest: &PackedForest) -> Result<()> {
    let n = forest.nodes.len();
    let reject = |reason: String| Err(Error::weights(format!("no forest: {reason}")));
    if forest.paths.len() != n {
        return reject(format!("{n} nodes and {} path lengths", forest.paths.len()));
    }
    if forest.roots.is_empty() || forest.n_series == 0 {
        return reject("no tree, or no series".to_owned());
    }
    if !(forest.normal > 0.0 && forest.normal.is_finite()) {
        return reject(format!("paths are measured in {}", forest.normal));
    }
    for (at, node) in forest.nodes.iter().enumerate() {
        let child = node.child as usize;
        // Children lie behind their parent, so no walk can go in circles.
        let leaf = child == at && node.cut == f32::INFINITY;
        let inner = child > at && child + 1 < n && node.cut.is_finite();
        if !leaf && !inner || node.feature as usize >= forest.n_series {
            return reject(format!("node {at} is neither leaf nor cut"));
        }
    }
    if forest.roots.iter().any(|root| *root as usize >= n) {
        return reject("a root outside the table".to_owned());
    }
    if !forest.paths.iter().all(|path| path.is_finite()) {
        return reject("a path length that is not finite".to_owned());
    }
    Ok(())
}
