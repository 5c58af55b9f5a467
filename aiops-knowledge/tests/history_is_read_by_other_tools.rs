//! Parquet tools that are not ours read what was sealed. Each runs where it is installed and is
//! counted where it is not; `PYTHON` names the interpreter that has them.
#![cfg(feature = "history")]

use aiops_core::{Interner, Labels, SampleBatch, SeriesKey, Timestamp};
use aiops_knowledge::history::{History, HistoryConfig, Shelf};
use std::path::Path;
use std::process::Command;

const PYARROW: &str = r#"
import glob, sys, pyarrow.parquet as pq
warm = sys.argv[1] + "/warm/raw/*/*/"
points = [pq.ParquetFile(f).read() for f in glob.glob(warm + "points-*.parquet")]
series = [pq.ParquetFile(f).read() for f in glob.glob(warm + "series-*.parquet")]
rows = sum(t.num_rows for t in points)
total = sum(sum(t.column("value").to_pylist()) for t in points)
first = min(t.column("time").to_pylist()[0] for t in points)
names = sorted(n for t in series for n in t.column("name").to_pylist())
print(rows, f"{total:.3f}", first.isoformat(), ",".join(names))
"#;

const DUCKDB: &str = r#"
import sys, duckdb
warm = sys.argv[1] + "/warm/raw/*/*/"
print(*duckdb.connect().execute(f"""select count(*), printf('%.3f', sum(value)),
  strftime(min(time) at time zone 'UTC', '%Y-%m-%dT%H:%M:%S+00:00'), string_agg(distinct name, ',' order by name)
  from '{warm}points-*.parquet' join '{warm}series-*.parquet' using (series)""").fetchall()[0])
"#;

fn run(tool: &str, script: &str, folder: &Path) -> Option<String> {
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
    let has = Command::new(&python).args(["-c", &format!("import {tool}")]).output();
    if !has.is_ok_and(|output| output.status.success()) {
        println!("skipped: {tool} is not installed for {python}");
        return None;
    }
    let output = Command::new(&python).args(["-c", script]).arg(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap().trim().to_owned())
}

#[test]
fn pyarrow_and_duckdb_find_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let mut history =
        History::open(folder.path(), Shelf::memory().unwrap(), HistoryConfig::default()).unwrap();
    let mut series = Interner::new(10);
    let start = Timestamp::from_secs(1_700_006_400);
    let mut total = 0.0;
    for (name, whole) in [("requests", true), ("latency", false)] {
        let key = SeriesKey::new(name, Labels::from([("service", "api")]));
        let id = series.intern(&key, start).unwrap();
        let times: Vec<_> =
            (0..480).map(|i| start + std::time::Duration::from_millis(15_000 * i)).collect();
        let value = |i: u64| if whole { (i % 5) as f64 } else { (i as f64).sqrt() };
        let values: Vec<_> = (0..480).map(value).collect();
        total += values.iter().sum::<f64>();
        let ids = [id; 480];
        let batch = SampleBatch::new(&ids, &times, &values).unwrap();
        history.append(start + std::time::Duration::from_secs(7_200), &series, batch).unwrap();
    }
    assert_eq!(history.tend(Timestamp::from_secs(1_700_020_000)).unwrap().sealed_points, 960);

    let expected = format!("960 {total:.3} 2023-11-15T00:00:00+00:00 latency,requests");
    for (tool, script) in [("pyarrow", PYARROW), ("duckdb", DUCKDB)] {
        if let Some(found) = run(tool, script, folder.path()) {
            assert_eq!(found, expected, "{tool}");
        }
    }
}
