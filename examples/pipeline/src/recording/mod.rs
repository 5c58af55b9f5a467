//! A recorded incident, read from a directory: what happened, second by second.
//!
//! The format is `aiops.recording/v1`; `examples/data/README.md` describes its files.
//! [`Recording::open`] reads everything a stage may know. The truth is not part of it: see
//! [`Truth::read`], which only the very end of a replay calls.
//!
//! Files are untrusted. What makes the whole useless (a missing file, a truncated archive, columns
//! that belong to nothing) is a [`RecordingError`]; what spoils a part (a cell that is no number, a
//! row that goes back in time) is left out, counted and reported as a [`Flaw`].

mod context;
mod error;
mod flaws;
mod grid;
mod metrics;
mod truth;

use std::path::Path;
use std::time::Duration;

use aiops_core::{Alert, Event, SeriesKey, Timestamp, Topology};
use serde::Deserialize;

pub use error::{RecordingError, Result};
pub use flaws::{Flaw, FlawCount, Flaws};
pub use truth::Truth;

/// Name and version of the format.
pub const FORMAT: &str = "aiops.recording/v1";

/// Everything that was recorded of one incident, except the truth about it.
#[derive(Debug)]
pub struct Recording {
    /// What `recording.json` says.
    pub about: About,
    /// The columns, in the order of their values.
    pub series: Vec<RecordedSeries>,
    /// One time a row, strictly ascending.
    pub times: Vec<Timestamp>,
    /// `times.len() x series.len()` values, row by row; NaN where there was no sample.
    values: Vec<f64>,
    /// Alerts that were recorded, in the order in which they began.
    pub alerts: Vec<Alert>,
    /// Changes, oldest first.
    pub changes: Vec<Event>,
    /// Who depends on whom.
    pub topology: Topology,
    /// What was left out or doubted while reading.
    pub flaws: Flaws,
}

/// What `recording.json` says. Further fields (versions, notes) are for people.
#[derive(Debug, Clone, Deserialize)]
pub struct About {
    /// Must be [`FORMAT`].
    pub format: String,
    /// The name of the take; reports are named after it. At most [`MAX_NAME`] bytes, without
    /// slashes and control characters.
    pub name: String,
    /// Milliseconds between rows, from 1 to [`MAX_STEP_MS`]. Must agree with the times of the rows.
    #[serde(default = "one_second")]
    pub step_ms: u64,
    /// Remarks of whoever recorded it.
    #[serde(default)]
    pub notes: String,
}

/// Longest name of a recording, in bytes.
pub const MAX_NAME: usize = 128;
/// Longest distance between rows: an hour, in milliseconds.
pub const MAX_STEP_MS: u64 = 3_600_000;

impl About {
    fn check(&self, file: &Path) -> Result<()> {
        let wrong = |field: &'static str, reason: String| {
            Err(RecordingError::Field { file: file.to_owned(), field, reason })
        };
        if !(1..=MAX_NAME).contains(&self.name.len()) {
            let got = self.name.len();
            return wrong("name", format!("must have 1 to {MAX_NAME} bytes, got {got}"));
        }
        let spoils_a_path = |c: char| c.is_control() || matches!(c, '/' | '\\');
        if let Some(found) = self.name.chars().find(|c| spoils_a_path(*c)) {
            return wrong("name", format!("must be usable as a file name, contains {found:?}"));
        }
        if !(1..=MAX_STEP_MS).contains(&self.step_ms) {
            let got = self.step_ms;
            return wrong("step_ms", format!("must be from 1 to {MAX_STEP_MS}, got {got}"));
        }
        Ok(())
    }
}

fn one_second() -> u64 {
    1_000
}

/// One column.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordedSeries {
    /// Name and labels, the label `service` among them.
    pub key: SeriesKey,
    /// Whether it counts up for ever; its rate is what matters then.
    pub is_counter: bool,
    /// The unit as recorded, for example `seconds`; empty when unknown.
    pub unit: String,
}

impl Recording {
    /// Reads a recording.
    ///
    /// # Errors
    /// [`RecordingError`] names the file and what to do; nothing is returned then.
    pub fn open(dir: &Path) -> Result<Recording> {
        let about: About = context::json(&dir.join("recording.json"))?;
        if about.format != FORMAT {
            let (file, found) = (dir.join("recording.json"), about.format);
            return Err(RecordingError::Format { file, found });
        }
        about.check(&dir.join("recording.json"))?;
        let mut flaws = Flaws::default();
        let topology = context::topology(&dir.join("topology.json"))?;
        let columns = metrics::columns(&dir.join("series.csv.gz"), &topology, &mut flaws)?;
        let step = Duration::from_millis(about.step_ms);
        let table = metrics::table(&dir.join("metrics.csv.gz"), columns, step, &mut flaws)?;
        let metrics::Table { series, times, values } = table;
        let recorded =
            times.first().copied().unwrap_or_default()..=times.last().copied().unwrap_or_default();
        let alerts = context::alerts(&dir.join("alerts.jsonl"), &topology, &recorded, &mut flaws)?;
        let changes =
            context::changes(&dir.join("changes.jsonl"), &topology, &recorded, &mut flaws)?;
        Ok(Recording { about, series, times, values, alerts, changes, topology, flaws })
    }

    /// The values of one row, one a series.
    ///
    /// # Panics
    /// When `index >= times.len()`.
    pub fn row(&self, index: usize) -> &[f64] {
        let width = self.series.len();
        &self.values[index * width..(index + 1) * width]
    }

    /// The first second.
    pub fn start(&self) -> Timestamp {
        self.times.first().copied().unwrap_or_default()
    }

    /// The last second.
    pub fn end(&self) -> Timestamp {
        self.times.last().copied().unwrap_or_default()
    }

    /// The distance between rows that follow each other.
    pub fn step(&self) -> Duration {
        Duration::from_millis(self.about.step_ms)
    }

    /// Steps from the first row to the last, rows that are missing too.
    pub fn n_steps(&self) -> usize {
        grid::n_steps(&self.times, self.step())
    }
}
