//! The job that bad health asks for: train anew, compare with the old model, swap or keep.

use aiops_core::{Frame, Reason, Timestamp};

use crate::{BatchDetector, Error, Fit, Result, error::probability};

/// From its start until before its end.
pub type Span = (Timestamp, Timestamp);

/// What a model is trained anew on, and judged by.
#[derive(Debug, Clone, Copy)]
pub struct Retrain<'a> {
    /// Recent history of the series that the model watches.
    pub history: &'a Frame,
    /// What people said was trouble, or was missed: taken out of what is learnt as normal, and what a
    /// model has to see where it lies in the part that is held back.
    pub trouble: &'a [Span],
    /// What else must not be learnt: maintenance, wrong labels. It is not judged either.
    pub excluded: &'a [Span],
    /// Share of the history, at its end, that is not trained on: there old and new are compared.
    pub held_back: f64,
    /// The tolerated false-positive rate: a step is flagged at or below this p-value.
    pub false_positive_rate: f64,
}

/// How a model did on the part that was held back.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Marks {
    /// Share of normal steps that it flags. What people called noise is normal.
    pub false_positives: f64,
    /// Stretches of trouble in which it flags at least one step.
    pub caught: usize,
    /// Stretches of trouble.
    pub stretches: usize,
}

/// The outcome of a retraining.
#[non_exhaustive]
pub enum Retrained {
    /// The new model flags less of what is normal, and misses nothing that the old one saw.
    Swap {
        /// The new model.
        model: Box<dyn BatchDetector>,
        /// Marks of the old and the new model.
        marks: [Marks; 2],
    },
    /// It does not: keep the old one.
    Keep {
        /// Marks of the old and the new model.
        marks: [Marks; 2],
    },
}

impl std::fmt::Debug for Retrained {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = if matches!(self, Retrained::Swap { .. }) { "Swap" } else { "Keep" };
        f.debug_struct(name).field("marks", &self.marks()).finish_non_exhaustive()
    }
}

impl Retrained {
    /// Marks of the old and the new model.
    pub fn marks(&self) -> [Marks; 2] {
        match self {
            Retrained::Swap { marks, .. } | Retrained::Keep { marks } => *marks,
        }
    }
}

impl From<&Retrained> for Reason {
    fn from(retrained: &Retrained) -> Reason {
        let [old, new] = retrained.marks();
        let (code, verb) = match retrained {
            Retrained::Swap { .. } => ("model_swapped", "swapped"),
            Retrained::Keep { .. } => ("model_kept", "kept"),
        };
        let sentence = format!(
            "{verb} the model: of normal steps the old one flags {:.2} %, the new one {:.2} %; of {} stretches of trouble they see {} and {}",
            100.0 * old.false_positives,
            100.0 * new.false_positives,
            old.stretches,
            old.caught,
            new.caught,
        );
        Reason::new(code, sentence)
            .with("old_false_positives", old.false_positives)
            .with("new_false_positives", new.false_positives)
            .with("old_caught", old.caught)
            .with("new_caught", new.caught)
            .with("stretches", old.stretches)
    }
}

/// Trains a model without what was mislabelled, and compares it with the old one on recent history
/// that neither was trained on.
///
/// A step is left out of the training by making it a gap. Both models judge the whole history, so that
/// averages are warm, and marks count the held-back end only. The new one is taken when it flags a
/// smaller share of the normal steps there and sees at least as many stretches of trouble. Detectors
/// of one series need none of this: to relearn without a span, play history to a
/// [`Watcher`](crate::Watcher) that [excludes](crate::Watcher::exclude) it.
///
/// # Errors
/// [`Error::InvalidConfig`] when a share is not within 0 and 1, [`Error::NotEnoughData`] when no
/// normal step is left to compare on, or what training and scoring return.
pub fn retrain(job: &Retrain<'_>, fit: &dyn Fit, old: &dyn BatchDetector) -> Result<Retrained> {
    probability("held_back", job.held_back)?;
    probability("false_positive_rate", job.false_positive_rate)?;
    let steps = job.history.n_steps();
    let from = ((1.0 - job.held_back) * steps as f64).floor() as usize;
    let mut train = job.history.slice(0, from)?;
    for step in 0..from {
        let time = train.time(step);
        if is_in(job.trouble, time) || is_in(job.excluded, time) {
            (0..train.n_series()).for_each(|row| train.row_mut(row)[step] = f64::NAN);
        }
    }
    let new = fit.fit(&train)?;
    let marks = [job.marks(old, from)?, job.marks(&*new, from)?];
    let [before, after] = marks;
    let better = after.false_positives < before.false_positives && after.caught >= before.caught;
    Ok(if better { Retrained::Swap { model: new, marks } } else { Retrained::Keep { marks } })
}

impl Retrain<'_> {
    fn marks(&self, model: &dyn BatchDetector, from: usize) -> Result<Marks> {
        let mut scores = vec![0.0; self.history.n_steps()];
        model.score(self.history, &mut scores)?;
        let flagged = |step: usize| model.p_value(scores[step]) <= self.false_positive_rate;
        let (mut normal, mut false_positives) = (0_usize, 0_usize);
        for step in from..scores.len() {
            let time = self.history.time(step);
            if !is_in(self.trouble, time) && !is_in(self.excluded, time) {
                normal += 1;
                false_positives += usize::from(flagged(step));
            }
        }
        if normal == 0 {
            return Err(Error::NotEnoughData { needed: 1, got: 0 });
        }
        let steps_of = |span: &Span| {
            let inside = |step: &usize| is_in(std::slice::from_ref(span), self.history.time(*step));
            (from..scores.len()).filter(inside).collect::<Vec<_>>()
        };
        let stretches: Vec<Vec<usize>> =
            self.trouble.iter().map(steps_of).filter(|steps| !steps.is_empty()).collect();
        let caught = stretches.iter().filter(|steps| steps.iter().any(|step| flagged(*step)));
        Ok(Marks {
            false_positives: false_positives as f64 / normal as f64,
            caught: caught.count(),
            stretches: stretches.len(),
        })
    }
}

fn is_in(spans: &[Span], time: Timestamp) -> bool {
    spans.iter().any(|(from, until)| *from <= time && time < *until)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tier;
    use aiops_core::SeriesKey;
    use std::time::Duration;

    /// Flags what is above a limit, and is fitted to twice the mean of what it is shown.
    #[derive(Clone, Copy)]
    struct Above(f64);

    impl BatchDetector for Above {
        fn name(&self) -> &'static str {
            "above"
        }
        fn tier(&self) -> Tier {
            Tier::Three
        }
        fn n_series(&self) -> usize {
            1
        }
        fn score(&self, frame: &Frame, scores: &mut [f64]) -> Result<()> {
            scores.copy_from_slice(frame.row(0));
            Ok(())
        }
        fn p_value(&self, score: f64) -> f64 {
            if score > self.0 { 0.001 } else { 0.5 }
        }
        fn contributions(&self, _: &Frame, _: usize) -> Result<Vec<f64>> {
            Ok(vec![])
        }
    }

    impl Fit for Above {
        fn fit(&self, train: &Frame) -> Result<Box<dyn BatchDetector>> {
            let seen: Vec<f64> = train.row(0).iter().copied().filter(|v| !v.is_nan()).collect();
            Ok(Box::new(Above(2.0 * seen.iter().sum::<f64>() / seen.len() as f64)))
        }
    }

    // Ten steps of 4, the first five of which train; 100 at step 2, which people called trouble, and at
    // steps 7 and 8, of which the span holds only the first: it ends before its end.
    #[test]
    fn marks_count_the_end_that_was_held_back_and_spans_until_before_their_end() {
        let mut values = vec![4.0; 10];
        [2, 7, 8].into_iter().for_each(|step: usize| values[step] = 100.0);
        let key = vec![SeriesKey::new("v", [("service", "api")])];
        let history = Frame::new(key, Timestamp::EPOCH, Duration::from_secs(1), values).unwrap();
        let span = |from, until| (Timestamp::from_secs(from), Timestamp::from_secs(until));
        let trouble = [span(2, 3), span(7, 8)];
        let job = Retrain {
            history: &history,
            trouble: &trouble,
            excluded: &[],
            held_back: 0.5,
            false_positive_rate: 0.01,
        };
        let marks = |false_positives| Marks { false_positives, caught: 1, stretches: 1 };
        let touchy = retrain(&job, &Above(0.0), &Above(3.0)).unwrap();
        assert_eq!(touchy.marks(), [marks(1.0), marks(0.25)], "of steps 5, 6, 8 and 9");
        assert!(format!("{touchy:?}").starts_with("Swap"), "{touchy:?}");
        let good = retrain(&job, &Above(0.0), &Above(9.0)).unwrap();
        assert!(format!("{good:?}").starts_with("Keep"), "no better than the old one: {good:?}");
        let deaf = retrain(&job, &Above(0.0), &Above(200.0)).unwrap();
        assert!(matches!(deaf, Retrained::Keep { .. }), "quieter is the old one: {deaf:?}");
        let all = [span(5, 10)];
        let nothing = retrain(&Retrain { excluded: &all, ..job }, &Above(0.0), &Above(9.0));
        assert!(matches!(nothing, Err(Error::NotEnoughData { .. })));
    }
}
