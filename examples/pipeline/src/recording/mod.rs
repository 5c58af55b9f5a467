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
    /// The name of the take.
    pub name: String,
    /// Milliseconds between rows.
    #[serde(default = "one_second")]
    pub step_ms: u64,
    /// Remarks of whoever recorded it.
    #[serde(default)]
    pub notes: String,
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
        let mut flaws = Flaws::default();
        let topology = context::topology(&dir.join("topology.json"))?;
        let columns = metrics::columns(&dir.join("series.csv.gz"), &topology, &mut flaws)?;
        let table = metrics::table(&dir.join("metrics.csv.gz"), columns, &mut flaws)?;
        let alerts = context::alerts(&dir.join("alerts.jsonl"), &topology, &mut flaws)?;
        let changes = context::changes(&dir.join("changes.jsonl"), &topology, &mut flaws)?;
        let metrics::Table { series, times, values } = table;
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

    /// The distance between rows.
    pub fn step(&self) -> Duration {
        Duration::from_millis(self.about.step_ms.max(1))
    }
}
