//! Reading storms: the line format that the help text documents, and its truth and topology.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use aiops_core::{
    Alert, AlertId, Edge, EdgeKind, Fingerprint, Labels, NodeKind, Severity, Timestamp, Topology,
};
use aiops_correlate::eval::{Kind, Truth};
use serde::Deserialize;

use crate::registry::Result;

/// Alerts in order of arrival with what is known about them.
pub(crate) struct Storm {
    pub(crate) name: String,
    pub(crate) alerts: Vec<Alert>,
    /// The ids of the file, in the order of `alerts`.
    pub(crate) ids: Vec<String>,
    pub(crate) truth: Vec<Truth>,
    pub(crate) topology: Topology,
}

/// One alert a line.
#[derive(Debug, Deserialize)]
struct Line {
    id: String,
    arrival: f64,
    at: f64,
    service: Option<String>,
    name: String,
    #[serde(default)]
    severity: String,
    host: Option<String>,
    #[serde(default)]
    status: String,
    fingerprint: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct Graph {
    #[serde(default)]
    calls: Vec<(String, String)>,
    #[serde(default)]
    runs_on: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct TruthFile {
    alerts: BTreeMap<String, (Option<u32>, Kind, u8, u64)>,
}

/// A file, unpacked if its name ends in `.gz`.
pub(crate) fn open(path: &Path) -> Result<Box<dyn BufRead>> {
    let file = std::fs::File::open(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let reader: Box<dyn Read> = if path.extension().is_some_and(|ext| ext == "gz") {
        Box::new(flate2::read::MultiGzDecoder::new(file))
    } else {
        Box::new(file)
    };
    Ok(Box::new(BufReader::new(reader)))
}

pub(crate) fn seconds(value: f64) -> Timestamp {
    Timestamp::from_nanos((value * 1e9).round() as i64)
}

/// Alerts of a `.jsonl` file, sorted by arrival, with the ids of the file.
pub(crate) fn alerts(path: &Path) -> Result<(Vec<Alert>, Vec<String>)> {
    let mut read = Vec::new();
    for (number, line) in open(path)?.lines().enumerate() {
        let line = line.map_err(|e| format!("{}: {e}", path.display()))?;
        if line.trim().is_empty() {
            continue;
        }
        let line: Line = serde_json::from_str(&line)
            .map_err(|e| format!("{}, line {}: {e}", path.display(), number + 1))?;
        let id = AlertId::from_u64(number as u64 + 1);
        let (name, alert) =
            alert(line, id).map_err(|e| format!("{}, line {}: {e}", path.display(), number + 1))?;
        read.push((alert, name));
    }
    // Stable: lines with one arrival time stay in the order of the file.
    read.sort_by_key(|(alert, _)| alert.received_at);
    Ok(read.into_iter().unzip())
}

fn alert(line: Line, id: AlertId) -> Result<(String, Alert)> {
    if !(line.arrival.is_finite() && line.at.is_finite()) {
        return Err("arrival and at must be numbers".into());
    }
    let mut labels: Labels = line.labels.into_iter().collect();
    if let Some(service) = &line.service {
        labels.insert("service", service.as_str());
    }
    if let Some(host) = line.host {
        labels.insert("host", host);
    }
    let fingerprint = match &line.fingerprint {
        Some(text) => match u64::from_str_radix(text, 16) {
            Ok(number) => Fingerprint::from_u64(number),
            // Any other text identifies the alert just as well.
            Err(_) => Fingerprint::of("", text, &Labels::new(), &[]),
        },
        None => Fingerprint::of("", &line.name, &labels, &[]),
    };
    let mut alert = Alert::new(line.name, labels, seconds(line.at));
    alert.id = id;
    alert.fingerprint = fingerprint;
    alert.severity = Severity::from_word(&line.severity);
    alert.service = line.service;
    alert.received_at = seconds(line.arrival);
    alert.ends_at = (line.status == "resolved").then(|| seconds(line.at));
    Ok((line.id, alert))
}

pub(crate) fn topology(path: &Path) -> Result<Topology> {
    let graph: Graph =
        serde_json::from_reader(open(path)?).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut topology = Topology::new();
    let now = Timestamp::EPOCH;
    for (from, to) in &graph.calls {
        let from = topology.upsert_node(from, NodeKind::Service, now);
        let to = topology.upsert_node(to, NodeKind::Service, now);
        topology.upsert_edge(from, to, Edge::new(EdgeKind::Calls, "file", now))?;
    }
    for (service, host) in &graph.runs_on {
        let service = topology.upsert_node(service, NodeKind::Service, now);
        let host = topology.upsert_node(host, NodeKind::Host, now);
        topology.upsert_edge(service, host, Edge::new(EdgeKind::RunsOn, "file", now))?;
    }
    Ok(topology)
}

/// The storms of a folder, found recursively: `NAME.jsonl[.gz]` beside `NAME.topology.json[.gz]` and
/// `NAME.truth.json[.gz]`.
pub(crate) fn storms(folder: &Path) -> Result<Vec<Storm>> {
    let mut found = Vec::new();
    for path in files(folder)? {
        let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some(name) = file.strip_suffix(".jsonl.gz").or(file.strip_suffix(".jsonl")) else {
            continue;
        };
        let beside = |what: &str| {
            [format!("{name}.{what}.json.gz"), format!("{name}.{what}.json")]
                .iter()
                .map(|file| path.with_file_name(file))
                .find(|path| path.exists())
        };
        let (Some(graph), Some(truth)) = (beside("topology"), beside("truth")) else { continue };
        let (alerts, ids) = alerts(&path)?;
        let truth_path = truth.display().to_string();
        let truth: TruthFile =
            serde_json::from_reader(open(&truth)?).map_err(|e| format!("{truth_path}: {e}"))?;
        let truth = ids.iter().map(|id| {
            let (incident, kind, important, episode) =
                truth.alerts.get(id).ok_or_else(|| format!("{truth_path}: no alert {id}"))?;
            let (incident, kind, episode) = (*incident, *kind, *episode);
            Ok(Truth { incident, kind, important: *important != 0, episode })
        });
        let truth = truth.collect::<Result<Vec<_>>>()?;
        let topology = topology(&graph)?;
        found.push(Storm { name: name.to_owned(), alerts, ids, truth, topology });
    }
    Ok(found)
}

/// Every file below a folder, sorted by path.
pub(crate) fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries =
            std::fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        for entry in entries {
            let path = entry.map_err(|e| format!("{}: {e}", folder.display()))?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}
