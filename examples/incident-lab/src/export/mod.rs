//! From Prometheus' history to the files of a recording.
//!
//! The format is documented in `examples/data/README.md`; [`FORMAT`] names its version. What goes
//! in is one fixed list for all faults ([`selection`]), so the choice gives nothing away. Samples
//! keep their place: a second without a sample is an empty cell, never a repeated value.

mod alerts;
mod format;
mod grid;
mod prometheus;
mod recording;
pub mod selection;

pub use alerts::{AlertEpisode, episodes};
pub use format::number;
pub use grid::Grid;
pub use prometheus::{HistoryError, Prometheus, RawSeries};
pub use recording::{Change, ExportRequest, FORMAT, export};
