//! The network in training: forward with everything kept, and backward.
//!
//! Numbers of all lanes lie side by side, so that the innermost loops have a fixed length that the
//! compiler turns into vectors.

#![allow(clippy::needless_range_loop, reason = "lanes of several columns go together")]

use super::{BEND, LANES, huber};
use crate::{LstmWeights, Result};

pub(super) type Column = [f32; LANES];

/// Weights in one vector: recurrent, input, bias, readout, readout bias.
#[derive(Debug, Clone)]
pub(super) struct Network {
    hidden: usize,
    all: Vec<f32>,
}

/// State between stretches.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) h: Vec<Column>,
    pub(super) c: Vec<Column>,
}

/// One stretch of steps with all that the way back needs.
#[derive(Debug)]
pub(super) struct Pass {
    steps: Vec<Step>,
    /// Prediction less target where there is one, else 0; of each step.
    errors: Vec<Column>,
    start: State,
    /// Sum of losses and how many.
    pub(super) loss: f64,
    pub(super) count: f64,
}

/// One step with all that the way back needs.
#[derive(Debug)]
pub(super) struct Step {
    x: Column,
    /// i, f, g, o: hidden columns each.
    gates: [Vec<Column>; 4],
    tanh_c: Vec<Column>,
    /// After the step.
    pub(super) state: State,
}

impl Network {
    pub(super) fn new(weights: &LstmWeights) -> Self {
        let hidden = weights.hidden();
        let mut all = weights.w_hh().to_vec();
        all.extend_from_slice(weights.w_ih());
        for (gate, unit) in (0..4).flat_map(|gate| (0..hidden).map(move |unit| (gate, unit))) {
            // Forget gates start open: what is learnt first is what to keep.
            let open = if gate == 1 { 1.0 } else { 0.0 };
            all.push(weights.bias(gate, unit) as f32 + open);
        }
        all.extend_from_slice(weights.readout());
        all.push(weights.readout_bias());
        Network { hidden, all }
    }

    pub(super) fn weights(&self) -> Result<LstmWeights> {
        let n = self.hidden;
        let (w_hh, rest) = self.all.split_at(4 * n * n);
        let (w_ih, rest) = rest.split_at(4 * n);
        let (bias, readout) = rest.split_at(4 * n);
        let zero = vec![0.0; 4 * n];
        let (w_ih, w_hh, bias) = (w_ih.to_vec(), w_hh.to_vec(), bias.to_vec());
        LstmWeights::new(w_ih, w_hh, bias, zero, readout[..n].to_vec(), readout[n])
    }

    pub(super) fn parameters(&mut self) -> &mut [f32] {
        &mut self.all
    }

    pub(super) fn zero_state(&self) -> State {
        let zero = vec![[0.0; LANES]; self.hidden];
        State { h: zero.clone(), c: zero }
    }

    /// Where input weights, biases and readout begin.
    fn offsets(&self) -> (usize, usize, usize) {
        let n = self.hidden;
        (4 * n * n, 4 * n * n + 4 * n, 4 * n * n + 8 * n)
    }

    /// Runs `steps` steps on; `at(step, lane)` is the input of a step, and the target of the one before.
    pub(super) fn forward(
        &self,
        state: &mut State,
        steps: usize,
        at: &dyn Fn(usize, usize) -> Option<f32>,
    ) -> Pass {
        let mut pass = Pass {
            steps: Vec::with_capacity(steps),
            errors: Vec::with_capacity(steps),
            start: state.clone(),
            loss: 0.0,
            count: 0.0,
        };
        for step in 0..steps {
            let x: Column = std::array::from_fn(|lane| at(step, lane).unwrap_or(0.0));
            let (taken, y) = self.step(state, x);
            let mut error = [0.0; LANES];
            for lane in 0..LANES {
                if let (Some(_), Some(target)) = (at(step, lane), at(step + 1, lane)) {
                    error[lane] = y[lane] - target;
                    pass.loss += huber(f64::from(error[lane]));
                    pass.count += 1.0;
                }
            }
            pass.steps.push(taken);
            pass.errors.push(error);
        }
        pass
    }

    /// The readout of a state.
    pub(super) fn read(&self, state: &State) -> Column {
        let (_, _, readout) = self.offsets();
        let mut y = [self.all[readout + self.hidden]; LANES];
        for (w, h) in self.all[readout..].iter().zip(&state.h) {
            for lane in 0..LANES {
                y[lane] += w * h[lane];
            }
        }
        y
    }

    /// One step on, and its prediction.
    pub(super) fn step(&self, state: &mut State, x: Column) -> (Step, Column) {
        let n = self.hidden;
        let (input, bias, _) = self.offsets();
        let mut gates: [Vec<Column>; 4] = Default::default();
        for (gate, columns) in gates.iter_mut().enumerate() {
            for unit in 0..n {
                let row = gate * n + unit;
                let (w, b) = (self.all[input + row], self.all[bias + row]);
                let mut sum: Column = std::array::from_fn(|lane| b + w * x[lane]);
                let recurrent = &self.all[row * n..(row + 1) * n];
                for (w, h) in recurrent.iter().zip(&state.h) {
                    for lane in 0..LANES {
                        sum[lane] += w * h[lane];
                    }
                }
                let squash = |z: f32| if gate == 2 { z.tanh() } else { 1.0 / (1.0 + (-z).exp()) };
                columns.push(sum.map(squash));
            }
        }
        let mut tanh_c = Vec::with_capacity(n);
        for unit in 0..n {
            let [i, f, g, o] = [0, 1, 2, 3].map(|gate| &gates[gate][unit]);
            let (c, h) = (&mut state.c[unit], &mut state.h[unit]);
            let mut tanh = [0.0; LANES];
            for lane in 0..LANES {
                c[lane] = f[lane] * c[lane] + i[lane] * g[lane];
                tanh[lane] = c[lane].tanh();
                h[lane] = o[lane] * tanh[lane];
            }
            tanh_c.push(tanh);
        }
        let y = self.read(state);
        (Step { x, gates, tanh_c, state: state.clone() }, y)
    }

    /// The gradient of the mean loss of a pass, at most `clip` long.
    pub(super) fn gradient(&self, pass: &Pass, clip: f64) -> Vec<f32> {
        let mut gradient = vec![0.0; self.all.len()];
        let share = 1.0 / pass.count.max(1.0) as f32;
        let mut from = self.zero_state();
        for (t, step) in pass.steps.iter().enumerate().rev() {
            let before = if t == 0 { &pass.start } else { &pass.steps[t - 1].state };
            let slope = pass.errors[t].map(|error| bent(error) * share);
            self.read_back(&step.state, &slope, &mut from, &mut gradient);
            self.back(step, before, &mut from, &mut gradient);
        }
        shorten(&mut gradient, clip);
        gradient
    }

    /// Back through a readout: `slope` is that of the loss by what was read of `state`. Adds to the slopes
    /// by the state (`from`) and to those by the weights.
    pub(super) fn read_back(
        &self,
        state: &State,
        slope: &Column,
        from: &mut State,
        gradient: &mut [f32],
    ) {
        let n = self.hidden;
        let (_, _, readout) = self.offsets();
        gradient[readout + n] += slope.iter().sum::<f32>();
        for unit in 0..n {
            gradient[readout + unit] += dot(slope, &state.h[unit]);
            let w = self.all[readout + unit];
            for lane in 0..LANES {
                from.h[unit][lane] += w * slope[lane];
            }
        }
    }

    /// Back through a step: `from` holds the slopes of the loss by the state after it and gets those by the
    /// state `before`. Adds to the slopes by the weights, and returns those by the input.
    pub(super) fn back(
        &self,
        step: &Step,
        before: &State,
        from: &mut State,
        gradient: &mut [f32],
    ) -> Column {
        let n = self.hidden;
        let (input, bias, _) = self.offsets();
        let mut slopes = vec![[0.0; LANES]; 4 * n];
        for unit in 0..n {
            let [i, f, g, o] = [0, 1, 2, 3].map(|gate| &step.gates[gate][unit]);
            let (tanh, last) = (&step.tanh_c[unit], &before.c[unit]);
            for lane in 0..LANES {
                let dh = from.h[unit][lane];
                let dc = dh * o[lane] * (1.0 - tanh[lane] * tanh[lane]) + from.c[unit][lane];
                from.c[unit][lane] = dc * f[lane];
                slopes[unit][lane] = dc * g[lane] * i[lane] * (1.0 - i[lane]);
                slopes[n + unit][lane] = dc * last[lane] * f[lane] * (1.0 - f[lane]);
                slopes[2 * n + unit][lane] = dc * i[lane] * (1.0 - g[lane] * g[lane]);
                slopes[3 * n + unit][lane] = dh * tanh[lane] * o[lane] * (1.0 - o[lane]);
            }
        }
        from.h.iter_mut().for_each(|column| column.fill(0.0));
        let mut by_input = [0.0; LANES];
        for (row, slope) in slopes.iter().enumerate() {
            gradient[input + row] += dot(slope, &step.x);
            gradient[bias + row] += slope.iter().sum::<f32>();
            let w_in = self.all[input + row];
            for lane in 0..LANES {
                by_input[lane] += w_in * slope[lane];
            }
            let weights = &self.all[row * n..(row + 1) * n];
            let gradients = &mut gradient[row * n..(row + 1) * n];
            for k in 0..n {
                gradients[k] += dot(slope, &before.h[k]);
                for lane in 0..LANES {
                    from.h[k][lane] += weights[k] * slope[lane];
                }
            }
        }
        by_input
    }
}

/// The slope of Huber's loss.
pub(super) fn bent(error: f32) -> f32 {
    error.clamp(-BEND as f32, BEND as f32)
}

/// Makes a gradient at most `clip` long.
pub(super) fn shorten(gradient: &mut [f32], clip: f64) {
    let length = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
    if length > clip {
        let factor = (clip / length) as f32;
        gradient.iter_mut().for_each(|g| *g *= factor);
    }
}

/// Sum of products, in a fixed order of eight partial sums.
fn dot(a: &Column, b: &Column) -> f32 {
    let mut sums = [0.0; 8];
    for (a, b) in a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0) {
        for i in 0..8 {
            sums[i] += a[i] * b[i];
        }
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The gradient against differences of the loss, which know nothing of the way back.
    #[test]
    fn the_gradient_is_the_slope_of_the_loss() {
        let network = Network::new(&LstmWeights::random(4, 5));
        let value = |step: usize, lane: usize| ((step * 7 + lane * 3) as f32 * 0.37).sin();
        // Some lanes end early.
        let at = |step: usize, lane: usize| (step < 5 + lane % 4).then(|| value(step, lane));
        let mean = |network: &Network| {
            let pass = network.forward(&mut network.zero_state(), 7, &at);
            (pass.loss / pass.count, pass)
        };
        let gradient = network.gradient(&mean(&network).1, f64::INFINITY);
        for (place, slope) in gradient.iter().enumerate() {
            let moved = |by: f32| {
                let mut moved = network.clone();
                moved.all[place] += by;
                mean(&moved).0
            };
            let difference = (moved(1e-2) - moved(-1e-2)) / 2e-2;
            let off = (difference - f64::from(*slope)).abs();
            assert!(off < 1e-4 + 0.01 * difference.abs(), "{place}: {slope} against {difference}");
        }
    }

    #[test]
    fn it_computes_what_the_reference_does() {
        let weights = LstmWeights::random(6, 2);
        let network = Network::new(&weights);
        // With forget gates opened as training does.
        let opened = network.weights().unwrap();
        let mut reference = crate::LstmReference::new(&opened);
        let value = |step: usize| (step as f32 * 0.7).cos();
        let pass = network.forward(&mut network.zero_state(), 20, &|step, _| Some(value(step)));
        for (t, errors) in pass.errors.iter().enumerate() {
            let predicted = reference.step(f64::from(value(t)));
            let error = predicted - f64::from(value(t + 1));
            assert!((f64::from(errors[3]) - error).abs() < 1e-5, "step {t}");
        }
    }
}
