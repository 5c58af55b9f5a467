//! Conformance functions for the traits of this crate, and synthetic incidents with known truth.
//!
//! Feature `testing`. Each function panics with the sentence of the contract that does not hold,
//! so that it can stand alone in a test of any implementation, ours or a stranger's.

mod incident;
mod snapshot;
mod store;

pub use incident::{SyntheticIncident, synthetic_incident};
pub use snapshot::{check_shard_worker, check_snapshots};
pub use store::check_store;
