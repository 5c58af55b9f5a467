//! What a detector does when the same series comes in another unit, at another level, or with gaps.

use aiops_core::{Sample, SnapshotReader, Timestamp};

use super::{Holds, Listed, Noise, every_detector};
use crate::{DetectorExt, Verdict};

/// Checks scale, shift and gap insertion on a random series, for what the detector promises.
///
/// # Panics
/// When a promise is broken; the message names it.
pub fn check_invariances(listed: &Listed, seed: u64) {
    let name = listed.name;
    let mut noise = Noise::new(seed);
    // Whole multiples of 2^-10 stay exact when they are scaled by a power of two or moved by a whole number.
    let values: Vec<f64> = (0..700)
        .map(|i| {
            let odd = if i % 131 == 100 { 40.0 } else { 0.0 };
            ((50.0 + odd + noise.normal()) * 1024.0).round() / 1024.0
        })
        .collect();
    let plain = judge(listed, &values);
    if listed.scale == Holds::Yes {
        for power in [-7, 11] {
            let scaled: Vec<f64> = values.iter().map(|v| v * 2_f64.powi(power)).collect();
            for (i, (a, b)) in plain.iter().zip(judge(listed, &scaled)).enumerate() {
                let same = (a.p_value - b.p_value).abs() <= 1e-9 * a.p_value;
                assert!(same, "{name}[{i}]: scaled by 2^{power}, {} for {}", b.p_value, a.p_value);
            }
        }
    }
    if listed.shift == Holds::Yes {
        let moved: Vec<f64> = values.iter().map(|v| v + 4096.0).collect();
        let pairs = plain.iter().zip(judge(listed, &moved));
        let other = pairs.filter(|(a, b)| (a.state, a.flagged) != (b.state, b.flagged)).count();
        assert!(
            other <= 3,
            "{name}: moved by a constant, {other} of 700 samples are judged otherwise"
        );
    }
    if listed.gaps == Holds::Yes {
        let gap = |i: usize| i % 11 == 7 || (300..320).contains(&i);
        let mut with_gaps = Vec::new();
        for value in &values {
            while gap(with_gaps.len()) {
                with_gaps.push(f64::NAN);
            }
            with_gaps.push(*value);
        }
        let judged = judge(listed, &with_gaps);
        let rest: Vec<Verdict> = judged
            .into_iter()
            .zip(&with_gaps)
            .filter(|(_, v)| v.is_finite())
            .map(|(v, _)| v)
            .collect();
        assert_eq!(rest, plain, "{name}: gaps in between change nothing");
    }
}

fn judge(listed: &Listed, values: &[f64]) -> Vec<Verdict> {
    let at = |i: usize| Timestamp::from_secs(60 * i as i64);
    let samples = values.iter().enumerate().map(|(i, value)| Sample::new(at(i), *value));
    (listed.make)().replay(samples)
}

/// Loads any bytes as the state of every detector and, where that works, judges a few samples: a target
/// for fuzzers.
///
/// # Panics
/// When a detector panics or judges with a score that is not finite.
pub fn load_any_state(bytes: &[u8]) {
    for listed in every_detector() {
        let mut detector = (listed.make)();
        if detector.load(&mut SnapshotReader::new(bytes)).is_err() {
            continue;
        }
        for (i, value) in [1.0, f64::NAN, 1e300, -1e300, 0.0].into_iter().enumerate() {
            let time = Timestamp::from_nanos(i64::MAX - 10 + i as i64);
            let verdict = detector.update(Sample::new(time, value));
            assert!(
                verdict.score.is_finite() && verdict.p_value > 0.0,
                "{}: {verdict:?}",
                listed.name
            );
        }
    }
}
