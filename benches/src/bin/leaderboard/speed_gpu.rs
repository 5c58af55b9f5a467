//! Speed rows of the CPU engine: LSTM steps and windows, forest rows.

use std::hint::black_box;

use aiops_core::{Frame, SeriesKey, Timestamp};
use aiops_detect::{
    testing::Noise,
    tier3::{IsolationForestConfig, PackedForest},
};
use aiops_gpu::{Forecaster, ForestScorer, LstmWeights};

use crate::{
    registry::{Measured, Result, SpeedRow, Unit},
    stopwatch::compare,
};

pub(crate) const ROWS: &[SpeedRow] = &[
    SpeedRow {
        id: "lstm64_step_cpu",
        unit: Unit::PerSecond("steps/s"),
        baseline_is: "a plain loop over series: one multiply-add loop of 256 gates an input",
        measure: |quick| steps(if quick { 512 } else { 65_536 }),
    },
    SpeedRow {
        id: "lstm64_step_cpu_512",
        unit: Unit::PerSecond("steps/s"),
        baseline_is: "the same, 512 series",
        measure: |_| steps(512),
    },
    SpeedRow {
        id: "lstm64_window_cpu",
        unit: Unit::PerSecond("windows of 64/s"),
        baseline_is: "the same plain loop, 64 steps from zero state",
        measure: windows,
    },
    SpeedRow {
        id: "iforest_score_cpu",
        unit: Unit::PerSecond("rows/s"),
        baseline_is: "the packed table walked by 16 rows together (`PackedForest::score_many`); 100 x 256, 8 values",
        measure: forest,
    },
];

const HIDDEN: usize = 64;

/// The best plain loop: per series, 256 sums that the compiler vectorises, weights in columns.
struct Plain {
    input: Vec<f32>,
    bias: Vec<f32>,
    columns: Vec<[f32; 4 * HIDDEN]>,
    readout: Vec<f32>,
    readout_bias: f32,
}

impl Plain {
    fn new(weights: &LstmWeights) -> Self {
        let sum = |(a, b): (&f32, &f32)| a + b;
        Plain {
            input: weights.w_ih().to_vec(),
            bias: weights.b_ih().iter().zip(weights.b_hh()).map(sum).collect(),
            columns: (0..HIDDEN)
                .map(|from| std::array::from_fn(|row| weights.w_hh()[row * HIDDEN + from]))
                .collect(),
            readout: weights.readout().to_vec(),
            readout_bias: weights.readout_bias(),
        }
    }

    fn step(&self, h: &mut [f32; HIDDEN], c: &mut [f32; HIDDEN], x: f32) -> f32 {
        let mut gates: [f32; 4 * HIDDEN] =
            std::array::from_fn(|row| self.bias[row] + self.input[row] * x);
        for (column, h) in self.columns.iter().zip(&*h) {
            gates.iter_mut().zip(column).for_each(|(gate, w)| *gate += w * h);
        }
        let sigmoid = |z: f32| 1.0 / (1.0 + (-z).exp());
        let mut out = self.readout_bias;
        for unit in 0..HIDDEN {
            let gate = |g: usize| gates[g * HIDDEN + unit];
            c[unit] = sigmoid(gate(1)) * c[unit] + sigmoid(gate(0)) * gate(2).tanh();
            h[unit] = sigmoid(gate(3)) * c[unit].tanh();
            out += self.readout[unit] * h[unit];
        }
        out
    }
}

fn steps(series: usize) -> Result<Measured> {
    let weights = LstmWeights::random(HIDDEN, 1);
    let plain = Plain::new(&weights);
    let mut forecaster = Forecaster::new(&weights, series);
    let mut noise = Noise::new(1);
    let inputs: Vec<f32> = (0..series).map(|_| noise.normal() as f32).collect();
    let mut predictions = vec![0.0; series];
    let some = series.min(4096);
    let mut states = vec![([0.0; HIDDEN], [0.0; HIDDEN]); some];
    let repeats = (65_536 / series).max(1);
    let (ours, baseline) = compare(
        7,
        || {
            for _ in 0..repeats {
                forecaster.step(&inputs, &mut predictions).expect("columns fit");
            }
            black_box(&predictions);
        },
        || {
            for ((h, c), x) in states.iter_mut().zip(&inputs) {
                black_box(plain.step(h, c, *x));
            }
        },
    );
    Ok(Measured {
        ours: (repeats * series) as f64 / ours,
        baseline: Some(some as f64 / baseline),
        bytes_per_series: Some((2 * HIDDEN * size_of::<f32>()) as f64),
    })
}

fn windows(quick: bool) -> Result<Measured> {
    const LENGTH: usize = 64;
    let count = if quick { 512 } else { 4096 };
    let weights = LstmWeights::random(HIDDEN, 1);
    let plain = Plain::new(&weights);
    let forecaster = Forecaster::new(&weights, 0);
    let mut noise = Noise::new(2);
    let inputs: Vec<f32> = (0..count * LENGTH).map(|_| noise.normal() as f32).collect();
    let mut predictions = vec![0.0; count];
    let some = 64;
    let (ours, baseline) = compare(
        5,
        || {
            forecaster.windows(&inputs, LENGTH, &mut predictions).expect("columns fit");
            black_box(&predictions);
        },
        || {
            for window in inputs.chunks_exact(LENGTH).take(some) {
                let (mut h, mut c) = ([0.0; HIDDEN], [0.0; HIDDEN]);
                for x in window {
                    black_box(plain.step(&mut h, &mut c, *x));
                }
            }
        },
    );
    Ok(Measured {
        ours: count as f64 / ours,
        baseline: Some(some as f64 / baseline),
        bytes_per_series: None,
    })
}

fn forest(quick: bool) -> Result<Measured> {
    let rows = if quick { 4096 } else { 65_536 };
    let mut noise = Noise::new(3);
    let keys = (0..8).map(|i| SeriesKey::new(format!("v{i}"), [("host", "a")])).collect();
    let values = (0..8 * rows).map(|_| noise.normal()).collect();
    let frame = Frame::new(keys, Timestamp::EPOCH, std::time::Duration::from_secs(1), values)?;
    let model = IsolationForestConfig::default().train(&frame.slice(0, rows.min(5_000))?)?;
    let packed: &PackedForest = model.packed();
    let flat: Vec<f32> = (0..8 * rows).map(|i| frame.row(i % 8)[i / 8] as f32).collect();
    let mut scorer = ForestScorer::new(packed)?;
    let (mut scores, mut walked) = (vec![f64::NAN; rows], vec![f64::NAN; rows]);
    let (ours, baseline) = compare(
        5,
        || {
            scorer.score(&flat, &mut scores).expect("columns fit");
            black_box(&scores);
        },
        || {
            packed.score_many(&flat, &mut walked);
            black_box(&walked);
        },
    );
    if scores != walked {
        return Err("the two disagree".into());
    }
    Ok(Measured {
        ours: rows as f64 / ours,
        baseline: Some(rows as f64 / baseline),
        bytes_per_series: Some(scorer.table_bytes() as f64 / 8.0),
    })
}
