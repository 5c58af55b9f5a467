//! Speed rows of the models and measures of detection, and the latency of a batch in each tier.

use std::hint::black_box;

use aiops_core::{Frame, SampleBatch, SeriesId, SeriesKey, Timestamp};
use aiops_detect::{
    BatchDetector, DetectorBank, PerSeries, Tier, eval,
    testing::Noise,
    tier1::GuardConfig,
    tier2::SurpriseConfig,
    tier3::{IsolationForestConfig, PackedForest, PackedNode, PcaConfig, RandomCutForestConfig},
};

use crate::{
    registry::{Measured, Result, SpeedRow, Unit},
    stopwatch::{compare, cpu_seconds},
};

pub(crate) const ROWS: &[SpeedRow] = &[
    SpeedRow {
        id: "pca_38",
        unit: Unit::PerSecond("rows/s"),
        baseline_is: "the same components row by row: scale, project, reconstruct, sum of squares",
        measure: pca,
    },
    SpeedRow {
        id: "iforest_score",
        unit: Unit::PerSecond("rows/s"),
        baseline_is: "the same packed table walked one row and one tree at a time",
        measure: isolation_forest,
    },
    SpeedRow {
        id: "rcf",
        unit: Unit::PerSecond("samples/s"),
        baseline_is: "none: judging and learning in a forest of the default size",
        measure: random_cut_forest,
    },
    SpeedRow {
        id: "surprise",
        unit: Unit::PerSecond("samples/s"),
        baseline_is: "none: no plain loop does this work",
        measure: surprise,
    },
    SpeedRow {
        id: "vus_pr",
        unit: Unit::PerSecond("points/s"),
        baseline_is: "the definition: every tolerance, every threshold, every point",
        measure: vus,
    },
    SpeedRow {
        id: "latency_512_tier1",
        unit: Unit::Seconds,
        baseline_is: "none; p99 in CPU time of a batch of 512 samples of 100k series, guard bank",
        measure: |quick| latency(quick, GuardConfig::default().build_bank()?, 100_000),
    },
    SpeedRow {
        id: "latency_512_tier2",
        unit: Unit::Seconds,
        baseline_is: "none; p99 in CPU time of a batch of 512 samples of 2k series, surprise",
        measure: |quick| latency(quick, surprise_bank()?, 2_000),
    },
    SpeedRow {
        id: "latency_512_tier3",
        unit: Unit::Seconds,
        baseline_is: "none; p99 in CPU time of 512 rows of 38 metrics, pca",
        measure: latency_tier3,
    },
];

const METRICS: usize = 38;

/// Thirty-eight metrics that follow six hidden causes.
fn frame(rows: usize) -> Result<Frame> {
    let mut noise = Noise::new(1);
    let mix: Vec<f64> = (0..METRICS * 6).map(|_| noise.normal()).collect();
    let mut values = vec![0.0; METRICS * rows];
    for row in 0..rows {
        let causes: [f64; 6] = std::array::from_fn(|_| noise.normal());
        for metric in 0..METRICS {
            let own = 0.1 * noise.normal();
            let sum: f64 = (0..6).map(|c| mix[metric * 6 + c] * causes[c]).sum();
            values[metric * rows + row] = 0.05 * (sum + own);
        }
    }
    let keys = (0..METRICS).map(|i| SeriesKey::new(format!("v{i}"), [("host", "a")])).collect();
    Ok(Frame::new(keys, Timestamp::EPOCH, std::time::Duration::from_secs(1), values)?)
}

fn pca(quick: bool) -> Result<Measured> {
    let rows = if quick { 20_000 } else { 200_000 };
    let frame = frame(rows)?;
    let model = PcaConfig::default().train(&frame.slice(0, 5_000)?)?;
    let mut scores = vec![0.0; rows];
    // The plain loop's model: as many orthonormal components as ours found.
    let k = model.n_components();
    let components: Vec<[f64; METRICS]> =
        (0..k).map(|c| std::array::from_fn(|i| if i % k == c { 0.4 } else { 0.0 })).collect();
    let mut plain_scores = vec![0.0; rows];
    let columns: Vec<&[f64]> = (0..METRICS).map(|i| frame.row(i)).collect();
    let mut failed = None;
    let (ours, baseline) = compare(
        5,
        || {
            failed = failed.take().or(model.score(&frame, &mut scores).err());
            black_box(&scores);
        },
        || {
            for (row, score) in plain_scores.iter_mut().enumerate() {
                let z: [f64; METRICS] = std::array::from_fn(|i| columns[i][row] - 0.01);
                let mut residual = z;
                for component in &components {
                    let projection: f64 = component.iter().zip(&z).map(|(w, z)| w * z).sum();
                    residual.iter_mut().zip(component).for_each(|(r, w)| *r -= projection * w);
                }
                *score = residual.iter().map(|r| r * r).sum();
            }
            black_box(&plain_scores);
        },
    );
    if let Some(error) = failed {
        return Err(error.into());
    }
    let bytes = (METRICS * (k + 2) * size_of::<f64>()) as f64 / METRICS as f64;
    Ok(Measured {
        ours: rows as f64 / ours,
        baseline: Some(rows as f64 / baseline),
        bytes_per_series: Some(bytes),
    })
}

fn isolation_forest(quick: bool) -> Result<Measured> {
    let rows = if quick { 5_000 } else { 50_000 };
    let frame = frame(rows)?;
    // Eight metrics, as in the peers' rows of this benchmark.
    let keys = frame.series()[..8].to_vec();
    let values = frame.values()[..8 * rows].to_vec();
    let frame = Frame::new(keys, frame.start(), frame.step(), values)?;
    let model = IsolationForestConfig::default().train(&frame.slice(0, rows.min(5_000))?)?;
    let mut scores = vec![0.0; rows];
    let packed = model.packed();
    let mut flat = vec![0.0_f32; rows * 8];
    for metric in 0..8 {
        for (row, value) in frame.row(metric).iter().enumerate() {
            flat[row * 8 + metric] = *value as f32;
        }
    }
    let mut plain_scores = vec![0.0; rows];
    let mut failed = None;
    let (ours, baseline) = compare(
        5,
        || {
            failed = failed.take().or(model.score(&frame, &mut scores).err());
            black_box(&scores);
        },
        || {
            for (values, score) in flat.chunks_exact(8).zip(&mut plain_scores) {
                *score = plain_walk(packed, values);
            }
            black_box(&plain_scores);
        },
    );
    if let Some(error) = failed {
        return Err(error.into());
    }
    let bytes = packed.nodes.len() * (size_of::<PackedNode>() + size_of::<f32>());
    Ok(Measured {
        ours: rows as f64 / ours,
        baseline: Some(rows as f64 / baseline),
        bytes_per_series: Some(bytes as f64 / 8.0),
    })
}

fn plain_walk(forest: &PackedForest, values: &[f32]) -> f64 {
    let mut total = 0.0;
    for root in &forest.roots {
        let mut at = *root as usize;
        while forest.nodes[at].cut < f32::INFINITY {
            let node = forest.nodes[at];
            at = node.child as usize + usize::from(values[node.feature as usize] >= node.cut);
        }
        total += f64::from(forest.paths[at]);
    }
    (-total / forest.roots.len() as f64 / forest.normal).exp2()
}

fn surprise_bank() -> Result<PerSeries<aiops_detect::tier2::Surprise>> {
    let fresh = SurpriseConfig::default().build()?;
    Ok(PerSeries::new(Tier::Two, 10_240, move || fresh.clone()))
}

fn surprise(quick: bool) -> Result<Measured> {
    one_series(surprise_bank()?, if quick { 50_000 } else { 500_000 })
}

fn random_cut_forest(quick: bool) -> Result<Measured> {
    let config = RandomCutForestConfig::default();
    let (bytes, fresh) = (config.bytes_per_series(), config.build()?);
    let bank = PerSeries::new(Tier::Three, bytes, move || fresh.clone());
    one_series(bank, if quick { 10_000 } else { 100_000 })
}

/// Samples of one series a second that a bank judges and learns.
fn one_series(mut bank: impl DetectorBank, rows: usize) -> Result<Measured> {
    let mut noise = Noise::new(2);
    let values: Vec<f64> = (0..rows).map(|_| 50.0 + noise.normal()).collect();
    let ids = vec![SeriesId(0); rows];
    let mut scores = vec![0.0; rows];
    let mut flagged = Vec::new();
    let mut times: Vec<Timestamp> = (0..rows as i64).map(Timestamp::from_secs).collect();
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        let batch = SampleBatch::new(&ids, &times, &values)?;
        let mut outcome = Ok(Default::default());
        best = best.min(cpu_seconds(|| outcome = bank.update(&batch, &mut scores, &mut flagged)));
        outcome?;
        times.iter_mut().for_each(|time| *time += std::time::Duration::from_secs(rows as u64));
        flagged.clear();
    }
    let bytes_per_series = Some(bank.bytes_per_series() as f64);
    Ok(Measured { ours: rows as f64 / best, baseline: None, bytes_per_series })
}

fn vus(quick: bool) -> Result<Measured> {
    let n = if quick { 2_000 } else { 10_000 };
    let window = 100;
    let mut noise = Noise::new(3);
    let labels: Vec<bool> = (0..n).map(|i| (i / 40) % 25 == 7).collect();
    let scores: Vec<f64> =
        labels.iter().map(|label| noise.uniform() + if *label { 0.4 } else { 0.0 }).collect();
    let mut ours_is = 0.0;
    let mut plain_is = 0.0;
    let (ours, baseline) = compare(
        2,
        || ours_is = eval::vus(&scores, &labels, window).ok().flatten().map_or(0.0, |vus| vus.pr),
        || plain_is = plain_vus_pr(&scores, &labels, window),
    );
    if (ours_is - plain_is).abs() > 1e-9 {
        return Err(format!("VUS-PR {ours_is} is not that of the definition, {plain_is}").into());
    }
    Ok(Measured {
        ours: n as f64 / ours,
        baseline: Some(n as f64 / baseline),
        bytes_per_series: None,
    })
}

/// VUS-PR as it is written down: no work is shared between tolerances or thresholds.
fn plain_vus_pr(scores: &[f64], labels: &[bool], window: usize) -> f64 {
    let n = scores.len();
    let runs = eval::segments(labels);
    let mut sorted = scores.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let positives = labels.iter().filter(|label| **label).count() as f64;
    let mut volume = 0.0;
    for tolerance in 0..=window {
        let reach = tolerance / 2;
        let mut soft = vec![0.0; n];
        for run in &runs {
            for d in 1..=reach {
                let weight = (1.0 - d as f64 / tolerance as f64).sqrt();
                if run.end - 1 + d < n {
                    soft[run.end - 1 + d] += weight;
                }
                if run.start >= d {
                    soft[run.start - d] += weight;
                }
            }
        }
        let mut last_tpr = 0.0;
        for k in 0..250 {
            let rank = if k == 249 { n - 1 } else { ((n - 1) as f64 / 249.0 * k as f64) as usize };
            let threshold = sorted[rank];
            let (mut predicted, mut inside, mut near) = (0.0, 0.0, 0.0);
            for i in 0..n {
                if scores[i] >= threshold {
                    predicted += 1.0;
                    if labels[i] {
                        inside += 1.0;
                    } else {
                        near += f64::min(soft[i], 1.0);
                    }
                }
            }
            let (mut found, mut ranges) = (0.0, 0.0);
            let mut from = 0;
            while from < runs.len() {
                let mut to = from;
                while to + 1 < runs.len()
                    && runs[to].end - 1 + reach >= runs[to + 1].start.saturating_sub(reach)
                {
                    to += 1;
                }
                let wide = runs[from].start.saturating_sub(reach)..(runs[to].end + reach).min(n);
                found += if scores[wide].iter().any(|s| *s >= threshold) { 1.0 } else { 0.0 };
                ranges += 1.0;
                from = to + 1;
            }
            let hits = inside + near;
            let tpr = f64::min(hits / ((2.0 * positives + near) / 2.0), 1.0) * found / ranges;
            volume += (tpr - last_tpr) * hits / predicted;
            last_tpr = tpr;
        }
    }
    volume / (window + 1) as f64
}

/// The 99th percentile of the CPU time of a batch of 512 samples of random series.
fn latency(quick: bool, mut bank: impl DetectorBank, series: usize) -> Result<Measured> {
    const BATCH: usize = 512;
    let batches = if quick { 200 } else { 2_000 };
    let mut noise = Noise::new(4);
    let mut scores = vec![0.0; BATCH];
    let mut flagged = Vec::new();
    let mut clock = 0_i64;
    let mut seconds = Vec::with_capacity(batches);
    // Every series is seen once before anything is measured.
    let warm = series.div_ceil(BATCH);
    for round in 0..warm + batches {
        let ids: Vec<SeriesId> = (0..BATCH)
            .map(|i| {
                let any = (noise.uniform() * series as f64) as usize;
                SeriesId(if round < warm { (round * BATCH + i) % series } else { any } as u32)
            })
            .collect();
        let values: Vec<f64> = (0..BATCH).map(|_| 50.0 + noise.normal()).collect();
        let times: Vec<Timestamp> = (0..BATCH)
            .map(|_| {
                clock += 1;
                Timestamp::from_millis(clock)
            })
            .collect();
        let batch = SampleBatch::new(&ids, &times, &values)?;
        flagged.clear();
        let mut outcome = Ok(Default::default());
        let took = cpu_seconds(|| outcome = bank.update(&batch, &mut scores, &mut flagged));
        outcome?;
        if round >= warm {
            seconds.push(took);
        }
    }
    let bytes_per_series = Some(bank.bytes_per_series() as f64);
    Ok(Measured { ours: percentile_99(seconds), baseline: None, bytes_per_series })
}

fn latency_tier3(quick: bool) -> Result<Measured> {
    let batches = if quick { 50 } else { 500 };
    let frame = frame(512 * 8)?;
    let model = PcaConfig::default().train(&frame)?;
    let parts: Vec<Frame> =
        (0..8).map(|i| frame.slice(i * 512, (i + 1) * 512)).collect::<Result<_, _>>()?;
    let mut scores = vec![0.0; 512];
    let mut seconds = Vec::with_capacity(batches);
    for i in 0..batches {
        let mut outcome = Ok(());
        seconds.push(cpu_seconds(|| outcome = model.score(&parts[i % 8], &mut scores)));
        outcome?;
    }
    Ok(Measured { ours: percentile_99(seconds), baseline: None, bytes_per_series: None })
}

fn percentile_99(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[(seconds.len() * 99 / 100).min(seconds.len() - 1)]
}
