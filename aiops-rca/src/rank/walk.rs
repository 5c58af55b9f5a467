//! Rankings by walking the graph from the symptoms towards where trouble comes from.

use super::magnitude::weigh;
use super::scorer::candidate;
use crate::error::within;
use crate::prepare::Prepared;
use crate::{Context, MagnitudeConfig, PrepareConfig, Result, RootCauseAnalyzer};
use aiops_core::{Depends, Evidence, Ranking};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A walk over services, from dependents to dependencies, drawn to those that are abnormal.
///
/// The score of a service is how often the walker is there in the long run, times its own weight.
/// With `order` 1 it is personalised PageRank: from each service to one of its dependencies (or to
/// itself) in proportion to their weights, and with probability 1 − `damping` back to a start drawn
/// in proportion to weight. With `order` 2 the walker remembers where it came from: it does not turn
/// round at once unless there is nowhere else, in which case it steps back with `back` of the
/// weight.
///
/// Finds abnormal services that many abnormal ones depend on. Fails on long thin chains, where the
/// walk rarely arrives, and has no sense of time or size. Both orders are weak in the published
/// comparisons; they are here because people ask for them.
///
/// The stationary distribution is computed by power iteration, not by sampling, so it is exact to
/// `1e-12` and needs no seed. Time O(iterations · edges), for order 2 O(iterations · pairs of edges).
///
/// Sources: Page et al. 1999; Kim, Sumbaly & Shah 2013 (MonitorRank); Meng et al. 2020 (MicroCause)
/// for the second order. Deviation: weights are those of [`MagnitudeConfig`] in place of correlations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WalkConfig {
    /// 1 or 2. Default 1.
    pub order: u8,
    /// The probability of going on. Default 0.85.
    pub damping: f64,
    /// Share of its weight with which the place just left may be returned to. Default 0.1.
    pub back: f64,
    /// How the window is read.
    pub prepare: PrepareConfig,
    /// How deviations are weighed.
    pub magnitude: MagnitudeConfig,
}

impl Default for WalkConfig {
    fn default() -> Self {
        WalkConfig {
            order: 1,
            damping: 0.85,
            back: 0.1,
            prepare: PrepareConfig::default(),
            magnitude: MagnitudeConfig::default(),
        }
    }
}

impl WalkConfig {
    /// Checks the values and builds the analyzer.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`](crate::Error::InvalidConfig) names the field that is out of range.
    pub fn build(self) -> Result<Walk> {
        within("order", f64::from(self.order), 1.0, 2.0)?;
        within("damping", self.damping, 0.0, 0.999)?;
        within("back", self.back, 0.0, 1.0)?;
        self.prepare.check()?;
        self.magnitude.check()?;
        Ok(Walk { config: self })
    }
}

/// The analyzer of [`WalkConfig`].
#[derive(Debug, Clone)]
pub struct Walk {
    config: WalkConfig,
}

impl RootCauseAnalyzer for Walk {
    fn id(&self) -> &str {
        match self.config.order {
            2 => "random_walk",
            _ => "page_rank",
        }
    }

    fn rank(&self, context: &Context<'_>) -> Result<Ranking> {
        let config = &self.config;
        let prepared = config.prepare.prepare(context)?;
        let weighed: Vec<_> = prepared
            .suspects
            .iter()
            .map(|suspect| weigh(&config.magnitude, &config.prepare, &prepared, suspect))
            .collect();
        let weights: Vec<f64> = weighed.iter().map(|weight| weight.value).collect();
        let below = neighbours(context, &prepared);
        let visits = match config.order {
            2 => self.second_order(&weights, &below),
            _ => self.first_order(&weights, &below),
        };
        let mut candidates = vec![];
        for (index, suspect) in prepared.suspects.iter().enumerate() {
            let evidence = weighed[index].by.map(|deviation| {
                let deviation = &prepared.deviations[deviation];
                Evidence::Magnitude {
                    metric: deviation.metric(),
                    score: deviation.score,
                    expected: deviation.expected,
                    observed: deviation.observed,
                }
            });
            let score = visits[index] * weights[index];
            candidates.extend(candidate(&suspect.service, score, evidence.into_iter().collect()));
        }
        // The unknown weighs as a suspect of score 3 that is visited as often as the mean one.
        let unknown = config.magnitude.of_score(3.0, config.prepare.abnormal);
        let unknown = unknown / prepared.suspects.len().max(1) as f64;
        let mut ranking = Ranking::from_weights(self.id(), candidates, unknown)?;
        ranking.incident = context.incident;
        Ok(ranking)
    }
}

/// For each suspect those that it depends on directly, in order.
fn neighbours(context: &Context<'_>, prepared: &Prepared) -> Vec<Vec<usize>> {
    let suspects = prepared.suspects.iter().enumerate();
    let index: BTreeMap<_, usize> = suspects.filter_map(|(i, s)| Some((s.node?, i))).collect();
    let of = |suspect: &crate::Suspect| {
        let nodes = suspect.node.map(|n| context.topology.neighbours(n, Depends::Dependencies));
        let mut below: Vec<usize> =
            nodes.unwrap_or_default().iter().filter_map(|n| index.get(n).copied()).collect();
        below.sort_unstable();
        below
    };
    prepared.suspects.iter().map(of).collect()
}

/// More than enough for a damping of 0.999 at this precision.
const ITERATIONS: usize = 1_000;
const PRECISION: f64 = 1e-12;

impl Walk {
    fn first_order(&self, weights: &[f64], below: &[Vec<usize>]) -> Vec<f64> {
        let damping = self.config.damping;
        let start = shares(weights.iter().copied());
        let steps: Vec<Vec<(usize, f64)>> = (0..weights.len())
            .map(|from| {
                let to: Vec<usize> = below[from].iter().copied().chain([from]).collect();
                let chances = shares(to.iter().map(|&i| weights[i]));
                to.into_iter().zip(chances).collect()
            })
            .collect();
        iterate(start.clone(), |at, next| {
            next.iter_mut().zip(&start).for_each(|(n, s)| *n = (1.0 - damping) * s);
            for (from, steps) in steps.iter().enumerate() {
                steps.iter().for_each(|&(to, chance)| next[to] += damping * at[from] * chance);
            }
        })
    }

    /// The state is a step (from, to), with (i, i) for a start at i and for staying there.
    fn second_order(&self, weights: &[f64], below: &[Vec<usize>]) -> Vec<f64> {
        let damping = self.config.damping;
        let n = weights.len();
        let mut states: Vec<(usize, usize)> = (0..n).map(|i| (i, i)).collect();
        for (from, to) in below.iter().enumerate() {
            states.extend(
                to.iter().filter(|&&to| to != from).flat_map(|&to| [(from, to), (to, from)]),
            );
        }
        states.sort_unstable();
        states.dedup();
        let index: BTreeMap<(usize, usize), usize> =
            states.iter().enumerate().map(|(i, &state)| (state, i)).collect();
        let shares_of_start = shares(weights.iter().copied());
        let mut start = vec![0.0; states.len()];
        for (i, share) in shares_of_start.into_iter().enumerate() {
            start[index[&(i, i)]] = share;
        }
        let steps: Vec<Vec<(usize, f64)>> = states
            .iter()
            .map(|&(before, at)| {
                let onward = below[at].iter().filter(|&&to| to != at && to != before);
                let mut to: Vec<(usize, f64)> =
                    onward.map(|&to| (index[&(at, to)], weights[to])).collect();
                to.push((index[&(at, at)], weights[at]));
                if before != at {
                    // Back to where it came from, which is one of the states by construction.
                    to.push((index[&(at, before)], self.config.back * weights[before]));
                }
                let chances = shares(to.iter().map(|(_, weight)| *weight));
                to.iter().map(|(state, _)| *state).zip(chances).collect()
            })
            .collect();
        let stationary = iterate(start.clone(), |at, next| {
            next.iter_mut().zip(&start).for_each(|(n, s)| *n = (1.0 - damping) * s);
            for (from, steps) in steps.iter().enumerate() {
                steps.iter().for_each(|&(to, chance)| next[to] += damping * at[from] * chance);
            }
        });
        let mut visits = vec![0.0; n];
        states.iter().zip(stationary).for_each(|((_, at), share)| visits[*at] += share);
        visits
    }
}

fn iterate(mut at: Vec<f64>, step: impl Fn(&[f64], &mut [f64])) -> Vec<f64> {
    let mut next = vec![0.0; at.len()];
    for _ in 0..ITERATIONS {
        step(&at, &mut next);
        let moved: f64 = at.iter().zip(&next).map(|(a, b)| (a - b).abs()).sum();
        std::mem::swap(&mut at, &mut next);
        if moved < PRECISION {
            break;
        }
    }
    at
}

/// Parts of one; equal parts when nothing has weight.
fn shares(weights: impl Iterator<Item = f64> + Clone) -> Vec<f64> {
    let total: f64 = weights.clone().sum();
    let n = weights.clone().count() as f64;
    weights.map(|w| if total > 0.0 { w / total } else { 1.0 / n }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(order: u8) -> Walk {
        WalkConfig { order, ..WalkConfig::default() }.build().unwrap()
    }

    #[test]
    fn a_chain_of_two_is_solved_by_hand() {
        // 0 depends on 1, equal weights, damping d: from 0 to either with one half, 1 stays.
        // v0 = (1-d)/2 + d v0/2, so v0 = (1-d)/(2-d) = 0.15/1.15.
        let visits = walk(1).first_order(&[1.0, 1.0], &[vec![1], vec![]]);
        assert!((visits[0] - 0.15 / 1.15).abs() < 1e-10, "{visits:?}");
        assert!((visits[0] + visits[1] - 1.0).abs() < 1e-10);
    }

    #[test]
    fn the_second_order_keeps_all_probability_and_still_goes_down() {
        let visits = walk(2).second_order(&[1.0, 1.0, 1.0], &[vec![1], vec![2], vec![]]);
        assert!((visits.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        assert!(visits[2] > visits[1] && visits[1] > visits[0], "{visits:?}");
    }
}
