//! What the leaderboard knows: its areas, and the rows of the speed table.
//!
//! To add an **area** (`leaderboard -- mine`): write `mine.rs` with a `pub(crate) const AREA: Area`,
//! name the module in `main.rs`, and list it in [`AREAS`].
//!
//! To add **speed rows**: write `speed_mine.rs` with a `pub(crate) const ROWS: &[SpeedRow]`, name the
//! module in `main.rs`, and list it in [`SPEED`]. A row makes its data outside the timed part,
//! measures ours and the baseline alternately in the same run (see [`crate::stopwatch`]), and says
//! in words what the baseline is: the best plain loop one can write for the same work.

use crate::{
    args::Args, convert, correlate, detect, discovery, rca, rca_growth, speed, speed_act,
    speed_correlate, speed_detect, speed_gpu, speed_observe, speed_rca, speed_seasonal,
    speed_tier1,
};

/// The areas, in the order `all` runs them.
pub(crate) const AREAS: &[Area] = &[
    speed::AREA,
    detect::AREA,
    detect::normal::AREA,
    correlate::AREA,
    rca::AREA,
    discovery::AREA,
    rca_growth::AREA,
    convert::AREA,
];

/// The rows of the speed table, in the order it prints them.
pub(crate) const SPEED: &[&[SpeedRow]] = &[
    speed_observe::ROWS,
    #[cfg(feature = "history")]
    crate::speed_history::ROWS,
    speed_tier1::ROWS,
    speed_correlate::ROWS,
    speed_rca::ROWS,
    speed_detect::ROWS,
    speed_seasonal::ROWS,
    speed_act::ROWS,
    speed_gpu::ROWS,
    #[cfg(feature = "wgpu")]
    crate::speed_device::WGPU,
    #[cfg(feature = "cuda")]
    crate::speed_device::CUDA,
];

/// A row cannot be measured here, because something is not there: said, and left out of the table.
#[allow(dead_code, reason = "for rows behind features, on hardware that may be missing")]
#[derive(Debug)]
pub(crate) struct Absent(pub(crate) String);

impl std::fmt::Display for Absent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Absent {}

/// What went wrong, in words for the person at the terminal.
pub(crate) type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// One field of measurement with its own options and table.
pub(crate) struct Area {
    /// The word on the command line.
    pub(crate) name: &'static str,
    /// Its options, in the usual notation. `all` hands `--quick`, `--data DIR` and `--json FILE` to
    /// areas whose usage names them; `--json FILE` every area understands.
    pub(crate) usage: &'static str,
    /// What it measures: one line, then as much as `--help` should say.
    pub(crate) about: &'static str,
    /// Whether `all` runs it.
    pub(crate) unattended: bool,
    /// Runs it: prints a table, and writes JSON where asked.
    pub(crate) run: fn(Args) -> Result<()>,
}

/// One hot path beside its baseline.
pub(crate) struct SpeedRow {
    /// Stable name, as in `tier1_sweep_f64_1k`.
    pub(crate) id: &'static str,
    /// What the two figures count, in base units.
    pub(crate) unit: Unit,
    /// The plain loop or other tool beside ours, in words.
    pub(crate) baseline_is: &'static str,
    /// Measures both; an [`Absent`] error leaves the row out. `quick` asks for the smallest run that still gives a figure.
    pub(crate) measure: fn(quick: bool) -> Result<Measured>,
}

/// The unit of a speed row. It decides which way round the ratio goes.
#[allow(dead_code, reason = "areas that measure times and sizes join the registry one by one")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Items per second: more is better. Holds the printed unit, as in `"samples/s"`.
    PerSecond(&'static str),
    /// Seconds: less is better.
    Seconds,
    /// Bytes: less is better.
    Bytes,
}

impl Unit {
    /// As printed and as in the JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Unit::PerSecond(name) => name,
            Unit::Seconds => "s",
            Unit::Bytes => "B",
        }
    }

    /// How many times better ours is: above 1 means faster (or smaller) than the baseline.
    pub(crate) fn ratio(self, ours: f64, baseline: f64) -> f64 {
        match self {
            Unit::PerSecond(_) => ours / baseline,
            Unit::Seconds | Unit::Bytes => baseline / ours,
        }
    }
}

/// The figures of one speed row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    /// Ours, in the unit of the row.
    pub(crate) ours: f64,
    /// The baseline's, in the same unit; `None` where nothing comparable exists.
    pub(crate) baseline: Option<f64>,
    /// State held per series, where that means something.
    pub(crate) bytes_per_series: Option<f64>,
}
