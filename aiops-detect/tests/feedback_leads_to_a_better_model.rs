//! A model that cries wolf: people say so, its health asks for training, and the new model is quieter
//! without missing what the old one saw.

#![allow(clippy::unwrap_used, reason = "a test")]
use std::time::Duration;

use aiops_core::{
    AlertId, Feedback, Frame, MetricClass, Reason, Said, SeriesKey, Subject, Timestamp,
};
use aiops_detect::{
    BatchDetector,
    router::{Advice, HealthConfig, Origin, Retrain, Retrained, Span, retrain},
    testing::Noise,
    tier3::PcaConfig,
};

const RATE: f64 = 0.01;

/// Three metrics that follow the load; from `moved` on, the third one does so twice as much: a release
/// that needs more memory a request. During trouble the second follows nothing.
fn frame(steps: usize, moved: usize, trouble: &[std::ops::Range<usize>], seed: u64) -> Frame {
    let mut noise = Noise::new(seed);
    let mut values = vec![0.0; 3 * steps];
    for step in 0..steps {
        let load = 10.0 + noise.normal();
        let share = if step < moved { 1.0 } else { 2.0 };
        let off =
            if trouble.iter().any(|t| t.contains(&step)) { 6.0 * noise.normal() } else { 0.0 };
        values[step] = load + 0.1 * noise.normal();
        values[steps + step] = 0.5 * load + off + 0.1 * noise.normal();
        values[2 * steps + step] = share * load + 0.1 * noise.normal();
    }
    let keys = (0..3).map(|i| SeriesKey::new(format!("v{i}"), [("service", "api")])).collect();
    Frame::new(keys, Timestamp::EPOCH, Duration::from_secs(1), values).unwrap()
}

fn flagged(model: &dyn BatchDetector, frame: &Frame) -> Vec<usize> {
    let mut scores = vec![0.0; frame.n_steps()];
    model.score(frame, &mut scores).unwrap();
    (0..scores.len()).filter(|step| model.p_value(scores[*step]) <= RATE).collect()
}

#[test]
fn feedback_in_rate_down() {
    let config = PcaConfig { variance: 0.9, ..PcaConfig::default() };
    let old = config.train(&frame(2_000, 2_000, &[], 1)).unwrap();

    // The world moves on, and the old model calls most of it abnormal. People say which alerts were
    // nothing, and which were not.
    let trouble = [700..730, 2_500..2_540];
    let history = frame(3_000, 0, &trouble, 2);
    let origin = Origin { detector: "pca".into(), class: MetricClass::Business };
    let mut health = HealthConfig::default().build().unwrap();
    for (i, step) in flagged(&old, &history).into_iter().step_by(40).enumerate() {
        let alert = AlertId::from_u64(i as u64);
        health.told(alert, origin.clone());
        let real = trouble.iter().any(|t| t.contains(&step));
        let said = if real { Said::NotNoise } else { Said::Noise };
        health.hear(&Feedback::new(Subject::Alert(alert), said, "kim", history.time(step)));
    }
    assert_eq!(health.advice(&origin), Advice::SuggestOnly);
    let before = health.rate(&origin).point();

    let spans: Vec<Span> =
        trouble.iter().map(|t| (history.time(t.start), history.time(t.end))).collect();
    let job = Retrain {
        history: &history,
        trouble: &spans,
        excluded: &[],
        held_back: 0.3,
        false_positive_rate: RATE,
    };
    let outcome = retrain(&job, &config, &old).unwrap();
    let [old_marks, new_marks] = outcome.marks();
    assert!(new_marks.false_positives < old_marks.false_positives / 10.0, "{outcome:?}");
    assert_eq!((new_marks.caught, new_marks.stretches), (1, 1), "only one lies in the end");
    assert_eq!(Reason::from(&outcome).code, "model_swapped");
    let Retrained::Swap { model, .. } = outcome else { panic!("{outcome:?}") };
    health.reset(&origin);

    // On data that nobody has seen, the rate of false alerts is down, and trouble is still seen.
    let incident = 1_500..1_540;
    let fresh = frame(3_000, 0, std::slice::from_ref(&incident), 3);
    let steps = flagged(&*model, &fresh);
    let false_alerts = steps.iter().filter(|step| !(1_500..1_600).contains(*step)).count();
    let after = false_alerts as f64 / steps.len() as f64;
    assert!(steps.iter().any(|step| incident.contains(step)), "trouble is seen");
    assert!(after < before, "share of false alerts {before} before, {after} after");

    // Asked again, nothing is better: the new model is kept.
    let again = retrain(&job, &config, &*model).unwrap();
    assert!(matches!(again, Retrained::Keep { .. }), "{again:?}");
}
