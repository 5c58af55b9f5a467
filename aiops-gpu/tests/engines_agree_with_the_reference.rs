//! Every instruction set against the plain `f64` reference, on fresh random inputs and long streams.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::time::Duration;

use aiops_core::{Sample, SampleBatch, SeriesId, Timestamp};
use aiops_detect::{
    Detector, DetectorBank,
    testing::{Noise, check_bank, check_detector},
    tier3::IsolationForestConfig,
};
use aiops_gpu::{
    Ask, Autoencoder, BatchEngine, CpuConfig, EngineBankConfig, Forecaster, ForestScorer,
    LstmReference, LstmWeights, Model, ReferenceDetector, RuleConfig, RunForest, Simd, run,
};

/// A seed that differs between runs, printed with every failure.
fn fresh() -> u64 {
    let place = Box::new(0_u8);
    (&raw const *place as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ u64::from(std::process::id())
}

fn model(hidden: usize, forest: bool) -> Model {
    let mut model = Model::statistics(RuleConfig::default());
    model.lstm = Some(LstmWeights::random(hidden, 7));
    if forest {
        let mut noise = Noise::new(5);
        let values: Vec<f64> = (0..2000).map(|_| noise.normal()).collect();
        let config = IsolationForestConfig { trees: 25, ..Default::default() };
        model.forest = Some(RunForest::fit(&[&values], &model.rule, &config).unwrap());
    }
    model
}

/// 1e-5 relative to one, as for single precision; outputs start poisoned.
#[test]
fn lstm_steps_equal_the_formula_on_every_instruction_set() {
    let seed = fresh();
    for simd in Simd::available() {
        for (hidden, series) in [(64, 50), (1, 3), (19, 100), (16, 48)] {
            let weights = LstmWeights::random(hidden, seed);
            let mut noise = Noise::new(seed ^ 1);
            let mut forecaster = Forecaster::on(&weights, series, simd).unwrap();
            let mut reference = vec![LstmReference::new(&weights); series];
            for step in 0..40 {
                // Some beyond the usual size, which takes another path.
                let size = if step % 10 == 9 { 40.0 } else { 2.0 };
                let inputs: Vec<f32> =
                    (0..series).map(|_| (size * noise.normal()) as f32).collect();
                let mut next = vec![f32::NAN; series];
                forecaster.step(&inputs, &mut next).unwrap();
                for (i, reference) in reference.iter_mut().enumerate() {
                    let expected = reference.step(f64::from(inputs[i]));
                    let off = (f64::from(next[i]) - expected).abs();
                    assert!(
                        off <= 1e-5 * expected.abs().max(1.0),
                        "{simd:?}, {hidden} units, series {i}, step {step}, seed {seed}: off by {off}"
                    );
                }
            }
        }
    }
}

#[test]
fn windows_equal_steps_from_zero() {
    let weights = LstmWeights::random(24, 3);
    let mut noise = Noise::new(4);
    let (length, count) = (30, 70);
    let inputs: Vec<f32> = (0..length * count).map(|_| noise.normal() as f32).collect();
    for simd in Simd::available() {
        let forecaster = Forecaster::on(&weights, 0, simd).unwrap();
        let mut out = vec![f32::NAN; count];
        forecaster.windows(&inputs, length, &mut out).unwrap();
        for (window, out) in inputs.chunks_exact(length).zip(&out) {
            let mut reference = LstmReference::new(&weights);
            let expected = window.iter().map(|x| reference.step(f64::from(*x))).last().unwrap();
            assert!((f64::from(*out) - expected).abs() <= 1e-5);
        }
        assert!(forecaster.windows(&inputs[1..], length, &mut out).is_err());
    }
}

/// Rounding does not build up over a hundred thousand steps.
#[test]
fn long_streams_stay_close() {
    let weights = LstmWeights::random(8, 9);
    for simd in Simd::available() {
        let mut forecaster = Forecaster::on(&weights, 1, simd).unwrap();
        let mut reference = LstmReference::new(&weights);
        let mut noise = Noise::new(10);
        let (mut next, mut worst) = ([f32::NAN], 0.0_f64);
        for _ in 0..100_000 {
            let x = noise.normal() as f32;
            forecaster.step(&[x], &mut next).unwrap();
            worst = worst.max((f64::from(next[0]) - reference.step(f64::from(x))).abs());
        }
        assert!(worst <= 1e-5, "{simd:?}: off by {worst}");
    }
}

/// The same comparisons and sums in the same order: equal bit for bit.
#[test]
fn forests_equal_the_walk_bit_for_bit() {
    let seed = fresh();
    let mut noise = Noise::new(seed);
    for (d, sample, trees) in [(1, 64, 20), (8, 256, 100), (33, 256, 10), (3, 4096, 3)] {
        let rows = 5000;
        let keys =
            (0..d).map(|i| aiops_core::SeriesKey::new(format!("v{i}"), [("of", "test")])).collect();
        let values = (0..d * rows).map(|_| noise.normal()).collect();
        let second = Duration::from_secs(1);
        let frame = aiops_core::Frame::new(keys, Timestamp::EPOCH, second, values).unwrap();
        let config = IsolationForestConfig { trees, sample, seed };
        let forest = config.train(&frame).unwrap();
        let flat: Vec<f32> = (0..d * 1000).map(|_| (2.0 * noise.normal()) as f32).collect();
        let mut walked = vec![f64::NAN; 1000];
        forest.packed().score_many(&flat, &mut walked);
        for simd in Simd::available() {
            let mut scorer = ForestScorer::on(forest.packed(), simd).unwrap();
            let mut scores = vec![f64::NAN; 1000];
            scorer.score(&flat, &mut scores).unwrap();
            assert_eq!(scores, walked, "{simd:?}, d = {d}, seed {seed}");
            assert!(scorer.score(&flat[1..], &mut scores).is_err());
        }
    }
}

#[test]
fn a_table_that_is_no_forest_is_refused() {
    let good = model(4, true).forest.unwrap().packed().clone();
    for damage in 0..5 {
        let mut bad = good.clone();
        match damage {
            0 => bad.nodes[0].child = 0,
            1 => bad.nodes[0].feature = 99,
            2 => bad.roots[0] = u32::MAX,
            3 => bad.paths.pop().map_or((), |_| ()),
            _ => bad.normal = f64::NAN,
        }
        assert!(ForestScorer::new(&bad).is_err(), "damage {damage}");
    }
}

/// The whole engine against the whole reference: scores, votes, counts, in whatever batches rows come.
#[test]
fn the_engine_judges_as_the_reference_does() {
    let seed = fresh();
    for simd in Simd::available() {
        let model = model(12, true);
        let config = CpuConfig { simd: Some(simd), ..CpuConfig::default() };
        let mut engine = config.build(&model).unwrap();
        let series = 130;
        engine.register(series).unwrap();
        let mut twins = vec![ReferenceDetector::new(model.clone()).unwrap(); series];
        let mut noise = Noise::new(seed);
        for step in 0..150_i64 {
            // Dense, sparse, and series that come twice.
            let chosen: Vec<u32> = match step % 3 {
                0 => (0..series as u32).collect(),
                1 => (0..series as u32)
                    .filter(|i| (i + step as u32).is_multiple_of(11))
                    .rev()
                    .collect(),
                _ => (0..series as u32).chain([3, 77, 3]).collect(),
            };
            let ids: Vec<SeriesId> = chosen.iter().map(|i| SeriesId(*i)).collect();
            let times: Vec<Timestamp> = (0..ids.len() as i64)
                .map(|i| Timestamp::from_millis(1000 * step + if i > 129 { i } else { 0 }))
                .collect();
            let values: Vec<f64> = ids
                .iter()
                .map(|_| match noise.uniform() {
                    u if u < 0.02 => f64::NAN,
                    u if u < 0.04 => 1e3 * noise.normal(),
                    _ => 50.0 + noise.normal(),
                })
                .collect();
            let batch = SampleBatch::new(&ids, &times, &values).unwrap();
            let ask = Ask::UPDATE.with_columns();
            let outcome = run(&mut engine, &batch, ask, Duration::ZERO).unwrap();
            let scores = &outcome.columns.as_ref().unwrap().scores;
            let mut tally = aiops_detect::Tally::default();
            for (row, id) in ids.iter().enumerate() {
                let sample = Sample::new(times[row], values[row]);
                let verdict = twins[id.index()].update(sample);
                tally.count(&verdict);
                let off = (f64::from(scores[row]) - verdict.score).abs();
                assert!(
                    off <= 1e-4 * verdict.score.max(1.0),
                    "{simd:?}, step {step}, row {row}, seed {seed}: {} against {}",
                    scores[row],
                    verdict.score
                );
            }
            let counts = |t: aiops_detect::Tally| (t.scored, t.warming_up, t.gaps, t.late);
            assert_eq!(counts(outcome.tally), counts(tally), "step {step}, seed {seed}");
        }
    }
}

#[test]
fn reference_and_bank_keep_the_contracts_of_detectors() {
    let make = || ReferenceDetector::new(model(6, true)).unwrap();
    check_detector(make);
    let bank = |calibrate: bool| {
        let engine = CpuConfig::default().build(&model(6, true)).unwrap();
        let mut config = EngineBankConfig::default();
        if !calibrate {
            config.calibrate = None;
        }
        config.build(Box::new(engine)).unwrap()
    };
    check_bank(|| bank(true), make, 1e-4);
    check_bank(|| bank(false), make, 1e-4);
    assert!(bank(true).bytes_per_series() > 1000);
}

#[test]
fn autoencoders_equal_their_formula() {
    let seed = fresh();
    let (encoder, decoder) = (LstmWeights::random(20, seed), LstmWeights::random(20, seed ^ 1));
    let (length, count) = (24, 61);
    let mut noise = Noise::new(seed);
    let windows: Vec<f32> = (0..length * count).map(|_| noise.normal() as f32).collect();
    for simd in Simd::available() {
        let autoencoder = Autoencoder::on(&encoder, &decoder, simd).unwrap();
        let (mut scores, mut expected) = (vec![f64::NAN; count], vec![f64::NAN; count]);
        autoencoder.score(&windows, length, &mut scores).unwrap();
        autoencoder.score_reference(&windows, length, &mut expected).unwrap();
        for (score, expected) in scores.iter().zip(&expected) {
            let off = (score - expected).abs();
            assert!(off <= 1e-4 * expected.max(1.0), "{simd:?}, seed {seed}: off by {off}");
        }
        assert!(autoencoder.score(&windows[1..], length, &mut scores).is_err());
        assert!(autoencoder.score(&[], 0, &mut scores).is_err());
    }
    assert!(Autoencoder::new(&encoder, &LstmWeights::random(5, 1)).is_err());
}
