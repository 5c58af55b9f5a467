//! What makes a recording useless as a whole.

use std::path::PathBuf;

use aiops_core::BoxError;

/// Why a recording could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordingError {
    /// The directory or one of its files does not exist.
    #[error(
        "{} does not exist; a recording is a directory with recording.json, series.csv.gz, \
         metrics.csv.gz, alerts.jsonl, changes.jsonl and topology.json",
        file.display()
    )]
    Missing {
        /// The file.
        file: PathBuf,
    },
    /// It is a recording of another format or version.
    #[error("{}: format is {found:?}, this program reads {:?}", file.display(), super::FORMAT)]
    Format {
        /// The file.
        file: PathBuf,
        /// The format it names.
        found: String,
    },
    /// A compressed file ends in the middle: the copy or download was cut short.
    #[error("{} is truncated or corrupt after line {line}; copy it again", file.display())]
    Truncated {
        /// The file.
        file: PathBuf,
        /// The last line that could be read whole, the header being line 1.
        line: u64,
        /// What the decompressor said.
        source: BoxError,
    },
    /// The header is not what the format asks for.
    #[error("{}: {reason}", file.display())]
    Columns {
        /// The file.
        file: PathBuf,
        /// What is missing, unknown or there twice.
        reason: String,
    },
    /// A field of `recording.json` is out of range.
    #[error("{}: {field} {reason}", file.display())]
    Field {
        /// The file.
        file: PathBuf,
        /// The field.
        field: &'static str,
        /// What it must be and what it is.
        reason: String,
    },
    /// A file does not hold the JSON it should.
    #[error("{} is not valid", file.display())]
    Json {
        /// The file.
        file: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// The topology contradicts itself.
    #[error("{} is not a topology", file.display())]
    Topology {
        /// The file.
        file: PathBuf,
        /// Why.
        source: aiops_core::Error,
    },
    /// It is larger than the limits that protect memory.
    #[error("{}: more than {limit} {what}; split the recording", file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// One row is longer than any row of a recording can be; it was not read.
    #[error("{} line {line}: a row of more than {limit} bytes", file.display())]
    RowTooLong {
        /// The file.
        file: PathBuf,
        /// Where the row begins, the header being line 1.
        line: u64,
        /// Most bytes of a row.
        limit: u64,
    },
    /// No row survived.
    #[error("{} has no usable row{}", file.display(), flaws.as_deref().map(|f| format!(": {f}")).unwrap_or_default())]
    Empty {
        /// The file.
        file: PathBuf,
        /// Why rows were left out, if there were any.
        flaws: Option<String>,
    },
    /// The operating system refused.
    #[error("cannot read {}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// A result of reading a recording.
pub type Result<T, E = RecordingError> = std::result::Result<T, E>;
