//! Each failure injected into the engines of a chain: no batch is lost, and statistics come last.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::time::Duration;

use aiops_core::{SampleBatch, SeriesId, Timestamp};
use aiops_detect::testing::Noise;
use aiops_gpu::{
    Ask, BatchEngine, BreakerConfig, ChainConfig, CpuConfig, EngineChain, EngineKind,
    testing::{Fault, FaultyEngine, check_engine, small_model},
};

const SERIES: usize = 40;

fn chain(cuda: &[(u64, Fault)], cpu: &[(u64, Fault)], back_off: u32) -> EngineChain {
    let model = small_model();
    let engine = || CpuConfig::default().build(&model).unwrap();
    let config = ChainConfig {
        breaker: BreakerConfig { back_off, ..BreakerConfig::default() },
        ..ChainConfig::default()
    };
    let mut chain = config
        .build(vec![
            Box::new(FaultyEngine::new(engine(), EngineKind::Cuda, cuda.iter().copied())),
            Box::new(FaultyEngine::new(engine(), EngineKind::Cpu, cpu.iter().copied())),
            Box::new(CpuConfig::default().build_statistics(&model).unwrap()),
        ])
        .unwrap();
    chain.register(SERIES).unwrap();
    chain
}

/// Feeds so many steps and returns, for each, who answered and how many rows were judged.
fn feed(chain: &mut EngineChain, steps: std::ops::Range<i64>) -> Vec<(EngineKind, u64)> {
    let mut noise = Noise::new(steps.start as u64);
    let ids: Vec<SeriesId> = (0..SERIES as u32).map(SeriesId).collect();
    let mut answers = Vec::new();
    for step in steps {
        let times = vec![Timestamp::from_secs(step); SERIES];
        let values: Vec<f64> = ids.iter().map(|_| 9.0 + noise.normal()).collect();
        let batch = SampleBatch::new(&ids, &times, &values).unwrap();
        let ticket = chain.submit(&batch, Ask::UPDATE).unwrap();
        let outcome = chain.wait(ticket, Duration::from_millis(1)).unwrap();
        assert_eq!(outcome.tally.rows(), SERIES as u64, "step {step}: every row is accounted for");
        assert!(chain.wait(ticket, Duration::ZERO).is_err(), "an outcome comes once");
        answers.push((outcome.engine, outcome.tally.scored));
    }
    answers
}

#[test]
fn each_failure_sends_the_batch_to_the_next_engine() {
    let faults =
        [Fault::Submit, Fault::Device, Fault::Silence, Fault::PanicAtSubmit, Fault::PanicAtAnswer];
    for fault in faults {
        let mut chain = chain(&[(50, fault)], &[], 10);
        let answers = feed(&mut chain, 0..100);
        for (step, (engine, scored)) in answers.into_iter().enumerate() {
            // The breaker is open for ten batches; the first that is tried again works.
            let expected =
                if (50..60).contains(&step) { EngineKind::Cpu } else { EngineKind::Cuda };
            assert_eq!(engine, expected, "{fault:?}, step {step}");
            if step >= 30 {
                assert_eq!(
                    scored, SERIES as u64,
                    "{fault:?}, step {step}: who takes over has caught up"
                );
            }
        }
        assert_eq!(chain.stats().batches, 100);
        assert_eq!(chain.stats().failures, 1);
    }
}

#[test]
fn statistics_come_last_and_always_answer() {
    let always: Vec<(u64, Fault)> = (40..1000).map(|n| (n, Fault::Device)).collect();
    let mut chain = chain(&always, &[(0, Fault::PanicAtSubmit), (1, Fault::Silence)], 1000);
    let answers = feed(&mut chain, 0..60);
    assert!(answers[..40].iter().all(|(engine, _)| *engine == EngineKind::Cuda));
    // The second engine fails while it catches up, so statistics get the very batch.
    assert!(answers[40..].iter().all(|(engine, _)| *engine == EngineKind::Statistics));
    assert!(answers[40..].iter().all(|(_, scored)| *scored == SERIES as u64));
    assert_eq!(chain.kind(), EngineKind::Statistics);
    let asked: Vec<bool> = chain.engines().map(|(_, asked)| asked).collect();
    assert_eq!(asked, [false, false, true]);
}

#[test]
fn a_silent_engine_can_be_polled_and_waited_for() {
    let mut chain = chain(&[(0, Fault::Silence)], &[], 10);
    let (id, time) = ([SeriesId(0)], [Timestamp::from_secs(1)]);
    let batch = SampleBatch::new(&id, &time, &[1.0]).unwrap();
    let ticket = chain.submit(&batch, Ask::UPDATE).unwrap();
    assert_eq!(chain.poll(ticket).unwrap(), None, "nothing yet");
    let outcome = chain.wait(ticket, Duration::from_millis(1)).unwrap();
    assert_eq!((outcome.engine, outcome.tally.rows()), (EngineKind::Cpu, 1));
}

#[test]
fn engines_and_chains_keep_the_contract() {
    check_engine(|model| CpuConfig::default().build(model).unwrap(), 1e-4);
    let chain = |model: &aiops_gpu::Model| {
        let cpu = CpuConfig::default();
        let engines: Vec<Box<dyn BatchEngine>> = vec![
            Box::new(cpu.build(model).unwrap()),
            Box::new(cpu.build_statistics(model).unwrap()),
        ];
        ChainConfig::default().build(engines).unwrap()
    };
    check_engine(chain, 1e-4);
}

#[test]
fn flags_that_do_not_fit_are_said() {
    let config = CpuConfig { max_flags: 3, ..CpuConfig::default() };
    let mut engine = config.build(&small_model()).unwrap();
    engine.register(20).unwrap();
    let ids: Vec<SeriesId> = (0..20).map(SeriesId).collect();
    let mut noise = Noise::new(1);
    for step in 0..60 {
        let times = vec![Timestamp::from_secs(step); 20];
        let level = if step == 59 { 1e6 } else { 0.0 };
        let values: Vec<f64> = ids.iter().map(|_| level + noise.normal()).collect();
        let batch = SampleBatch::new(&ids, &times, &values).unwrap();
        let ask = Ask::UPDATE.with_columns();
        let outcome = aiops_gpu::run(&mut engine, &batch, ask, Duration::ZERO).unwrap();
        if step == 59 {
            assert!(outcome.overflow && outcome.flags.len() == 3);
            assert_eq!(outcome.tally.flagged, 20);
            assert!(outcome.columns.unwrap().scores.iter().all(|score| *score > 3.0));
        }
    }
}
