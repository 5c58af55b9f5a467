//! Training an LSTM on the CPU: truncated back-propagation through time, without a framework.
//!
//! A layer of 64 units is small: plain loops over 32 series at a time train it in minutes on one core.
//! What a framework would bring is weight formats, which [`weights`](crate::weights) reads and writes.

mod autoencoder;
mod network;

use std::collections::BTreeMap;

use aiops_core::MetricClass;
pub use autoencoder::TrainedAutoencoder;
use network::{Network, Pass};
use serde::{Deserialize, Serialize};

use crate::{
    Error, LstmWeights, Result, RuleConfig,
    random::Random,
    rule::{CLIP, Moments},
};

/// Series that are trained on side by side.
pub(crate) const LANES: usize = 32;

/// Settings of training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrainConfig {
    /// Hidden units. Default 64.
    pub hidden: usize,
    /// Passes over the data at most. Default 30.
    pub epochs: usize,
    /// Passes without a better validation loss before it stops. Default 4.
    pub patience: usize,
    /// Steps that errors are carried back through. Default 32.
    pub truncate: usize,
    /// Steps after which a series starts over with zero state. Default 512.
    pub segment: usize,
    /// Learning rate of Adam. Default 2e-3.
    pub learning_rate: f64,
    /// The gradient is shortened to this length. Default 1.
    pub clip: f64,
    /// Share of the series that are kept for validation. Default 0.2.
    pub validation: f64,
    /// Seed of starting weights and order. Default 1.
    pub seed: u64,
    /// How series are standardised: as the engine that runs the model will.
    pub rule: RuleConfig,
}

impl Default for TrainConfig {
    fn default() -> Self {
        TrainConfig {
            hidden: 64,
            epochs: 30,
            patience: 4,
            truncate: 32,
            segment: 512,
            learning_rate: 2e-3,
            clip: 1.0,
            validation: 0.2,
            seed: 1,
            rule: RuleConfig::default(),
        }
    }
}

/// How far training is.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// Passes that are done.
    pub epoch: usize,
    /// Passes at most.
    pub epochs: usize,
    /// Mean loss over the pass.
    pub training_loss: f64,
    /// Mean loss on the series kept for validation, after it.
    pub validation_loss: f64,
    /// The lowest validation loss so far.
    pub best: f64,
}

/// A trained network.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Trained {
    /// The weights with the lowest validation loss.
    pub weights: LstmWeights,
    /// Passes that were made.
    pub epochs: usize,
    /// Mean loss on the series kept for validation.
    pub validation_loss: f64,
    /// The same loss of predicting the mean.
    pub mean_loss: f64,
    /// The same loss of predicting the last value again.
    pub last_loss: f64,
}

impl TrainConfig {
    /// Trains a network to predict the next standardised value of a series from all before.
    ///
    /// Series are standardised as an engine would, sample by sample; gaps are left out. The loss is
    /// Huber's with its bend at 2 scales, so that anomalies in the data teach little. State is carried
    /// along a series for [`segment`](Self::segment) steps, errors back through
    /// [`truncate`](Self::truncate). `progress` is called after each pass and ends training by answering
    /// `false`. The same series and settings give the same weights.
    ///
    /// Source: Williams & Peng 1990 (truncated back-propagation through time); Kingma & Ba 2015 (Adam);
    /// forget gates start open, as Gers et al. 2000 advise.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] when a setting is out of range; [`Error::Weights`] when the series are fewer
    /// than two or too short.
    pub fn train(
        &self,
        series: &[&[f64]],
        progress: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<Trained> {
        self.check()?;
        let standard = self.standardise(series)?;
        let mut random = Random::new(self.seed);
        let (validation, training) = self.split(standard.len(), &mut random)?;
        let segments = |chosen: &[usize]| -> Vec<&[f32]> {
            let of = chosen.iter().flat_map(|i| standard[*i].chunks(self.segment));
            of.filter(|segment| segment.len() >= 16).collect()
        };
        let (validation, mut training) = (segments(&validation), segments(&training));
        if training.is_empty() || validation.is_empty() {
            return Err(Error::weights("every series is shorter than 16 samples"));
        }

        let mut network = Network::new(&LstmWeights::random(self.hidden, self.seed));
        let mut adam = Adam::new(network.parameters().len());
        let mut best = (f64::INFINITY, network.weights()?);
        let (mut epoch, mut since) = (0, 0);
        while epoch < self.epochs && since < self.patience {
            shuffle(&mut training, &mut random);
            let mut total = (0.0, 0.0);
            for group in training.chunks(LANES) {
                self.pass(&mut network, group, |network, pass| {
                    total.0 += pass.loss;
                    total.1 += pass.count;
                    let gradient = network.gradient(pass, self.clip);
                    adam.step(network.parameters(), &gradient, self.learning_rate);
                });
            }
            epoch += 1;
            let loss = self.loss(&mut network, &validation);
            since += 1;
            if loss < best.0 {
                best = (loss, network.weights()?);
                since = 0;
            }
            let now = Progress {
                epoch,
                epochs: self.epochs,
                training_loss: total.0 / total.1.max(1.0),
                validation_loss: loss,
                best: best.0,
            };
            if !progress(now) {
                break;
            }
        }
        let naive = |predict: fn(f32) -> f32| {
            let losses = validation.iter().flat_map(|segment| {
                segment.windows(2).map(move |pair| huber(f64::from(predict(pair[0]) - pair[1])))
            });
            let (sum, count) = losses.fold((0.0, 0.0), |(s, n), loss| (s + loss, n + 1.0));
            sum / f64::max(count, 1.0)
        };
        Ok(Trained {
            weights: best.1,
            epochs: epoch,
            validation_loss: best.0,
            mean_loss: naive(|_| 0.0),
            last_loss: naive(|last| last),
        })
    }

    /// Trains a network for each class of metrics, on the series of the class.
    ///
    /// An engine runs one model: give each class an engine, or an
    /// [`EngineBank`](crate::EngineBank), of its own. `progress` learns which class is at work.
    ///
    /// # Errors
    /// As [`train`](Self::train), for the first class that fails.
    pub fn train_classes(
        &self,
        series: &[(MetricClass, &[f64])],
        progress: &mut dyn FnMut(MetricClass, Progress) -> bool,
    ) -> Result<BTreeMap<MetricClass, Trained>> {
        let mut classes: BTreeMap<MetricClass, Vec<&[f64]>> = BTreeMap::new();
        for (class, values) in series {
            classes.entry(*class).or_default().push(values);
        }
        let trained = classes.into_iter().map(|(class, series)| {
            Ok((class, self.train(&series, &mut |now| progress(class, now))?))
        });
        trained.collect()
    }

    /// Which of so many series are kept for validation, and which are trained on.
    fn split(&self, series: usize, random: &mut Random) -> Result<(Vec<usize>, Vec<usize>)> {
        let mut order: Vec<usize> = (0..series).collect();
        shuffle(&mut order, random);
        let kept = ((self.validation * series as f64).ceil() as usize).max(1);
        if kept >= series {
            let reason = format!("2 series that are long enough are needed, got {series}");
            return Err(Error::weights(reason));
        }
        let training = order.split_off(kept);
        Ok((order, training))
    }

    fn check(&self) -> Result<()> {
        self.rule.build()?;
        let counts = [
            ("hidden", self.hidden, 1, crate::model::MAX_HIDDEN),
            ("epochs", self.epochs, 1, 1_000_000),
            ("patience", self.patience, 1, 1_000_000),
            ("truncate", self.truncate, 1, 4096),
            ("segment", self.segment, 16, 1 << 24),
        ];
        for (field, value, least, most) in counts {
            if !(least..=most).contains(&value) {
                let reason = format!("must be within {least} and {most}, got {value}");
                return Err(Error::config(field, reason));
            }
        }
        for (field, value) in [("learning_rate", self.learning_rate), ("clip", self.clip)] {
            if !(value > 0.0 && value.is_finite()) {
                return Err(Error::config(field, format!("must be finite and > 0, got {value}")));
            }
        }
        if !(self.validation > 0.0 && self.validation < 1.0) {
            let reason = format!("must be between 0 and 1, got {}", self.validation);
            return Err(Error::config("validation", reason));
        }
        Ok(())
    }

    /// The deviations that an engine would see, behind the first few.
    fn standardise(&self, series: &[&[f64]]) -> Result<Vec<Vec<f32>>> {
        let rule = self.rule.build()?;
        let standard = series.iter().map(|values| {
            let mut moments = Moments::default();
            let mut out = Vec::with_capacity(values.len());
            for value in values.iter().filter(|value| value.is_finite()) {
                let deviation = moments.deviation(*value);
                rule.learn(&mut moments, *value, deviation, None);
                if moments.seen > 8 {
                    out.push(deviation.clamp(-CLIP, CLIP) as f32);
                }
            }
            out
        });
        // What never moves teaches nothing.
        Ok(standard.filter(|s| s.len() >= 16 && s.iter().any(|v| *v != s[0])).collect())
    }

    /// Runs a group of segments side by side, a stretch of `truncate` steps at a time.
    fn pass(
        &self,
        network: &mut Network,
        group: &[&[f32]],
        mut after: impl FnMut(&mut Network, &Pass),
    ) {
        let longest = group.iter().map(|segment| segment.len()).max().unwrap_or(0);
        let mut state = network.zero_state();
        for first in (0..longest.saturating_sub(1)).step_by(self.truncate) {
            let steps = self.truncate.min(longest - 1 - first);
            let at = |step: usize, lane: usize| -> Option<f32> {
                group.get(lane).and_then(|segment| segment.get(first + step)).copied()
            };
            let pass = network.forward(&mut state, steps, &at);
            after(network, &pass);
        }
    }

    fn loss(&self, network: &mut Network, segments: &[&[f32]]) -> f64 {
        let (mut loss, mut count) = (0.0, 0.0);
        for group in segments.chunks(LANES) {
            self.pass(network, group, |_, pass| {
                loss += pass.loss;
                count += pass.count;
            });
        }
        loss / f64::max(count, 1.0)
    }
}

/// Where Huber's loss bends, in scales.
pub(crate) const BEND: f64 = 2.0;

pub(crate) fn huber(error: f64) -> f64 {
    let size = error.abs();
    if size <= BEND { 0.5 * size * size } else { BEND * (size - 0.5 * BEND) }
}

fn shuffle<T>(items: &mut [T], random: &mut Random) {
    for i in (1..items.len()).rev() {
        items.swap(i, (random.bits() % (i as u64 + 1)) as usize);
    }
}

/// Adam, with the paper's constants.
struct Adam {
    mean: Vec<f32>,
    square: Vec<f32>,
    steps: i32,
}

impl Adam {
    fn new(parameters: usize) -> Self {
        Adam { mean: vec![0.0; parameters], square: vec![0.0; parameters], steps: 0 }
    }

    fn step(&mut self, parameters: &mut [f32], gradient: &[f32], rate: f64) {
        const KEEP: (f32, f32) = (0.9, 0.999);
        self.steps = self.steps.saturating_add(1);
        let correct = |keep: f32| 1.0 - f64::from(keep).powi(self.steps);
        let rate = (rate * correct(KEEP.1).sqrt() / correct(KEEP.0)) as f32;
        let moments = self.mean.iter_mut().zip(&mut self.square);
        for ((p, g), (mean, square)) in parameters.iter_mut().zip(gradient).zip(moments) {
            *mean += (1.0 - KEEP.0) * (g - *mean);
            *square += (1.0 - KEEP.1) * (g * g - *square);
            *p -= rate * *mean / (square.sqrt() + 1e-8);
        }
    }
}
