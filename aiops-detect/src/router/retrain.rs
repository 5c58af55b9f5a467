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
