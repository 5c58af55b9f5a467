//! [`Autoencoder`]: how badly a window can be told from a summary of it.

use crate::{
    Error, LstmReference, LstmWeights, Result, Simd,
    simd::{
        Lines,
        lstm::{Packed, Tile},
    },
};

/// Scores whole windows by how badly two LSTMs reconstruct them.
///
/// The encoder reads the window; the decoder starts from its state and tells the window backwards, each
/// value from the one it told before. The score is the mean square of the differences. It sees shapes that
/// training did not hold, wherever in the window they are; a stream costs a whole window a sample, so that
/// the [`Forecaster`](crate::Forecaster) is the default there.
///
/// The last value is told by the decoder's readout of the encoder's state. Weights come from
/// `train_autoencoder` (feature `train`), or from PyTorch, see
/// [`autoencoder_from_safetensors`](crate::weights::autoencoder_from_safetensors). Cost: twice that of [`Forecaster::windows`](crate::Forecaster::windows). Scores are within 1e-4 of
/// [`score_reference`](Self::score_reference), relative to one.
///
/// Source: Malhotra et al. 2016, "LSTM-based encoder-decoder for multi-sensor anomaly detection"; deviation:
/// the mean square for their Mahalanobis distance of the errors.
///
/// ```
/// use aiops_gpu::{Autoencoder, LstmWeights};
/// let (encoder, decoder) = (LstmWeights::random(16, 1), LstmWeights::random(16, 2));
/// let autoencoder = Autoencoder::new(&encoder, &decoder)?;
/// let mut scores = [f64::NAN; 2];
/// autoencoder.score(&[0.1, 0.2, 0.1, 9.0, -9.0, 9.0], 3, &mut scores)?;
/// assert!(scores[1] > scores[0], "nothing of this size was told");
/// # Ok::<(), aiops_gpu::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Autoencoder {
    encoder: Packed,
    decoder: Packed,
    weights: (LstmWeights, LstmWeights),
}

impl Autoencoder {
    /// On the widest instructions that this processor has. The encoder's readout is not used.
    ///
    /// # Errors
    /// [`Error::Weights`] when the two have different numbers of hidden units.
    pub fn new(encoder: &LstmWeights, decoder: &LstmWeights) -> Result<Self> {
        Autoencoder::on(encoder, decoder, Simd::detect())
    }

    /// On given instructions.
    ///
    /// # Errors
    /// As [`new`](Self::new), and [`Error::Unavailable`] when this processor does not have them.
    pub fn on(encoder: &LstmWeights, decoder: &LstmWeights, simd: Simd) -> Result<Self> {
        let (a, b) = (encoder.hidden(), decoder.hidden());
        if a != b {
            return Err(Error::weights(format!("an encoder of {a} units, a decoder of {b}")));
        }
        let simd = simd.check()?;
        let weights = (encoder.clone(), decoder.clone());
        let (encoder, decoder) = (Packed::new(encoder, simd), Packed::new(decoder, simd));
        Ok(Autoencoder { encoder, decoder, weights })
    }

    /// Scores windows of `length` standardised values each.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`] when `windows` is not `length` values, at least one, for each score.
    pub fn score(&self, windows: &[f32], length: usize, scores: &mut [f64]) -> Result<()> {
        fits(windows, length, scores)?;
        let (width, size) = (self.encoder.width(), self.encoder.width() * self.encoder.hidden());
        let [mut h, mut h_next, mut c] = [(); 3].map(|()| Lines::zeros(size));
        let (mut x, mut told) = (vec![0.0; width], vec![0.0; width]);
        for (scores, windows) in scores.chunks_mut(width).zip(windows.chunks(width * length)) {
            h.fill(0.0);
            c.fill(0.0);
            for step in 0..length {
                for (x, window) in x.iter_mut().zip(windows.chunks_exact(length)) {
                    *x = window[step];
                }
                step_of(&self.encoder, &mut h, &mut c, &mut h_next, &x, &mut told);
            }
            // The first value told is read from the state as it is.
            told.fill(self.weights.1.readout_bias());
            for (unit, w) in self.weights.1.readout().iter().enumerate() {
                for (told, h) in told.iter_mut().zip(&h[unit * width..]) {
                    *told += w * h;
                }
            }
            scores.fill(0.0);
            for step in (0..length).rev() {
                for ((score, told), window) in
                    scores.iter_mut().zip(&told).zip(windows.chunks_exact(length))
                {
                    *score += f64::from(told - window[step]).powi(2) / length as f64;
                }
                if step > 0 {
                    x.copy_from_slice(&told);
                    step_of(&self.decoder, &mut h, &mut c, &mut h_next, &x, &mut told);
                }
            }
        }
        Ok(())
    }

    /// The same in plain `f64`, as the paper has it.
    ///
    /// # Errors
    /// As [`score`](Self::score).
    pub fn score_reference(
        &self,
        windows: &[f32],
        length: usize,
        scores: &mut [f64],
    ) -> Result<()> {
        fits(windows, length, scores)?;
        for (score, window) in scores.iter_mut().zip(windows.chunks_exact(length)) {
            let mut encoder = LstmReference::new(&self.weights.0);
            for x in window {
                encoder.step(f64::from(*x));
            }
            let mut decoder = LstmReference::new(&self.weights.1);
            (decoder.h, decoder.c) = (encoder.h, encoder.c);
            let mut told = decoder.predict();
            *score = 0.0;
            for (i, x) in window.iter().rev().enumerate() {
                if i > 0 {
                    told = decoder.step(told);
                }
                *score += (told - f64::from(*x)).powi(2) / length as f64;
            }
        }
        Ok(())
    }
}

fn step_of(
    network: &Packed,
    h: &mut Lines,
    c: &mut Lines,
    h_next: &mut Lines,
    x: &[f32],
    out: &mut [f32],
) {
    network.step(Tile { h, c, h_next, ahead: [&[]; 2] }, x, None, out);
    std::mem::swap(h, h_next);
}

fn fits(windows: &[f32], length: usize, scores: &[f64]) -> Result<()> {
    let expected = length.saturating_mul(scores.len());
    if length == 0 || windows.len() != expected {
        let got = windows.len();
        return Err(Error::ShapeMismatch { what: "values of windows", expected, got });
    }
    Ok(())
}
