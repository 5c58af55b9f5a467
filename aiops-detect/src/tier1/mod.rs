//! Tier 1: streaming statistics of one series, from a nanosecond to a fraction of a microsecond a
//! sample.
//!
//! Each comes as a [`Detector`](crate::Detector) and, where very many series are watched, as a
//! [`DetectorBank`](crate::DetectorBank) that gives the same verdicts bit for bit.

mod absence;
mod cusum;
mod ewma;
mod ewma_bank;
mod flat_line;
mod guard;
mod hour_of_week;
mod moving_average;
mod rate_of_change;
mod robust;
mod robust_bank;
mod spectral_residual;
mod spot;
mod threshold;

pub use absence::{Absence, AbsenceConfig, Intervals, Overdue};
pub use cusum::{Baseline, Cusum, CusumConfig, Sums};
pub use ewma::{Ewma, EwmaConfig};
pub use ewma_bank::EwmaBank;
pub use flat_line::{FlatLine, FlatLineConfig, Repetition};
pub use guard::{Guard, GuardBank, GuardConfig};
pub use hour_of_week::{Bands, HourOfWeek, HourOfWeekConfig, OffsetFrom};
pub use moving_average::{MovingAverage, MovingAverageConfig};
pub use rate_of_change::{RateOfChange, RateOfChangeConfig, Rates};
pub use robust::{Robust, RobustConfig};
pub use robust_bank::RobustBank;
pub use spectral_residual::{
    Recent, SpectralResidual, SpectralResidualConfig, SpectralSaliency, SpectralSaliencyConfig,
};
pub use spot::{Peaks, Spot, SpotConfig};
pub use threshold::{Crossing, Threshold, ThresholdConfig};
