//! Ranking by intervention targets: which metrics does the failure itself act on?

use super::scorer::candidate;
use crate::discover::for_each_subset;
use crate::error::within;
use crate::independence::Discrete;
use crate::{Context, PrepareConfig, Result, RootCauseAnalyzer, parallel};
use aiops_core::{Evidence, Ranking};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Takes the failure for an intervention and looks for its targets: a variable F that is 0 in normal
/// time and 1 in the incident is put beside the metrics, and whoever stays dependent on F given any
/// few others is a target. No topology, no direction of harm, no timing.
///
/// The metrics are cut into `bins` categories and tested with G². The search is hierarchical: groups
/// of `group` metrics are reduced to those that stay dependent on F within the group, the survivors
/// are dealt into groups again, until one group is left or nothing is dropped any more. A metric
/// scores by the largest p-value that it met, a service by its best metric.
///
/// Finds changes in the mechanism of a metric where effects of it are explained by it. Fails with
/// short incidents (five bins need hundreds of samples), with causes that move nothing but the
/// scale of a rare value, and, like all methods of this class, when nearly every metric changes at
/// once. Published and measured results are far below the plain scorers on microservices; it is here
/// because people ask for it.
///
/// Time O(metrics · subsets of a group · samples). Gaps are a category of their own.
///
/// Source: Ikram, Chakraborty, Mitra, Saini, Bagchi & Kocaoglu 2022 (RCD), algorithms 1 and 2.
/// Deviations: groups are dealt by the strength of dependence on F instead of at random, so that no
/// seed is needed and names decide nothing but the group of exact equals; the weakest of a group is
/// dropped first; equally full bins in place of
/// k-means; all metrics are scored, instead of raising the level until k are found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RcdConfig {
    /// What is normal time and what is the incident.
    pub prepare: PrepareConfig,
    /// Categories a metric. Default 5, as published.
    pub bins: usize,
    /// Metrics a group. Default 5, as published.
    pub group: usize,
    /// Conditions on at most so many metrics. Default 3: with five bins, four conditions leave less
    /// than one sample a cell at any usual length.
    pub max_conditions: usize,
    /// A metric is dropped when a test's p-value is above it. Default 0.01.
    pub level: f64,
}

impl Default for RcdConfig {
    fn default() -> Self {
        RcdConfig {
            prepare: PrepareConfig::default(),
            bins: 5,
            group: 5,
            max_conditions: 3,
            level: 0.01,
        }
    }
}

impl RcdConfig {
    /// Checks the values and builds the analyzer.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`](crate::Error::InvalidConfig) names the field that is out of range.
    pub fn build(self) -> Result<Rcd> {
        self.prepare.check()?;
        within("bins", self.bins as f64, 2.0, 100.0)?;
        within("group", self.group as f64, 2.0, 20.0)?;
        within("max_conditions", self.max_conditions as f64, 0.0, 10.0)?;
        within("level", self.level, 1e-12, 1.0)?;
        Ok(Rcd { config: self })
    }
}

/// The analyzer of [`RcdConfig`].
#[derive(Debug, Clone)]
pub struct Rcd {
    config: RcdConfig,
}

/// How dependent on F a variable stayed in its weakest test.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Dependence {
    /// −ln of the p-value, which itself may be too small for a number.
    surprise: f64,
    statistic: f64,
    p_value: f64,
}

impl Dependence {
    fn weaker(self, other: Dependence) -> Dependence {
        if other.surprise < self.surprise { other } else { self }
    }
}

impl RootCauseAnalyzer for Rcd {
    fn id(&self) -> &str {
        "rcd"
    }

    fn rank(&self, context: &Context<'_>) -> Result<Ranking> {
        context.check()?;
        let frame = context.window;
        let (before, incident) = self.config.prepare.spans(context);
        let normal_steps = context.normal.map_or(before.len(), |normal| normal.n_steps());
        let mut rows: Vec<usize> =
            (0..frame.n_series()).filter(|&row| context.metrics[row].service.is_some()).collect();
        // Ties below fall to whoever comes first, so the order must not be that of the rows.
        rows.sort_by(|&a, &b| frame.series()[a].cmp(&frame.series()[b]));
        let column = |&row: &usize| -> Vec<f64> {
            let normal = context.normal.map_or(&frame.row(row)[before.clone()], |n| n.row(row));
            normal.iter().chain(&frame.row(row)[incident.clone()]).copied().collect()
        };
        let columns = parallel::map(&rows, column);
        let steps = 0..normal_steps + incident.len();
        let failing: Vec<f64> = steps.map(|t| f64::from(u8::from(t >= normal_steps))).collect();
        let data = Discrete::of(columns.iter().map(Vec::as_slice), Some(self.config.bins));
        let data = data.and(&failing);
        let found = self.search(&data, rows.len());

        let mut services: BTreeMap<&str, Vec<(Dependence, usize)>> = BTreeMap::new();
        for (place, dependence) in found.into_iter().enumerate() {
            let row = rows[place];
            if let Some(service) = context.metrics[row].service.as_deref() {
                services.entry(service).or_default().push((dependence, row));
            }
        }
        let mut candidates = vec![];
        for (service, mut metrics) in services {
            // A stable sort: rows are in the order of their names.
            metrics.sort_by(|a, b| b.0.surprise.total_cmp(&a.0.surprise));
            let score = metrics.first().map_or(0.0, |(best, _)| best.surprise);
            let evidence = metrics.iter().take(3).map(|(dependence, row)| Evidence::Test {
                name: "g_square".into(),
                cause: "the failure".into(),
                effect: frame.series()[*row].to_string(),
                statistic: dependence.statistic,
                p_value: dependence.p_value,
                lag: None,
            });
            candidates.extend(candidate(service, score, evidence.collect()));
        }
        let unknown = -self.config.level.ln();
        let mut ranking = Ranking::from_weights(self.id(), candidates, unknown)?;
        ranking.incident = context.incident;
        Ok(ranking)
    }
}

impl Rcd {
    /// For each of `n` variables how dependent on F, which is number n, it stayed.
    fn search(&self, data: &Discrete, n: usize) -> Vec<Dependence> {
        let mut found: Vec<Dependence> = parallel::map_below(n, |v| dependence(data, v, n, &[]));
        let dependent = |found: &[Dependence], v: &usize| found[*v].p_value <= self.config.level;
        let mut left: Vec<usize> = (0..n).filter(|v| dependent(&found, v)).collect();
        loop {
            left.sort_by(|&a, &b| found[b].surprise.total_cmp(&found[a].surprise).then(a.cmp(&b)));
            // Dealt like cards, so that every group holds strong and weak ones.
            let hands = left.len().div_ceil(self.config.group).max(1);
            let groups: Vec<Vec<usize>> = (0..hands)
                .map(|hand| left.iter().copied().skip(hand).step_by(hands).collect())
                .collect();
            let judged = parallel::map(&groups, |group| self.within(data, n, group, &found));
            for (group, judged) in groups.iter().zip(judged) {
                group.iter().zip(judged).for_each(|(&v, d)| found[v] = found[v].weaker(d));
            }
            let before = left.len();
            left.retain(|v| dependent(&found, v));
            if hands == 1 || left.len() == before {
                return found;
            }
        }
    }

    /// Each member's weakest dependence on F given the members that are still dependent.
    fn within(
        &self,
        data: &Discrete,
        f: usize,
        group: &[usize],
        found: &[Dependence],
    ) -> Vec<Dependence> {
        let mut weakest: Vec<Dependence> = group.iter().map(|&v| found[v]).collect();
        // The weakest first, each dropped at once: two that say the same of F would otherwise explain
        // each other away, and nobody would be left. Exact equals are not tested given each other, or
        // their names would decide which of them stays. Members come strongest first.
        let order: Vec<usize> = (0..group.len()).rev().collect();
        let strength = |place: usize| found[group[place]].surprise;
        let mut near = order.clone();
        for depth in 1..=self.config.max_conditions {
            for equals in order.chunk_by(|&a, &b| strength(a) == strength(b)) {
                let others: Vec<usize> = near
                    .iter()
                    .filter(|other| !equals.contains(other))
                    .map(|&o| group[o])
                    .collect();
                for &place in equals.iter().filter(|place| near.contains(place)) {
                    for_each_subset(&others, depth, |given| {
                        weakest[place] =
                            weakest[place].weaker(dependence(data, group[place], f, given));
                    });
                }
                near.retain(|place| {
                    !equals.contains(place) || weakest[*place].p_value <= self.config.level
                });
            }
        }
        weakest
    }
}

fn dependence(data: &Discrete, v: usize, f: usize, given: &[usize]) -> Dependence {
    let test = data.g_square(v, f, given);
    let surprise = match test.p_value {
        p if p > 1e-300 => -p.ln(),
        // Wilson and Hilferty 1931: the cube root of chi-square over its freedom is nearly normal;
        // then the leading terms of the normal tail.
        _ => {
            let spread = 2.0 / (9.0 * test.freedom);
            let z = ((test.statistic / test.freedom).cbrt() - 1.0 + spread) / spread.sqrt();
            (z * z / 2.0 + z.max(1.0).ln() + 0.918_938_533_204_672_7).max(690.0)
        }
    };
    Dependence { surprise: surprise.max(0.0), statistic: test.statistic, p_value: test.p_value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_effect_is_explained_by_its_cause() {
        // x changes with the failure; y follows x and is dependent on F only through it.
        let n = 4_000;
        // SplitMix64.
        let noise = |t: usize, seed: u64| {
            let mut z = ((seed << 32) + t as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            (z >> 40) as f64 / (1 << 24) as f64
        };
        let failing = |t: usize| t >= n / 2;
        let x: Vec<f64> = (0..n)
            .map(|t| f64::from(u8::from(noise(t, 1) < if failing(t) { 0.8 } else { 0.2 })))
            .collect();
        let y: Vec<f64> =
            (0..n).map(|t| if noise(t, 2) < 0.2 { 1.0 - x[t] } else { x[t] }).collect();
        let f: Vec<f64> = (0..n).map(|t| f64::from(u8::from(failing(t)))).collect();
        let data = Discrete::of([&*x, &*y, &*f], None);
        let found = RcdConfig::default().build().unwrap().search(&data, 2);
        assert!(found[0].p_value < 1e-12, "{found:?}");
        assert!(found[1].p_value > 0.01, "{found:?}");
    }
}
