//! Write a detector of your own, let the conformance functions judge it, and calibrate it.
//!
//! `cargo run -p aiops-examples --example custom_detector`
#![allow(clippy::print_stdout, reason = "an example shows what a user would see")]

use aiops_core::{Sample, SnapshotReader, SnapshotWriter, Timestamp};
use aiops_detect::{
    Calibrated, CalibratorConfig, Detector, DetectorExt, PerSeries, Result, State, Tail, Tier,
    Verdict, testing,
};

/// Flags a value that jumps from the one before it: the simplest detector there is.
#[derive(Debug, Clone)]
struct Jump {
    before: Option<f64>,
    last: Timestamp,
}

impl Jump {
    fn new() -> Self {
        Jump { before: None, last: Timestamp::MIN }
    }
}

impl Detector for Jump {
    fn name(&self) -> &'static str {
        "jump"
    }

    fn assess(&self, sample: Sample) -> Verdict {
        if sample.time <= self.last {
            return Verdict::unjudged(State::Late, Tier::One);
        }
        if sample.is_gap() {
            return Verdict::unjudged(State::Gap, Tier::One);
        }
        let Some(before) = self.before else {
            return Verdict::unjudged(State::WarmingUp, Tier::One);
        };
        let score = (sample.value - before).abs().min(f64::MAX);
        let p_value = self.p_value(score);
        let unjudged = Verdict::unjudged(State::Scored, Tier::One);
        Verdict { score, p_value, flagged: p_value <= 1e-3, ..unjudged }
    }

    fn learn(&mut self, sample: Sample) {
        if sample.time > self.last {
            self.last = sample.time;
            self.before = if sample.is_gap() { self.before } else { Some(sample.value) };
        }
    }

    /// A guess: jumps are measured in units of one. `Calibrated` replaces it by what was seen.
    fn p_value(&self, score: f64) -> f64 {
        Tail::HeavyTailed.p_value(score)
    }

    fn save(&self, out: &mut SnapshotWriter) {
        out.f64(self.before.unwrap_or(f64::NAN));
        out.i64(self.last.as_nanos());
    }

    fn load(&mut self, from: &mut SnapshotReader<'_>) -> Result<()> {
        let before = from.f64()?;
        let last = Timestamp::from_nanos(from.i64()?);
        *self = Jump { before: before.is_finite().then_some(before), last };
        Ok(())
    }
}

fn main() -> Result<()> {
    // The contract, judged on traces that have hurt detectors before.
    testing::check_detector(Jump::new);
    testing::check_bank(|| PerSeries::new(Tier::One, 16, Jump::new), Jump::new, 0.0);

    // Its guess of a scale is wrong by far for a metric in milliseconds; calibration repairs that.
    let mut noise = testing::Noise::new(1);
    let samples: Vec<Sample> = (0..5_000)
        .map(|i| Sample::new(Timestamp::from_secs(i), 250.0 + 40.0 * noise.normal()))
        .collect();
    let mut calibrated = Calibrated::new(Jump::new(), CalibratorConfig::default(), 1e-3)?;
    let flags = |verdicts: Vec<Verdict>| verdicts.iter().filter(|v| v.flagged).count();
    let raw = flags(Jump::new().replay(samples.clone()));
    let right = flags(calibrated.replay(samples));
    println!("of 5000 normal samples {raw} were flagged before calibration and {right} after it");
    // Until the calibrator has seen thirty scores, the guess stands.
    assert!(raw > 4_000 && right < 60);
    Ok(())
}
