//! Writes the files of one recording.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::{Compression, GzBuilder};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::selection::{self, Column};
use super::{Grid, Prometheus, episodes, number};
use crate::http::BoxError;
use crate::plan::Fault;

/// Name and version of the format.
pub const FORMAT: &str = "aiops.recording/v1";

/// What to export, and the truth about it.
#[derive(Debug, Clone)]
pub struct ExportRequest {
    /// Base address of Prometheus.
    pub prometheus: String,
    /// Directory to write; its name becomes the recording's.
    pub out: PathBuf,
    /// What was injected.
    pub fault: Fault,
    /// Seed of the take.
    pub seed: u64,
    /// First second.
    pub start_ms: i64,
    /// Last second.
    pub end_ms: i64,
    /// When the fault was injected.
    pub fault_start_ms: i64,
    /// When it was healed.
    pub fault_end_ms: i64,
    /// The driver's list of changes.
    pub changes: PathBuf,
    /// The change that is to blame, if one is.
    pub root_change: Option<String>,
    /// Versions and machine.
    pub recorded_with: serde_json::Value,
}

/// One change: a line of `changes.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// When it began.
    pub time_ms: i64,
    /// `deploy`, `restart`, `job`, `config` or `scaling`.
    pub kind: String,
    /// The service that was changed.
    pub service: String,
    /// For people.
    pub title: String,
    /// More about it.
    pub labels: BTreeMap<String, String>,
}

/// Reads the history and writes the seven files.
///
/// # Errors
/// When Prometheus or the file system fails, or the list of changes is malformed.
pub async fn export(request: &ExportRequest) -> Result<(), BoxError> {
    let prometheus = Prometheus::new(&request.prometheus);
    let grid = Grid { start_ms: request.start_ms, end_ms: request.end_ms, step_ms: 1_000 };
    // A little more on both sides: rows hold samples of the second before them.
    let (until, seconds) =
        (request.end_ms + 1_000, (request.end_ms - request.start_ms) / 1_000 + 3);
    let kinds = prometheus.kinds().await?;
    let history = prometheus.history(&selection::selector(), until, seconds).await?;
    let columns = selection::columns(history, &kinds);
    let firing = prometheus.history("ALERTS{alertstate=\"firing\"}", until, seconds).await?;
    let annotations = prometheus.annotations().await?;
    let alerts = episodes(&firing, &annotations, (request.start_ms, request.end_ms));
    let changes = read_changes(&request.changes, (request.start_ms, request.end_ms))?;

    std::fs::create_dir_all(&request.out)?;
    let name =
        request.out.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    gzip(&request.out.join("series.csv.gz"), |out| write_series(out, &columns))?;
    gzip(&request.out.join("metrics.csv.gz"), |out| write_metrics(out, &columns, grid))?;
    write_lines(&request.out.join("alerts.jsonl"), &alerts)?;
    write_lines(&request.out.join("changes.jsonl"), &changes)?;
    write_json(&request.out.join("topology.json"), &topology())?;
    write_json(&request.out.join("truth.json"), &truth(request))?;
    write_json(
        &request.out.join("recording.json"),
        &json!({
            "format": FORMAT,
            "name": name,
            "start_ms": grid.start_ms,
            "end_ms": grid.end_ms,
            "step_ms": grid.step_ms,
            "series_count": columns.len(),
            "recorded_with": request.recorded_with,
            "notes": "Real telemetry of the incident lab on loopback, pinned to one core of a shared machine. \
                      A row holds the samples of the second that ends at its time; an empty cell is no sample. \
                      Counters are raw.",
        }),
    )
}

fn read_changes(path: &Path, (start_ms, end_ms): (i64, i64)) -> Result<Vec<Change>, BoxError> {
    let mut changes = Vec::new();
    for line in std::fs::read_to_string(path)?.lines() {
        let change: Change = serde_json::from_str(line)?;
        if (start_ms..=end_ms).contains(&change.time_ms) {
            changes.push(change);
        }
    }
    changes.sort_by_key(|change| change.time_ms);
    Ok(changes)
}

/// The lab is always the same system.
fn topology() -> serde_json::Value {
    const SERVICES: [&str; 4] = ["gateway", "api", "postgres", "redis"];
    let calls = [("gateway", "api"), ("api", "postgres"), ("api", "redis")];
    let mut nodes: Vec<_> = SERVICES.map(|name| json!({"name": name, "kind": "service"})).into();
    nodes.push(json!({"name": "host", "kind": "host"}));
    let mut edges: Vec<_> =
        calls.map(|(from, to)| json!({"from": from, "to": to, "kind": "calls"})).into();
    edges.extend(SERVICES.map(|name| json!({"from": name, "to": "host", "kind": "runs_on"})));
    json!({"nodes": nodes, "edges": edges})
}

fn truth(request: &ExportRequest) -> serde_json::Value {
    let fault = request.fault;
    let blame = fault != Fault::Harmless;
    json!({
        "fault": blame.then(|| fault.name()),
        "root_services": fault.root_services(),
        "root_metric_kind": fault.root_metric_kind(),
        "root_change": request.root_change,
        "start_ms": blame.then_some(request.fault_start_ms),
        "end_ms": blame.then_some(request.fault_end_ms),
        "seed": request.seed,
    })
}

/// Writes through gzip, without name and time in its header: the same content, the same bytes.
fn gzip(
    path: &Path,
    content: impl FnOnce(&mut dyn Write) -> Result<(), BoxError>,
) -> Result<(), BoxError> {
    let file = BufWriter::new(File::create(path)?);
    let mut out = GzBuilder::new().write(file, Compression::best());
    content(&mut out)?;
    Ok(out.finish()?.flush()?)
}

fn write_series(out: &mut dyn Write, columns: &[Column]) -> Result<(), BoxError> {
    writeln!(out, "series,name,service,kind,unit,labels")?;
    for (index, column) in columns.iter().enumerate() {
        let labels = serde_json::to_string(&column.labels)?.replace('"', "\"\"");
        let Column { name, service, kind, unit, .. } = column;
        writeln!(out, "s{index},{name},{service},{kind},{unit},\"{labels}\"")?;
    }
    Ok(())
}

fn write_metrics(out: &mut dyn Write, columns: &[Column], grid: Grid) -> Result<(), BoxError> {
    let cells: Vec<Vec<Option<f64>>> =
        columns.iter().map(|column| grid.place(&column.samples)).collect();
    write!(out, "time_ms")?;
    for index in 0..columns.len() {
        write!(out, ",s{index}")?;
    }
    writeln!(out)?;
    for (row, time) in grid.times().enumerate() {
        write!(out, "{time}")?;
        for (column, cells) in columns.iter().zip(&cells) {
            match cells[row] {
                Some(value) => write!(out, ",{}", number(value, column.digits()))?,
                None => write!(out, ",")?,
            }
        }
        writeln!(out)?;
    }
    Ok(())
}

fn write_lines<T: Serialize>(path: &Path, lines: &[T]) -> Result<(), BoxError> {
    let mut out = BufWriter::new(File::create(path)?);
    for line in lines {
        serde_json::to_writer(&mut out, line)?;
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}

fn write_json(path: &Path, value: &serde_json::Value) -> Result<(), BoxError> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    Ok(std::fs::write(path, text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topology_names_only_its_own_nodes() {
        let topology = topology();
        let nodes: Vec<&str> = topology["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|node| node["name"].as_str().unwrap())
            .collect();
        for edge in topology["edges"].as_array().unwrap() {
            assert!(
                nodes.contains(&edge["from"].as_str().unwrap())
                    && nodes.contains(&edge["to"].as_str().unwrap())
            );
        }
    }

    #[test]
    fn columns_become_the_documented_text() {
        let column = |name: &str, kind, labels: &[(&str, &str)], samples: &[(i64, f64)]| Column {
            name: name.to_owned(),
            service: "api".to_owned(),
            kind,
            unit: "seconds",
            labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            samples: samples.to_vec(),
        };
        let columns = [
            column("busy", "counter", &[("cpu", "0")], &[(900, 1.234_567_891_2), (2_000, 3.0)]),
            column("wait", "gauge", &[], &[(1_000, f64::NAN), (1_500, 0.123_456)]),
        ];
        let text = |write: &dyn Fn(&mut Vec<u8>)| {
            let mut out = Vec::new();
            write(&mut out);
            String::from_utf8(out).unwrap()
        };
        let series = text(&|out| write_series(out, &columns).unwrap());
        assert_eq!(
            series,
            "series,name,service,kind,unit,labels\n\
             s0,busy,api,counter,seconds,\"{\"\"cpu\"\":\"\"0\"\"}\"\n\
             s1,wait,api,gauge,seconds,\"{}\"\n"
        );
        let grid = Grid { start_ms: 1_000, end_ms: 2_000, step_ms: 1_000 };
        let metrics = text(&|out| write_metrics(out, &columns, grid).unwrap());
        assert_eq!(metrics, "time_ms,s0,s1\n1000,1.23456789,\n2000,3,0.12346\n");
    }

    #[test]
    fn a_harmless_take_blames_nothing() {
        let request = |fault| ExportRequest {
            prometheus: String::new(),
            out: PathBuf::new(),
            fault,
            seed: 1,
            start_ms: 0,
            end_ms: 10,
            fault_start_ms: 4,
            fault_end_ms: 6,
            changes: PathBuf::new(),
            root_change: None,
            recorded_with: json!({}),
        };
        let harmless = truth(&request(Fault::Harmless));
        assert!(harmless["fault"].is_null() && harmless["start_ms"].is_null());
        assert_eq!(harmless["root_services"], json!([]));
        assert_eq!(truth(&request(Fault::RedisSlow))["root_services"], json!(["redis"]));
    }
}
