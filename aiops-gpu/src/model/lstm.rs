//! [`LstmWeights`]: one LSTM layer over one input, with a linear readout.

use crate::{Error, Result};

/// Weights of an LSTM layer over one input with a linear readout of one number.
///
/// ```text
/// [i f g o] = W_ih x + b_ih + W_hh h + b_hh        (rows in this order: PyTorch's)
/// c' = σ(f) c + σ(i) tanh(g)
/// h' = σ(o) tanh(c')
/// y  = w_out · h' + b_out
/// ```
///
/// Source: Hochreiter & Schmidhuber 1997, "Long short-term memory", with the forget gate of Gers,
/// Schmidhuber & Cummins 2000; no peepholes.
#[derive(Debug, Clone, PartialEq)]
pub struct LstmWeights {
    hidden: usize,
    w_ih: Vec<f32>,
    w_hh: Vec<f32>,
    b_ih: Vec<f32>,
    b_hh: Vec<f32>,
    w_out: Vec<f32>,
    b_out: f32,
}

/// The most hidden units a layer may have.
pub(crate) const MAX_HIDDEN: usize = 1024;

impl LstmWeights {
    /// Weights as PyTorch's `LSTM(1, hidden)` and `Linear(hidden, 1)` hold them: `w_ih` is `[4·hidden]`,
    /// `w_hh` `[4·hidden × hidden]` row by row, `b_ih` and `b_hh` `[4·hidden]`, `w_out` `[hidden]`.
    ///
    /// # Errors
    /// [`Error::Weights`] when the lengths do not belong together, a weight is not finite, or `hidden` is
    /// not within 1 and 1024.
    pub fn new(
        w_ih: Vec<f32>,
        w_hh: Vec<f32>,
        b_ih: Vec<f32>,
        b_hh: Vec<f32>,
        w_out: Vec<f32>,
        b_out: f32,
    ) -> Result<Self> {
        let hidden = w_out.len();
        if !(1..=MAX_HIDDEN).contains(&hidden) {
            return Err(Error::weights(format!("{hidden} hidden units, must be 1 to 1024")));
        }
        let parts = [
            ("w_ih", &w_ih, 4 * hidden),
            ("w_hh", &w_hh, 4 * hidden * hidden),
            ("b_ih", &b_ih, 4 * hidden),
            ("b_hh", &b_hh, 4 * hidden),
            ("w_out", &w_out, hidden),
        ];
        for (name, values, expected) in parts {
            if values.len() != expected {
                let got = values.len();
                return Err(Error::weights(format!("{name} has {got} values, not {expected}")));
            }
            if !values.iter().all(|w| w.is_finite()) {
                return Err(Error::weights(format!("{name} holds a weight that is not finite")));
            }
        }
        if !b_out.is_finite() {
            return Err(Error::weights("b_out is not finite"));
        }
        Ok(LstmWeights { hidden, w_ih, w_hh, b_ih, b_hh, w_out, b_out })
    }

    /// Random weights, uniform within ±1/√hidden as PyTorch starts them; the same for the same seed.
    ///
    /// # Panics
    /// When `hidden` is not within 1 and 1024.
    pub fn random(hidden: usize, seed: u64) -> Self {
        assert!((1..=MAX_HIDDEN).contains(&hidden), "1 to 1024 hidden units, got {hidden}");
        let mut random = crate::random::Random::new(seed);
        let bound = 1.0 / (hidden as f64).sqrt();
        let mut draw = |n: usize| -> Vec<f32> {
            (0..n).map(|_| (bound * (2.0 * random.uniform() - 1.0)) as f32).collect()
        };
        LstmWeights {
            hidden,
            w_ih: draw(4 * hidden),
            w_hh: draw(4 * hidden * hidden),
            b_ih: draw(4 * hidden),
            b_hh: draw(4 * hidden),
            w_out: draw(hidden),
            b_out: draw(1)[0],
        }
    }

    /// How many hidden units.
    pub fn hidden(&self) -> usize {
        self.hidden
    }

    /// How many numbers it has.
    pub fn parameters(&self) -> usize {
        4 * self.hidden * (self.hidden + 3) + self.hidden + 1
    }

    /// Input weights, `[4·hidden]`, gates in the order i, f, g, o.
    pub fn w_ih(&self) -> &[f32] {
        &self.w_ih
    }

    /// Recurrent weights, `[4·hidden × hidden]`, row by row.
    pub fn w_hh(&self) -> &[f32] {
        &self.w_hh
    }

    /// Biases of the input, `[4·hidden]`.
    pub fn b_ih(&self) -> &[f32] {
        &self.b_ih
    }

    /// Biases of the recurrence, `[4·hidden]`.
    pub fn b_hh(&self) -> &[f32] {
        &self.b_hh
    }

    /// Weights of the readout.
    pub fn readout(&self) -> &[f32] {
        &self.w_out
    }

    /// Bias of the readout.
    pub fn readout_bias(&self) -> f32 {
        self.b_out
    }

    /// Bias of a gate (0 to 3 for i, f, g, o) of a unit: both of PyTorch's in one.
    pub(crate) fn bias(&self, gate: usize, unit: usize) -> f64 {
        let row = gate * self.hidden + unit;
        f64::from(self.b_ih[row]) + f64::from(self.b_hh[row])
    }

    pub(crate) fn input(&self, gate: usize, unit: usize) -> f64 {
        f64::from(self.w_ih[gate * self.hidden + unit])
    }

    pub(crate) fn recurrent(&self, gate: usize, unit: usize, from: usize) -> f64 {
        f64::from(self.w_hh[(gate * self.hidden + unit) * self.hidden + from])
    }
}
