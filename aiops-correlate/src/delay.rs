//! How long trouble takes along each call, learned from the onsets that were linked.

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use crate::snapshot::sorted_map;

/// Delays from a dependency to its dependent, by edge.
///
/// The median of ln delay of an edge is shrunk towards that of all edges, and that one towards what
/// is configured: an edge that was seen twice is judged by the others. Each observation is cut off at
/// [`REACH`] around what is believed, so that one odd gap moves little (Huber's location estimate,
/// 1964, taken one step at a time).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Delays {
    #[serde(serialize_with = "sorted_map")]
    edges: FxHashMap<u64, Seen>,
    all: Seen,
}

/// Delays seen: how many, and the sum of their logarithms in units of the configured median.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Seen {
    n: f64,
    sum: f64,
}

/// What is configured counts as so many delays of any edge, and those of all edges as so many of one.
const CONFIGURED: f64 = 20.0;
const OTHERS: f64 = 5.0;
/// Furthest that one observation speaks, in ln: a factor of 4.5 either way.
const REACH: f64 = 1.5;
/// Edges that are remembered; more are judged like the others.
const EDGES: usize = 65_536;
/// What is left of an edge when it is forgotten.
const LEAST: f64 = 0.1;

impl Seen {
    fn add(&mut self, value: f64, weight: f64) {
        self.n += weight;
        self.sum += weight * value;
    }

    /// The mean with `worth` further observations of `prior`.
    fn mean(&self, prior: f64, worth: f64) -> f64 {
        (worth * prior + self.sum) / (worth + self.n)
    }
}

fn key(dependent: u32, dependency: u32) -> u64 {
    u64::from(dependent) << 32 | u64::from(dependency)
}

impl Delays {
    /// ln of the typical delay over the configured one, for all edges.
    pub(crate) fn ln_common(&self) -> f64 {
        self.all.mean(0.0, CONFIGURED)
    }

    /// ln of the typical delay over the configured one, for one edge.
    pub(crate) fn ln_of(&self, dependent: u32, dependency: u32) -> f64 {
        let common = self.ln_common();
        let seen = self.edges.get(&key(dependent, dependency));
        seen.map_or(common, |seen| seen.mean(common, OTHERS))
    }

    /// The delay was `times` the configured one, in what was trouble with this `weight`.
    pub(crate) fn learn(&mut self, dependent: u32, dependency: u32, times: f64, weight: f64) {
        let value = times.max(1e-3).ln();
        let (common, own) = (self.ln_common(), self.ln_of(dependent, dependency));
        self.all.add(value.clamp(common - REACH, common + REACH), weight);
        let full = self.edges.len() >= EDGES;
        let key = key(dependent, dependency);
        if !full || self.edges.contains_key(&key) {
            let seen = self.edges.entry(key).or_default();
            seen.add(value.clamp(own - REACH, own + REACH), weight);
        }
    }

    /// Forgets: every count times `factor`.
    pub(crate) fn fade(&mut self, factor: f64) {
        let fade = |seen: &mut Seen| *seen = Seen { n: seen.n * factor, sum: seen.sum * factor };
        fade(&mut self.all);
        self.edges.values_mut().for_each(fade);
        self.edges.retain(|_, seen| seen.n >= LEAST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_edge_is_learned_and_the_others_stay_what_they_are() {
        let mut delays = Delays::default();
        for _ in 0..40 {
            delays.learn(1, 2, 6.0, 1.0);
            (0..9).for_each(|other| delays.learn(10 + other, 2, 1.0, 1.0));
        }
        let slow = delays.ln_of(1, 2).exp();
        assert!((4.5..6.5).contains(&slow), "{slow}");
        assert!(delays.ln_of(10, 2).exp() < 1.2 && delays.ln_of(77, 78).exp() < 1.3);
    }

    #[test]
    fn one_odd_gap_moves_little_and_everything_fades() {
        let mut delays = Delays::default();
        (0..20).for_each(|_| delays.learn(1, 2, 1.0, 1.0));
        delays.learn(1, 2, 1e9, 1.0);
        assert!(delays.ln_of(1, 2).abs() < 0.1);
        for _ in 0..8 {
            delays.fade(0.5);
        }
        assert!(delays.edges.is_empty() && delays.ln_common().abs() < 0.01);
    }
}
