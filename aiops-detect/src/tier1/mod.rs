//! Tier 1: streaming statistics of one series, from a nanosecond to a fraction of a microsecond a
//! sample.
//!
//! Each comes as a [`Detector`](crate::Detector) and, where very many series are watched, as a
//! [`DetectorBank`](crate::DetectorBank) that gives the same verdicts bit for bit.

mod ewma;
mod ewma_bank;
mod guard;
mod robust;
mod robust_bank;

pub use ewma::{Ewma, EwmaConfig};
pub use ewma_bank::EwmaBank;
pub use guard::{Guard, GuardBank, GuardConfig};
pub use robust::{Robust, RobustConfig};
pub use robust_bank::RobustBank;
