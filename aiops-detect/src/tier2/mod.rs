//! Tier 2: adaptive and seasonal models of one series, around a microsecond a sample.

mod hold;
mod surprise;

pub use surprise::{Surprise, SurpriseConfig};
