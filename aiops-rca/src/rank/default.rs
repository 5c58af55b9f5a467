//! The composition that one should use unless one knows better.

use super::{Bayes, BayesConfig, MagnitudeConfig};
use crate::Result;
use serde::{Deserialize, Serialize};

/// The default analyzer: the posterior of [`BayesConfig`] with dependencies counted as far as they
/// weigh, and suspects judged by how much of the symptom they can explain.
///
/// Its temperature of 0.4 makes the claim for the first candidate as honest as it can be over all of
/// those data together; on a system whose faults its metrics do not show it is still too sure.
///
/// It is one configuration for all data; the rule by which it was chosen, and how it compares, is
/// in `docs/benchmarks/rca.md`. Dereference [`bayes`](Self::bayes) to change single settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DefaultConfig {
    /// The settings.
    pub bayes: BayesConfig,
}

impl Default for DefaultConfig {
    fn default() -> Self {
        DefaultConfig {
            bayes: BayesConfig {
                id: "default".into(),
                magnitude: MagnitudeConfig::default(),
                graded: true,
                temperature: 0.4,
                ..BayesConfig::default()
            },
        }
    }
}

impl DefaultConfig {
    /// Checks the settings and builds the analyzer.
    ///
    /// # Errors
    /// As [`BayesConfig::build`].
    pub fn build(self) -> Result<Bayes> {
        self.bayes.build()
    }
}
