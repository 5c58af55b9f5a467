//! The recordings in the repository keep the format that `examples/data/README.md` promises.
#![expect(clippy::unwrap_used, reason = "a file that cannot be read fails the test")]

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use aiops_incident_lab::export::{AlertEpisode, Change, FORMAT};
use aiops_incident_lab::plan::{FAULTS, Fault};
use flate2::read::GzDecoder;
use serde_json::Value;

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../data")
}

fn takes() -> Vec<PathBuf> {
    FAULTS
        .iter()
        .flat_map(|fault| [1, 2].map(|n| data().join(format!("{}-{n}", fault.name()))))
        .collect()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn unzip(path: &Path) -> String {
    let mut text = String::new();
    GzDecoder::new(File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    text
}

#[test]
fn every_scenario_has_two_takes_and_all_fit_in_ten_megabytes() {
    let mut bytes = 0;
    for take in takes() {
        for file in std::fs::read_dir(&take).unwrap() {
            bytes += file.unwrap().metadata().unwrap().len();
        }
    }
    assert!(bytes <= 10_000_000, "{bytes} bytes");
}

#[test]
fn rows_stand_on_an_exact_grid_and_match_the_columns() {
    for take in takes() {
        let recording = json(&take.join("recording.json"));
        assert_eq!(recording["format"], FORMAT);
        let number = |name: &str| recording[name].as_i64().unwrap();
        let (start, end, step) = (number("start_ms"), number("end_ms"), number("step_ms"));

        let series = unzip(&take.join("series.csv.gz"));
        let mut lines = series.lines();
        assert_eq!(lines.next(), Some("series,name,service,kind,unit,labels"));
        let columns = lines.count();
        assert_eq!(columns as i64, number("series_count"));
        assert!((100..=300).contains(&columns), "{columns} series in {}", take.display());

        let metrics = unzip(&take.join("metrics.csv.gz"));
        let mut lines = metrics.lines();
        assert!(lines.next().unwrap().starts_with("time_ms,s0,s1,"));
        let mut expected = start;
        for line in lines {
            let mut cells = line.split(',');
            assert_eq!(cells.next().unwrap().parse(), Ok(expected), "{}", take.display());
            let mut count = 0;
            for cell in cells {
                count += 1;
                assert!(cell.is_empty() || cell.parse::<f64>().unwrap().is_finite());
            }
            assert_eq!(count, columns);
            expected += step;
        }
        assert_eq!(expected, end + step);
    }
}

#[test]
fn truth_lies_within_the_take_and_nothing_else_tells_it() {
    for take in takes() {
        let name = take.file_name().unwrap().to_string_lossy().into_owned();
        let fault: Fault = name.rsplit_once('-').unwrap().0.parse().unwrap();
        let recording = json(&take.join("recording.json"));
        let truth = json(&take.join("truth.json"));
        let time = |of: &Value, field: &str| of[field].as_i64();
        if fault == Fault::Harmless {
            assert!(truth["fault"].is_null() && time(&truth, "start_ms").is_none(), "{name}");
        } else {
            assert_eq!(truth["fault"], fault.name());
            let (from, to) = (time(&truth, "start_ms").unwrap(), time(&truth, "end_ms").unwrap());
            assert!(
                from - time(&recording, "start_ms").unwrap() >= 600_000,
                "{name}: normal first"
            );
            assert!((180_000..=300_000).contains(&(to - from)), "{name}: three to five minutes");
            assert!(to < time(&recording, "end_ms").unwrap(), "{name}: then recovery");
        }
        let mut shown = recording;
        shown["name"].take();
        for secret in FAULTS.iter().map(|fault| fault.name()).chain(["fault", "seed"]) {
            assert!(!shown.to_string().contains(secret), "{name} tells {secret}");
        }
    }
}

#[test]
fn changes_and_alerts_are_in_order_and_name_nodes_of_the_topology() {
    for take in takes() {
        let topology = json(&take.join("topology.json"));
        let nodes: BTreeSet<&str> = topology["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|node| node["name"].as_str().unwrap())
            .collect();
        let text = |file: &str| std::fs::read_to_string(take.join(file)).unwrap();
        let changes: Vec<Change> =
            text("changes.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(changes.is_sorted_by_key(|change| change.time_ms));
        assert!(changes.iter().all(|change| nodes.contains(change.service.as_str())));
        let truth = json(&take.join("truth.json"));
        if let Some(root) = truth["root_change"].as_str() {
            assert!(changes.iter().any(|change| change.title == root), "{}", take.display());
        }
        let alerts: Vec<AlertEpisode> =
            text("alerts.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(alerts.is_sorted_by_key(|alert| alert.starts_at_ms));
        assert!(alerts.iter().all(|alert| nodes.contains(alert.service.as_str())));
        assert_eq!(alerts.is_empty(), truth["fault"].is_null(), "{}", take.display());
    }
}
