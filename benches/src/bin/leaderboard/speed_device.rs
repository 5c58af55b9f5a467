//! Speed rows of the engines on devices, in wall-clock seconds, beside the CPU engine on one core.
//!
//! A row whose device is not here is left out, with the reason. With `AIOPS_SOFTWARE_DEVICE` set, a program
//! that acts like a device will do: to see that everything runs, not for its figures.

use std::{collections::VecDeque, hint::black_box, time::Duration};

use aiops_core::{SampleBatch, SeriesId, Timestamp};
use aiops_detect::{testing::Noise, tier3::IsolationForestConfig};
use aiops_gpu::{
    Ask, BatchEngine, CpuConfig, CpuEngine, DeviceConfig, DeviceEngine, EngineKind, Error,
    Forecaster, ForestScorer, LstmWeights, Model, RuleConfig, RunForest, pretrained, run,
};

use crate::{
    registry::{Absent, Measured, Result, SpeedRow, Unit},
    stopwatch::wall_seconds,
};

const DEADLINE: Duration = Duration::from_secs(120);

macro_rules! rows {
    ($kind:expr, $name:literal) => {
        &[
            SpeedRow {
                id: concat!("lstm64_step_", $name),
                unit: Unit::PerSecond("steps/s"),
                baseline_is: "the CPU engine; ours is kernels alone: statistics, LSTM, votes",
                measure: |quick| steps($kind, quick),
            },
            SpeedRow {
                id: concat!("lstm64_window_", $name),
                unit: Unit::PerSecond("windows of 64/s"),
                baseline_is: "`Forecaster::windows`; ours is the kernel alone",
                measure: |quick| windows($kind, quick),
            },
            SpeedRow {
                id: concat!("iforest_score_", $name),
                unit: Unit::PerSecond("rows/s"),
                baseline_is: "`ForestScorer`, 100 x 256, 8 values; ours is the kernel alone",
                measure: |quick| forest($kind, quick),
            },
            SpeedRow {
                id: concat!("end_to_end_", $name),
                unit: Unit::PerSecond("metrics/s"),
                baseline_is: "the CPU engine: f64 values in, flags out, all models, three batches under way",
                measure: |quick| end_to_end($kind, quick),
            },
            SpeedRow {
                id: concat!("end_to_end_512_p50_", $name),
                unit: Unit::Seconds,
                baseline_is: "the CPU engine: one batch of 512, all models, submitted and waited for",
                measure: |quick| latency($kind, quick, 0.5),
            },
            SpeedRow {
                id: concat!("end_to_end_512_p99_", $name),
                unit: Unit::Seconds,
                baseline_is: "the same, the slowest in a hundred",
                measure: |quick| latency($kind, quick, 0.99),
            },
            SpeedRow {
                id: concat!("all_series_", $name),
                unit: Unit::PerSecond("metrics/s"),
                baseline_is: "none: as many series as fit, at most 100 M, each updated once",
                measure: |quick| capacity($kind, quick),
            },
        ]
    };
}

#[cfg(feature = "cuda")]
pub(crate) const CUDA: &[SpeedRow] = rows!(EngineKind::Cuda, "cuda");
#[cfg(feature = "wgpu")]
pub(crate) const WGPU: &[SpeedRow] = rows!(EngineKind::Wgpu, "wgpu");

fn device(kind: EngineKind, model: &Model) -> Result<DeviceEngine> {
    let software = std::env::var_os("AIOPS_SOFTWARE_DEVICE").is_some();
    let config = DeviceConfig { software, ..DeviceConfig::default() };
    match config.build(kind, model) {
        Err(Error::Unavailable { reason, .. }) => Err(Absent(reason).into()),
        other => Ok(other?),
    }
}

fn lstm() -> Result<Model> {
    Ok(Model::from(&pretrained::lstm()?))
}

/// All models, the forest in the size that other tools use.
fn whole() -> Result<Model> {
    let series = pretrained::generated(2, 63, 500);
    let series: Vec<&[f64]> = series.iter().map(Vec::as_slice).collect();
    let config = IsolationForestConfig { trees: 100, sample: 256, seed: 1 };
    let rule = RuleConfig::default();
    let forest = RunForest::fit(&series, &rule, &config)?;
    Ok(Model { rule, lstm: Some(pretrained::lstm()?), forest: Some(forest) })
}

/// Batches in which every series comes once, as owned columns.
struct Stream {
    ids: Vec<SeriesId>,
    times: Vec<Vec<Timestamp>>,
    values: Vec<Vec<f64>>,
}

impl Stream {
    fn new(series: usize, steps: usize) -> Stream {
        let mut noise = Noise::new(1);
        // Made-up numbers cost more than what is measured: a few columns, shifted.
        let made: Vec<f64> = (0..series + steps).map(|_| 50.0 + noise.normal()).collect();
        Stream {
            ids: (0..series as u32).map(SeriesId).collect(),
            times: (0..steps).map(|step| vec![Timestamp::from_secs(step as i64); series]).collect(),
            values: (0..steps).map(|step| made[step..step + series].to_vec()).collect(),
        }
    }

    fn batches(&self) -> Vec<SampleBatch<'_>> {
        let columns = self.times.iter().zip(&self.values);
        columns
            .map(|(times, values)| {
                SampleBatch::new(&self.ids, times, values).expect("columns of one length")
            })
            .collect()
    }
}

/// Rows a second of the CPU engine.
fn on_cpu(model: &Model, series: usize) -> Result<f64> {
    let stream = Stream::new(series, 40);
    let mut cpu = CpuConfig::default().build(model)?;
    cpu.register(series)?;
    let batches = stream.batches();
    let (young, old) = batches.split_at(32);
    let all = |cpu: &mut CpuEngine, batches: &[SampleBatch<'_>]| {
        for batch in batches {
            black_box(run(cpu, batch, Ask::UPDATE, DEADLINE).expect("the processor answers"));
        }
    };
    all(&mut cpu, young);
    Ok((old.len() * series) as f64 / wall_seconds(|| all(&mut cpu, old)))
}

fn steps(kind: EngineKind, quick: bool) -> Result<Measured> {
    let model = lstm()?;
    let mut engine = device(kind, &model)?;
    let (series, steps) = if quick { (2048, 4) } else { (1 << 20, 16) };
    engine.register(series)?;
    let stream = Stream::new(series, 3 * steps);
    let batches = stream.batches();
    let mut best = Duration::MAX;
    // The first compiles the kernels.
    for batches in batches.chunks(steps) {
        best = best.min(engine.time_kernels(batches)?);
    }
    Ok(Measured {
        ours: (steps * series) as f64 / best.as_secs_f64(),
        baseline: Some(on_cpu(&model, series.min(65_536))?),
        bytes_per_series: Some(engine.capabilities().bytes_per_series as f64),
    })
}

/// Best wall-clock seconds of a few runs, after one to warm up.
fn best(runs: usize, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    work()?;
    let mut best = f64::INFINITY;
    for _ in 0..runs {
        let mut done = Ok(());
        best = best.min(wall_seconds(|| done = work()));
        done?;
    }
    Ok(best)
}

fn windows(kind: EngineKind, quick: bool) -> Result<Measured> {
    const LENGTH: usize = 64;
    let weights = LstmWeights::random(64, 1);
    let mut engine = device(kind, &Model::from(&weights))?;
    let count = if quick { 512 } else { 1 << 18 };
    let mut noise = Noise::new(2);
    let inputs: Vec<f32> = (0..count * LENGTH).map(|_| noise.normal() as f32).collect();
    let mut predictions = vec![f32::NAN; count];
    engine.windows(&inputs, LENGTH, &mut predictions)?;
    let launches = if quick { 2 } else { 20 };
    let seconds = engine.time_windows(&inputs, LENGTH, launches)?.as_secs_f64();
    let some = count.min(2048);
    let forecaster = Forecaster::new(&weights, 0);
    let mut expected = vec![f32::NAN; some];
    let cpu =
        best(3, || Ok(forecaster.windows(&inputs[..some * LENGTH], LENGTH, &mut expected)?))?;
    if !expected.iter().zip(&predictions).all(|(a, b)| (a - b).abs() <= 2e-5) {
        return Err("the two disagree".into());
    }
    Ok(Measured {
        ours: f64::from(launches) * count as f64 / seconds,
        baseline: Some(some as f64 / cpu),
        bytes_per_series: None,
    })
}

fn forest(kind: EngineKind, quick: bool) -> Result<Measured> {
    let model = whole()?;
    let mut engine = device(kind, &model)?;
    let rows = if quick { 4096 } else { 1 << 21 };
    let mut noise = Noise::new(3);
    let flat: Vec<f32> = (0..8 * rows).map(|_| noise.normal() as f32).collect();
    let mut scores = vec![f64::NAN; rows];
    engine.score_runs(&flat, &mut scores)?;
    let launches = if quick { 2 } else { 20 };
    let seconds = engine.time_runs(&flat, launches)?.as_secs_f64();
    let some = rows.min(65_536);
    let mut expected = vec![f64::NAN; some];
    let packed = model.forest.as_ref().ok_or("a forest was fitted")?.packed();
    let mut scorer = ForestScorer::new(packed)?;
    let cpu = best(3, || Ok(scorer.score(&flat[..8 * some], &mut expected)?))?;
    if expected != scores[..some] {
        return Err("the two disagree".into());
    }
    Ok(Measured {
        ours: f64::from(launches) * rows as f64 / seconds,
        baseline: Some(some as f64 / cpu),
        bytes_per_series: None,
    })
}

fn end_to_end(kind: EngineKind, quick: bool) -> Result<Measured> {
    let model = whole()?;
    let mut engine = device(kind, &model)?;
    let (series, steps) = if quick { (2048, 40) } else { (1 << 20, 48) };
    engine.register(series)?;
    let stream = Stream::new(series, steps);
    let batches = stream.batches();
    let (young, old) = batches.split_at(32);
    let mut all = |batches: &[SampleBatch<'_>]| -> Result<()> {
        let mut under_way = VecDeque::new();
        for batch in batches {
            under_way.push_back(engine.submit(batch, Ask::UPDATE)?);
            if under_way.len() >= 3 {
                let ticket = under_way.pop_front().ok_or("three are under way")?;
                black_box(engine.wait(ticket, DEADLINE)?);
            }
        }
        for ticket in under_way {
            black_box(engine.wait(ticket, DEADLINE)?);
        }
        Ok(())
    };
    all(young)?;
    let mut done = Ok(());
    let seconds = wall_seconds(|| done = all(old));
    done?;
    Ok(Measured {
        ours: (old.len() * series) as f64 / seconds,
        baseline: Some(on_cpu(&model, series.min(65_536))?),
        bytes_per_series: Some(engine.capabilities().bytes_per_series as f64),
    })
}

fn latency(kind: EngineKind, quick: bool, share: f64) -> Result<Measured> {
    let model = whole()?;
    let stream = Stream::new(512, if quick { 60 } else { 2032 });
    let batches = stream.batches();
    let (young, old) = batches.split_at(32);
    let measure = |engine: &mut dyn BatchEngine| -> Result<f64> {
        engine.register(512)?;
        for batch in young {
            run(engine, batch, Ask::UPDATE, DEADLINE)?;
        }
        let mut seconds = Vec::with_capacity(old.len());
        for batch in old {
            let mut done = Ok(());
            seconds.push(wall_seconds(|| {
                done = run(engine, batch, Ask::UPDATE, DEADLINE).map(|_| ());
            }));
            done?;
        }
        seconds.sort_by(f64::total_cmp);
        Ok(seconds[(share * (seconds.len() - 1) as f64).round() as usize])
    };
    let ours = measure(&mut device(kind, &model)?)?;
    let baseline = measure(&mut CpuConfig::default().build(&model)?)?;
    Ok(Measured { ours, baseline: Some(baseline), bytes_per_series: None })
}

fn capacity(kind: EngineKind, quick: bool) -> Result<Measured> {
    const BATCH: usize = 1 << 20;
    let mut engine = device(kind, &whole()?)?;
    let able = engine.capabilities();
    let wanted = if quick {
        20_000
    } else if kind == EngineKind::Cuda {
        able.max_series.min(100_000_000)
    } else {
        4_000_000
    };
    engine.register(wanted)?;
    let size = BATCH.min(wanted);
    let values = Stream::new(size, 1).values.remove(0);
    let mut pass = |second: i64| -> Result<()> {
        let times = vec![Timestamp::from_secs(second); size];
        let mut under_way = VecDeque::new();
        for first in (0..wanted).step_by(size) {
            let ids: Vec<SeriesId> =
                (first..(first + size).min(wanted)).map(|i| SeriesId(i as u32)).collect();
            let batch = SampleBatch::new(&ids, &times[..ids.len()], &values[..ids.len()])?;
            under_way.push_back(engine.submit(&batch, Ask::UPDATE)?);
            if under_way.len() >= 3 {
                let ticket = under_way.pop_front().ok_or("three are under way")?;
                black_box(engine.wait(ticket, DEADLINE)?);
            }
        }
        for ticket in under_way {
            black_box(engine.wait(ticket, DEADLINE)?);
        }
        Ok(())
    };
    pass(0)?;
    let mut done = Ok(());
    let seconds = wall_seconds(|| done = pass(1));
    done?;
    Ok(Measured {
        ours: wanted as f64 / seconds,
        baseline: None,
        bytes_per_series: Some(able.bytes_per_series as f64),
    })
}
