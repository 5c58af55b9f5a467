//! Ranking: who caused it.

mod bayes;
mod changes;
mod default;
mod evidence;
mod magnitude;
mod prior;

pub use bayes::{Bayes, BayesConfig};
pub use changes::ChangeConfig;
pub use default::DefaultConfig;
pub use magnitude::MagnitudeConfig;
