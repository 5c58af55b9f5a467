//! How good a ranking is: the measures that others accept, over rankings of any origin.
//!
//! Everything here works on names in the order of suspicion, so it can judge other people's tools
//! too. A method that failed or abstained on a case contributes an empty list, which counts as a
//! miss: a harness that leaves failures out flatters.

mod bootstrap;
mod calibration;
mod graphs;
mod recall;

pub use bootstrap::{Interval, paired_bootstrap};
pub use calibration::{Bin, brier, calibration_curve, expected_calibration_error, fit_temperature};
pub use graphs::{GraphScore, structural_hamming_distance};
pub use recall::{Judged, ac_at_k, avg_at_k, chance_ac_at_k, mean_reciprocal_rank};
