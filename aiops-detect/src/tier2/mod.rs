//! Tier 2: adaptive and seasonal models of one series, around a microsecond a sample.

mod hindsight;
mod surprise;

pub use hindsight::{Hindsight, HindsightConfig};
pub use surprise::{Surprise, SurpriseConfig};
