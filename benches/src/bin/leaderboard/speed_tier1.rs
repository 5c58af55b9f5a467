//! Speed rows of tier-1 detection: banks beside hand-written loops over the same state.

use std::hint::black_box;

use aiops_core::{SampleBatch, SeriesId, Timestamp};
use aiops_detect::{
    Columns, DetectorBank,
    tier1::{EwmaConfig, GuardConfig, MovingAverageConfig, RobustConfig},
};

use crate::{
    registry::{Measured, Result, SpeedRow, Unit},
    stopwatch::compare,
};

macro_rules! rows {
    ($($id:literal, $baseline:literal, $measure:expr;)*) => {
        &[$(SpeedRow {
            id: $id,
            unit: Unit::PerSecond("samples/s"),
            baseline_is: $baseline,
            measure: |quick| $measure(quick),
        }),*]
    };
}

pub(crate) const ROWS: &[SpeedRow] = rows![
    "tier1_sweep_f64_1k", "f64 columns, mean, variance, bounds and score, plain loop", |quick| sweep(1_000, quick);
    "tier1_sweep_f64_100k", "f64 columns, mean, variance, bounds and score, plain loop", |quick| sweep(100_000, quick);
    "tier1_sweep_f64_1m", "f64 columns, mean, variance, bounds and score, plain loop", |quick| sweep(1_000_000, quick);
    "tier1_record_random_1k", "32-byte records, ids in random order, plain loop", |quick| random(1_000, quick);
    "tier1_record_random_100k", "32-byte records, ids in random order, plain loop", |quick| random(100_000, quick);
    "tier1_record_random_1m", "32-byte records, ids in random order, plain loop", |quick| random(1_000_000, quick);
    "trailing_mean", "mean and variance of the last 120 values, summed anew for each sample", trailing_mean;
    "trailing_median", "median and MAD of the last 120 values, selected anew for each sample", trailing_median;
];

const ALPHA: f64 = 0.011_486_4;
const LIMIT: f64 = 61.0;
const FLOOR: f64 = 1e-18;

/// Values around a level of each series, without long runs that a predictor could learn.
fn values(n: usize, seed: u64) -> Vec<f64> {
    let mut state = seed;
    (0..n)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            50.0 + (state >> 40) as f64 / f64::from(1 << 24)
        })
        .collect()
}

/// One step of all series at a time: [`DetectorBank::sweep`] of the EWMA bank.
fn sweep(series: usize, quick: bool) -> Result<Measured> {
    let steps = (if quick { 4_000_000 } else { 40_000_000 } / series).max(2);
    let warm_up = 2;
    let config = EwmaConfig { warm_up, ..EwmaConfig::default() };
    let mut bank = config.build_bank()?;
    let inputs: Vec<Vec<f64>> = (0..4).map(|i| values(series, i + 1)).collect();
    let mut scores = vec![0.0; series];
    let mut flagged = Vec::new();
    let mut time = Timestamp::EPOCH;
    let second = std::time::Duration::from_secs(1);
    for step in 0..=warm_up as usize {
        time += second;
        bank.sweep(time, &inputs[step % 4], &mut scores, &mut flagged)?;
    }
    let mut mean = vec![50.5; series];
    let mut variance = vec![0.1; series];
    let mut plain_scores = vec![0.0; series];
    let mut failed = None;
    let bytes = bank.bytes_per_series();
    let (ours, baseline) = compare(
        5,
        || {
            for step in 0..steps {
                time += second;
                flagged.clear();
                let swept = bank.sweep(time, &inputs[step % 4], &mut scores, &mut flagged);
                failed = failed.take().or(swept.err());
            }
            black_box(&scores);
        },
        || {
            for step in 0..steps {
                black_box(plain_sweep(
                    &mut mean,
                    &mut variance,
                    &inputs[step % 4],
                    &mut plain_scores,
                ));
            }
        },
    );
    if let Some(error) = failed {
        return Err(error.into());
    }
    let samples = (series * steps) as f64;
    Ok(Measured {
        ours: samples / ours,
        baseline: Some(samples / baseline),
        bytes_per_series: Some(bytes as f64),
    })
}

/// Series side by side in the rows of trailing statistics: their windows fit the second-level cache.
const SIDE_BY_SIDE: usize = 64;

fn trailing_mean(quick: bool) -> Result<Measured> {
    let method = MovingAverageConfig { window: 120, ..MovingAverageConfig::default() }.method()?;
    let bank = Columns::new(method);
    trailing(quick, bank, |window, value, _| {
        let mean = window.iter().sum::<f64>() / window.len() as f64;
        let squares: f64 = window.iter().map(|v| (v - mean) * (v - mean)).sum();
        (value - mean).abs() / (squares / window.len() as f64).sqrt()
    })
}

fn trailing_median(quick: bool) -> Result<Measured> {
    let bank = RobustConfig { window: 120, ..RobustConfig::default() }.build_bank()?;
    trailing(quick, bank, |window, value, space| {
        space.clear();
        space.extend_from_slice(window);
        let half = space.len() / 2;
        let median = *space.select_nth_unstable_by(half, f64::total_cmp).1;
        space.iter_mut().for_each(|v| *v = (*v - median).abs());
        let mad = *space.select_nth_unstable_by(half, f64::total_cmp).1;
        (value - median).abs() / (1.4826 * mad)
    })
}

/// A bank of trailing statistics, sweep by sweep, beside a plain score of each window; the plain loop
/// is measured on fewer rows.
fn trailing(
    quick: bool,
    mut bank: impl DetectorBank,
    plain: impl Fn(&[f64], f64, &mut Vec<f64>) -> f64,
) -> Result<Measured> {
    const WINDOW: usize = 120;
    let steps = if quick { 1_000 } else { 40_000 };
    let plain_steps = steps / 20;
    // An average of two uniform values, so that the middle of a window is denser than its ends.
    let (a, b) =
        (values((steps + WINDOW) * SIDE_BY_SIDE, 11), values((steps + WINDOW) * SIDE_BY_SIDE, 12));
    let inputs: Vec<f64> = a.iter().zip(&b).map(|(a, b)| a + b - 50.0).collect();
    let (mut scores, mut flagged) = (vec![0.0; SIDE_BY_SIDE], Vec::new());
    let mut time = Timestamp::EPOCH;
    let second = std::time::Duration::from_secs(1);
    let mut windows: Vec<Vec<f64>> = vec![Vec::new(); SIDE_BY_SIDE];
    for values in inputs.chunks_exact(SIDE_BY_SIDE).take(WINDOW) {
        time += second;
        bank.sweep(time, values, &mut scores, &mut flagged)?;
        windows.iter_mut().zip(values).for_each(|(window, value)| window.push(*value));
    }
    let rest = &inputs[WINDOW * SIDE_BY_SIDE..];
    let (mut failed, mut space, mut at) = (None, Vec::new(), 0);
    let bytes_per_series = Some(bank.bytes_per_series() as f64);
    let (ours, baseline) = compare(
        5,
        || {
            for values in rest.chunks_exact(SIDE_BY_SIDE) {
                time += second;
                flagged.clear();
                let swept = bank.sweep(time, values, &mut scores, &mut flagged);
                failed = failed.take().or(swept.err());
            }
            black_box(&scores);
        },
        || {
            for values in rest.chunks_exact(SIDE_BY_SIDE).take(plain_steps) {
                for (window, value) in windows.iter_mut().zip(values) {
                    black_box(plain(window, *value, &mut space));
                    window[at] = *value;
                }
                at = (at + 1) % WINDOW;
            }
        },
    );
    if let Some(error) = failed {
        return Err(error.into());
    }
    let ours = (steps * SIDE_BY_SIDE) as f64 / ours;
    let baseline = Some((plain_steps * SIDE_BY_SIDE) as f64 / baseline);
    Ok(Measured { ours, baseline, bytes_per_series })
}

/// The best plain loop for a dense step: no gaps, no order, no warm-up, no verdicts.
#[inline(never)]
fn plain_sweep(
    mean: &mut [f64],
    variance: &mut [f64],
    values: &[f64],
    scores: &mut [f64],
) -> usize {
    let n = mean.len();
    let (variance, values, scores) = (&mut variance[..n], &values[..n], &mut scores[..n]);
    let mut flagged = 0;
    for i in 0..n {
        let d = values[i] - mean[i];
        let score = d * d / (variance[i] + FLOOR);
        scores[i] = score;
        flagged += usize::from(score >= LIMIT);
        mean[i] += ALPHA * d;
        variance[i] = (1.0 - ALPHA) * (variance[i] + ALPHA * d * d);
    }
    flagged
}

#[derive(Clone, Copy)]
#[repr(C, align(32))]
struct Record {
    mean: f64,
    variance: f64,
    last: i64,
    lower: f32,
    upper: f32,
}

/// Samples as they come, ids in random order: [`DetectorBank::update`] of the guard bank.
fn random(series: usize, quick: bool) -> Result<Measured> {
    const BATCH: usize = 8_192;
    let rows = (if quick { 2_000_000 } else { 16_000_000 } / BATCH).max(1) * BATCH;
    let config = GuardConfig {
        dynamic: EwmaConfig { warm_up: 1, ..EwmaConfig::default() },
        upper: Some(1e6),
        ..GuardConfig::default()
    };
    let mut bank = config.build_bank()?;
    // Every row has a random series, as samples of independent senders do.
    let mut state = 7_u64;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (((state >> 33) * series as u64) >> 31) as u32
    };
    let ids: Vec<SeriesId> = (0..rows).map(|_| SeriesId(next())).collect();
    let inputs = values(rows, 3);
    let all: Vec<SeriesId> = (0..series as u32).map(SeriesId).collect();
    let start = vec![Timestamp::EPOCH; series];
    let first = values(series, 5);
    let mut first_scores = vec![0.0; series];
    let mut flagged = Vec::new();
    bank.update(&SampleBatch::new(&all, &start, &first)?, &mut first_scores, &mut flagged)?;

    let mut scores = vec![0.0; BATCH];
    let mut plain_scores = vec![0.0; BATCH];
    let empty = Record { mean: 50.5, variance: 0.1, last: 0, lower: -1e6, upper: 1e6 };
    let mut records = vec![empty; series];
    // A clock of its own per contender: each row is newer than the last of its series.
    let mut clock = (0_i64, 0_i64);
    let mut times = vec![Timestamp::EPOCH; BATCH];
    let mut plain_times = vec![0_i64; BATCH];
    let bytes = bank.bytes_per_series();
    let mut failed = None;
    let (ours, baseline) = compare(
        5,
        || {
            for (ids, values) in ids.chunks_exact(BATCH).zip(inputs.chunks_exact(BATCH)) {
                for time in &mut times {
                    clock.0 += 1;
                    *time = Timestamp::from_nanos(clock.0);
                }
                flagged.clear();
                let done = SampleBatch::new(ids, &times, values)
                    .map_err(Into::into)
                    .and_then(|batch| bank.update(&batch, &mut scores, &mut flagged));
                failed = failed.take().or(done.err());
            }
            black_box(&scores);
        },
        || {
            for (ids, values) in ids.chunks_exact(BATCH).zip(inputs.chunks_exact(BATCH)) {
                for time in &mut plain_times {
                    clock.1 += 1;
                    *time = clock.1;
                }
                black_box(plain_records(
                    &mut records,
                    ids,
                    &plain_times,
                    values,
                    &mut plain_scores,
                ));
            }
        },
    );
    if let Some(error) = failed {
        return Err(error.into());
    }
    Ok(Measured {
        ours: rows as f64 / ours,
        baseline: Some(rows as f64 / baseline),
        bytes_per_series: Some(bytes as f64),
    })
}

/// The best plain loop for random order: dynamic and static bounds and the order check, in one
/// record; no gaps, no warm-up, no debounce, no verdicts.
#[inline(never)]
fn plain_records(
    records: &mut [Record],
    ids: &[SeriesId],
    times: &[i64],
    values: &[f64],
    scores: &mut [f64],
) -> usize {
    let n = ids.len();
    let (times, values, scores) = (&times[..n], &values[..n], &mut scores[..n]);
    let mut flagged = 0;
    for i in 0..n {
        let record = &mut records[ids[i].index()];
        if times[i] <= record.last {
            continue;
        }
        record.last = times[i];
        let value = values[i];
        let d = value - record.mean;
        let score = d * d / (record.variance + FLOOR);
        scores[i] = score;
        let outside = value < f64::from(record.lower) || value > f64::from(record.upper);
        flagged += usize::from(score >= LIMIT || outside);
        record.mean += ALPHA * d;
        record.variance = (1.0 - ALPHA) * (record.variance + ALPHA * d * d);
    }
    flagged
}
