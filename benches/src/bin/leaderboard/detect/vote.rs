//! One p-value from several: what detectors that fail in different ways say together.

use aiops_detect::{CalibratorConfig, State, Tier, Verdict};

use super::{Failure, contender::Output};

/// One score a row and its p-value on the scores before it.
pub(super) fn judged(
    scores: impl Iterator<Item = Option<f64>>,
    tier: Tier,
) -> Result<Output, Failure> {
    let mut calibrator =
        CalibratorConfig { horizon: 8_000, ..CalibratorConfig::default() }.build()?;
    let verdict = |score: Option<f64>| {
        let Some(score) = score else { return Verdict::unjudged(State::WarmingUp, tier) };
        let p_value = calibrator.p_value(score).unwrap_or(1.0);
        calibrator.learn(score);
        let flagged = p_value <= 1e-3;
        Verdict { score, p_value, flagged, ..Verdict::unjudged(State::Scored, tier) }
    };
    Ok(Output { verdicts: scores.map(verdict).collect(), ..Output::default() })
}

/// The mean of -ln p of two detectors, each calibrated on its own past, calibrated again: two that look at the
/// same samples depend on each other. Nothing is said before the first of them judges.
pub(super) fn of_two(first: Output, second: &Output) -> Result<Output, Failure> {
    let scores = first.verdicts.iter().zip(&second.verdicts).map(|(first, second)| {
        let judged = [first, second].into_iter().filter(|verdict| verdict.is_scored());
        let (sum, count) = judged.fold((0.0, 0.0), |(s, n), v| (s - v.p_value.ln(), n + 1.0));
        (first.is_scored() && count > 0.0).then(|| sum / count)
    });
    Ok(Output { causes: first.causes, ..judged(scores, Tier::Three)? })
}
