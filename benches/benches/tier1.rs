//! Tier-1 banks for regression work: the paths that `leaderboard -- speed` measures beside plain loops.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use aiops_core::{SampleBatch, SeriesId, Timestamp};
use aiops_detect::DetectorBank;
use aiops_detect::tier1::{EwmaConfig, GuardConfig, RobustConfig};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::Duration;

const SIZES: [usize; 3] = [1_000, 100_000, 1_000_000];
const BATCH: usize = 8_192;

/// Values around 50, from a fixed seed, without runs that a predictor could learn.
fn random_numbers(seed: u64) -> impl Iterator<Item = u64> {
    std::iter::successors(Some(seed), |state| {
        Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407))
    })
    .map(|state| state >> 33)
}

fn values(n: usize, seed: u64) -> Vec<f64> {
    random_numbers(seed).take(n).map(|r| 50.0 + (r % 1_000) as f64 / 1_000.0).collect()
}

/// A step of every series at once.
fn sweep(c: &mut Criterion) {
    let mut group = c.benchmark_group("tier1_sweep_f64");
    for series in SIZES {
        let config = EwmaConfig { warm_up: 2, ..EwmaConfig::default() };
        let mut bank = config.build_bank().expect("the default builds");
        let (input, mut scores, mut flagged) = (values(series, 1), vec![0.0; series], Vec::new());
        let mut time = Timestamp::EPOCH;
        group.throughput(Throughput::Elements(series as u64));
        group.bench_function(BenchmarkId::from_parameter(series), |b| {
            b.iter(|| {
                time += Duration::from_secs(1);
                flagged.clear();
                bank.sweep(time, &input, &mut scores, &mut flagged).expect("columns agree");
                black_box(&scores);
            });
        });
    }
    group.finish();
}

/// Batches of rows whose series come in random order.
fn random(c: &mut Criterion, name: &str, mut make: impl FnMut() -> Box<dyn DetectorBank>) {
    let mut group = c.benchmark_group(name);
    for series in SIZES {
        let mut bank = make();
        let ids: Vec<SeriesId> =
            random_numbers(7).take(BATCH).map(|r| SeriesId((r % series as u64) as u32)).collect();
        let (input, mut scores, mut flagged) = (values(BATCH, 3), vec![0.0; BATCH], Vec::new());
        let mut times = vec![Timestamp::EPOCH; BATCH];
        let mut clock = 0;
        group.throughput(Throughput::Elements(BATCH as u64));
        group.bench_function(BenchmarkId::from_parameter(series), |b| {
            b.iter(|| {
                for time in &mut times {
                    clock += 1;
                    *time = Timestamp::from_nanos(clock);
                }
                flagged.clear();
                let batch = SampleBatch::new(&ids, &times, &input).expect("columns agree");
                bank.update(&batch, &mut scores, &mut flagged).expect("ids are dense");
                black_box(&scores);
            });
        });
    }
    group.finish();
}

fn record(c: &mut Criterion) {
    random(c, "tier1_record_random", || {
        let dynamic = EwmaConfig { warm_up: 1, ..EwmaConfig::default() };
        let config = GuardConfig { dynamic, upper: Some(1e6), ..GuardConfig::default() };
        Box::new(config.build_bank().expect("the settings are valid"))
    });
}

fn robust(c: &mut Criterion) {
    random(c, "tier1_robust_random", || {
        Box::new(RobustConfig::default().build_bank().expect("the default builds"))
    });
}

criterion_group!(benches, sweep, record, robust);
criterion_main!(benches);
