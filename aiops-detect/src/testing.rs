//! What every detector must hold, as functions that a stranger's tests can call.
//!
//! They panic with the rule that was broken, so a test is one line:
//! ```
//! use aiops_detect::{testing::check_detector, tier1::EwmaConfig};
//! check_detector(|| EwmaConfig::default().build().unwrap());
//! ```

mod every;
mod properties;

pub use every::{Holds, Listed, every_detector};
pub use properties::{check_invariances, load_any_state};

use aiops_core::{Frame, Sample, SampleBatch, SeriesId, SnapshotReader, SnapshotWriter, Timestamp};

use crate::random::SplitMix;
use crate::{
    BatchDetector, Detector, DetectorBank, DetectorExt, Fit, Flagged, State, Tally, Verdict,
};

/// Traces that have hurt detectors before: noise with a spike, seasons, constants, gaps, one sample,
/// huge offsets, both ends of `f64`, late and duplicate samples.
pub fn traces() -> Vec<(&'static str, Vec<Sample>)> {
    let at = |i: usize| Timestamp::from_secs(60 * i as i64);
    let regular = |values: Vec<f64>| -> Vec<Sample> {
        values.into_iter().enumerate().map(|(i, v)| Sample::new(at(i), v)).collect()
    };
    let mut noise = Noise::new(1);
    let noisy: Vec<f64> = (0..600).map(|_| 50.0 + 3.0 * noise.normal()).collect();
    let mut spike = noisy.clone();
    spike[400] = 500.0;
    let mut gappy = spike.clone();
    for i in (0..600).filter(|i| i % 7 == 3 || (200..230).contains(i)) {
        gappy[i] = f64::NAN;
    }
    let season = |i: usize| (i as f64 / 24.0 * std::f64::consts::TAU).sin();
    let seasonal = (0..600).map(|i| 10.0 + 5.0 * season(i) + 0.3 * noise.normal()).collect();
    let offset = (0..300).map(|_| 1e12 + noise.normal()).collect();
    let mut after_constant = vec![7.0; 300];
    after_constant[250] = 7.0 + 1e-12;
    after_constant[270] = 70.0;
    let extremes =
        [0.0, f64::MAX, f64::MIN, f64::MIN_POSITIVE, -0.0, f64::INFINITY, f64::NEG_INFINITY, 1.0];
    let mut disordered = regular(noisy.clone());
    disordered.swap(100, 101);
    disordered[300].time = disordered[299].time;
    disordered[500].time = Timestamp::MIN;
    vec![
        ("noise with a spike", regular(spike)),
        ("gaps", regular(gappy)),
        ("seasonal", regular(seasonal)),
        ("constant, then not", regular(after_constant)),
        ("huge offset", regular(offset)),
        ("extremes", regular(extremes.iter().copied().cycle().take(400).collect())),
        ("only gaps", regular(vec![f64::NAN; 100])),
        ("one sample", regular(vec![1.0])),
        ("nothing", Vec::new()),
        ("late and duplicate", disordered),
    ]
}

/// Checks the contract of [`Detector`] on [`traces`].
///
/// # Panics
/// When the contract is broken; the message names rule and trace.
pub fn check_detector<D: Detector>(make: impl Fn() -> D) {
    for (name, trace) in traces() {
        let verdicts = make().replay(trace.iter().copied());
        let again = make().replay(trace.iter().copied());
        assert_eq!(verdicts, again, "{name}: same samples, same verdicts");

        let mut detector = make();
        let mut clock = Timestamp::MIN;
        for (i, sample) in trace.iter().enumerate() {
            let assessed = detector.assess(*sample);
            assert_eq!(assessed, detector.assess(*sample), "{name}[{i}]: assess changes nothing");
            assert_eq!(
                assessed, verdicts[i],
                "{name}[{i}]: update is assess, then learn, with the same verdict"
            );
            check_verdict(&assessed, &format!("{name}[{i}]"));
            let sure = detector.confidence();
            assert!((0.0..=1.0).contains(&sure), "{name}[{i}]: confidence {sure}");
            assert_eq!(
                assessed.state == State::Late,
                sample.time <= clock,
                "{name}[{i}]: late is what is not newer than the last sample"
            );
            if sample.time > clock {
                let gap = assessed.state == State::Gap;
                assert_eq!(gap, sample.is_gap(), "{name}[{i}]: a gap is what is not finite");
            }
            let reason = detector.explain(*sample, &assessed);
            assert!(!reason.sentence.is_empty(), "{name}[{i}]: every verdict has a reason");
            detector.learn(*sample);
            clock = clock.max(sample.time);
        }
        for cut in [0, 1, trace.len() / 3, trace.len() / 2, trace.len()] {
            let cut = cut.min(trace.len());
            let mut original = make();
            original.replay(trace[..cut].iter().copied());
            let mut writer = SnapshotWriter::new();
            original.save(&mut writer);
            let bytes = writer.finish();
            let mut restored = make();
            let mut reader = SnapshotReader::new(&bytes);
            restored
                .load(&mut reader)
                .unwrap_or_else(|e| panic!("{name}: load what save wrote: {e}"));
            reader.end().unwrap_or_else(|e| panic!("{name}: load reads all that save wrote: {e}"));
            assert_eq!(
                restored.replay(trace[cut..].iter().copied()),
                verdicts[cut..],
                "{name}: restored after {cut} samples, it continues bit for bit"
            );
            for short in [0, bytes.len() / 2, bytes.len().saturating_sub(1)] {
                if short < bytes.len() {
                    let cut_off = make().load(&mut SnapshotReader::new(&bytes[..short]));
                    assert!(cut_off.is_err(), "{name}: a cut state is refused");
                }
            }
        }
    }
}

/// Checks the contract of [`DetectorBank`], and that it equals its twin detector.
///
/// `tolerance` is 0 for a bank whose state is `f64`; otherwise the stated relative tolerance of its
/// scores (p-values and flags are then not compared).
///
/// # Panics
/// When the contract is broken; the message names rule and trace.
pub fn check_bank<B: DetectorBank, D: Detector>(
    make_bank: impl Fn() -> B,
    make_detector: impl Fn() -> D,
    tolerance: f64,
) {
    let traces = traces();
    let bank = make_bank();
    assert_eq!(bank.name(), make_detector().name(), "bank and twin have one name");
    let expected: Vec<Vec<Verdict>> =
        traces.iter().map(|(_, t)| make_detector().replay(t.iter().copied())).collect();

    // All traces at once, interleaved, each as a series of its own; in batches of different sizes.
    let mut rows = Vec::new();
    for step in 0..traces.iter().map(|(_, t)| t.len()).max().unwrap_or(0) {
        for (i, (_, trace)) in traces.iter().enumerate() {
            if let Some(sample) = trace.get(step) {
                rows.push((i, step, *sample));
            }
        }
    }
    for size in [1, 7, 512, rows.len()] {
        let mut bank = make_bank();
        let mut total = Tally::default();
        for chunk in rows.chunks(size) {
            // Ids far apart, so that several blocks of columns are in use.
            let ids: Vec<_> = chunk.iter().map(|(i, ..)| SeriesId(*i as u32 * 37)).collect();
            let times: Vec<_> = chunk.iter().map(|(.., sample)| sample.time).collect();
            let values: Vec<_> = chunk.iter().map(|(.., sample)| sample.value).collect();
            let batch = SampleBatch::new(&ids, &times, &values).expect("equal columns");
            let mut scores = vec![f64::NAN; chunk.len()];
            let mut flagged = Vec::new();
            total += bank.update(&batch, &mut scores, &mut flagged).expect("columns fit");
            let mut flagged = flagged.into_iter().peekable();
            for (row, (i, step, _)) in chunk.iter().enumerate() {
                let twin = &expected[*i][*step];
                let place = format!("{}[{step}], batches of {size}", traces[*i].0);
                let found = flagged.next_if(|f| f.row == row);
                if tolerance == 0.0 {
                    assert_eq!(scores[row], twin.score, "{place}: the score of the twin");
                    let wanted = twin.flagged.then_some(*twin);
                    assert_eq!(found.map(|f| f.verdict), wanted, "{place}: the flags of the twin");
                } else {
                    let off = (scores[row] - twin.score).abs();
                    assert!(off <= tolerance * twin.score.abs().max(1.0), "{place}: off by {off}");
                }
            }
            assert_eq!(flagged.next(), None, "flagged rows come in the order of the batch");
        }
        let mut wanted = Tally::default();
        expected.iter().flatten().for_each(|verdict| wanted.count(verdict));
        assert_eq!(total.rows(), rows.len() as u64, "every row is counted");
        if tolerance == 0.0 {
            assert_eq!(total, wanted, "rows are counted as the twin judges them");
        }
    }
    check_sweeps(&make_bank);
    check_release_and_restore(&make_bank);
    let mut short = vec![0.0; 2];
    let one = (SeriesId(0), Timestamp::EPOCH, 1.0);
    let (ids, times, values) = ([one.0], [one.1], [one.2]);
    let batch = SampleBatch::new(&ids, &times, &values).expect("equal columns");
    assert!(make_bank().update(&batch, &mut short, &mut Vec::new()).is_err(), "columns must fit");
}

/// Checks the contract of a [`DetectorBank`] that has no twin: what is counted, that batches of any
/// size give the same, sweeps, release and restore.
///
/// # Panics
/// When the contract is broken; the message names the rule.
pub fn check_bank_alone<B: DetectorBank>(make: impl Fn() -> B) {
    let mut rows = Vec::new();
    for (i, (_, trace)) in traces().into_iter().enumerate() {
        rows.extend(trace.into_iter().enumerate().map(|(step, sample)| (step, i, sample)));
    }
    rows.sort_by_key(|(step, i, _)| (*step, *i));
    let run = |size: usize| {
        let (mut bank, mut all, mut total) = (make(), Vec::new(), Tally::default());
        for chunk in rows.chunks(size) {
            let ids: Vec<_> = chunk.iter().map(|(_, i, _)| SeriesId(*i as u32 * 37)).collect();
            let times: Vec<_> = chunk.iter().map(|(.., sample)| sample.time).collect();
            let values: Vec<_> = chunk.iter().map(|(.., sample)| sample.value).collect();
            let batch = SampleBatch::new(&ids, &times, &values).expect("equal columns");
            let (mut scores, mut flagged) = (vec![f64::NAN; chunk.len()], Vec::new());
            total += bank.update(&batch, &mut scores, &mut flagged).expect("columns fit");
            let sane = |s: &f64| s.is_finite() && *s >= 0.0;
            assert!(scores.iter().all(sane), "scores are finite and not negative");
            flagged.iter().for_each(|f| check_verdict(&f.verdict, "flagged"));
            let in_order = flagged.windows(2).all(|pair| pair[0].row < pair[1].row);
            assert!(in_order, "flagged rows come in the order of the batch");
            all.extend(scores);
        }
        assert_eq!(total.rows(), rows.len() as u64, "every row is counted");
        (all, total)
    };
    let whole = run(rows.len());
    for size in [1, 7, 512] {
        assert_eq!(run(size), whole, "batches of {size} give the same");
    }
    check_sweeps(&make);
    check_release_and_restore(&make);
}

/// A sweep means the same as a batch of all ids in order.
fn check_sweeps<B: DetectorBank>(make: &impl Fn() -> B) {
    const SERIES: usize = 150;
    let (mut swept, mut batched) = (make(), make());
    let mut noise = Noise::new(2);
    let ids: Vec<_> = (0..SERIES as u32).map(SeriesId).collect();
    for step in 0..300_i64 {
        let mut values: Vec<f64> = (0..SERIES).map(|_| 10.0 + noise.normal()).collect();
        values[step as usize % SERIES] = f64::NAN;
        values[(step as usize * 7) % SERIES] = 1e3;
        // A repeated time, and one that goes back.
        let second = if step % 50 == 49 { step - 2 } else { step };
        let times = vec![Timestamp::from_secs(second); SERIES];
        let batch = SampleBatch::new(&ids, &times, &values).expect("equal columns");
        let (mut a, mut b) = (vec![f64::NAN; SERIES], vec![f64::NAN; SERIES]);
        let (mut flagged_a, mut flagged_b) = (Vec::<Flagged>::new(), Vec::<Flagged>::new());
        let tally_a = swept.sweep(times[0], &values, &mut a, &mut flagged_a).expect("columns fit");
        let tally_b = batched.update(&batch, &mut b, &mut flagged_b).expect("columns fit");
        assert_eq!((tally_a, a, flagged_a), (tally_b, b, flagged_b), "step {step}: sweep = update");
        if step % 40 == 20 {
            // One series reports between two sweeps.
            let id = [SeriesId((step as u32 * 13) % SERIES as u32)];
            let time = [Timestamp::from_secs(second) + std::time::Duration::from_millis(500)];
            let batch = SampleBatch::new(&id, &time, &[9.0]).expect("equal columns");
            for bank in [&mut swept, &mut batched] {
                bank.update(&batch, &mut [0.0], &mut Vec::new()).expect("columns fit");
            }
        }
        if step % 60 == 30 {
            let gone = [SeriesId((step as u32 * 11) % SERIES as u32)];
            swept.release(&gone);
            batched.release(&gone);
        }
    }
}

fn check_release_and_restore<B: DetectorBank>(make: &impl Fn() -> B) {
    let (_, trace) = traces().swap_remove(0);
    let run = |bank: &mut B, id: SeriesId, samples: &[Sample]| -> Vec<f64> {
        let ids = vec![id; samples.len()];
        let times: Vec<_> = samples.iter().map(|s| s.time).collect();
        let values: Vec<_> = samples.iter().map(|s| s.value).collect();
        let batch = SampleBatch::new(&ids, &times, &values).expect("equal columns");
        let mut scores = vec![0.0; samples.len()];
        bank.assess(&batch, &mut scores, &mut Vec::new()).expect("columns fit");
        bank.update(&batch, &mut scores, &mut Vec::new()).expect("columns fit");
        scores
    };
    let fresh = run(&mut make(), SeriesId(3), &trace);
    let mut bank = make();
    run(&mut bank, SeriesId(3), &trace[..400]);
    bank.release(&[SeriesId(3), SeriesId(9_999)]);
    assert_eq!(run(&mut bank, SeriesId(3), &trace), fresh, "a released series starts anew");

    let mut bank = make();
    run(&mut bank, SeriesId(3), &trace[..390]);
    let mut writer = SnapshotWriter::new();
    bank.save(SeriesId(3), &mut writer);
    let bytes = writer.finish();
    let mut other = make();
    run(&mut other, SeriesId(70), &trace[..50]);
    let mut reader = SnapshotReader::new(&bytes);
    other.load(SeriesId(70), &mut reader).expect("load what save wrote");
    reader.end().expect("load reads all that save wrote");
    let continued = run(&mut other, SeriesId(70), &trace[390..]);
    assert_eq!(continued, fresh[390..], "a restored series continues bit for bit, under any id");
    assert!(other.load(SeriesId(1), &mut SnapshotReader::new(&bytes[..3])).is_err(), "cut state");
}

/// Checks the contract of [`BatchDetector`] and [`Fit`] on a small frame of `n_series` series.
///
/// # Panics
/// When the contract is broken; the message names the rule.
pub fn check_batch_detector(config: &dyn Fit, n_series: usize) {
    let mut noise = Noise::new(3);
    let steps = 400;
    let mut values = vec![0.0; n_series * steps];
    for step in 0..steps {
        let common = noise.normal();
        for series in 0..n_series {
            let constant = series % 5 == 4;
            values[series * steps + step] =
                if constant { 3.0 } else { common + 0.3 * noise.normal() };
        }
    }
    let train = frame(&values, n_series);
    let mut test_values = values.clone();
    for series in 0..n_series {
        test_values[series * steps + 300] = f64::NAN;
    }
    test_values[310] = 1e9;
    let test = frame(&test_values, n_series);
    let model = config.fit(&train).expect("trains on well-behaved data");
    assert_eq!(model.n_series(), n_series, "the model knows its width");
    let score = |model: &dyn BatchDetector, frame: &Frame| {
        let mut scores = vec![f64::NAN; frame.n_steps()];
        model.score(frame, &mut scores).expect("scores what fits");
        scores
    };
    let scores = score(&*model, &test);
    let sane = |s: &f64| s.is_finite() && *s >= 0.0;
    assert!(scores.iter().all(sane), "scores are finite and not negative");
    assert_eq!(scores[300], 0.0, "a step of gaps has score 0");
    assert_eq!(scores, score(&*config.fit(&train).expect("trains again"), &test), "deterministic");
    if !model.looks_ahead() {
        let first = test.slice(0, 280).expect("within the frame");
        assert_eq!(score(&*model, &first), scores[..280], "no score depends on later steps");
    }
    let p = |s: f64| model.p_value(s);
    let highest = scores.iter().copied().fold(0.0, f64::max);
    assert!(p(0.0) >= p(highest) && p(highest) > 0.0 && p(0.0) <= 1.0, "p-values fall with scores");
    let contributions = model.contributions(&test, 310).expect("within the frame");
    assert!(
        contributions.is_empty() || contributions.len() == n_series,
        "one contribution a series"
    );
    assert!(contributions.iter().all(sane), "contributions are finite and not negative");
    assert!(model.contributions(&test, steps).is_err(), "no contribution outside the frame");
    assert!(model.score(&test, &mut [0.0]).is_err(), "columns must fit");
    let narrow = frame(&vec![0.0; steps * (n_series + 1)], n_series + 1);
    assert!(model.score(&narrow, &mut vec![0.0; steps]).is_err(), "frames must fit");
    let gaps = frame(&vec![f64::NAN; steps * n_series], n_series);
    assert!(config.fit(&gaps).is_err(), "only gaps teach nothing");
}

/// Rules for a single verdict.
fn check_verdict(verdict: &Verdict, place: &str) {
    assert!(verdict.score.is_finite() && verdict.score >= 0.0, "{place}: score {}", verdict.score);
    let p = verdict.p_value;
    assert!(p > 0.0 && p <= 1.0, "{place}: p-value {p}");
    if !verdict.is_scored() {
        let unjudged = (0.0, 1.0, false);
        let found = (verdict.score, p, verdict.flagged);
        assert_eq!(found, unjudged, "{place}: what is not judged has no score");
    } else if verdict.expected.is_finite() {
        assert!(
            verdict.lower <= verdict.expected && verdict.expected <= verdict.upper,
            "{place}: the expectation lies in its band"
        );
    }
}

fn frame(values: &[f64], n_series: usize) -> Frame {
    let keys =
        (0..n_series).map(|i| aiops_core::SeriesKey::new(format!("v{i}"), [("service", "x")]));
    let step = std::time::Duration::from_secs(60);
    Frame::new(keys.collect(), Timestamp::EPOCH, step, values.to_vec()).expect("a frame")
}

/// A small generator of standard normal numbers, so that this module needs no dependency.
#[derive(Debug, Clone)]
pub struct Noise(SplitMix);

impl Noise {
    /// Starts at a seed.
    pub fn new(seed: u64) -> Self {
        Noise(SplitMix(seed))
    }

    /// Uniform between 0 and 1 (SplitMix64).
    pub fn uniform(&mut self) -> f64 {
        self.0.uniform()
    }

    /// Standard normal (Box-Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}
