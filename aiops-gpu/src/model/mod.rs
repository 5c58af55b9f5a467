//! The models, and [`Model`]: what an engine runs.

mod lstm;
mod reference;
mod reference_detector;
mod runs;

pub use lstm::LstmWeights;
pub(crate) use lstm::MAX_HIDDEN;
pub use reference::LstmReference;
pub use reference_detector::ReferenceDetector;
pub(crate) use reference_detector::side;
pub(crate) use runs::push;
pub use runs::{RUN, RunForest};

use crate::{Result, RuleConfig};

/// What an engine runs: how to judge, and the models whose judgement counts.
///
/// Statistics always take part. Without LSTM and forest this is the last resort of an
/// [`EngineChain`](crate::EngineChain).
///
/// ```
/// use aiops_gpu::{LstmWeights, Model, RuleConfig};
/// let mut model = Model::statistics(RuleConfig::default());
/// model.lstm = Some(LstmWeights::random(16, 1));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// How series are standardised and models judged.
    pub rule: RuleConfig,
    /// Predicts the next standardised value of a series from all before.
    pub lstm: Option<LstmWeights>,
    /// Judges the last eight standardised values.
    pub forest: Option<RunForest>,
}

impl Model {
    /// Deviation from the running mean only.
    pub fn statistics(rule: RuleConfig) -> Self {
        Model { rule, lstm: None, forest: None }
    }

    pub(crate) fn check(&self) -> Result<crate::rule::Rule> {
        self.rule.build()
    }
}
