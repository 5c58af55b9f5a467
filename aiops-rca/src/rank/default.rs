//! The composition that one should use unless one knows better.

use super::{Bayes, BayesConfig, MagnitudeConfig};
use crate::Result;
use aiops_core::Prefer;
use serde::{Deserialize, Serialize};

/// The default analyzer: the posterior of [`BayesConfig`] with dependencies counted as far as they
/// weigh, and suspects judged by how much of the symptom they can explain.
///
/// Its temperature of 0.44 makes the claim for the first candidate as honest as it can be over all of
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
                own_load: true,
                temperature: 0.44,
                ..BayesConfig::default()
            },
        }
    }
}

impl From<Prefer> for DefaultConfig {
    /// How loud a suspect must be before it is blamed at all: the unknown weighs as much as a suspect
    /// of score 3 (fewer misses, the default), 4 (balanced) or 6 (fewer pages). What that does to
    /// faults and to normal time is measured in `docs/benchmarks/rca.md`.
    fn from(prefer: Prefer) -> Self {
        let mut config = DefaultConfig::default();
        config.bayes.unknown_score = match prefer {
            Prefer::FewerMisses => config.bayes.unknown_score,
            Prefer::Balanced => 4.0,
            Prefer::FewerPages => 6.0,
        };
        config
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_prefers_fewer_pages_blames_later() {
        let score = |prefer: Prefer| DefaultConfig::from(prefer).bayes.unknown_score;
        assert_eq!(DefaultConfig::from(Prefer::default()), DefaultConfig::default());
        assert!(score(Prefer::FewerMisses) < score(Prefer::Balanced));
        assert!(score(Prefer::Balanced) < score(Prefer::FewerPages));
        assert!(DefaultConfig::from(Prefer::FewerPages).build().is_ok());
    }
}
