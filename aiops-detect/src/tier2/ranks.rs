//! Ranks of scores among those of a training series: the p-values of models that look back.

use aiops_core::Frame;

use crate::{BatchDetector, Error, Result, batch::frame_fits};

/// The scores of the training series, ascending.
#[derive(Debug, Clone)]
pub(crate) struct Ranks(Vec<f64>);

impl Ranks {
    /// The scores that `score` gives the one series of a frame with at least `needed` values.
    pub(crate) fn of(
        train: &Frame,
        needed: usize,
        score: impl FnOnce(&[f64]) -> Result<Vec<f64>>,
    ) -> Result<Self> {
        frame_fits(1, train, train.n_steps())?;
        let got = train.row(0).iter().filter(|value| value.is_finite()).count();
        if got < needed {
            return Err(Error::NotEnoughData { needed, got });
        }
        let mut scores = score(train.row(0))?;
        scores.sort_unstable_by(f64::total_cmp);
        Ok(Ranks(scores))
    }

    /// The share of training scores at least this high, never zero.
    pub(crate) fn p_value(&self, score: f64) -> f64 {
        let reached = self.0.len() - self.0.partition_point(|trained| *trained < score);
        (reached as f64 + 0.5) / (self.0.len() + 1) as f64
    }
}

/// The contributions of a model of one series: the score of the step.
pub(crate) fn only_series(
    model: &dyn BatchDetector,
    frame: &Frame,
    step: usize,
) -> Result<Vec<f64>> {
    if step >= frame.n_steps() {
        let (expected, got) = (frame.n_steps(), step);
        return Err(Error::ShapeMismatch { what: "step of a frame", expected, got });
    }
    let mut scores = vec![0.0; frame.n_steps()];
    model.score(frame, &mut scores)?;
    Ok(vec![scores[step]])
}
