//! Stage 2a: how likely two onsets belong together, given how their services are related and how
//! many seconds lie between them.

use serde::{Deserialize, Serialize};
use std::time::Duration;

use crate::near::{Relation, TABLES, table};

/// How trouble spreads: with which chance, and how long it takes.
///
/// The chances are per *series* of the neighbour, not per service: a dependent that is hit raises
/// one or two of the alerts it could raise. Defaults are guesses that suit request-driven services
/// whose alerts are evaluated every 15 to 60 seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SpreadConfig {
    /// Onsets further apart than this are never linked. Default 5 minutes.
    pub window: Duration,
    /// Median seconds that trouble takes from a dependency to a dependent. Default 25.
    pub hop_s: f64,
    /// Spread of that time (standard deviation of the natural logarithm). Default 0.6.
    pub hop_sigma: f64,
    /// Mean seconds between alerts of one service. Default 18.
    pub same_service_s: f64,
    /// Chance that a given series of a dependent, one call away, alerts too. Default 0.25.
    pub depends_on: f64,
    /// The same against the causal direction (the cause is noticed after its effect). Default 0.02.
    pub called_by: f64,
    /// The same for another series of the same service. Default 0.5.
    pub same_service: f64,
    /// The same for services that share a dependency. Default 0.02.
    pub shared_dependency: f64,
    /// The same for services on one host. Default 0.01.
    pub same_host: f64,
    /// Factor for a second call between the two. Default 0.4.
    pub second_hop: f64,
    /// Mean seconds between the ends of alerts of one incident; 0 to give ends no say in what belongs
    /// together. Default 30.
    pub recovery_s: f64,
}

impl Default for SpreadConfig {
    fn default() -> Self {
        SpreadConfig {
            window: Duration::from_secs(300),
            hop_s: 25.0,
            hop_sigma: 0.6,
            same_service_s: 18.0,
            depends_on: 0.25,
            called_by: 0.02,
            same_service: 0.5,
            shared_dependency: 0.02,
            same_host: 0.01,
            second_hop: 0.4,
            recovery_s: 30.0,
        }
    }
}

/// ln densities of onset gaps by relation, tabulated per second (crate-private).
#[derive(Debug, Clone)]
pub(crate) struct Spread {
    tables: Vec<Vec<f32>>,
    /// Chance by the end of each second, summed up.
    expected: Vec<Vec<f32>>,
}

/// Share of effects that show up without the usual delay, in either order.
const PROMPT: f64 = 0.15;
/// Alerts that a service could raise: chances are per series, followers are counted in services.
const SERIES: f64 = 3.0;
/// Mean seconds of evaluation jitter, which every gap carries.
const JITTER_S: f64 = 12.0;

impl Spread {
    pub(crate) fn new(config: &SpreadConfig) -> Self {
        let window_s = config.window.as_secs_f64();
        let seconds = window_s.ceil() as usize + 1;
        let exponential = |gap: f64, mean: f64| (-gap / mean).exp() / mean;
        let delayed = |gap: f64, hops: f64| {
            let median = config.hop_s * hops;
            let prompt = exponential(gap, JITTER_S);
            (1.0 - PROMPT) * log_normal(gap, median, config.hop_sigma) + PROMPT * prompt
        };
        // Sharers wait for a delay each; the difference of two is wider than one of them.
        let density = |kind: usize, gap: f64| match kind {
            0 => config.same_service * exponential(gap, config.same_service_s),
            1 => config.depends_on * delayed(gap, 1.0),
            2 => config.depends_on * config.second_hop * delayed(gap, 2.0),
            3 => config.called_by * exponential(gap, JITTER_S),
            4 => config.called_by * config.second_hop * exponential(gap, JITTER_S),
            5 => config.shared_dependency * exponential(gap, config.hop_s * 0.6),
            _ => config.same_host * exponential(gap, config.hop_s * 0.5),
        };
        let table = |kind: usize| -> Vec<f32> {
            let middle = |second| density(kind, second as f64 + 0.5).max(1e-30).ln() as f32;
            (0..seconds).map(middle).collect()
        };
        let tables: Vec<Vec<f32>> = (0..TABLES).map(table).collect();
        let expected = tables.iter().map(|table| {
            let mut sum = 0.0;
            let add = |ln: &f32| {
                sum += ln.exp();
                sum
            };
            table.iter().map(add).collect()
        });
        let expected = expected.collect();
        Spread { tables, expected }
    }

    /// How many alerts should have followed one of a service with these `followers` after `age_s`.
    pub(crate) fn expected(&self, followers: &[f32; TABLES], age_s: f64) -> f64 {
        let second = (age_s.max(0.0) as usize).min(self.expected[0].len() - 1);
        let all = followers.iter().zip(&self.expected);
        f64::from(all.map(|(n, chances)| n * chances[second]).sum::<f32>()) * SERIES
    }

    /// ln of (chance × density of the gap), per second. The gap is from the earlier onset to the
    /// later one and at most the window.
    pub(crate) fn ln_density(&self, relation: Relation, hops: u8, gap_s: f64) -> f64 {
        let table = &self.tables[table(relation, hops)];
        f64::from(table[(gap_s.max(0.0) as usize).min(table.len() - 1)])
    }
}

/// The density of a gap along a dependency where delays are e^`ln_slower` times what is configured: the
/// configured one, stretched.
pub(crate) fn stretched(ln_density: impl Fn(f64) -> f64, gap_s: f64, ln_slower: f64) -> f64 {
    ln_density(gap_s * (-ln_slower).exp()) - ln_slower
}

fn log_normal(x: f64, median: f64, sigma: f64) -> f64 {
    let z = (x.max(1e-3) / median).ln() / sigma;
    (-0.5 * z * z).exp() / (x.max(1e-3) * sigma * (2.0 * std::f64::consts::PI).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_causal_direction_and_a_plausible_delay_win() {
        let spread = Spread::new(&SpreadConfig::default());
        let at = |relation, hops, gap| spread.ln_density(relation, hops, gap);
        use Relation::{CalledBy, DependsOn, SharedDependency};
        assert!(at(DependsOn, 1, 30.0) > at(CalledBy, 1, 30.0) + 1.0);
        assert!(at(DependsOn, 1, 30.0) > at(DependsOn, 1, 250.0) + 2.0);
        assert!(at(DependsOn, 2, 50.0) > at(DependsOn, 2, 150.0) + 1.0);
        assert!(at(DependsOn, 1, 30.0) > at(SharedDependency, 1, 30.0));
    }

    /// Hand calculation: at its median a log-normal has density 1 / (median · σ · √(2π)).
    #[test]
    fn log_normal_by_hand() {
        assert!((log_normal(30.0, 30.0, 0.8) - 1.0 / (30.0 * 0.8 * 2.506_628_27)).abs() < 1e-9);
    }
}
