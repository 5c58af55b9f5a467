//! Training an autoencoder of windows.

use super::{
    Adam, LANES, Progress, TrainConfig, huber,
    network::{Column, Network, Step, bent, shorten},
    shuffle,
};
use crate::{Error, LstmWeights, Result, random::Random};

/// A trained encoder and decoder, for [`Autoencoder::new`](crate::Autoencoder::new).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TrainedAutoencoder {
    /// Reads a window.
    pub encoder: LstmWeights,
    /// Tells it backwards.
    pub decoder: LstmWeights,
    /// Passes that were made.
    pub epochs: usize,
    /// Mean loss on the series kept for validation.
    pub validation_loss: f64,
    /// The same loss of telling the mean.
    pub mean_loss: f64,
}

/// Both networks, and what each learns at.
struct Pair {
    encoder: Network,
    decoder: Network,
}

/// A group of windows on its way forward.
struct Told {
    read: Vec<Step>,
    /// Told values less those of the window, last first; 0 in lanes without a window.
    errors: Vec<Column>,
    steps: Vec<Step>,
    loss: f64,
}

impl Pair {
    /// Reads a group of windows and tells them backwards, each value from the one told before.
    fn forward(&self, windows: &[&[f32]], length: usize) -> Told {
        let at = |lane: usize, step: usize| windows.get(lane).map_or(0.0, |window| window[step]);
        let mut state = self.encoder.zero_state();
        let column = |step: usize| -> Column { std::array::from_fn(|lane| at(lane, step)) };
        let read = (0..length).map(|step| self.encoder.step(&mut state, column(step)).0).collect();
        let mut told = Told { read, errors: Vec::new(), steps: Vec::new(), loss: 0.0 };
        let mut value = self.decoder.read(&state);
        for back in (0..length).rev() {
            if back + 1 < length {
                let (step, next) = self.decoder.step(&mut state, value);
                told.steps.push(step);
                value = next;
            }
            let mut error = [0.0; LANES];
            for (lane, error) in error.iter_mut().enumerate().take(windows.len()) {
                *error = value[lane] - at(lane, back);
                told.loss += huber(f64::from(*error));
            }
            told.errors.push(error);
        }
        told
    }

    /// Slopes of the mean loss by the weights of both.
    fn gradients(&mut self, told: &Told, windows: usize, length: usize) -> [Vec<f32>; 2] {
        let mut by_encoder = vec![0.0; self.encoder.parameters().len()];
        let mut by_decoder = vec![0.0; self.decoder.parameters().len()];
        let share = 1.0 / (windows * length) as f32;
        let mut from = self.encoder.zero_state();
        // A told value is wrong by itself, and misleads the next.
        let mut misled = [0.0; LANES];
        let summary = &told.read[length - 1].state;
        for (i, error) in told.errors.iter().enumerate().rev() {
            let slope: Column =
                std::array::from_fn(|lane| bent(error[lane]) * share + misled[lane]);
            let after = if i == 0 { summary } else { &told.steps[i - 1].state };
            self.decoder.read_back(after, &slope, &mut from, &mut by_decoder);
            if i > 0 {
                let before = if i == 1 { summary } else { &told.steps[i - 2].state };
                misled = self.decoder.back(&told.steps[i - 1], before, &mut from, &mut by_decoder);
            }
        }
        let zero = self.encoder.zero_state();
        for (i, step) in told.read.iter().enumerate().rev() {
            let before = if i == 0 { &zero } else { &told.read[i - 1].state };
            self.encoder.back(step, before, &mut from, &mut by_encoder);
        }
        [by_encoder, by_decoder]
    }
}

impl TrainConfig {
    /// Trains an encoder and a decoder to tell windows of `length` standardised values from a summary.
    ///
    /// Windows follow each other without overlap, of series that are standardised as [`train`](Self::train)
    /// does; `truncate` and `segment` do not matter, because errors are carried through the whole window,
    /// told values included: what is trained is what
    /// [`Autoencoder::score`](crate::Autoencoder::score) runs. Huber's loss. The same series and settings
    /// give the same weights.
    ///
    /// Source: Malhotra et al. 2016; deviation: the decoder is fed what it told also in training, where they
    /// feed it the window.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] when a setting is out of range or `length` is not within 2 and 1024;
    /// [`Error::Weights`] when fewer than two series are long enough.
    pub fn train_autoencoder(
        &self,
        series: &[&[f64]],
        length: usize,
        progress: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<TrainedAutoencoder> {
        self.check()?;
        if !(2..=1024).contains(&length) {
            let reason = format!("must be within 2 and 1024, got {length}");
            return Err(Error::config("length", reason));
        }
        let mut standard = self.standardise(series)?;
        standard.retain(|values| values.len() >= length);
        let mut random = Random::new(self.seed);
        let (kept, rest) = self.split(standard.len(), &mut random)?;
        let windows = |chosen: &[usize]| -> Vec<&[f32]> {
            chosen.iter().flat_map(|i| standard[*i].chunks_exact(length)).collect()
        };
        let (validation, mut training) = (windows(&kept), windows(&rest));

        let start = |seed: u64| Network::new(&LstmWeights::random(self.hidden, seed));
        let mut pair = Pair { encoder: start(self.seed), decoder: start(self.seed ^ 0x5EED) };
        let parameters = pair.encoder.parameters().len();
        let (mut first, mut second) = (Adam::new(parameters), Adam::new(parameters));
        let mut best = (f64::INFINITY, pair.encoder.weights()?, pair.decoder.weights()?);
        let (mut epoch, mut since) = (0, 0);
        let values = |windows: &[&[f32]]| (windows.len() * length) as f64;
        while epoch < self.epochs && since < self.patience {
            shuffle(&mut training, &mut random);
            let mut total = 0.0;
            for group in training.chunks(LANES) {
                let told = pair.forward(group, length);
                total += told.loss;
                let [mut by_encoder, mut by_decoder] = pair.gradients(&told, group.len(), length);
                shorten(&mut by_encoder, self.clip);
                shorten(&mut by_decoder, self.clip);
                first.step(pair.encoder.parameters(), &by_encoder, self.learning_rate);
                second.step(pair.decoder.parameters(), &by_decoder, self.learning_rate);
            }
            epoch += 1;
            let losses = validation.chunks(LANES).map(|group| pair.forward(group, length).loss);
            let loss = losses.sum::<f64>() / values(&validation);
            since += 1;
            if loss < best.0 {
                best = (loss, pair.encoder.weights()?, pair.decoder.weights()?);
                since = 0;
            }
            let now = Progress {
                epoch,
                epochs: self.epochs,
                training_loss: total / values(&training),
                validation_loss: loss,
                best: best.0,
            };
            if !progress(now) {
                break;
            }
        }
        let of_mean = validation.iter().flat_map(|window| window.iter());
        let mean_loss = of_mean.map(|v| huber(f64::from(*v))).sum::<f64>() / values(&validation);
        let (validation_loss, encoder, decoder) = best;
        Ok(TrainedAutoencoder { encoder, decoder, epochs: epoch, validation_loss, mean_loss })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both gradients against differences of the loss, which know nothing of the way back.
    #[test]
    fn the_gradients_are_the_slopes_of_the_loss() {
        let network = |seed| Network::new(&LstmWeights::random(3, seed));
        let mut pair = Pair { encoder: network(1), decoder: network(2) };
        let windows: Vec<Vec<f32>> = (0..5)
            .map(|w| (0..6).map(|t| ((w * 5 + t * 2) as f32 * 0.6).sin()).collect())
            .collect();
        let windows: Vec<&[f32]> = windows.iter().map(Vec::as_slice).collect();
        let told = pair.forward(&windows, 6);
        let gradients = pair.gradients(&told, 5, 6);
        for (which, gradient) in gradients.iter().enumerate() {
            for (place, slope) in gradient.iter().enumerate() {
                let mut moved = |by: f32| {
                    let network = if which == 0 { &mut pair.encoder } else { &mut pair.decoder };
                    network.parameters()[place] += by;
                    let loss = pair.forward(&windows, 6).loss / 30.0;
                    let network = if which == 0 { &mut pair.encoder } else { &mut pair.decoder };
                    network.parameters()[place] -= by;
                    loss
                };
                let difference = (moved(1e-2) - moved(-1e-2)) / 2e-2;
                let off = (difference - f64::from(*slope)).abs();
                assert!(
                    off < 1e-4 + 0.01 * difference.abs(),
                    "{which}, {place}: {slope} against {difference}"
                );
            }
        }
    }

    /// What is trained is what is scored.
    #[test]
    fn it_tells_what_the_autoencoder_tells() {
        let (encoder, decoder) = (LstmWeights::random(4, 3), LstmWeights::random(4, 4));
        let mut pair = Pair { encoder: Network::new(&encoder), decoder: Network::new(&decoder) };
        let (encoder, decoder) = (pair.encoder.weights().unwrap(), pair.decoder.weights().unwrap());
        let window: Vec<f32> = (0..7).map(|t| (t as f32 * 0.9).cos()).collect();
        let told = pair.forward(&[&window], 7);
        let mean = told.errors.iter().map(|error| f64::from(error[0]).powi(2)).sum::<f64>() / 7.0;
        let scorer = crate::Autoencoder::new(&encoder, &decoder).unwrap();
        let mut score = [f64::NAN];
        scorer.score(&window, 7, &mut score).unwrap();
        assert!((score[0] - mean).abs() < 1e-5 * mean.max(1.0));
        assert_eq!(pair.encoder.parameters().len(), pair.decoder.parameters().len());
    }
}
