//! PCMCI+: lagged links as in PCMCI, and links within one step as far as they can be directed.

use super::lagged::Lagged;
use super::pc::for_each_subset;
use super::pcmci::{Node, Tester, parents_of_all};
use super::{CausalDiscovery, CausalEdge, CausalGraph, Knowledge, Mark};
use crate::error::within;
use crate::{Result, parallel};
use aiops_core::Frame;
use orient::Orientation;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

mod orient;

/// Lagged and contemporaneous causal discovery with partial correlation.
///
/// What [`Pcmci`](super::Pcmci) does not look for, effects faster than one step, this finds too: with
/// coarse steps most effects between services are such. Lagged links are directed by time; links
/// within a step by colliders and the rules that follow from them, and stay undirected where the
/// data do not tell or contradict themselves. Fails with unmeasured common drivers, with cycles within
/// one step, and with non-linear effects without a linear part. Assumes stationarity.
///
/// Three phases. The lagged parents of each row by PC1, as in PCMCI. Then all links, lagged and within
/// the step, are tested given p neighbours within the step, p = 0, 1, …, and the lagged parents of
/// both ends. Then a triple i − k − j with i, j apart (i now or earlier) is a collider when k is in
/// less than half of the sets that separate i and j (majority rule), and three rules close the
/// orientations. Triples with exactly half, or without any separating set, decide nothing.
///
/// Time as PCMCI, times the subsets of neighbours within the step. With all rows connected within the
/// step this is exponential; bound it by `max_conditions`.
///
/// Source: Runge 2020 (UAI), algorithms 1 and 2 and the rules of the supplement, with the majority
/// rule and conflicts left undirected. The golden tests compare with tigramite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PcmciPlusConfig {
    /// The largest lag of a link. Default 2.
    pub max_lag: usize,
    /// The level of every test. Default 0.01, as the paper recommends.
    pub level: f64,
    /// Conditions on at most so many neighbours within the step; `None` as many as there are.
    pub max_conditions: Option<usize>,
}

impl Default for PcmciPlusConfig {
    fn default() -> Self {
        PcmciPlusConfig { max_lag: 2, level: 0.01, max_conditions: None }
    }
}

impl PcmciPlusConfig {
    /// Checks the values and builds the method.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`](crate::Error::InvalidConfig) names the field that is out of range.
    pub fn build(self) -> Result<PcmciPlus> {
        within("max_lag", self.max_lag as f64, 1.0, 1e3)?;
        within("level", self.level, 0.0, 1.0)?;
        Ok(PcmciPlus { config: self })
    }
}

/// The method of [`PcmciPlusConfig`].
#[derive(Debug, Clone)]
pub struct PcmciPlus {
    config: PcmciPlusConfig,
}

/// A link (cause, lag) − effect, listed once with the smaller row as the cause when the lag is 0.
type Link = (Node, usize);

/// What a remaining link survived: the test with the largest p-value.
type Survived = BTreeMap<Link, (f64, f64)>;

struct Search<'a> {
    config: &'a PcmciPlusConfig,
    tester: &'a Tester,
    knowledge: &'a Knowledge,
    /// The lagged parents of each row.
    parents: &'a [Vec<Node>],
}

impl Search<'_> {
    /// Correlation and p-value of a link given `set` within the step and the lagged parents of both.
    fn test(&self, cause: Node, effect: usize, set: &[usize]) -> (f64, f64) {
        let mut given: Vec<Node> = set.iter().map(|&row| (row, 0)).collect();
        given.extend(self.parents[effect].iter().copied().filter(|&node| node != cause));
        for &(row, earlier) in &self.parents[cause.0] {
            let shifted = (row, earlier + cause.1);
            if !given.contains(&shifted) {
                given.push(shifted);
            }
        }
        self.tester.test(cause, (effect, 0), &given)
    }

    fn required(&self, cause: Node, effect: usize) -> bool {
        let known = |a, b| self.knowledge.required.contains(&(a, b));
        known(cause.0, effect) || (cause.1 == 0 && known(effect, cause.0))
    }

    /// The links that no set of neighbours within the step explains.
    fn skeleton(&self, rows: &[usize]) -> (BTreeSet<Link>, Survived) {
        let mut links: BTreeSet<Link> = BTreeSet::new();
        for &effect in rows {
            links.extend(self.parents[effect].iter().map(|&cause| (cause, effect)));
            let near = rows.iter().filter(|&&cause| cause < effect);
            let near = near.filter(|&&cause| self.knowledge.permits_either(cause, effect));
            links.extend(near.map(|&cause| ((cause, 0), effect)));
        }
        let mut survived = Survived::new();
        let limit = self.config.max_conditions.unwrap_or(usize::MAX).min(rows.len());
        for depth in 0..=limit {
            // Neighbourhoods are frozen for each depth, so the order of tests decides nothing.
            let frozen: Vec<Link> = links.iter().copied().collect();
            let judged = parallel::map(&frozen, |&(cause, effect)| {
                let mut enough = false;
                let mut weakest = (0.0, -1.0);
                let ends = match cause.1 {
                    0 => vec![(cause, effect), ((effect, 0), cause.0)],
                    _ => vec![(cause, effect)],
                };
                for (cause, effect) in ends {
                    let others = neighbours(&links, effect, cause);
                    enough |= others.len() >= depth;
                    for_each_subset(&others, depth, |set| {
                        let (r, p_value) = self.test(cause, effect, set);
                        if p_value > weakest.1 {
                            weakest = (r, p_value);
                        }
                    });
                }
                (enough, weakest)
            });
            let mut any = false;
            for (link, (enough, (r, p_value))) in frozen.into_iter().zip(judged) {
                any |= enough;
                if !enough {
                    continue;
                }
                let kept = survived.entry(link).or_insert((r, p_value));
                if p_value > kept.1 {
                    *kept = (r, p_value);
                }
                if p_value > self.config.level && !self.required(link.0, link.1) {
                    links.remove(&link);
                }
            }
            if !any {
                break;
            }
        }
        (links, survived)
    }

    /// Whether `middle` is a collider between `one` (now or earlier) and `other`: the share of the
    /// sets that separate the two which contain it. `None` when nothing separates them.
    fn share_of_separators(
        &self,
        links: &BTreeSet<Link>,
        one: Node,
        middle: usize,
        other: usize,
    ) -> Option<f64> {
        let (mut with, mut all) = (0_usize, 0_usize);
        let mut look = |cause: Node, effect: usize| {
            let others = neighbours(links, effect, cause);
            let limit = self.config.max_conditions.unwrap_or(usize::MAX);
            for depth in 0..=others.len().min(limit) {
                for_each_subset(&others, depth, |set| {
                    if self.test(cause, effect, set).1 > self.config.level {
                        all += 1;
                        with += usize::from(set.contains(&middle));
                    }
                });
            }
        };
        look(one, other);
        if one.1 == 0 {
            look((other, 0), one.0);
        }
        (all > 0).then(|| with as f64 / all as f64)
    }
}

/// The neighbours of `row` within the step, `but` left out.
fn neighbours(links: &BTreeSet<Link>, row: usize, but: Node) -> Vec<usize> {
    let near =
        links.iter().filter(|((_, lag), _)| *lag == 0).filter_map(|&((a, _), b)| match row {
            _ if a == row => Some(b),
            _ if b == row => Some(a),
            _ => None,
        });
    let mut near: Vec<usize> = near.filter(|&other| but != (other, 0)).collect();
    near.sort_unstable();
    near
}

impl CausalDiscovery for PcmciPlus {
    fn id(&self) -> &str {
        "pcmci_plus"
    }

    fn discover(&self, data: &Frame, knowledge: &Knowledge) -> Result<CausalGraph> {
        knowledge.check(data.n_series())?;
        let PcmciPlusConfig { max_lag, level, .. } = self.config;
        let lagged = Lagged::new("pcmci_plus", data, 2 * max_lag, 8)?;
        let rows: Vec<usize> =
            (0..data.n_series()).filter(|&row| !lagged.is_constant(row)).collect();
        let tester = Tester::new(lagged);
        let parents = parents_of_all(&tester, &rows, data.n_series(), max_lag, level, knowledge);
        let search = Search { config: &self.config, tester: &tester, knowledge, parents: &parents };
        let (links, survived) = search.skeleton(&rows);

        let mut orientation = Orientation::new(&links, knowledge);
        orientation
            .colliders(|one, middle, other| search.share_of_separators(&links, one, middle, other));
        orientation.close();

        let mut edges = vec![];
        for &((from, lag), to) in links.iter().filter(|((from, _), to)| from != to) {
            let (strength, p_value) =
                survived.get(&((from, lag), to)).copied().unwrap_or((0.0, 0.0));
            let (from, to, mark) = match lag {
                0 => match orientation.of(from, to) {
                    Some((from, to)) => (from, to, Mark::Directed),
                    None => (from, to, Mark::Undirected),
                },
                _ => (from, to, Mark::Directed),
            };
            edges.push(CausalEdge { from, to, lag: lag as u32, mark, strength, p_value });
        }
        knowledge.complete(&mut edges);
        Ok(CausalGraph::new(data.series().to_vec(), edges))
    }
}
