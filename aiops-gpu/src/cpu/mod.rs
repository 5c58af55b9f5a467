//! The CPU engine and its parts.

mod autoencoder;
mod engine;
mod forecaster;
mod forest;
mod states;

pub use autoencoder::Autoencoder;
pub use engine::{CpuConfig, CpuEngine};
pub use forecaster::Forecaster;
pub use forest::ForestScorer;
pub(crate) use forest::check as check_forest;
use states::States;
