//! What stands beside the metrics: alerts, changes, topology.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Take};
use std::ops::RangeInclusive;
use std::path::Path;

use aiops_core::{
    Alert, Event, EventKind, Labels, Severity, Timestamp, Topology, TopologyDocument, text,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Flaw, Flaws, RecordingError, Result};

/// Longest JSON file, and most bytes of one `.jsonl` file.
const MAX_BYTES: u64 = 64 << 20;
/// Most alerts, and most changes.
const MAX_ENTRIES: usize = 100_000;

/// Opens a file, with an error that says what is missing.
pub(super) fn open(file: &Path) -> Result<File> {
    File::open(file).map_err(|source| {
        let file = file.to_owned();
        match source.kind() {
            ErrorKind::NotFound => RecordingError::Missing { file },
            _ => RecordingError::Read { file, source },
        }
    })
}

/// Reads one JSON document.
pub(super) fn json<T: DeserializeOwned>(file: &Path) -> Result<T> {
    let mut reader = BufReader::new(open(file)?.take(MAX_BYTES + 1));
    let parsed = serde_json::from_reader(&mut reader);
    within_limit(file, &reader)?;
    parsed.map_err(|source| RecordingError::Json { file: file.to_owned(), source })
}

/// Refuses a file that goes on where reading stopped.
fn within_limit(file: &Path, reader: &BufReader<Take<File>>) -> Result<()> {
    match reader.get_ref().limit() {
        0 => Err(too_large(file, "bytes", MAX_BYTES as usize)),
        _ => Ok(()),
    }
}

pub(super) fn too_large(file: &Path, what: &'static str, limit: usize) -> RecordingError {
    RecordingError::TooLarge { file: file.to_owned(), what, limit }
}

/// Reads who depends on whom.
pub(super) fn topology(file: &Path) -> Result<Topology> {
    let document: TopologyDocument = json(file)?;
    Topology::try_from(document)
        .map_err(|source| RecordingError::Topology { file: file.to_owned(), source })
}

/// One line of `alerts.jsonl`.
#[derive(Deserialize)]
struct AlertLine {
    starts_at_ms: i64,
    ends_at_ms: Option<i64>,
    name: String,
    #[serde(default)]
    severity: String,
    #[serde(default)]
    service: String,
    #[serde(default)]
    labels: Labels,
    #[serde(default)]
    annotations: Labels,
}

/// Reads the recorded alerts that fired during `recorded`, in the order in which they began.
///
/// One that began earlier and still fired is kept: it was there when the recording began.
pub(super) fn alerts(
    file: &Path,
    topology: &Topology,
    recorded: &RangeInclusive<Timestamp>,
    flaws: &mut Flaws,
) -> Result<Vec<Alert>> {
    let mut alerts: Vec<Alert> = lines(file, flaws, |line: AlertLine, flaws| {
        note_unknown(&line.service, &line.name, topology, flaws);
        let AlertLine { mut labels, severity, service, .. } = line;
        labels.insert("severity", severity.as_str());
        if !service.is_empty() {
            labels.insert("service", service);
        }
        let mut alert = Alert::new(line.name, labels, Timestamp::from_millis(line.starts_at_ms));
        alert.severity = Severity::from_word(&severity);
        alert.annotations = line.annotations;
        alert.ends_at = line.ends_at_ms.map(Timestamp::from_millis);
        alert.source = "prometheus".to_owned();
        alert
    })?;
    alerts.retain(|alert| {
        let over = alert.ends_at.is_some_and(|end| end < *recorded.start());
        let inside = alert.starts_at <= *recorded.end() && !over;
        if !inside {
            flaws.add(Flaw::OutsideRecording, || {
                format!("alert {} at {}", alert.name, alert.starts_at.as_millis())
            });
        }
        inside
    });
    alerts.sort_by(|a, b| (a.starts_at, &a.name, a.id).cmp(&(b.starts_at, &b.name, b.id)));
    Ok(alerts)
}

/// One line of `changes.jsonl`.
#[derive(Deserialize)]
struct ChangeLine {
    time_ms: i64,
    kind: String,
    #[serde(default)]
    service: String,
    title: String,
    #[serde(default)]
    labels: Labels,
}

/// Reads the changes until the end of `recorded`, oldest first. What was changed before it began may
/// still be to blame.
pub(super) fn changes(
    file: &Path,
    topology: &Topology,
    recorded: &RangeInclusive<Timestamp>,
    flaws: &mut Flaws,
) -> Result<Vec<Event>> {
    let mut changes: Vec<Event> = lines(file, flaws, |line: ChangeLine, flaws| {
        note_unknown(&line.service, &line.title, topology, flaws);
        let service = (!line.service.is_empty()).then_some(line.service.as_str());
        let at = Timestamp::from_millis(line.time_ms);
        let mut event = Event::new(EventKind::from_name(&line.kind), service, line.title, at);
        event.labels = line.labels;
        event
    })?;
    changes.retain(|change| {
        let known = change.starts_at <= *recorded.end();
        if !known {
            flaws.add(Flaw::OutsideRecording, || {
                format!("change {} at {}", change.title, change.starts_at.as_millis())
            });
        }
        known
    });
    changes.sort_by(|a, b| (a.starts_at, &a.title).cmp(&(b.starts_at, &b.title)));
    Ok(changes)
}

/// Counts a service that the topology does not know, with the closest name it does know.
pub(super) fn note_unknown(service: &str, who: &str, topology: &Topology, flaws: &mut Flaws) {
    if service.is_empty() || topology.node_id(service).is_some() {
        return;
    }
    flaws.add(Flaw::UnknownService, || {
        let names = topology.nodes().map(|(_, node)| node.name.as_str());
        let hint = text::closest(service, names);
        let hint = hint.map(|name| format!("; did you mean {name:?}?")).unwrap_or_default();
        format!("{service:?} of {who}{hint}")
    });
}

/// Reads a file with one JSON document a line; lines that cannot be read are counted.
fn lines<L: DeserializeOwned, T>(
    file: &Path,
    flaws: &mut Flaws,
    mut each: impl FnMut(L, &mut Flaws) -> T,
) -> Result<Vec<T>> {
    let mut found = Vec::new();
    let mut reader = BufReader::new(open(file)?.take(MAX_BYTES + 1));
    for (index, line) in reader.by_ref().lines().enumerate() {
        if found.len() == MAX_ENTRIES {
            return Err(too_large(file, "entries", MAX_ENTRIES));
        }
        let parsed = match line {
            Ok(line) if line.trim().is_empty() => continue,
            Ok(line) => serde_json::from_str(&line).map_err(|error| error.to_string()),
            // Not UTF-8: the next line may be.
            Err(error) if error.kind() == ErrorKind::InvalidData => Err(error.to_string()),
            Err(source) => return Err(RecordingError::Read { file: file.to_owned(), source }),
        };
        match parsed {
            Ok(parsed) => found.push(each(parsed, flaws)),
            Err(error) => flaws.add(Flaw::Unreadable, || {
                let name = file.file_name().unwrap_or_default().to_string_lossy();
                format!("{name} line {}: {error}", index + 1)
            }),
        }
    }
    within_limit(file, &reader)?;
    Ok(found)
}
