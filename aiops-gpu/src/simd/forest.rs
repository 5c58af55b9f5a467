//! A forest of cuts as a branch-free program over blocks of rows.
//!
//! A walk from root to leaf is a chain of loads that wait for each other, and a gather per step on
//! vectors. Isolation trees are shallow and have few cuts (about 65 at 256 samples), so it is faster to
//! ask every cut of a tree for a register of rows at once: a comparison with the column of the cut's
//! feature, then a choice between what its two sides answered, from the leaves up. No gather, no branch
//! that depends on data, any number of features, and the same sums in the same order as the walk: equal
//! bit for bit.

use aiops_detect::tier3::PackedForest;

use super::{Simd, lanes::Lanes, portable::Portable};

/// Rows that a tree is evaluated for at a time: what the cuts answered for them stays in the first-level
/// cache.
pub(crate) const BLOCK: usize = 128;

/// The widest lanes; leaves are spread to this many floats.
const WIDEST: usize = 16;

/// Trees with more cuts than this on average are walked instead: the program's cost grows with the cuts,
/// the walk's with the depth.
const MOST_CUTS: usize = 192;

/// Every tree of a forest as a list of cuts, children before parents.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    simd: Simd,
    features: usize,
    trees: Vec<Tree>,
    leaves: Vec<f32>,
    cuts: Vec<Cut>,
    /// Floats of scratch that the largest tree needs.
    scratch: usize,
}

#[derive(Debug, Clone, Copy)]
struct Tree {
    /// The end of its leaves and cuts; they begin where those of the tree before end.
    leaves: u32,
    cuts: u32,
    /// How many of the first cuts have two leaves.
    cherries: u32,
    /// Where the answer of its root lies, and the step from one register of rows to the next.
    answer: Operand,
}

/// A place in the scratch. Leaves are the same for every row, so their stride is 0.
#[derive(Debug, Clone, Copy)]
struct Operand {
    at: u32,
    stride: u32,
}

#[derive(Debug, Clone, Copy)]
struct Cut {
    cut: f32,
    feature: u32,
    below: Operand,
    above: Operand,
    /// Where its answers go.
    to: u32,
}

impl Program {
    /// The program of a forest; `None` where a walk is faster.
    pub(crate) fn new(forest: &PackedForest, simd: Simd) -> Option<Self> {
        let leaf = |at: usize| forest.nodes[at].child as usize == at;
        let cuts = (0..forest.nodes.len()).filter(|at| !leaf(*at)).count();
        if cuts > MOST_CUTS * forest.roots.len() {
            return None;
        }
        let mut program = Program {
            simd,
            features: forest.n_series,
            trees: Vec::with_capacity(forest.roots.len()),
            leaves: Vec::new(),
            cuts: Vec::with_capacity(cuts),
            scratch: 0,
        };
        forest.roots.iter().for_each(|root| program.compile(forest, *root as usize));
        Some(program)
    }

    fn compile(&mut self, forest: &PackedForest, root: usize) {
        let leaf = |at: usize| forest.nodes[at].child as usize == at;
        let first_leaf = self.leaves.len();
        // Parents before children, then backwards: children before parents.
        let mut order = vec![root];
        let mut next = 0;
        while next < order.len() {
            let at = order[next];
            next += 1;
            if !leaf(at) {
                let child = forest.nodes[at].child as usize;
                order.extend([child, child + 1]);
            }
        }
        let mut place = std::collections::HashMap::new();
        for at in order.iter().filter(|at| leaf(**at)) {
            let index = (self.leaves.len() - first_leaf) * WIDEST;
            place.insert(*at, Operand { at: index as u32, stride: 0 });
            self.leaves.push(forest.paths[*at]);
        }
        let mut slots = (self.leaves.len() - first_leaf) * WIDEST;
        let is_cherry = |at: usize| {
            let child = forest.nodes[at].child as usize;
            leaf(child) && leaf(child + 1)
        };
        let inner = || order.iter().rev().copied().filter(|at| !leaf(*at));
        let first_cut = self.cuts.len();
        for cherries in [true, false] {
            for at in inner().filter(|at| is_cherry(*at) == cherries) {
                let node = forest.nodes[at];
                let (below, above) =
                    (place[&(node.child as usize)], place[&(node.child as usize + 1)]);
                // An answer replaces one that it was made of.
                let to = match [below, above].into_iter().find(|operand| operand.stride > 0) {
                    Some(operand) => operand.at,
                    None => {
                        slots += BLOCK;
                        (slots - BLOCK) as u32
                    }
                };
                self.cuts.push(Cut { cut: node.cut, feature: node.feature, below, above, to });
                place.insert(at, Operand { at: to, stride: 1 });
            }
        }
        self.scratch = self.scratch.max(slots);
        self.trees.push(Tree {
            leaves: self.leaves.len() as u32,
            cuts: self.cuts.len() as u32,
            cherries: inner().filter(|at| is_cherry(*at)).count() as u32,
            answer: place[&root],
        });
        debug_assert!(self.cuts.len() - first_cut < order.len());
    }

    /// Floats of scratch that [`path_sums`](Self::path_sums) needs.
    pub(crate) fn scratch(&self) -> usize {
        self.scratch
    }

    /// Bytes of the tables.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&self.cuts[..]) + size_of_val(&self.leaves[..]) + size_of_val(&self.trees[..])
    }

    /// Sum over all trees of the path length of [`BLOCK`] rows, given as columns of finite values.
    pub(crate) fn path_sums(&self, columns: &[f32], scratch: &mut [f32], sums: &mut [f32; BLOCK]) {
        assert!(columns.len() == self.features * BLOCK && scratch.len() >= self.scratch);
        sums.fill(0.0);
        // SAFETY: the slices hold what the program accesses: `compile` places every operand within
        // `scratch`, and `new` takes features below `n_series` (a packed forest's invariant, which
        // `Forest::new` checks). `simd` is one that the processor has.
        unsafe {
            match self.simd {
                Simd::Portable => run::<Portable>(self, columns, scratch, sums),
                #[cfg(target_arch = "x86_64")]
                Simd::Avx2 => avx2(self, columns, scratch, sums),
                #[cfg(target_arch = "x86_64")]
                Simd::Avx512 => avx512(self, columns, scratch, sums),
                #[cfg(not(target_arch = "x86_64"))]
                _ => unreachable!("only x86-64 finds these instructions"),
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2(p: &Program, columns: &[f32], scratch: &mut [f32], sums: &mut [f32; BLOCK]) {
    // SAFETY: the caller checked the lengths, and that the processor has AVX2 and FMA.
    unsafe { run::<super::x86::Avx2>(p, columns, scratch, sums) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn avx512(p: &Program, columns: &[f32], scratch: &mut [f32], sums: &mut [f32; BLOCK]) {
    // SAFETY: the caller checked the lengths, and that the processor has AVX-512F.
    unsafe { run::<super::x86::Avx512>(p, columns, scratch, sums) }
}

/// # Safety
/// The processor has the instructions of `L`; `columns` and `scratch` are as long as
/// [`Program::path_sums`] checks, and the program was compiled for that many features.
#[inline(always)]
unsafe fn run<L: Lanes>(
    program: &Program,
    columns: &[f32],
    scratch: &mut [f32],
    sums: &mut [f32; BLOCK],
) {
    const { assert!(BLOCK.is_multiple_of(L::AT_A_TIME * L::N) && L::N <= WIDEST) };
    // SAFETY: see the contract above; every offset was made by `compile` for these lengths.
    unsafe {
        let registers = BLOCK / L::N;
        let columns = columns.as_ptr();
        let base = scratch.as_mut_ptr();
        let (mut leaf, mut cut) = (0, 0);
        for tree in &program.trees {
            let leaves = program.leaves.get_unchecked(leaf..tree.leaves as usize);
            leaf = tree.leaves as usize;
            for (i, path) in leaves.iter().enumerate() {
                L::splat(*path).store(base.add(i * WIDEST));
            }
            let cuts = program.cuts.get_unchecked(cut..tree.cuts as usize);
            cut = tree.cuts as usize;
            let (cherries, others) = cuts.split_at_unchecked(tree.cherries as usize);
            for node in cherries {
                let at = L::splat(node.cut);
                let column = columns.add(node.feature as usize * BLOCK);
                let below = L::load(base.add(node.below.at as usize));
                let above = L::load(base.add(node.above.at as usize));
                let to = base.add(node.to as usize);
                for r in (0..registers).step_by(L::AT_A_TIME) {
                    let (column, to) = (column.add(r * L::N), to.add(r * L::N));
                    for k in 0..L::AT_A_TIME {
                        let x = L::load(column.add(k * L::N));
                        x.choose(at, above, below).store(to.add(k * L::N));
                    }
                }
            }
            for node in others {
                let at = L::splat(node.cut);
                let column = columns.add(node.feature as usize * BLOCK);
                let below = base.add(node.below.at as usize);
                let above = base.add(node.above.at as usize);
                let (b, a) = (node.below.stride as usize * L::N, node.above.stride as usize * L::N);
                let to = base.add(node.to as usize);
                for r in (0..registers).step_by(L::AT_A_TIME) {
                    let (column, to) = (column.add(r * L::N), to.add(r * L::N));
                    let (below, above) = (below.add(r * b), above.add(r * a));
                    for k in 0..L::AT_A_TIME {
                        let (below, above) = (L::load(below.add(k * b)), L::load(above.add(k * a)));
                        let x = L::load(column.add(k * L::N));
                        x.choose(at, above, below).store(to.add(k * L::N));
                    }
                }
            }
            let answer = base.add(tree.answer.at as usize);
            let stride = tree.answer.stride as usize * L::N;
            for r in 0..registers {
                let sum = sums.as_mut_ptr().add(r * L::N);
                L::load(sum).add(L::load(answer.add(r * stride))).store(sum);
            }
        }
    }
}
