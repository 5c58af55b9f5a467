//! PC-stable: what remains connected after conditioning, oriented as far as the data allow.

use super::lagged::Lagged;
use super::{CausalDiscovery, CausalEdge, CausalGraph, Knowledge, Mark};
use crate::error::within;
use crate::independence::{Discrete, Gaussian, Independence};
use crate::{Result, parallel};
use aiops_core::Frame;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What [`PcConfig`] decides independence by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PcTest {
    /// Fisher's z test of the partial correlation: linear dependence of numbers.
    #[default]
    FisherZ,
    /// The G² test of categories: any dependence, at the price of many more samples. A test needs
    /// several samples for each combination of categories, conditions included.
    GSquare {
        /// Cut each row into so many equally full parts first; `None` takes every distinct value
        /// for a category of its own, which is right for codes and states only.
        bins: Option<usize>,
    },
}

/// The PC algorithm, in its order-independent ("stable") form, with Fisher's z or the G² test.
///
/// Finds the Markov equivalence class of the graph: directed edges where every member agrees,
/// undirected ones elsewhere. Ignores time: steps are taken as independent draws, so on
/// autocorrelated telemetry its p-values are too small; prefer [`Pcmci`](super::Pcmci) there, or give
/// it changes or residuals. Fails with unmeasured common causes and with effects that cancel.
///
/// Skeleton: for d = 0, 1, … an edge x − y is removed when x and y are independent given some d
/// neighbours of x or of y, neighbourhoods frozen for each d. Then x − z − y with x, y apart becomes
/// x → z ← y when z is in none of the sets that separated them, the first such triple (by z,
/// then x, y) winning a conflict, and Meek's rules 1 to 4 close the orientations. Required and forbidden influences enter
/// before the rules.
///
/// Time: exponential in the largest neighbourhood only; a test is a Cholesky factor of d + 2.
///
/// Sources: Spirtes, Glymour & Scheines 2000; Colombo & Maathuis 2014 (stable, and the vote over all
/// separating sets); Meek 1995. The golden tests compare with causal-learn (`stable`, `uc_rule` 0).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PcConfig {
    /// The test. Default Fisher's z.
    pub test: PcTest,
    /// The level of each test; the customary 0.05 is the default.
    pub level: f64,
    /// Conditions on at most so many variables; `None` as many as neighbours allow. Default `None`.
    pub max_conditions: Option<usize>,
}

impl Default for PcConfig {
    fn default() -> Self {
        PcConfig { test: PcTest::default(), level: 0.05, max_conditions: None }
    }
}

impl PcConfig {
    /// Checks the values and builds the method.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`](crate::Error::InvalidConfig) names the field that is out of range.
    pub fn build(self) -> Result<Pc> {
        within("level", self.level, 0.0, 1.0)?;
        if let PcTest::GSquare { bins: Some(bins) } = self.test {
            within("bins", bins as f64, 2.0, 1e3)?;
        }
        Ok(Pc { config: self })
    }
}

/// The method of [`PcConfig`].
#[derive(Debug, Clone)]
pub struct Pc {
    config: PcConfig,
}

/// For each pair that was separated, the sets that did it.
type Separators = BTreeMap<(usize, usize), Vec<Vec<usize>>>;

/// What the first phase leaves.
struct Skeleton {
    adjacent: Vec<Vec<bool>>,
    separators: Separators,
    /// The largest p-value that each remaining edge survived.
    survived: BTreeMap<(usize, usize), f64>,
}

impl Pc {
    fn skeleton(
        &self,
        test: &dyn Independence,
        mut adjacent: Vec<Vec<bool>>,
        knowledge: &Knowledge,
    ) -> Skeleton {
        let rows = test.variables();
        let mut separators = Separators::new();
        let mut survived: BTreeMap<(usize, usize), f64> = BTreeMap::new();
        let limit = self.config.max_conditions.unwrap_or(usize::MAX);
        for depth in 0..=limit.min(rows) {
            let neighbours: Vec<Vec<usize>> =
                adjacent.iter().map(|row| (0..rows).filter(|&j| row[j]).collect()).collect();
            if neighbours.iter().all(|of| of.len() <= depth) {
                break;
            }
            let pairs: Vec<(usize, usize)> =
                (0..rows).flat_map(|x| neighbours[x].iter().map(move |&y| (x, y))).collect();
            // Each ordered pair looks for separators among the neighbours of its first member.
            let judge = |&(x, y): &(usize, usize)| {
                let others: Vec<usize> =
                    neighbours[x].iter().copied().filter(|&z| z != y).collect();
                let mut found = vec![];
                let mut largest = 0.0_f64;
                for_each_subset(&others, depth, |given| {
                    let p_value = test.p_value(x, y, given);
                    largest = largest.max(p_value);
                    if p_value > self.config.level {
                        found.push(given.to_vec());
                    }
                });
                (found, largest)
            };
            let judged: Vec<(Vec<Vec<usize>>, f64)> = parallel::map(&pairs, judge);
            for ((x, y), (found, largest)) in pairs.into_iter().zip(judged) {
                let pair = (x.min(y), x.max(y));
                let entry = survived.entry(pair).or_insert(0.0);
                *entry = entry.max(largest);
                let required =
                    knowledge.required.contains(&(x, y)) || knowledge.required.contains(&(y, x));
                if !found.is_empty() && !required {
                    adjacent[x][y] = false;
                    adjacent[y][x] = false;
                    separators.entry(pair).or_default().extend(found);
                }
            }
        }
        Skeleton { adjacent, separators, survived }
    }
}

/// Calls `visit` with every subset of `size`, in lexicographic order.
pub(crate) fn for_each_subset(of: &[usize], size: usize, mut visit: impl FnMut(&[usize])) {
    if size > of.len() {
        return;
    }
    let mut at: Vec<usize> = (0..size).collect();
    let mut subset: Vec<usize> = at.iter().map(|&i| of[i]).collect();
    loop {
        visit(&subset);
        let Some(move_up) = (0..size).rev().find(|&i| at[i] < of.len() - size + i) else { return };
        at[move_up] += 1;
        for i in move_up + 1..size {
            at[i] = at[i - 1] + 1;
        }
        subset.iter_mut().zip(&at).for_each(|(value, &i)| *value = of[i]);
    }
}

/// A partly directed graph: `into[x][y]` when x − y may be read as x → y.
struct Partial {
    into: Vec<Vec<bool>>,
}

impl Partial {
    fn undirected(&self, x: usize, y: usize) -> bool {
        self.into[x][y] && self.into[y][x]
    }

    fn directed(&self, x: usize, y: usize) -> bool {
        self.into[x][y] && !self.into[y][x]
    }

    fn adjacent(&self, x: usize, y: usize) -> bool {
        self.into[x][y] || self.into[y][x]
    }

    fn orient(&mut self, x: usize, y: usize) {
        self.into[x][y] = true;
        self.into[y][x] = false;
    }

    fn colliders(&mut self, separators: &Separators) {
        let rows = self.into.len();
        for z in 0..rows {
            for x in 0..rows {
                for y in x + 1..rows {
                    let open = self.adjacent(x, z) && self.adjacent(z, y) && x != z && y != z;
                    if !open || self.adjacent(x, y) {
                        continue;
                    }
                    let sets = separators.get(&(x, y)).map(Vec::as_slice).unwrap_or_default();
                    let separated = !sets.is_empty();
                    let collider = separated && sets.iter().all(|set| !set.contains(&z));
                    // The first collider wins a conflict.
                    if collider && !self.directed(z, x) && !self.directed(z, y) {
                        self.orient(x, z);
                        self.orient(y, z);
                    }
                }
            }
        }
    }

    /// Meek's rules until nothing changes.
    fn close(&mut self) {
        let rows = self.into.len();
        loop {
            let mut changed = false;
            for a in 0..rows {
                for b in 0..rows {
                    // Colliders that contradict each other may ask for a cycle: that one is refused.
                    let open = a != b && self.undirected(a, b);
                    if open && self.must_point(a, b) && !self.leads_to(b, a) {
                        self.orient(a, b);
                        changed = true;
                    }
                }
            }
            if !changed {
                return;
            }
        }
    }

    /// Whether directed edges lead from `from` to `to`.
    fn leads_to(&self, from: usize, to: usize) -> bool {
        let rows = self.into.len();
        let mut seen = vec![false; rows];
        let mut open = vec![from];
        while let Some(node) = open.pop() {
            if node == to {
                return true;
            }
            for (next, seen) in seen.iter_mut().enumerate() {
                if self.directed(node, next) && !*seen {
                    *seen = true;
                    open.push(next);
                }
            }
        }
        false
    }

    /// Whether a − b must be a → b: otherwise there would be a new collider or a cycle.
    fn must_point(&self, a: usize, b: usize) -> bool {
        let rows = 0..self.into.len();
        let one = |c: usize| self.directed(c, a) && !self.adjacent(c, b) && c != b;
        let two = |c: usize| self.directed(a, c) && self.directed(c, b);
        if rows.clone().any(|c| one(c) || two(c)) {
            return true;
        }
        let three = |c: usize| self.undirected(a, c) && self.directed(c, b);
        let via: Vec<usize> = rows.clone().filter(|&c| three(c)).collect();
        let apart = |c: usize, d: usize| c != d && !self.adjacent(c, d);
        if via.iter().any(|&c| via.iter().any(|&d| apart(c, d))) {
            return true;
        }
        // Rule 4, which only background knowledge makes necessary: a − c → d → b, c and b apart.
        let four = |c: usize, d: usize| {
            self.undirected(a, c)
                && self.directed(c, d)
                && self.directed(d, b)
                && apart(c, b)
                && self.adjacent(a, d)
        };
        rows.clone().any(|c| rows.clone().any(|d| four(c, d)))
    }
}

impl CausalDiscovery for Pc {
    fn id(&self) -> &str {
        "pc"
    }

    fn discover(&self, data: &Frame, knowledge: &Knowledge) -> Result<CausalGraph> {
        let rows = data.n_series();
        knowledge.check(rows)?;
        let lagged = Lagged::new("pc", data, 0, 4)?;
        let varies: Vec<bool> = (0..rows).map(|row| !lagged.is_constant(row)).collect();
        let start: Vec<Vec<bool>> = (0..rows)
            .map(|x| {
                let may = |y: usize| varies[x] && varies[y] && knowledge.permits_either(x, y);
                (0..rows).map(|y| x != y && may(y)).collect()
            })
            .collect();
        let moments;
        let test: Box<dyn Independence> = match self.config.test {
            PcTest::FisherZ => {
                moments = lagged.moments();
                Box::new(Gaussian { moments: &moments, samples: lagged.samples })
            }
            PcTest::GSquare { bins } => {
                Box::new(Discrete::of((0..rows).map(|row| lagged.column(row, 0)), bins))
            }
        };
        let Skeleton { adjacent, separators, survived } = self.skeleton(&*test, start, knowledge);
        let mut partial = Partial { into: adjacent };
        let known = |partial: &mut Partial| {
            for x in 0..rows {
                for y in 0..rows {
                    let only = knowledge.permits(x, y)
                        && (!knowledge.permits(y, x) || knowledge.required.contains(&(x, y)));
                    if partial.adjacent(x, y) && only {
                        partial.orient(x, y);
                    }
                }
            }
        };
        known(&mut partial);
        partial.colliders(&separators);
        known(&mut partial);
        partial.close();

        let mut edges = vec![];
        for x in 0..rows {
            for y in 0..rows {
                let mark = match (partial.directed(x, y), partial.undirected(x, y) && x < y) {
                    (true, _) => Mark::Directed,
                    (_, true) => Mark::Undirected,
                    _ => continue,
                };
                let p_value = survived.get(&(x.min(y), x.max(y))).copied().unwrap_or(0.0);
                let strength = test.strength(x, y);
                edges.push(CausalEdge { from: x, to: y, lag: 0, mark, strength, p_value });
            }
        }
        knowledge.complete(&mut edges);
        Ok(CausalGraph::new(data.series().to_vec(), edges))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subsets_come_in_order() {
        let mut seen = vec![];
        for_each_subset(&[1, 2, 3], 2, |s| seen.push(s.to_vec()));
        assert_eq!(seen, [[1, 2], [1, 3], [2, 3]]);
        let mut empty = 0;
        for_each_subset(&[1], 0, |s| empty += usize::from(s.is_empty()));
        assert_eq!(empty, 1);
        for_each_subset(&[1], 2, |_| unreachable!("no subset of two"));
    }
}
