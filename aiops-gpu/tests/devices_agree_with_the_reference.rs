//! Every device that is here, software included, against the plain `f64` reference and the CPU engine.
//!
//! Run with the features `wgpu` and `cuda`; a device that is not here is skipped, and counted. With
//! `AIOPS_FULL` set, streams are 100,000 steps long.
#![cfg(any(feature = "cuda", feature = "wgpu"))]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test that cannot go on says where")]

use std::time::Duration;

use aiops_core::{Sample, SampleBatch, SeriesId, Timestamp};
use aiops_detect::{Detector, Tally, testing::Noise};
use aiops_gpu::{
    Ask, BatchEngine, ChainConfig, CpuConfig, DeviceConfig, DeviceEngine, EngineKind, Error,
    LstmReference, LstmWeights, Model, RUN, ReferenceDetector, RuleConfig, Votes, run,
    testing::{check_engine, small_model},
};

const DEADLINE: Duration = Duration::from_secs(60);

/// A seed that differs between runs, printed with every failure.
fn fresh() -> u64 {
    let place = Box::new(0_u8);
    (&raw const *place as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ u64::from(std::process::id())
}

fn compiled_in() -> Vec<EngineKind> {
    let mut kinds = Vec::new();
    if cfg!(feature = "cuda") {
        kinds.push(EngineKind::Cuda);
    }
    if cfg!(feature = "wgpu") {
        kinds.push(EngineKind::Wgpu);
    }
    kinds
}

fn config() -> DeviceConfig {
    DeviceConfig { software: true, max_series: 1 << 20, ..DeviceConfig::default() }
}

/// Runs a test on every kind of device that is here.
fn on_every_device(test: impl Fn(EngineKind)) {
    let mut skipped = 0;
    for kind in compiled_in() {
        match config().build(kind, &small_model()) {
            Ok(engine) => {
                eprintln!("{kind}: {}", engine.device().name);
                drop(engine);
                test(kind);
            }
            Err(Error::Unavailable { reason, .. }) => {
                skipped += 1;
                eprintln!("skipped: {kind} ({reason})");
            }
            Err(error) => panic!("{kind}: {error}"),
        }
    }
    eprintln!("{skipped} of {} devices skipped", compiled_in().len());
}

fn engine(kind: EngineKind, model: &Model) -> DeviceEngine {
    config().build(kind, model).unwrap()
}

#[test]
fn devices_and_chains_with_one_keep_the_contract() {
    on_every_device(|kind| {
        check_engine(|model| engine(kind, model), 1e-4);
        let chain = |model: &Model| {
            let cpu = CpuConfig::default();
            let engines: Vec<Box<dyn BatchEngine>> = vec![
                Box::new(engine(kind, model)),
                Box::new(cpu.build(model).unwrap()),
                Box::new(cpu.build_statistics(model).unwrap()),
            ];
            ChainConfig::default().build(engines).unwrap()
        };
        check_engine(chain, 1e-4);
    });
}

/// What every device and every reference is fed: levels from nothing to 1e12, gaps, spikes, steps.
fn value(noise: &mut Noise, series: usize, step: i64) -> f64 {
    let level = [0.0, 50.0, -1e6, 1e9, 1e12][series % 5];
    let scale = [1e-3, 1.0, 5.0, 100.0, 1e4][series % 5];
    match noise.uniform() {
        u if u < 0.02 => f64::NAN,
        u if u < 0.03 => level + 300.0 * scale * noise.normal(),
        _ => level + scale * (noise.normal() + f64::from(step % 700 > 350)),
    }
}

/// Scores and expectations of a stream, with LSTM and forest apart and together, of several widths: also
/// such as no unit of a device is.
#[test]
fn streams_are_judged_as_the_reference_does() {
    let steps = if std::env::var_os("AIOPS_FULL").is_some() { 100_000 } else { 1_500 };
    on_every_device(|kind| {
        let seed = fresh();
        let forest = small_model().forest;
        let cases = [(64, false), (12, true), (1, false), (19, false), (80, false), (0, true)];
        for (hidden, with_forest) in cases {
            let mut model = Model::statistics(RuleConfig::default());
            model.lstm = (hidden > 0).then(|| LstmWeights::random(hidden, seed));
            model.forest = forest.clone().filter(|_| with_forest);
            // The f64 twins of the wide nets are slow.
            let (series, steps) = if hidden == 12 { (40, steps) } else { (20, 150) };
            follow(kind, &model, series, steps, seed);
        }
    });
}

fn follow(kind: EngineKind, model: &Model, series: usize, steps: i64, seed: u64) {
    let case = format!(
        "{kind}, {} units, forest {}, seed {seed}",
        model.lstm.as_ref().map_or(0, LstmWeights::hidden),
        model.forest.is_some()
    );
    let mut engine = engine(kind, model);
    let mut twins = vec![ReferenceDetector::new(model.clone()).unwrap(); series];
    let mut noise = Noise::new(seed);
    engine.register(series).unwrap();
    let ids: Vec<SeriesId> = (0..series as u32).map(SeriesId).collect();
    let (mut worst_score, mut worst_expected, mut rows, mut turned) = (0.0_f64, 0.0_f64, 0, 0);
    for step in 0..steps {
        let times = vec![Timestamp::from_secs(step); series];
        let values: Vec<f64> = (0..series).map(|i| value(&mut noise, i, step)).collect();
        let batch = SampleBatch::new(&ids, &times, &values).unwrap();
        let outcome = run(&mut engine, &batch, Ask::UPDATE.with_columns(), DEADLINE).unwrap();
        let columns = outcome.columns.as_ref().unwrap();
        let mut counted = Tally::default();
        for (i, twin) in twins.iter_mut().enumerate() {
            let verdict = twin.update(Sample::new(times[i], values[i]));
            counted.count(&verdict);
            let scored = verdict.is_scored();
            assert_eq!(columns.expected[i].is_nan(), !scored, "{case}, step {step}, row {i}");
            if !scored {
                continue;
            }
            rows += 1;
            let half = 0.5 * (verdict.upper - verdict.lower);
            let off = (columns.expected[i] - verdict.expected).abs() / half;
            assert!(off <= 1e-5, "{case}, step {step}, row {i}: expectation off by {off} bands");
            worst_expected = worst_expected.max(off);
            let off = (f64::from(columns.scores[i]) - verdict.score).abs();
            let off = off / verdict.score.max(1.0);
            if off > 1e-4 && model.forest.is_some() {
                // A deviation within rounding of a cut, which the walk passed on the other side.
                turned += 1;
                continue;
            }
            assert!(off <= 1e-4, "{case}, step {step}, row {i}: score off by {off}");
            worst_score = worst_score.max(off);
        }
        let parts = |t: &Tally| (t.scored, t.warming_up, t.gaps, t.late);
        assert_eq!(parts(&outcome.tally), parts(&counted), "{case}, step {step}");
    }
    assert!(turned * 10_000 <= rows, "{case}: {turned} of {rows} rows took another way");
    eprintln!(
        "{case}: {rows} rows, scores within {worst_score:.1e}, expectations within \
         {worst_expected:.1e} bands, {turned} walks turned"
    );
}

/// Engines of a device and of the processor, on the same batches: sparse, repeated, in any order.
#[test]
fn a_device_and_the_processor_agree() {
    on_every_device(|kind| {
        let seed = fresh();
        let model = small_model();
        let (mut device, mut cpu) =
            (engine(kind, &model), CpuConfig::default().build(&model).unwrap());
        // Grown in steps, so that series lie in several pages.
        for series in [70, 1500, 4000] {
            device.register(series).unwrap();
            cpu.register(series).unwrap();
        }
        let mut noise = Noise::new(seed);
        let mut flags = 0;
        for step in 0..60_i64 {
            let chosen: Vec<u32> = match step % 3 {
                0 => (0..4000).collect(),
                1 => (0..4000).filter(|i| (i + step as u32).is_multiple_of(11)).rev().collect(),
                _ => (900..1600).chain([1023, 3, 1024, 3]).collect(),
            };
            let ids: Vec<SeriesId> = chosen.iter().map(|i| SeriesId(*i)).collect();
            let times: Vec<Timestamp> =
                (0..ids.len()).map(|i| Timestamp::from_millis(100_000 * step + i as i64)).collect();
            // At the end everything jumps: more flags than are read at once.
            let jump = if step == 57 { 1e4 } else { 0.0 };
            let values: Vec<f64> =
                chosen.iter().map(|i| jump + value(&mut noise, *i as usize, step)).collect();
            let batch = SampleBatch::new(&ids, &times, &values).unwrap();
            let ask = Ask::UPDATE;
            let (a, b) = (
                run(&mut device, &batch, ask, DEADLINE).unwrap(),
                run(&mut cpu, &batch, ask, DEADLINE).unwrap(),
            );
            assert_eq!((a.tally, a.overflow), (b.tally, b.overflow), "step {step}, seed {seed}");
            assert_eq!(a.flags.len(), b.flags.len());
            flags += a.flags.len();
            for (a, b) in a.flags.iter().zip(&b.flags) {
                assert_eq!((a.row, a.id, a.votes), (b.row, b.id, b.votes), "seed {seed}");
                assert!((a.score - b.score).abs() <= 1e-3 * b.score, "{a:?} against {b:?}");
                assert!(a.votes.has(Votes::STATISTICS) || a.votes.has(Votes::LSTM));
            }
        }
        assert!(flags > 300, "{flags} flags");
        // What one knows the other continues from.
        let ids: Vec<SeriesId> = (0..4000).rev().map(SeriesId).collect();
        let saved = cpu.snapshot(&ids).unwrap();
        device.restore(&ids, &saved).unwrap();
        cpu.restore(&ids, &device.snapshot(&ids).unwrap()).unwrap();
    });
}

/// Windows against the formula, runs against the walk (the same sums in the same order), outputs poisoned.
#[test]
fn windows_and_runs_without_series() {
    on_every_device(|kind| {
        let seed = fresh();
        let mut noise = Noise::new(seed);
        let mut model = small_model();
        for hidden in [64, 5, 70, 128] {
            let weights = LstmWeights::random(hidden, seed);
            model.lstm = Some(weights.clone());
            let mut engine = engine(kind, &model);
            // Lavapipe ends all loops of a thread after 65,535 turns; wide nets make length · units² of them.
            let (length, count) =
                (if hidden > 64 { 65_000 / (hidden * (hidden + 2)) } else { 20 }, 150);
            let inputs: Vec<f32> =
                (0..length * count).map(|_| 2.0 * noise.normal() as f32).collect();
            let mut predictions = vec![f32::NAN; count];
            engine.windows(&inputs, length, &mut predictions).unwrap();
            for (window, prediction) in inputs.chunks_exact(length).zip(&predictions) {
                let mut reference = LstmReference::new(&weights);
                let expected = window.iter().map(|x| reference.step(f64::from(*x))).last().unwrap();
                let off = (f64::from(*prediction) - expected).abs();
                assert!(
                    off <= 1e-5 * expected.abs().max(1.0),
                    "{hidden} units, seed {seed}: {off}"
                );
            }
            assert!(engine.windows(&inputs[1..], length, &mut predictions).is_err());

            let runs: Vec<f32> = (0..RUN * 1000).map(|_| 2.0 * noise.normal() as f32).collect();
            let (mut scores, mut walked) = (vec![f64::NAN; 1000], vec![f64::NAN; 1000]);
            engine.score_runs(&runs, &mut scores).unwrap();
            let packed = model.forest.as_ref().unwrap().packed();
            packed.score_many(&runs, &mut walked);
            assert_eq!(scores, walked, "seed {seed}");
            assert!(engine.score_runs(&runs[1..], &mut scores).is_err());
        }
    });
}

#[test]
fn flags_that_do_not_fit_are_said_and_batches_overlap() {
    on_every_device(|kind| {
        let config = DeviceConfig { max_flags: 3, ..config() };
        let mut engine = config.build(kind, &small_model()).unwrap();
        engine.register(20).unwrap();
        let ids: Vec<SeriesId> = (0..20).map(SeriesId).collect();
        let mut noise = Noise::new(1);
        let mut tickets = std::collections::VecDeque::new();
        for step in 0..60 {
            let times = vec![Timestamp::from_secs(step); 20];
            let level = if step == 59 { 1e6 } else { 0.0 };
            let values: Vec<f64> = ids.iter().map(|_| level + noise.normal()).collect();
            let batch = SampleBatch::new(&ids, &times, &values).unwrap();
            tickets.push_back(engine.submit(&batch, Ask::UPDATE).unwrap());
            if tickets.len() > 5 {
                let outcome = engine.wait(tickets.pop_front().unwrap(), DEADLINE).unwrap();
                assert_eq!(outcome.tally.rows(), 20);
            }
        }
        // Anything but in order, by asking again and again.
        while let Some(ticket) = tickets.pop_back() {
            let outcome = loop {
                match engine.poll(ticket).unwrap() {
                    Some(outcome) => break outcome,
                    None => std::thread::yield_now(),
                }
            };
            assert!(engine.poll(ticket).is_err(), "an outcome comes once");
            if tickets.len() == 4 {
                assert!(outcome.overflow && outcome.flags.len() == 3);
                assert_eq!(outcome.tally.flagged, 20);
            }
        }
        let empty = SampleBatch::new(&[], &[], &[]).unwrap();
        let outcome = run(&mut engine, &empty, Ask::UPDATE.with_columns(), DEADLINE).unwrap();
        assert_eq!(outcome.tally.rows(), 0);
    });
}

/// Whatever is or is not installed: an answer, and no panic.
#[test]
fn a_device_that_is_not_there_is_said() {
    for kind in [EngineKind::Cuda, EngineKind::Wgpu, EngineKind::Cpu] {
        let config = DeviceConfig { index: 99, ..DeviceConfig::default() };
        let error = config.build(kind, &small_model()).unwrap_err();
        assert!(matches!(error, Error::Unavailable { engine, .. } if engine == kind), "{error}");
    }
    // The same test once more in a process that sees no driver at all.
    const MARK: &str = "AIOPS_GPU_WITHOUT_DRIVERS";
    if std::env::var_os(MARK).is_some() {
        let choice = aiops_gpu::choose(&small_model()).unwrap();
        assert_eq!(choice.chain.kind(), EngineKind::Cpu, "{}", choice.why);
        return;
    }
    let nowhere = "/nonexistent";
    let own = std::env::current_exe().unwrap();
    let child = std::process::Command::new(own)
        .args(["--exact", "a_device_that_is_not_there_is_said"])
        .envs([(MARK, "1"), ("VK_DRIVER_FILES", nowhere), ("VK_ICD_FILENAMES", nowhere)])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success() && !said.contains("panicked"), "{said}");
}
