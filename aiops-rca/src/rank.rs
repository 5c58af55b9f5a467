//! Ranking: who caused it.

mod bayes;
mod changes;
mod correlation;
mod default;
mod evidence;
mod graph;
mod hosts;
mod hypothesis;
mod magnitude;
mod prior;
mod rcd;
mod scorer;
mod traversal;
mod walk;

pub use bayes::{Bayes, BayesConfig};
pub use changes::ChangeConfig;
pub use correlation::CorrelationRanking;
pub use default::DefaultConfig;
pub use hypothesis::{HypothesisConfig, HypothesisTest};
pub use magnitude::MagnitudeConfig;
pub use rcd::{Rcd, RcdConfig};
pub use scorer::{PublishedScorer, RobustConfig, RobustScorer, Scale};
pub use traversal::{Traversal, TraversalConfig};
pub use walk::{Walk, WalkConfig};
