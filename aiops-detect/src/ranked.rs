//! [`Ranked`]: models of one whole series, whose p-values are ranks among the scores of training.

use aiops_core::Frame;

use crate::{BatchDetector, Error, Result, Tier, batch::frame_fits};

/// How one whole series is scored.
///
/// Shapes, ranks and contributions are the same for every such model and are done once, by [`Ranked`].
///
/// ```
/// use aiops_core::{Frame, SeriesKey, Timestamp};
/// use aiops_detect::{BatchDetector, OneSeries, Ranked, Result};
///
/// /// Distance from the middle of the range.
/// #[derive(Debug)]
/// struct OffCentre;
/// impl OneSeries for OffCentre {
///     fn name(&self) -> &'static str {
///         "off_centre"
///     }
///     fn judge(&self, series: &Frame) -> Result<Vec<f64>> {
///         let values = series.row(0);
///         let low = values.iter().copied().fold(f64::INFINITY, f64::min);
///         let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
///         let score = |v: &f64| if v.is_finite() { (v - low.midpoint(high)).abs() } else { 0.0 };
///         Ok(values.iter().map(score).collect())
///     }
/// }
/// let second = std::time::Duration::from_secs(1);
/// let values: Vec<f64> = (0..99).map(f64::from).collect();
/// let train = Frame::new(vec![SeriesKey::new("v", [("x", "y")])], Timestamp::EPOCH, second, values)?;
/// let model = Ranked::train(OffCentre, &train, 2)?;
/// assert!(model.p_value(49.0) < 0.03 && model.p_value(0.0) > 0.99);
/// # Ok::<(), aiops_detect::Error>(())
/// ```
pub trait OneSeries: std::fmt::Debug + Send + Sync {
    /// A short, stable name.
    fn name(&self) -> &'static str;

    /// The tier it belongs to.
    fn tier(&self) -> Tier {
        Tier::Two
    }

    /// Whether the score of a sample may depend on later ones.
    fn looks_ahead(&self) -> bool {
        true
    }

    /// One score a value of a frame's one series: zero or more, finite, higher is worse; 0 for gaps.
    ///
    /// # Errors
    /// Whatever scoring itself may end in.
    fn judge(&self, series: &Frame) -> Result<Vec<f64>>;
}

/// A [`OneSeries`] that was trained on a series: the p-value of a score is the share of training scores at
/// least as high.
#[derive(Debug, Clone)]
pub struct Ranked<S> {
    rule: S,
    /// Scores of the training series, ascending.
    trained: Vec<f64>,
}

impl<S: OneSeries> Ranked<S> {
    /// Learns the scores of the one series of a frame.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`] for a frame of several series, [`Error::NotEnoughData`] when fewer than
    /// `needed` values are no gaps, and what [`OneSeries::judge`] ends in.
    pub fn train(rule: S, train: &Frame, needed: usize) -> Result<Self> {
        frame_fits(1, train, train.n_steps())?;
        let got = train.row(0).iter().filter(|value| value.is_finite()).count();
        if got < needed {
            return Err(Error::NotEnoughData { needed, got });
        }
        let mut trained = rule.judge(train)?;
        trained.sort_unstable_by(f64::total_cmp);
        Ok(Ranked { rule, trained })
    }

    /// How it scores.
    pub fn rule(&self) -> &S {
        &self.rule
    }
}

impl<S: OneSeries> BatchDetector for Ranked<S> {
    fn name(&self) -> &'static str {
        self.rule.name()
    }

    fn tier(&self) -> Tier {
        self.rule.tier()
    }

    fn n_series(&self) -> usize {
        1
    }

    fn looks_ahead(&self) -> bool {
        self.rule.looks_ahead()
    }

    fn score(&self, frame: &Frame, scores: &mut [f64]) -> Result<()> {
        frame_fits(1, frame, scores.len())?;
        scores.copy_from_slice(&self.rule.judge(frame)?);
        Ok(())
    }

    fn p_value(&self, score: f64) -> f64 {
        let reached = self.trained.len() - self.trained.partition_point(|known| *known < score);
        (reached as f64 + 0.5) / (self.trained.len() + 1) as f64
    }

    fn contributions(&self, frame: &Frame, step: usize) -> Result<Vec<f64>> {
        if step >= frame.n_steps() {
            let (expected, got) = (frame.n_steps(), step);
            return Err(Error::ShapeMismatch { what: "step of a frame", expected, got });
        }
        frame_fits(1, frame, frame.n_steps())?;
        Ok(vec![self.rule.judge(frame)?[step]])
    }
}
