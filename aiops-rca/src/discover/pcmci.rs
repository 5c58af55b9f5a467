//! PCMCI: a lean set of parents for each row, then one careful test for each link.

use super::lagged::Lagged;
use super::{CausalDiscovery, CausalEdge, CausalGraph, Knowledge, Mark};
use crate::error::within;
use crate::independence::student_t;
use crate::linalg::{Symmetric, partial_correlation};
use crate::{Adjust, Result, parallel};
use aiops_core::Frame;
use serde::{Deserialize, Serialize};

/// A row at a lag.
pub(super) type Node = (usize, usize);

/// Lagged causal discovery with partial correlation.
///
/// Finds direct lagged links and keeps its false positives at the level also when rows are strongly
/// autocorrelated, where plain Granger and PC do not. Fails with unmeasured common drivers, with
/// effects inside one step (not searched here), and with non-linear effects without a linear part.
/// Assumes stationarity.
///
/// Two stages. PC1: for each row, candidates (i, t − lag) are tested given the p strongest others,
/// p = 0, 1, …, and dropped when independent at `pc_level`. MCI: each link i(t − lag) → j(t) is
/// tested given the parents of j and the parents of i shifted by the lag. All partial correlations
/// come from one matrix of moments over all lags up to 2 · `max_lag`.
///
/// Time O(n (rows · 2 max_lag)²) for the moments plus, for each of rows² · max_lag links, a Cholesky
/// factor of the size of its conditions.
///
/// Source: Runge, Nowack, Kretschmer, Flaxman & Sejdinovic 2019, algorithms 1 and 2, with one
/// combination of conditions for each p, as the authors' implementation defaults to; p-values of the
/// t distribution with n − conditions − 2 degrees of freedom. The golden tests compare with
/// tigramite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PcmciConfig {
    /// The largest lag of a link. Default 2.
    pub max_lag: usize,
    /// The level of the first stage. Default 0.05; it need not be exact, only generous.
    pub pc_level: f64,
    /// An edge needs an adjusted p-value at or below it. Default 0.05.
    pub level: f64,
    /// How p-values are adjusted over all pairs of rows; of a pair's lags the smallest p-value
    /// times the number of lags counts. Default Benjamini-Hochberg.
    pub adjust: Adjust,
}

impl Default for PcmciConfig {
    fn default() -> Self {
        PcmciConfig { max_lag: 2, pc_level: 0.05, level: 0.05, adjust: Adjust::default() }
    }
}

impl PcmciConfig {
    /// Checks the values and builds the method.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`](crate::Error::InvalidConfig) names the field that is out of range.
    pub fn build(self) -> Result<Pcmci> {
        within("max_lag", self.max_lag as f64, 1.0, 1e3)?;
        within("pc_level", self.pc_level, 0.0, 1.0)?;
        within("level", self.level, 0.0, 1.0)?;
        Ok(Pcmci { config: self })
    }
}

/// The method of [`PcmciConfig`].
#[derive(Debug, Clone)]
pub struct Pcmci {
    config: PcmciConfig,
}

/// The MCI test of one link.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Link {
    pub(crate) cause: usize,
    pub(crate) effect: usize,
    pub(crate) lag: usize,
    pub(crate) r: f64,
    pub(crate) p_value: f64,
}

/// Partial correlations from the moments of all rows at all lags.
pub(super) struct Tester {
    lagged: Lagged,
    moments: Symmetric,
}

impl Tester {
    pub(super) fn new(lagged: Lagged) -> Self {
        let moments = lagged.moments();
        Tester { lagged, moments }
    }

    /// Partial correlation and its p-value.
    pub(super) fn test(&self, x: Node, y: Node, given: &[Node]) -> (f64, f64) {
        let at = |node: Node| self.lagged.index(node.0, node.1);
        let given: Vec<usize> = given.iter().map(|&node| at(node)).collect();
        let r = partial_correlation(&self.moments, at(x), at(y), &given);
        let freedom = self.lagged.samples as f64 - given.len() as f64 - 2.0;
        let statistic = r.abs() * (freedom / (1.0 - r * r).max(f64::MIN_POSITIVE)).sqrt();
        (r, student_t(statistic, freedom))
    }
}

impl Pcmci {
    /// Every link with its MCI test, by effect, cause and lag; constant rows and what the knowledge
    /// forbids are left out.
    pub(crate) fn links(&self, data: &Frame, knowledge: &Knowledge) -> Result<Vec<Link>> {
        let max_lag = self.config.max_lag;
        let lagged = Lagged::new("pcmci", data, 2 * max_lag, 8)?;
        let rows: Vec<usize> =
            (0..data.n_series()).filter(|&row| !lagged.is_constant(row)).collect();
        let tester = Tester::new(lagged);
        let level = self.config.pc_level;
        let parents = parents_of_all(&tester, &rows, data.n_series(), max_lag, level, knowledge);
        let links = |&effect: &usize| {
            let causes = rows.iter().copied().filter(|&cause| allowed(knowledge, cause, effect));
            let nodes = causes.flat_map(|cause| (1..=max_lag).map(move |lag| (cause, lag)));
            let link = |(cause, lag): Node| {
                let own = parents[effect].iter().copied().filter(|&node| node != (cause, lag));
                let mut given: Vec<Node> = own.collect();
                for &(row, earlier) in &parents[cause] {
                    let shifted = (row, earlier + lag);
                    if !given.contains(&shifted) {
                        given.push(shifted);
                    }
                }
                let (r, p_value) = tester.test((cause, lag), (effect, 0), &given);
                Link { cause, effect, lag, r, p_value }
            };
            nodes.map(link).collect::<Vec<_>>()
        };
        let links: Vec<Vec<Link>> = parallel::map(&rows, links);
        Ok(links.concat())
    }
}

fn allowed(knowledge: &Knowledge, cause: usize, effect: usize) -> bool {
    cause == effect || knowledge.permits(cause, effect)
}

/// The PC1 stage for each of `rows`, indexed by row.
pub(super) fn parents_of_all(
    tester: &Tester,
    rows: &[usize],
    n_series: usize,
    max_lag: usize,
    level: f64,
    knowledge: &Knowledge,
) -> Vec<Vec<Node>> {
    let found = parallel::map(rows, |&effect| {
        let causes = rows.iter().copied().filter(|&cause| allowed(knowledge, cause, effect));
        let nodes = causes.flat_map(|cause| (1..=max_lag).map(move |lag| (cause, lag)));
        condition_on(tester, effect, nodes.collect(), level)
    });
    let mut parents = vec![vec![]; n_series];
    for (&row, found) in rows.iter().zip(found) {
        parents[row] = found;
    }
    parents
}

/// The PC1 stage: the candidates that no small set of stronger ones explains, strongest first.
fn condition_on(tester: &Tester, effect: usize, candidates: Vec<Node>, level: f64) -> Vec<Node> {
    let mut parents = candidates;
    let mut weakest: std::collections::HashMap<Node, f64> = Default::default();
    let mut p = 0;
    while p == 0 || p < parents.len() {
        let mut kept = vec![];
        for (position, &node) in parents.iter().enumerate() {
            let stronger = parents.iter().enumerate().filter(|(i, _)| *i != position);
            let given: Vec<Node> = stronger.map(|(_, &node)| node).take(p).collect();
            let (r, p_value) = tester.test(node, (effect, 0), &given);
            let smallest = weakest.entry(node).or_insert(f64::INFINITY);
            *smallest = smallest.min(r.abs());
            if p_value <= level {
                kept.push(node);
            }
        }
        // A stable sort: equals keep the order of rows and lags.
        kept.sort_by(|a, b| weakest[b].total_cmp(&weakest[a]));
        parents = kept;
        p += 1;
    }
    parents
}

impl CausalDiscovery for Pcmci {
    fn id(&self) -> &str {
        "pcmci"
    }

    fn discover(&self, data: &Frame, knowledge: &Knowledge) -> Result<CausalGraph> {
        knowledge.check(data.n_series())?;
        let links = self.links(data, knowledge)?;
        let strongest: Vec<Link> = links
            .chunk_by(|a, b| (a.cause, a.effect) == (b.cause, b.effect))
            .filter(|pair| pair[0].cause != pair[0].effect)
            .filter_map(|pair| {
                let best = pair.iter().min_by(|a, b| a.p_value.total_cmp(&b.p_value))?;
                Some(Link { p_value: (best.p_value * pair.len() as f64).min(1.0), ..*best })
            })
            .collect();
        let raw: Vec<f64> = strongest.iter().map(|link| link.p_value).collect();
        let adjusted = self.config.adjust.apply(&raw);
        let accepted = strongest.iter().zip(adjusted).filter(|(_, p)| *p <= self.config.level);
        let mut edges: Vec<CausalEdge> = accepted
            .map(|(link, p_value)| CausalEdge {
                from: link.cause,
                to: link.effect,
                lag: link.lag as u32,
                mark: Mark::Directed,
                strength: link.r,
                p_value,
            })
            .collect();
        knowledge.complete(&mut edges);
        Ok(CausalGraph::new(data.series().to_vec(), edges))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aiops_core::{Labels, SeriesKey, Timestamp};

    #[test]
    fn every_link_is_that_of_tigramite() {
        // Versions and command: tests/golden/README.md.
        let table = include_str!("../../tests/golden/var.csv");
        let cells = |line: &str| line.split(',').map(|c| c.parse().unwrap()).collect();
        let table: Vec<Vec<f64>> = table.lines().map(cells).collect();
        let keys = (0..5).map(|i| SeriesKey::new(format!("x{i}"), Labels::new())).collect();
        let values = (0..5).flat_map(|i| table.iter().map(move |row| row[i])).collect();
        let step = std::time::Duration::from_secs(1);
        let data = Frame::new(keys, Timestamp::EPOCH, step, values).unwrap();
        let links = PcmciConfig::default().build().unwrap().links(&data, &Knowledge::none());
        let links = links.unwrap();
        let golden = include_str!("../../tests/golden/golden.json");
        let golden: serde_json::Value = serde_json::from_str(golden).unwrap();
        let golden = golden["pcmci"].as_array().unwrap();
        assert_eq!(golden.len(), links.len());
        for row in golden {
            let number = |i: usize| row[i].as_f64().unwrap();
            let at = [0, 1, 2].map(|i| number(i) as usize);
            let link = links.iter().find(|l| [l.cause, l.effect, l.lag] == at).unwrap();
            assert!((link.r - number(3)).abs() < 1e-8, "{link:?} and {row}");
            assert!((link.p_value - number(4)).abs() < 1e-8, "{link:?} and {row}");
        }
    }
}
