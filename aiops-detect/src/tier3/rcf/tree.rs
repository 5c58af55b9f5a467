//! One random cut tree, as a row of leaves with a cut between each two neighbours.
//!
//! Leaves are kept in the order in which the tree visits them, so that every subtree is a run of them
//! and its bounding box one pass over contiguous memory. That makes boxes cheap enough to need no
//! storage: a tree of 64 points in four dimensions takes 1.8 KiB.

use aiops_core::{SnapshotReader, SnapshotWriter};

use crate::{Result, random::SplitMix, saved};

/// In place of a cut: the child is a leaf.
const LEAF: u8 = u8::MAX;
/// Most points in a tree.
pub(super) const MOST: usize = 254;

/// The cut between two neighbours of the row: points with a smaller coordinate lie to the left.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Cut {
    at: f32,
    dimension: u8,
    left: u8,
    right: u8,
}

/// A tree over up to [`MOST`] points.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tree {
    dimensions: usize,
    /// Coordinates of the leaves, a row each.
    points: Vec<f32>,
    /// How likely each leaf is to be the next one to go: the largest goes.
    keys: Vec<f32>,
    /// One less than there are leaves. Cut `i` lies between the leaves `i` and `i + 1`.
    cuts: Vec<Cut>,
    root: u8,
}

/// A box as least and greatest coordinates. Grows with the points that are added.
#[derive(Debug, Clone)]
pub(super) struct Bounds {
    low: Vec<f32>,
    high: Vec<f32>,
}

impl Bounds {
    pub(super) fn new(dimensions: usize) -> Self {
        Bounds { low: vec![0.0; dimensions], high: vec![0.0; dimensions] }
    }

    fn of(&mut self, points: &[f32]) {
        match self.low.len() {
            1 => self.of_width::<1>(points),
            2 => self.of_width::<2>(points),
            4 => self.of_width::<4>(points),
            8 => self.of_width::<8>(points),
            n => {
                self.low.fill(f32::INFINITY);
                self.high.fill(f32::NEG_INFINITY);
                for point in points.chunks_exact(n) {
                    for ((low, high), x) in self.low.iter_mut().zip(&mut self.high).zip(point) {
                        *low = if *x < *low { *x } else { *low };
                        *high = if *x > *high { *x } else { *high };
                    }
                }
            }
        }
    }

    /// The same with a width that the compiler knows, so that a point is one register.
    fn of_width<const N: usize>(&mut self, points: &[f32]) {
        let (mut low, mut high) = ([f32::INFINITY; N], [f32::NEG_INFINITY; N]);
        for point in points.chunks_exact(N) {
            for i in 0..N {
                low[i] = if point[i] < low[i] { point[i] } else { low[i] };
                high[i] = if point[i] > high[i] { point[i] } else { high[i] };
            }
        }
        self.low.copy_from_slice(&low);
        self.high.copy_from_slice(&high);
    }

    /// Sum of the sides of the box, and by how much `point` makes it longer.
    fn lengths(&self, point: &[f32]) -> (f64, f64) {
        let (mut sides, mut beyond) = (0.0_f64, 0.0_f64);
        for ((low, high), x) in self.low.iter().zip(&self.high).zip(point) {
            sides += f64::from(high - low);
            beyond += f64::from((low - x).max(x - high).max(0.0));
        }
        (sides, beyond)
    }
}

impl Tree {
    pub(super) fn new(dimensions: usize) -> Self {
        let (points, keys, cuts) = (Vec::new(), Vec::new(), Vec::new());
        Tree { dimensions, points, keys, cuts, root: LEAF }
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The leaf with the largest key, and that key.
    pub(super) fn next_to_go(&self) -> Option<(usize, f32)> {
        let keys = self.keys.iter().copied().enumerate();
        keys.reduce(|most, next| if next.1 > most.1 { next } else { most })
    }

    pub(super) fn add_to_keys(&mut self, by: f32) {
        self.keys.iter_mut().for_each(|key| *key += by);
    }

    /// The expected displacement of `point` as a share of the leaves, 0 to 1, with the share of each
    /// dimension in `parts`, which it adds to.
    ///
    /// At a node with `m` leaves and box `B`, a cut of the box that also holds `point` sets it apart with
    /// the probability `b / (s + b)`, with `s` the sides of `B` and `b` what `point` adds to them; then
    /// all `m` leaves move down by one. That is the displacement of definition 3, in expectation over the
    /// insertion of `point` into this tree; a dimension's part is its share of `b`.
    pub(super) fn displacement(
        &self,
        point: &[f32],
        bounds: &mut Bounds,
        mut parts: Option<&mut [f64]>,
    ) -> f64 {
        let n = self.len();
        if n == 0 {
            return 0.0;
        }
        let (mut from, mut until) = (0, n);
        let mut node = self.root;
        let (mut reached, mut moved) = (1.0_f64, 0.0_f64);
        loop {
            bounds.of(&self.points[from * self.dimensions..until * self.dimensions]);
            let (sides, beyond) = bounds.lengths(point);
            if beyond > 0.0 {
                let apart = reached * beyond / (sides + beyond);
                let weight = apart * (until - from) as f64;
                moved += weight;
                if let Some(parts) = &mut parts {
                    for (i, part) in parts.iter_mut().enumerate() {
                        let (low, high, x) = (bounds.low[i], bounds.high[i], point[i]);
                        let own = f64::from((low - x).max(x - high).max(0.0));
                        *part += weight * own / beyond / n as f64;
                    }
                }
                reached -= apart;
            }
            // What is left cannot move the sum by more than its rounding.
            if node == LEAF || reached < 1e-4 {
                return moved / n as f64;
            }
            let cut = self.cuts[usize::from(node)];
            if point[usize::from(cut.dimension)] < cut.at {
                until = usize::from(node) + 1;
                node = cut.left;
            } else {
                from = usize::from(node) + 1;
                node = cut.right;
            }
        }
    }

    /// Adds a point: algorithm 2 of the paper. A cut of the box that also holds the point is drawn; where
    /// it sets the point apart, it becomes a node, else the cut that is there is followed.
    pub(super) fn insert(
        &mut self,
        point: &[f32],
        key: f32,
        bounds: &mut Bounds,
        random: &mut SplitMix,
    ) {
        debug_assert!(self.len() < MOST);
        if self.keys.is_empty() {
            self.points.extend_from_slice(point);
            self.keys.push(key);
            self.root = LEAF;
            return;
        }
        let (mut from, mut until) = (0, self.len());
        let mut node = self.root;
        let mut parent: Option<(usize, bool)> = None;
        loop {
            bounds.of(&self.points[from * self.dimensions..until * self.dimensions]);
            let (sides, beyond) = bounds.lengths(point);
            let drawn = self.draw(point, bounds, random.uniform() * (sides + beyond));
            let at_end = node == LEAF; // a copy of a leaf is set apart from it, whatever the cut
            if let Some((dimension, at, left)) =
                drawn.or_else(|| at_end.then(|| (0, point[0], false)))
            {
                self.split(
                    parent,
                    node,
                    from,
                    until,
                    Cut { at, dimension, left: LEAF, right: LEAF },
                    left,
                );
                let place = if left { from } else { until };
                self.points.splice(
                    place * self.dimensions..place * self.dimensions,
                    point.iter().copied(),
                );
                self.keys.insert(place, key);
                return;
            }
            let cut = self.cuts[usize::from(node)];
            parent = Some((usize::from(node), point[usize::from(cut.dimension)] < cut.at));
            if point[usize::from(cut.dimension)] < cut.at {
                until = usize::from(node) + 1;
                node = cut.left;
            } else {
                from = usize::from(node) + 1;
                node = cut.right;
            }
        }
    }

    /// The cut at `length` along the sides of the box that also holds `point`, where it lies outside the
    /// box: its dimension, its place, and whether the point is to the left.
    fn draw(&self, point: &[f32], bounds: &Bounds, mut length: f64) -> Option<(u8, f32, bool)> {
        for (i, x) in point.iter().enumerate() {
            let (low, high) = (bounds.low[i], bounds.high[i]);
            let (least, most) = (low.min(*x), high.max(*x));
            let side = f64::from(most - least);
            if length >= side {
                length -= side;
                continue;
            }
            let at = (f64::from(least) + length) as f32;
            // Left of a cut are smaller coordinates: rounding must not put the point on both sides.
            if *x < low && at < low {
                return Some((i as u8, at.max(x.next_up()).min(low), true));
            }
            if *x > high && at > high {
                return Some((i as u8, at.clamp(high.next_up(), *x), false));
            }
            return None;
        }
        None
    }

    /// Makes room for a cut above `node`, whose leaves are `from..until`; the new leaf will be left or
    /// right of them.
    fn split(
        &mut self,
        parent: Option<(usize, bool)>,
        node: u8,
        from: usize,
        until: usize,
        mut cut: Cut,
        left: bool,
    ) {
        let place = if left { from } else { until - 1 };
        let moved = |child: u8| child + u8::from(child != LEAF && usize::from(child) >= place);
        for other in &mut self.cuts {
            other.left = moved(other.left);
            other.right = moved(other.right);
        }
        let below = moved(node);
        if left {
            cut.right = below
        } else {
            cut.left = below
        }
        self.root = moved(self.root);
        self.cuts.insert(place, cut);
        match parent {
            None => self.root = place as u8,
            Some((parent, is_left)) => {
                let parent = parent + usize::from(parent >= place);
                let child = if is_left {
                    &mut self.cuts[parent].left
                } else {
                    &mut self.cuts[parent].right
                };
                *child = place as u8;
            }
        }
    }

    /// Takes a leaf out: its sibling takes the place of its parent.
    pub(super) fn remove(&mut self, leaf: usize) {
        self.points.drain(leaf * self.dimensions..(leaf + 1) * self.dimensions);
        self.keys.remove(leaf);
        if self.cuts.is_empty() {
            return;
        }
        // A leaf hangs from the cut before it or the one behind it, whichever lies deeper.
        let is_left = self.cuts.get(leaf).is_some_and(|cut| cut.left == LEAF);
        let gone = if is_left { leaf } else { leaf - 1 };
        let Cut { left, right, .. } = self.cuts.remove(gone);
        let sibling = if is_left { right } else { left };
        let below = |child: u8| if child == gone as u8 { sibling } else { child };
        let moved = |child: u8| child - u8::from(child != LEAF && usize::from(child) > gone);
        for cut in &mut self.cuts {
            cut.left = moved(below(cut.left));
            cut.right = moved(below(cut.right));
        }
        self.root = moved(below(self.root));
    }

    pub(super) fn save(&self, out: &mut SnapshotWriter) {
        out.u32(self.keys.len() as u32);
        self.points.iter().chain(&self.keys).for_each(|value| out.f32(*value));
        out.u8(self.root);
        for cut in &self.cuts {
            out.f32(cut.at);
            [cut.dimension, cut.left, cut.right].into_iter().for_each(|byte| out.u8(byte));
        }
    }

    pub(super) fn load(dimensions: usize, from: &mut SnapshotReader<'_>) -> Result<Self> {
        let n = from.u32()? as usize;
        if n > MOST {
            return Err(saved::invalid("leaves of a tree", n));
        }
        let mut tree = Tree::new(dimensions);
        let finite = |from: &mut SnapshotReader<'_>| {
            let value = from.f32()?;
            if value.is_finite() {
                Ok(value)
            } else {
                Err(saved::invalid("value of a tree", value))
            }
        };
        for _ in 0..n * dimensions {
            tree.points.push(finite(from)?);
        }
        for _ in 0..n {
            tree.keys.push(finite(from)?);
        }
        tree.root = from.u8()?;
        for _ in 1..n {
            let at = finite(from)?;
            let (dimension, left, right) = (from.u8()?, from.u8()?, from.u8()?);
            tree.cuts.push(Cut { at, dimension, left, right });
        }
        if !tree.is_sound(tree.root, 0, n) {
            return Err(saved::invalid("shape of a tree", n));
        }
        Ok(tree)
    }

    /// Whether `node` and all below it are cuts within the run of leaves they belong to: a tree, without
    /// cycles. Every cut is visited once, so this ends.
    fn is_sound(&self, root: u8, from: usize, until: usize) -> bool {
        let mut open = vec![(root, from, until)];
        let mut cuts = 0;
        while let Some((node, from, until)) = open.pop() {
            if node == LEAF {
                if until - from > 1 {
                    return false;
                }
                continue;
            }
            let at = usize::from(node);
            if at < from || at + 1 >= until || cuts == self.cuts.len() {
                return false;
            }
            cuts += 1;
            let cut = self.cuts[at];
            if usize::from(cut.dimension) >= self.dimensions {
                return false;
            }
            open.push((cut.left, from, at + 1));
            open.push((cut.right, at + 1, until));
        }
        cuts == self.cuts.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn grown(points: &[[f32; 2]], seed: u64) -> Tree {
        let (mut tree, mut bounds) = (Tree::new(2), Bounds::new(2));
        let mut random = SplitMix(seed);
        for point in points {
            tree.insert(point, 0.0, &mut bounds, &mut random);
        }
        tree
    }

    proptest! {
        #[test]
        fn inserting_and_removing_keeps_a_tree(
            points in prop::collection::vec([-5_i8..5, -5_i8..5], 1..80),
            gone in prop::collection::vec(any::<u16>(), 0..40),
            seed in any::<u64>(),
        ) {
            let points: Vec<[f32; 2]> = points.iter().map(|p| p.map(f32::from)).collect();
            let mut tree = grown(&points, seed);
            for gone in gone {
                if tree.len() > 0 {
                    tree.remove(usize::from(gone) % tree.len());
                    prop_assert!(tree.len() == 0 || tree.is_sound(tree.root, 0, tree.len()));
                }
            }
            // Every point lies on its side of every cut above it, copies aside.
            for (i, pair) in tree.points.chunks(2).zip(tree.points.chunks(2).skip(1)).enumerate() {
                let Cut { at, dimension, .. } = tree.cuts[i];
                let d = usize::from(dimension);
                prop_assert!(pair.0[d] < at && pair.1[d] >= at || pair.0 == pair.1, "{i} {pair:?} {at}");
            }
            let mut writer = SnapshotWriter::new();
            tree.save(&mut writer);
            let bytes = writer.finish();
            prop_assert_eq!(Tree::load(2, &mut SnapshotReader::new(&bytes)).unwrap(), tree);
        }

        // Definition 3: the displacement of a point is how many leaves move down when it is inserted.
        #[test]
        fn displacement_is_what_random_insertion_displaces(
            points in prop::collection::vec([-9_i8..9, -9_i8..9], 2..14),
            new in [-12_i8..12, -12_i8..12],
            seed in any::<u64>(),
        ) {
            let points: Vec<[f32; 2]> = points.iter().map(|p| p.map(f32::from)).collect();
            let new = new.map(f32::from);
            prop_assume!(!points.contains(&new));
            let tree = grown(&points, seed);
            let mut bounds = Bounds::new(2);
            let mut parts = [0.0; 2];
            let expected = tree.displacement(&new, &mut bounds, Some(&mut parts));
            prop_assert!((parts[0] + parts[1] - expected).abs() < 1e-9);
            let (mut random, rounds) = (SplitMix(seed ^ 1), 4_000);
            let mut moved = 0;
            for _ in 0..rounds {
                let mut with = tree.clone();
                with.insert(&new, 1.0, &mut bounds, &mut random);
                let leaf = with.keys.iter().position(|key| *key == 1.0).unwrap();
                moved += with.sibling_size(leaf);
            }
            let found = f64::from(moved) / f64::from(rounds) / points.len() as f64;
            prop_assert!((found - expected).abs() < 0.05, "{found} for {expected}");
        }
    }

    impl Tree {
        /// How many leaves move up when `leaf` goes.
        fn sibling_size(&self, leaf: usize) -> u32 {
            let (mut from, mut until, mut node, mut size) = (0, self.len(), self.root, 0);
            while node != LEAF {
                let (at, cut) = (usize::from(node), self.cuts[usize::from(node)]);
                let all = until - from;
                if leaf <= at {
                    until = at + 1;
                    node = cut.left;
                } else {
                    from = at + 1;
                    node = cut.right;
                }
                size = all - (until - from);
            }
            size as u32
        }
    }

    // Theorem of section 2: after insertions the first cut is distributed as if the tree had been grown
    // at once, a dimension in proportion to its side.
    #[test]
    fn the_first_cut_falls_in_proportion_to_the_sides() {
        let points = [[0.0, 0.0], [9.0, 1.0], [4.0, 3.0], [1.0, 2.0], [8.0, 0.5]];
        let mut first = 0;
        for seed in 0..4_000 {
            let mut tree = grown(&points, seed * 7_919 + 1);
            // What was inserted and removed must leave no trace.
            let mut random = SplitMix(seed);
            tree.insert(&[100.0, 100.0], 1.0, &mut Bounds::new(2), &mut random);
            let (gone, _) = tree.next_to_go().unwrap();
            tree.remove(gone);
            first += i32::from(tree.cuts[usize::from(tree.root)].dimension == 0);
        }
        let share = f64::from(first) / 4_000.0;
        assert!((share - 0.75).abs() < 0.03, "sides 9 and 3: {share}");
    }

    // Golden: rrcf 0.4.4, `tests/golden/rcf.py`: mean displacement over 16,000 random trees, as a share of
    // the points, and its standard error there. Ours is the mean over 4,000 trees of the expectation over
    // insertions, so its own error is smaller than twice theirs.
    #[test]
    fn displacement_is_that_of_another_implementation() {
        let crowd = (0_u8..20)
            .map(|i| [7 * i % 20, 3 * i % 20, (11 * u16::from(i) % 20) as u8].map(f32::from));
        let mut points: Vec<[f32; 3]> =
            crowd.map(|[x, y, z]| [x / 8.0, y / 4.0, z / 16.0]).collect();
        points.extend([[9.0, 1.0, 0.5], [9.5, 1.5, 0.25], [-4.0, 8.0, 1.0], [1.0, -6.0, 3.0]]);
        let mut bounds = Bounds::new(3);
        let mut sums = [0.0; 4];
        let trees = 4_000;
        for seed in 0..trees {
            let (mut tree, mut random) = (Tree::new(3), SplitMix(seed * 7_919 + 1));
            for point in &points {
                tree.insert(point, 0.0, &mut bounds, &mut random);
            }
            for (sum, (query, ..)) in sums.iter_mut().zip(GOLDEN) {
                *sum += tree.displacement(&query, &mut bounds, None) / trees as f64;
            }
        }
        for (found, (query, expected, error)) in sums.into_iter().zip(GOLDEN) {
            let off = (found - expected).abs();
            assert!(off < 6.0 * error, "{query:?}: {found}, expected {expected} +- {error}");
        }
    }

    const GOLDEN: [([f32; 3], f64, f64); 4] = [
        ([1.1, 2.3, 0.6], 0.05336, 0.00028),
        ([2.6, 5.0, 1.3], 0.14317, 0.00143),
        ([9.2, 1.2, 0.4], 0.04360, 0.00025),
        ([20.0, -9.0, 6.0], 0.50084, 0.00352),
    ];
}
