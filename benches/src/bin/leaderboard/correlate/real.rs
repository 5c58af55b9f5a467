//! Real alerts: injected faults replayed with overlap, intrusion alerts with attack phases, telecom
//! alarms without a truth.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aiops_core::{Alert, AlertId, Edge, EdgeKind, Labels, NodeKind, Severity, Timestamp, Topology};
use aiops_correlate::eval::{Kind, Truth};
use serde::Deserialize;

use super::load::{self, Storm};
use crate::registry::Result;

#[derive(Debug, Deserialize)]
struct FaultAlert {
    t_ms: i64,
    fault_id: String,
    src: String,
    component: String,
    host: Option<String>,
    name: String,
    #[serde(default)]
    what: String,
}

#[derive(Debug, Deserialize)]
struct Node {
    id: String,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Debug, Deserialize)]
struct Link {
    source: String,
    target: String,
    label: String,
}

#[derive(Debug, Deserialize)]
struct Graph {
    nodes: Vec<Node>,
    edges: Vec<Link>,
}

/// Folders below `root` that hold a file whose name begins with `name`.
pub(super) fn folders_with(root: &Path, name: &str) -> Result<Vec<PathBuf>> {
    let named = |path: &PathBuf| {
        path.file_name().and_then(|file| file.to_str()).is_some_and(|file| file.starts_with(name))
    };
    Ok(load::files(root)?.into_iter().filter(named).collect())
}

/// Faults of one system with their alerts, in the order of the file.
pub(super) struct Faults {
    pub(super) system: String,
    topology: Topology,
    faults: Vec<Vec<FaultAlert>>,
}

/// The systems below `root`: `alerts.jsonl[.gz]` with `fault_id`s, and `topology.json` beside it or
/// one folder up.
pub(super) fn faults(root: &Path) -> Result<Vec<Faults>> {
    let mut found = Vec::new();
    for path in folders_with(root, "alerts.jsonl")? {
        let mut near = path.ancestors().skip(1).take(2);
        let Some(graph) =
            near.find_map(|dir| Some(dir.join("topology.json")).filter(|p| p.exists()))
        else {
            continue;
        };
        let mut by_fault: BTreeMap<String, Vec<FaultAlert>> = BTreeMap::new();
        let mut order = Vec::new();
        for (number, line) in load::open(&path)?.lines().enumerate() {
            let alert: FaultAlert = serde_json::from_str(&line?)
                .map_err(|e| format!("{}, line {}: {e}", path.display(), number + 1))?;
            if !by_fault.contains_key(&alert.fault_id) {
                order.push(alert.fault_id.clone());
            }
            by_fault.entry(alert.fault_id.clone()).or_default().push(alert);
        }
        let system = graph.parent().and_then(Path::file_name).unwrap_or_default();
        let faults = order.iter().filter_map(|fault| by_fault.remove(fault)).collect();
        let topology = fault_topology(&graph)?;
        found.push(Faults { system: system.to_string_lossy().into_owned(), topology, faults });
    }
    Ok(found)
}

fn fault_topology(path: &Path) -> Result<Topology> {
    let graph: Graph = serde_json::from_reader(load::open(path)?)
        .map_err(|e| format!("{}: {e}", path.display()))?;
    let mut topology = Topology::new();
    let now = Timestamp::EPOCH;
    for node in &graph.nodes {
        let kind = match node.kind.as_str() {
            "Host" => NodeKind::Host,
            kind if kind.ends_with("_Instance") => NodeKind::Instance,
            _ => NodeKind::Service,
        };
        topology.upsert_node(&node.id, kind, now);
    }
    for link in &graph.edges {
        let kind = match link.label.as_str() {
            "control_flow" | "data_flow" => EdgeKind::Calls,
            "hosted_on" => EdgeKind::RunsOn,
            "has_instance" => EdgeKind::Owns,
            _ => continue,
        };
        let ends = (topology.node_id(&link.source), topology.node_id(&link.target));
        if let (Some(from), Some(to)) = ends
            && from != to
        {
            topology.upsert_edge(from, to, Edge::new(kind, "file", now))?;
        }
    }
    Ok(topology)
}

impl Faults {
    /// The faults in groups of `overlap` on one clock, each shifted to within ten minutes of the
    /// first of its group, groups two hours apart. Truth is the fault.
    pub(super) fn replay(&self, overlap: usize) -> Storm {
        let mut records: Vec<(Timestamp, Alert, u32)> = Vec::new();
        for (number, fault) in self.faults.iter().enumerate() {
            let first = fault.iter().map(|alert| alert.t_ms).min().unwrap_or_default();
            let group = (number / overlap) as u64;
            // Spread over ten minutes in a fixed, uneven order; the first stays where it is.
            let place = (number % overlap) as u64;
            let shift = (place * 7_919 + group * place * 104_729) % 600;
            let start =
                Timestamp::from_secs(1_000_000) + Duration::from_secs(group * 7_200 + shift);
            for alert in fault {
                let after = Duration::from_millis((alert.t_ms - first).max(0) as u64);
                let made = alert.alert(start + after);
                records.push((made.received_at, made, number as u32));
            }
        }
        records.sort_by_key(|record| record.0);
        let mut storm = Storm {
            name: format!("{} x{overlap}", self.system),
            alerts: Vec::new(),
            ids: Vec::new(),
            truth: Vec::new(),
            topology: self.topology.clone(),
        };
        let mut seen = BTreeSet::new();
        for (number, (_, mut alert, fault)) in records.into_iter().enumerate() {
            alert.id = AlertId::from_u64(number as u64 + 1);
            let important = seen.insert(fault);
            storm.ids.push(number.to_string());
            storm.alerts.push(alert);
            storm.truth.push(Truth {
                incident: Some(fault),
                kind: Kind::Symptom,
                important,
                episode: u64::from(fault),
            });
        }
        storm
    }
}

impl FaultAlert {
    fn alert(&self, at: Timestamp) -> Alert {
        let mut labels = Labels::from([
            ("service", self.component.as_str()),
            ("source", self.src.as_str()),
            ("what", self.what.chars().take(40).collect::<String>().as_str()),
        ]);
        if let Some(host) = &self.host {
            labels.insert("host", host.as_str());
        }
        let mut alert = Alert::new(self.name.as_str(), labels, at);
        alert.source = self.src.clone();
        alert
    }
}

/// Intrusion alerts with attack phases: the truth of each record is its phase.
pub(super) fn intrusions(root: &Path) -> Result<Vec<(Storm, Vec<String>)>> {
    let mut found = Vec::new();
    for path in load::files(root)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(scenario) = name.strip_suffix(".csv.gz").or(name.strip_suffix(".csv")) else {
            continue;
        };
        let mut lines = load::open(&path)?.lines();
        let header = lines.next().transpose()?.unwrap_or_default();
        let columns: Vec<_> = header.split(',').collect();
        let column = |name: &str| columns.iter().position(|column| *column == name);
        let (Some(time), Some(title), Some(host), Some(by_time), Some(by_event)) = (
            column("time"),
            column("name"),
            column("host"),
            column("time_label"),
            column("event_label"),
        ) else {
            continue;
        };
        let mut phases: Vec<String> = Vec::new();
        let mut rows = Vec::new();
        for line in lines {
            let line = line?;
            let cells = split_csv(&line);
            let cell = |at: usize| cells.get(at).map_or("", String::as_str);
            let Ok(seconds) = cell(time).parse::<i64>() else { continue };
            let label = if cell(by_event) == "-" { cell(by_time) } else { cell(by_event) };
            let phase = (label != "false_positive").then(|| {
                phases.iter().position(|phase| phase == label).unwrap_or_else(|| {
                    phases.push(label.to_owned());
                    phases.len() - 1
                }) as u32
            });
            let labels = Labels::from([("service", cell(host))]);
            rows.push((Alert::new(cell(title), labels, Timestamp::from_secs(seconds)), phase));
        }
        rows.sort_by_key(|(alert, _)| alert.received_at);
        let mut storm = Storm {
            name: scenario.to_owned(),
            alerts: Vec::new(),
            ids: Vec::new(),
            truth: Vec::new(),
            topology: Topology::new(),
        };
        for (number, (mut alert, phase)) in rows.into_iter().enumerate() {
            alert.id = AlertId::from_u64(number as u64 + 1);
            storm.truth.push(Truth {
                incident: phase,
                kind: if phase.is_some() { Kind::Symptom } else { Kind::Noise },
                important: false,
                episode: alert.fingerprint.as_u64(),
            });
            storm.alerts.push(alert);
        }
        found.push((storm, phases));
    }
    Ok(found)
}

/// Cells of one CSV line; quotes may hold commas, and a doubled quote is one.
fn split_csv(line: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                cells.last_mut().expect("there is always a cell").push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(String::new()),
            c => cells.last_mut().expect("there is always a cell").push(c),
        }
    }
    cells
}

#[derive(Debug, Deserialize)]
struct Devices {
    topology_edges_undirected: Option<Vec<(serde_json::Value, serde_json::Value)>>,
}

/// Telecom alarms: device topology, no truth. An alarm whose end is its start has none recorded.
pub(super) fn telecom(root: &Path) -> Result<Vec<Storm>> {
    let mut found = Vec::new();
    for path in folders_with(root, "alarms.csv")? {
        let mut near = path.ancestors().skip(1).take(2);
        let Some(graph) = near.find_map(|dir| Some(dir.join("graph.json")).filter(|p| p.exists()))
        else {
            continue;
        };
        let devices: Devices = serde_json::from_reader(load::open(&graph)?)?;
        let mut topology = Topology::new();
        let name = |value: &serde_json::Value| format!("device-{value}");
        for (a, b) in devices.topology_edges_undirected.unwrap_or_default() {
            let a = topology.upsert_node(&name(&a), NodeKind::Service, Timestamp::EPOCH);
            let b = topology.upsert_node(&name(&b), NodeKind::Service, Timestamp::EPOCH);
            // Links have no direction: trouble may go both ways.
            for (from, to) in [(a, b), (b, a)] {
                if from != to {
                    let edge = Edge::new(EdgeKind::Calls, "file", Timestamp::EPOCH);
                    topology.upsert_edge(from, to, edge)?;
                }
            }
        }
        let mut alerts = Vec::new();
        for line in load::open(&path)?.lines().skip(1) {
            let line = line?;
            let cells: Vec<&str> = line.split(',').collect();
            let [kind, device, start, end] = cells[..] else { continue };
            let (Ok(start), Ok(end)) = (start.parse::<i64>(), end.parse::<i64>()) else { continue };
            let labels = Labels::from([("service", format!("device-{device}"))]);
            let fired = Alert::new(format!("alarm-{kind}"), labels, Timestamp::from_secs(start));
            if end > start {
                let mut over = fired.clone();
                over.ends_at = Some(Timestamp::from_secs(end));
                over.received_at = Timestamp::from_secs(end);
                alerts.push(over);
            }
            alerts.push(fired);
        }
        alerts.sort_by_key(|alert| alert.received_at);
        for (number, alert) in alerts.iter_mut().enumerate() {
            alert.id = AlertId::from_u64(number as u64 + 1);
            alert.severity = Severity::Warning;
        }
        let system = graph.parent().and_then(Path::file_name).unwrap_or_default();
        let name = system.to_string_lossy().into_owned();
        found.push(Storm { name, alerts, ids: Vec::new(), truth: Vec::new(), topology });
    }
    Ok(found)
}
