//! A model that was trained before, so that the first use needs no training.
//!
//! # Recipe
//! `cargo run --release -p aiops-gpu --features train --example train_default -- examples/data`
//! trains the network on [`generated`] series and on the first takes of the recordings in
//! `examples/data`, which are ours, and writes `models/default.safetensors` (70 KB). The forest is fitted
//! to generated series when it is asked for, in some tens of milliseconds.

use aiops_detect::tier3::IsolationForestConfig;

use crate::{LstmWeights, Model, Result, RuleConfig, RunForest, random::Random, weights};

const DEFAULT: &[u8] = include_bytes!("../models/default.safetensors");

/// The LSTM of 64 units that ships with the crate: predicts the next standardised value of metrics at
/// steps of seconds to minutes.
///
/// # Errors
/// [`Error::Weights`](crate::Error::Weights) when the file that was compiled in is not what it should be; a
/// test sees to it.
pub fn lstm() -> Result<LstmWeights> {
    weights::from_safetensors(DEFAULT)
}

/// The LSTM that ships with the crate and a forest of 50 trees on generated series, under a rule.
///
/// ```
/// let model = aiops_gpu::pretrained::model(Default::default())?;
/// assert_eq!(model.lstm.unwrap().hidden(), 64);
/// # Ok::<(), aiops_gpu::Error>(())
/// ```
///
/// # Errors
/// As [`lstm`], and [`Error::InvalidConfig`](crate::Error::InvalidConfig) when the rule is out of range.
pub fn model(rule: RuleConfig) -> Result<Model> {
    let series = generated(2, 63, 500);
    let series: Vec<&[f64]> = series.iter().map(Vec::as_slice).collect();
    let config = IsolationForestConfig { trees: 50, sample: 256, seed: 1 };
    let forest = RunForest::fit(&series, &rule, &config)?;
    Ok(Model { rule, lstm: Some(lstm()?), forest: Some(forest) })
}

/// Made-up metrics of seven kinds, in turn: seasons, drifting noise, levels, bursts that fade, on and off,
/// walks, and counts. The same for the same seed.
pub fn generated(seed: u64, count: usize, length: usize) -> Vec<Vec<f64>> {
    let mut random = Random::new(seed);
    (0..count).map(|i| one(i % 7, length, &mut random)).collect()
}

/// Nearly standard normal: the sum of twelve uniform numbers.
fn normal(random: &mut Random) -> f64 {
    (0..12).map(|_| random.uniform()).sum::<f64>() - 6.0
}

fn one(kind: usize, length: usize, random: &mut Random) -> Vec<f64> {
    let between = |random: &mut Random, low: f64, high: f64| low + (high - low) * random.uniform();
    let offset = between(random, -2.0, 20.0);
    let scale = between(random, -2.0, 4.0).exp2();
    let noise = between(random, 0.02, 0.6);
    let period = between(random, 2.5, 8.5).exp2();
    let phase = std::f64::consts::TAU * random.uniform();
    let harmonic = random.uniform();
    let keep = between(random, 0.3, 0.98);
    let (mut level, mut state) = (0.0, 0.0);
    let change = 1.0 / between(random, 30.0, 400.0);
    let duty = between(random, 0.1, 0.9);
    (0..length)
        .map(|t| {
            let turn = std::f64::consts::TAU * t as f64 / period + phase;
            let value = match kind {
                0 => turn.sin() + harmonic * (2.0 * turn + phase).sin() + noise * normal(random),
                1 => {
                    state = keep * state + (1.0 - keep * keep).sqrt() * normal(random);
                    state
                }
                2 => {
                    if random.uniform() < change {
                        level = 3.0 * normal(random);
                    }
                    level + noise * normal(random)
                }
                3 => {
                    state *= keep;
                    if random.uniform() < change {
                        state += 6.0 * random.uniform();
                    }
                    state + 0.3 * noise * normal(random)
                }
                4 => f64::from(t as f64 % period < duty * period) + 0.2 * noise * normal(random),
                5 => {
                    state = 0.999 * state + 0.2 * normal(random);
                    state + noise * normal(random)
                }
                _ => (4.0 + 3.0 * turn.sin() + 1.5 * normal(random)).max(0.0).round(),
            };
            offset + scale * value
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ships_is_a_model_and_small() {
        assert!(DEFAULT.len() < 200_000);
        let lstm = lstm().unwrap();
        assert_eq!((lstm.hidden(), lstm.parameters()), (64, 17_217));
    }

    #[test]
    fn generated_series_repeat() {
        let series = generated(1, 14, 50);
        assert_eq!(series, generated(1, 14, 50));
        assert!(series.iter().flatten().all(|value| value.is_finite()));
    }
}
