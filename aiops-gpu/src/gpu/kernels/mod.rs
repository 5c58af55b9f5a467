//! The kernels: what a device does with a batch.
//!
//! A thread is a row. [`step`] is one fused pass over what is known of the row's series: standardise, take
//! in, run the LSTM on. [`judge`] walks the forest, lets the models vote and writes down what was flagged.
//! The others move state in and out.
//!
//! Everything is `u32` and `f32`, which every device has. Where `f32` is not enough, the mean of a series,
//! a number is the sum of two; where it could not be told from bits, a time, it is two words.

mod judging;
mod lstm;
mod state;
mod stepping;

pub(super) use judging::{judge, runs};
pub(super) use lstm::windows;
pub(super) use state::{clear, transfer};
pub(super) use stepping::step;

/// Words that are known of a series besides the state of its LSTM, each in a column of its own.
pub(super) mod word {
    /// The mean is the sum of two: to single precision, and what is left.
    pub(crate) const MEAN: u32 = 0;
    pub(crate) const MEAN_BELOW: u32 = 1;
    pub(crate) const VARIANCE: u32 = 2;
    pub(crate) const ERROR: u32 = 3;
    /// Time of the last sample: 64 bits in ascending order.
    pub(crate) const LAST: u32 = 4;
    pub(crate) const LAST_HIGH: u32 = 5;
    pub(crate) const SEEN: u32 = 6;
    pub(crate) const GAPS: u32 = 7;
    /// Where in the ring the next deviation goes.
    pub(crate) const HEAD: u32 = 8;
    pub(crate) const PREDICTED: u32 = 9;
    /// The last eight deviations, in a ring.
    pub(crate) const RING: u32 = 10;
    /// How many words.
    pub(crate) const COUNT: u32 = 18;
}

/// Words of a row on its way in: series, time (two), value (two).
pub(super) const IN: u32 = 5;
/// Words of a row between the kernels, and of its columns when they come back: deviation, then score;
/// residual of the LSTM; what was expected (two); margin; what became of it.
pub(super) const OUT: u32 = 6;
/// Words of a flag: row, score, votes, what was expected (two).
pub(super) const FLAG: u32 = 5;

/// What became of a row.
pub(super) const SCORED: u32 = 0;
pub(super) const WARMING_UP: u32 = 1;
pub(super) const GAP: u32 = 2;
pub(super) const LATE: u32 = 3;

/// A value that is none. Tested as bits: on some devices a comparison with NaN is anything.
pub(super) const NO_VALUE: u32 = 0x7FC0_0000;

/// Neighbouring series whose state lies side by side, unit by unit, so that threads read it together.
pub(super) const TILE: u32 = 32;
/// Threads in a cube.
pub(super) const THREADS: u32 = 128;
/// Values in a ring.
const RUN: u32 = crate::RUN as u32;

/// Up to so many hidden units a thread's copy of them stays in registers.
pub(super) const UNROLLED: u32 = 64;

/// As in `rule.rs`.
const CLIP: f32 = crate::rule::CLIP as f32;
const LARGEST_DEVIATION: f32 = 1e6;
const LEAST_ERROR: f32 = 0.1;
/// The least scale of a series here.
pub(super) const LEAST_SCALE: f32 = 1e-18;

/// Beyond this a sigmoid is below 2e-12, and a product of three would leave the range.
const LIMIT: f32 = 27.0;

/// Ratio of the upper quartile of Student's t(4) to that of the normal, as in `aiops_detect::Tail`.
const QUARTILE_RATIO: f32 = 1.098_158;
