//! Speed rows of the seasonal models of tier 2.

use std::hint::black_box;

use aiops_core::{Frame, SampleBatch, SeriesId, SeriesKey, Timestamp};
use aiops_detect::{
    BatchDetector, Columns, DetectorBank, Fit,
    testing::Noise,
    tier1::SpectralSaliencyConfig,
    tier2::{OnlineStlConfig, PolyConfig, StlConfig, SubPcaConfig, stl},
};

use crate::{
    registry::{Measured, Result, SpeedRow, Unit},
    stopwatch::compare,
};

pub(crate) const ROWS: &[SpeedRow] = &[
    SpeedRow {
        id: "stl_2016",
        unit: Unit::Seconds,
        baseline_is: "stlrs 0.4 on the same week of five-minute samples, period 288, same windows and jumps",
        measure: stl_week,
    },
    SpeedRow {
        id: "online_stl",
        unit: Unit::PerSecond("samples/s"),
        baseline_is: "an exponentially weighted level and a table of phases, nothing else",
        measure: online_stl,
    },
    SpeedRow {
        id: "sub_pca",
        unit: Unit::PerSecond("rows/s"),
        baseline_is: "the same shapes: each stretch's squares and products summed on their own",
        measure: sub_pca,
    },
    SpeedRow {
        id: "poly",
        unit: Unit::PerSecond("rows/s"),
        baseline_is: "normal equations of each neighbourhood, built and solved on their own",
        measure: poly,
    },
    SpeedRow {
        id: "spectral_residual",
        unit: Unit::PerSecond("rows/s"),
        baseline_is: "rustfft on complex numbers over the whole series, logarithm, exponential and phase a bin",
        measure: spectral_residual,
    },
];

const DAY: usize = 288;

/// A day's wave, a slow drift, noise and a few outliers.
fn values(rows: usize) -> Vec<f64> {
    let mut noise = Noise::new(5);
    (0..rows)
        .map(|i| {
            let turn = i as f64 / DAY as f64 * std::f64::consts::TAU;
            let outlier = if i % 997 == 500 { 20.0 } else { 0.0 };
            50.0 + 10.0 * turn.sin() + 3.0 * (2.0 * turn).cos() + noise.normal() + outlier
        })
        .collect()
}

fn frame(values: &[f64]) -> Result<Frame> {
    let keys = vec![SeriesKey::new("v", [("host", "a")])];
    let step = std::time::Duration::from_secs(300);
    Ok(Frame::new(keys, Timestamp::EPOCH, step, values.to_vec())?)
}

fn stl_week(quick: bool) -> Result<Measured> {
    let rounds = if quick { 5 } else { 200 };
    let values = values(2016);
    let single: Vec<f32> = values.iter().map(|v| *v as f32).collect();
    let config = StlConfig::default();
    let mut failed = None;
    let (ours, baseline) = compare(
        rounds,
        || match stl(&values, &config) {
            Ok(parts) => drop(black_box(parts)),
            Err(error) => failed = Some(error.to_string()),
        },
        || drop(black_box(stlrs::Stl::params().seasonal_length(7).fit(&single, DAY))),
    );
    if let Some(failed) = failed {
        return Err(failed.into());
    }
    Ok(Measured { ours, baseline: Some(baseline), bytes_per_series: None })
}

fn online_stl(quick: bool) -> Result<Measured> {
    let rows = if quick { 20_000 } else { 400_000 };
    let values = values(rows);
    let config = OnlineStlConfig { periods: Some(vec![DAY]), ..OnlineStlConfig::default() };
    let mut bank = Columns::new(config.method()?);
    let ids = vec![SeriesId(0); rows];
    let mut scores = vec![0.0; rows];
    let mut flagged = Vec::new();
    let mut clock = 0_i64;
    let mut failed = None;
    let mut table = [0.0_f64; DAY];
    let mut plain_scores = vec![0.0; rows];
    let mut times = vec![Timestamp::EPOCH; rows];
    let (ours, baseline) = compare(
        5,
        || {
            for time in &mut times {
                clock += 300;
                *time = Timestamp::from_secs(clock);
            }
            flagged.clear();
            let outcome = SampleBatch::new(&ids, &times, &values)
                .map_err(aiops_detect::Error::from)
                .and_then(|batch| bank.update(&batch, &mut scores, &mut flagged));
            failed = failed.take().or(outcome.err());
            black_box(&scores);
        },
        || {
            let mut level = values[0];
            for (i, (value, score)) in values.iter().zip(&mut plain_scores).enumerate() {
                let season = &mut table[i % DAY];
                let residual = value - level - *season;
                *score = residual.abs();
                level += 0.1 * residual;
                *season += 0.2 * residual;
            }
            black_box(&plain_scores);
        },
    );
    if let Some(error) = failed {
        return Err(error.into());
    }
    Ok(Measured {
        ours: rows as f64 / ours,
        baseline: Some(rows as f64 / baseline),
        bytes_per_series: Some((bank.bytes_per_series()) as f64),
    })
}

/// Scores `frame` with a model, beside a plain loop over the same values.
fn scored(
    model: &dyn BatchDetector,
    frame: &Frame,
    mut plain: impl FnMut(&[f64], &mut [f64]),
) -> Result<(f64, f64)> {
    let rows = frame.n_steps();
    let (mut scores, mut plain_scores) = (vec![0.0; rows], vec![0.0; rows]);
    let mut failed = None;
    let (ours, baseline) = compare(
        5,
        || {
            failed = failed.take().or(model.score(frame, &mut scores).err());
            black_box(&scores);
        },
        || {
            plain(frame.row(0), &mut plain_scores);
            black_box(&plain_scores);
        },
    );
    match failed {
        Some(error) => Err(error.into()),
        None => Ok((rows as f64 / ours, rows as f64 / baseline)),
    }
}

fn sub_pca(quick: bool) -> Result<Measured> {
    let values = values(if quick { 10_000 } else { 200_000 });
    let frame = frame(&values)?;
    const WINDOW: usize = 100;
    let config = SubPcaConfig { window: Some(WINDOW), ..SubPcaConfig::default() };
    let model = config.train(&frame.slice(0, 5_000)?)?;
    let k = model.rule().n_components();
    let shapes: Vec<[f64; WINDOW]> =
        (0..k).map(|c| std::array::from_fn(|i| if i % k == c { 0.1 } else { 0.0 })).collect();
    let (ours, baseline) = scored(&model, &frame, |values, scores| {
        for (stretch, score) in values.windows(WINDOW).zip(&mut scores[WINDOW - 1..]) {
            let mut rest: f64 = stretch.iter().map(|v| (v - 50.0) * (v - 50.0)).sum();
            for shape in &shapes {
                let share: f64 = shape.iter().zip(stretch).map(|(s, v)| s * (v - 50.0)).sum();
                rest -= share * share;
            }
            *score = rest;
        }
    })?;
    let bytes_per_series = Some((WINDOW * k * size_of::<f64>()) as f64);
    Ok(Measured { ours, baseline: Some(baseline), bytes_per_series })
}

fn poly(quick: bool) -> Result<Measured> {
    let values = values(if quick { 20_000 } else { 400_000 });
    let frame = frame(&values)?;
    const WINDOW: usize = 100;
    let config = PolyConfig { window: Some(WINDOW), ..PolyConfig::default() };
    let model = config.fit(&frame.slice(0, 5_000)?)?;
    let (ours, baseline) = scored(&*model, &frame, |values, scores| {
        for start in (0..values.len()).step_by(WINDOW) {
            let from = start.saturating_sub(450).min(values.len() - 1000);
            let end = (start + WINDOW).min(values.len());
            let position = |i: usize| (i as f64 - from as f64) / 500.0 - 1.0;
            let mut a = [[0.0; 6]; 5];
            for i in (from..start).chain(end..from + 1000) {
                let mut powers = [1.0; 9];
                for k in 1..9 {
                    powers[k] = powers[k - 1] * position(i);
                }
                for (r, row) in a.iter_mut().enumerate() {
                    for (c, cell) in row[..5].iter_mut().enumerate() {
                        *cell += powers[r + c];
                    }
                    row[5] += powers[r] * values[i];
                }
            }
            let curve = solved(a);
            let squares: f64 = (start..end)
                .map(|i| {
                    let fit = curve.iter().rev().fold(0.0, |sum, c| sum * position(i) + c);
                    (values[i] - fit).powi(2)
                })
                .sum();
            scores[start..end].fill((squares / (end - start) as f64).sqrt());
        }
    })?;
    Ok(Measured { ours, baseline: Some(baseline), bytes_per_series: None })
}

/// Gaussian elimination of five equations.
fn solved(mut a: [[f64; 6]; 5]) -> [f64; 5] {
    for i in 0..5 {
        let pivot = a[i];
        for row in a.iter_mut().skip(i + 1) {
            let factor = row[i] / pivot[i];
            row.iter_mut().zip(&pivot).for_each(|(cell, p)| *cell -= factor * p);
        }
    }
    let mut x = [0.0; 5];
    for i in (0..5).rev() {
        let known: f64 = (i + 1..5).map(|j| a[i][j] * x[j]).sum();
        x[i] = (a[i][5] - known) / a[i][i];
    }
    x
}

fn spectral_residual(quick: bool) -> Result<Measured> {
    use rustfft::{FftPlanner, num_complex::Complex};
    let rows = 1 << if quick { 14 } else { 18 };
    let frame = frame(&values(rows))?;
    let model = SpectralSaliencyConfig::default().fit(&frame.slice(0, 10_000)?)?;
    let mut planner = FftPlanner::<f64>::new();
    let (forward, back) = (planner.plan_fft_forward(rows), planner.plan_fft_inverse(rows));
    let (ours, baseline) = scored(&*model, &frame, |values, scores| {
        let mut bins: Vec<Complex<f64>> = values.iter().map(|v| Complex::new(*v, 0.0)).collect();
        forward.process(&mut bins);
        let logs: Vec<f64> = bins.iter().map(|c| (c.norm() + 1e-12).ln()).collect();
        let mut sum: f64 = logs[..101].iter().sum();
        for (i, bin) in bins.iter_mut().enumerate() {
            if i > 50 && i + 50 < rows {
                sum += logs[i + 50] - logs[i - 51];
            }
            *bin = Complex::from_polar((logs[i] - sum / 101.0).exp(), bin.arg());
        }
        back.process(&mut bins);
        scores.iter_mut().zip(&bins).for_each(|(score, c)| *score = c.norm());
    })?;
    Ok(Measured { ours, baseline: Some(baseline), bytes_per_series: None })
}
