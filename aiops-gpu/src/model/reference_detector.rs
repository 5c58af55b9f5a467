//! [`ReferenceDetector`]: the whole judgement of one series in plain `f64`.

use std::sync::Arc;

use aiops_core::{Direction, Sample, SnapshotError, SnapshotReader, SnapshotWriter};
use aiops_detect::{Detector, State, Tier, Verdict};

use super::{LstmReference, LstmWeights, Model, RUN, push};
use crate::{
    NAME, Result,
    record::{Record, verdict},
    rule::{Judgement, Moments, Rule},
};

/// One series judged by a [`Model`] in plain `f64`: the twin of every engine, and right where one series
/// is all there is. About 30 µs a sample with 64 units.
///
/// ```
/// use aiops_core::{Sample, Timestamp};
/// use aiops_detect::{Detector, DetectorExt};
/// use aiops_gpu::{Model, ReferenceDetector, RuleConfig};
/// let mut detector = ReferenceDetector::new(Model::statistics(RuleConfig::default()))?;
/// let value = |i: i64| if i == 90 { 500.0 } else { 10.0 + (i % 5) as f64 };
/// let samples = (0..100).map(|i| Sample::new(Timestamp::from_secs(i), value(i)));
/// let flagged: Vec<usize> =
///     detector.replay(samples).iter().enumerate().filter(|(_, v)| v.flagged).map(|(i, _)| i).collect();
/// assert_eq!(flagged, [90]);
/// # Ok::<(), aiops_gpu::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct ReferenceDetector {
    model: Arc<Model>,
    rule: Rule,
    moments: Moments,
    run: [f32; RUN],
    h: Vec<f64>,
    c: Vec<f64>,
    predicted: f64,
}

impl ReferenceDetector {
    /// A detector that has seen nothing.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`](crate::Error::InvalidConfig) when the model's rule is out of range.
    pub fn new(model: impl Into<Arc<Model>>) -> Result<Self> {
        let model = model.into();
        let rule = model.check()?;
        let hidden = model.lstm.as_ref().map_or(0, LstmWeights::hidden);
        let mut fresh = ReferenceDetector {
            rule,
            moments: Moments::default(),
            run: [0.0; RUN],
            h: vec![0.0; hidden],
            c: vec![0.0; hidden],
            predicted: 0.0,
            model,
        };
        fresh.predicted = fresh.lstm().map_or(0.0, |lstm| lstm.predict());
        Ok(fresh)
    }

    fn lstm(&self) -> Option<LstmReference<'_>> {
        let weights = self.model.lstm.as_ref()?;
        let mut lstm = LstmReference::new(weights);
        lstm.h.copy_from_slice(&self.h);
        lstm.c.copy_from_slice(&self.c);
        Some(lstm)
    }

    fn predicted(&self) -> Option<f64> {
        self.model.lstm.as_ref().map(|_| self.predicted)
    }

    /// What the models say of a value: `None` for one that is not judged.
    pub fn judgement(&self, sample: Sample) -> Option<Judgement> {
        let early = self.moments.seen < self.rule.warm_up;
        if sample.time <= self.moments.last || sample.is_gap() || early {
            return None;
        }
        let deviation = self.moments.deviation(sample.value);
        let forest = self.model.forest.as_ref().map(|forest| {
            let mut run = self.run;
            push(&mut run, deviation);
            forest.p_value(forest.packed().score(&run))
        });
        Some(self.rule.judge(&self.moments, deviation, self.predicted(), forest))
    }
}

#[deny(clippy::missing_trait_methods)]
impl Detector for ReferenceDetector {
    fn name(&self) -> &'static str {
        NAME
    }

    fn assess(&self, sample: Sample) -> Verdict {
        if sample.time <= self.moments.last {
            return Verdict::unjudged(State::Late, Tier::Three);
        }
        if sample.is_gap() {
            return Verdict::unjudged(State::Gap, Tier::Three);
        }
        match self.judgement(sample) {
            Some(judgement) => verdict(&judgement, sample.value),
            None => Verdict::unjudged(State::WarmingUp, Tier::Three),
        }
    }

    fn learn(&mut self, sample: Sample) {
        if sample.time <= self.moments.last {
            return;
        }
        self.moments.last = sample.time;
        if sample.is_gap() {
            self.moments.gaps = self.moments.gaps.saturating_add(1);
            return;
        }
        let deviation = self.moments.deviation(sample.value);
        push(&mut self.run, deviation);
        let predicted = self.predicted();
        self.rule.learn(&mut self.moments, sample.value, deviation, predicted);
        let next = self.lstm().map(|mut lstm| {
            let next = lstm.step(f64::from(self.run[0]));
            (next, lstm.h, lstm.c)
        });
        if let Some((next, h, c)) = next {
            (self.predicted, self.h, self.c) = (next, h, c);
        }
    }

    fn update(&mut self, sample: Sample) -> Verdict {
        let verdict = self.assess(sample);
        self.learn(sample);
        verdict
    }

    fn p_value(&self, score: f64) -> f64 {
        (-score).exp().clamp(f64::MIN_POSITIVE, 1.0)
    }

    fn confidence(&self) -> f64 {
        if self.moments.seen < self.rule.warm_up { 0.0 } else { 1.0 }
    }

    fn explain(&self, sample: Sample, verdict: &Verdict) -> aiops_core::Reason {
        aiops_detect::explain_band(self.name(), sample, verdict)
    }

    fn save(&self, out: &mut SnapshotWriter) {
        let record = Record { moments: self.moments, run: self.run };
        record.save(out);
        out.f64(self.predicted);
        out.f64s(&self.h);
        out.f64s(&self.c);
    }

    fn load(&mut self, from: &mut SnapshotReader<'_>) -> aiops_detect::Result<()> {
        let record = Record::load(from)?;
        let predicted = from.f64()?;
        let (h, c) = (from.f64s()?, from.f64s()?);
        if h.len() != self.h.len() || c.len() != self.c.len() {
            let reason = format!("{} hidden units, here {}", h.len(), self.h.len());
            return Err(SnapshotError::ConfigMismatch(reason).into());
        }
        let sane = |values: &[f64]| values.iter().all(|v| v.abs() <= 1e9);
        if !sane(&h) || !sane(&c) || !sane(&[predicted]) {
            return Err(SnapshotError::Malformed("a state beyond all bounds".to_owned()).into());
        }
        (self.moments, self.run) = (record.moments, record.run);
        (self.predicted, self.h, self.c) = (predicted, h, c);
        Ok(())
    }
}

/// Which side of its expectation a value lies on.
pub(crate) fn side(value: f64, expected: f64) -> Direction {
    match value.partial_cmp(&expected) {
        Some(std::cmp::Ordering::Greater) => Direction::Above,
        Some(std::cmp::Ordering::Less) => Direction::Below,
        _ => Direction::None,
    }
}
