//! The models in plain `f64`, written as their papers are: what every engine is compared with.

use super::LstmWeights;

/// One series' LSTM in plain `f64`: the formula of [`LstmWeights`] and nothing else.
///
/// ```
/// use aiops_gpu::{LstmReference, LstmWeights};
/// let weights = LstmWeights::random(8, 1);
/// let mut lstm = LstmReference::new(&weights);
/// let first = lstm.step(0.5);
/// assert_ne!(first, lstm.step(0.5), "it remembers");
/// assert_eq!(first, LstmReference::new(&weights).step(0.5));
/// ```
#[derive(Debug, Clone)]
pub struct LstmReference<'a> {
    weights: &'a LstmWeights,
    /// Output of the hidden units.
    pub h: Vec<f64>,
    /// Cells of the hidden units.
    pub c: Vec<f64>,
}

impl<'a> LstmReference<'a> {
    /// Starts with all state zero.
    pub fn new(weights: &'a LstmWeights) -> Self {
        let zero = vec![0.0; weights.hidden()];
        LstmReference { weights, h: zero.clone(), c: zero }
    }

    /// Takes one input in, and predicts.
    pub fn step(&mut self, x: f64) -> f64 {
        let w = self.weights;
        let sigmoid = |z: f64| 1.0 / (1.0 + (-z).exp());
        let before = self.h.clone();
        for unit in 0..w.hidden() {
            let gate = |gate: usize| {
                let recurrent: f64 =
                    (0..w.hidden()).map(|from| w.recurrent(gate, unit, from) * before[from]).sum();
                w.bias(gate, unit) + w.input(gate, unit) * x + recurrent
            };
            let (i, f, g, o) =
                (sigmoid(gate(0)), sigmoid(gate(1)), gate(2).tanh(), sigmoid(gate(3)));
            self.c[unit] = f * self.c[unit] + i * g;
            self.h[unit] = o * self.c[unit].tanh();
        }
        self.predict()
    }

    /// The readout of the state as it is.
    pub fn predict(&self) -> f64 {
        let readout = self.weights.readout().iter().map(|w| f64::from(*w));
        f64::from(self.weights.readout_bias())
            + readout.zip(&self.h).map(|(w, h)| w * h).sum::<f64>()
    }
}
