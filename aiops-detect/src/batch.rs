//! [`BatchDetector`] and [`Fit`]: models that are trained on a frame and judge frames.

use aiops_core::{Frame, Reason};

use crate::{Error, Result, Tier};

/// A trained model of the series of a frame.
///
/// # For who implements it
/// - One score per step, zero or more, finite, higher is worse; steps at which nothing can be said
///   (all gaps) get score 0. The same frame gives the same scores whatever the thread count.
/// - Unless [`looks_ahead`](Self::looks_ahead) says so, the score of a step depends on that step and
///   earlier ones only: scoring the first rows of a frame gives the first scores.
/// - Call `check_batch_detector` of the `testing` module (feature `testing`) in your tests.
pub trait BatchDetector: Send + Sync {
    /// A short, stable name, as in `pca`.
    fn name(&self) -> &'static str;

    /// The tier it belongs to.
    fn tier(&self) -> Tier;

    /// How many series a frame must have, in the order of the training frame.
    fn n_series(&self) -> usize;

    /// Whether the score of a step may depend on later steps.
    fn looks_ahead(&self) -> bool {
        false
    }

    /// Scores every step of `frame` into `scores`.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`] when the frame has another number of series than the model, or
    /// `scores` another length than the frame has steps.
    fn score(&self, frame: &Frame, scores: &mut [f64]) -> Result<()>;

    /// The p-value that a score stands for, from the scores of the training frame.
    fn p_value(&self, score: f64) -> f64;

    /// How much each series contributes to the score of one step, in the order of the frame: not
    /// negative, in the model's own unit. Empty where the model cannot tell.
    ///
    /// # Errors
    /// As [`score`](Self::score), or when `step` is outside the frame.
    fn contributions(&self, frame: &Frame, step: usize) -> Result<Vec<f64>>;

    /// Why a step got its score: the series that contribute most, as data and in words.
    ///
    /// # Errors
    /// As [`contributions`](Self::contributions).
    fn explain(&self, frame: &Frame, step: usize, score: f64) -> Result<Reason> {
        let contributions = self.contributions(frame, step)?;
        let mut order: Vec<usize> = (0..contributions.len()).collect();
        order.sort_by(|a, b| contributions[*b].total_cmp(&contributions[*a]).then(a.cmp(b)));
        let top: Vec<String> = order
            .iter()
            .take(3)
            .filter(|i| contributions[**i] > 0.0)
            .map(|i| frame.series()[*i].name.clone())
            .collect();
        let p_value = self.p_value(score);
        let sentence = if top.is_empty() {
            format!("score {score:.3} has probability {p_value:.1e} on training data")
        } else {
            format!(
                "{} deviate most; normal data does this with probability {p_value:.1e}",
                top.join(", ")
            )
        };
        Ok(Reason::new("unlike_training", sentence)
            .with("detector", self.name())
            .with("score", score)
            .with("p_value", p_value)
            .with("top_series", top))
    }
}

/// A configuration that can be trained on a frame of mostly normal data.
pub trait Fit: Send + Sync {
    /// Trains a model. Gaps are left out or filled, as the implementation documents.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] when the configuration is out of range, [`Error::NotEnoughData`] when
    /// the frame has too few usable steps.
    fn fit(&self, train: &Frame) -> Result<Box<dyn BatchDetector>>;
}

/// Checks that frame and score column fit a model of `n_series`.
///
/// # Errors
/// [`Error::ShapeMismatch`] says which does not.
pub fn frame_fits(n_series: usize, frame: &Frame, scores: usize) -> Result<()> {
    if frame.n_series() != n_series {
        let (expected, got) = (n_series, frame.n_series());
        return Err(Error::ShapeMismatch { what: "series of a frame", expected, got });
    }
    if frame.n_steps() != scores {
        let (expected, got) = (frame.n_steps(), scores);
        return Err(Error::ShapeMismatch { what: "score column", expected, got });
    }
    Ok(())
}
