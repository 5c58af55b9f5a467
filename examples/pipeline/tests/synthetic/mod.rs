//! A small recording, written to disk file by file so that a test can spoil one of them.
#![allow(dead_code, reason = "every test file compiles its own copy and uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot write its input has nothing to say")]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use flate2::{Compression, write::GzEncoder};

/// The files of a recording by name; `.gz` files are held as text and packed when written.
pub(crate) struct Files(pub(crate) BTreeMap<&'static str, String>);

/// The first second of every synthetic recording, in milliseconds.
pub(crate) const START_MS: i64 = 1_760_000_000_000;

impl Files {
    /// Two series of one service over five seconds, one alert, one change.
    pub(crate) fn tiny() -> Files {
        let metrics = (0..5).map(|i| format!("{},{},{}\n", START_MS + i * 1_000, i, 100 + i));
        Files(BTreeMap::from([
            ("recording.json", about("tiny", 5, 2)),
            ("topology.json", TOPOLOGY.to_owned()),
            (
                "series.csv.gz",
                "series,name,service,labels,kind,unit\n\
                 s0,api_in_flight,api,{},gauge,\n\
                 s1,api_requests_total,api,\"{\"\"code\"\":\"\"200\"\"}\",counter,\n"
                    .to_owned(),
            ),
            ("metrics.csv.gz", format!("time_ms,s0,s1\n{}", metrics.collect::<String>())),
            (
                "alerts.jsonl",
                format!(
                    "{{\"starts_at_ms\":{},\"ends_at_ms\":null,\"name\":\"ApiLatency\",\
                     \"severity\":\"critical\",\"service\":\"api\",\"labels\":{{}},\"annotations\":{{}}}}\n",
                    START_MS + 3_000
                ),
            ),
            (
                "changes.jsonl",
                format!(
                    "{{\"time_ms\":{},\"kind\":\"deploy\",\"service\":\"api\",\
                     \"title\":\"deploy api 2\",\"labels\":{{\"version\":\"2\"}}}}\n",
                    START_MS + 1_000
                ),
            ),
        ]))
    }

    /// The same with the text of one file replaced.
    pub(crate) fn with(mut self, file: &'static str, text: impl Into<String>) -> Files {
        self.0.insert(file, text.into());
        self
    }

    /// The same with a part of one file replaced.
    pub(crate) fn edit(mut self, file: &'static str, from: &str, to: &str) -> Files {
        let text = &self.0[file];
        assert!(text.contains(from), "{file} has no {from:?}");
        self.0.insert(file, text.replacen(from, to, 1));
        self
    }

    /// Writes the files to a fresh directory of this name.
    pub(crate) fn write(&self, name: &str) -> PathBuf {
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        for (file, text) in &self.0 {
            let bytes = if file.ends_with(".gz") { pack(text) } else { text.clone().into_bytes() };
            std::fs::write(dir.join(file), bytes).unwrap();
        }
        dir
    }
}

/// Packs text as the recorder does.
pub(crate) fn pack(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// `recording.json`.
pub(crate) fn about(name: &str, seconds: i64, series: usize) -> String {
    format!(
        "{{\"format\":\"aiops.recording/v1\",\"name\":\"{name}\",\"start_ms\":{START_MS},\
         \"end_ms\":{},\"step_ms\":1000,\"recorded_with\":{{}},\"series_count\":{series},\"notes\":\"\"}}",
        START_MS + (seconds - 1) * 1_000
    )
}

/// `topology.json`: gateway calls api, api calls postgres and redis, all on one host.
pub(crate) const TOPOLOGY: &str = r#"{"nodes": [{"name": "gateway"}, {"name": "api"}, {"name": "postgres"},
    {"name": "redis"}, {"name": "host", "kind": "host"}],
  "edges": [{"from": "gateway", "to": "api", "kind": "calls"},
    {"from": "api", "to": "postgres", "kind": "calls"},
    {"from": "api", "to": "redis", "kind": "calls"},
    {"from": "gateway", "to": "host", "kind": "runs_on"}, {"from": "api", "to": "host", "kind": "runs_on"},
    {"from": "postgres", "to": "host", "kind": "runs_on"}, {"from": "redis", "to": "host", "kind": "runs_on"}]}"#;

/// Seconds of [`incident`]: normal, then trouble, then recovery.
pub(crate) const SECONDS: i64 = 620;
/// When its trouble begins and ends, in seconds.
pub(crate) const TROUBLE: std::ops::Range<i64> = 360..480;

/// A made-up incident of a small shop: queries of the database slow down, and API and gateway
/// follow some seconds later. A harmless job on another service runs shortly before.
///
/// Deterministic; for wiring only. How good the stages are is judged on real recordings.
pub(crate) fn incident() -> Files {
    // name, service, kind, unit, level, noise, level in trouble, seconds after the beginning
    type Row = (&'static str, &'static str, &'static str, &'static str, f64, f64, f64, i64);
    const ROWS: [Row; 14] = [
        ("gateway_latency_seconds_p95", "gateway", "gauge", "seconds", 0.05, 0.01, 0.9, 6),
        ("gateway_errors_total", "gateway", "counter", "", 0.2, 0.2, 9.0, 10),
        ("gateway_requests_total", "gateway", "counter", "", 60.0, 5.0, 55.0, 6),
        ("api:latency_seconds:p95", "api", "gauge", "seconds", 0.03, 0.006, 0.8, 4),
        ("api_requests_in_flight", "api", "gauge", "", 3.0, 1.0, 55.0, 4),
        ("api_cpu_seconds_total", "api", "counter", "seconds", 0.3, 0.03, 0.3, 0),
        ("api_db_pool_in_use", "api", "gauge", "", 1.0, 0.4, 20.0, 3),
        ("postgres_query_seconds_p95", "postgres", "gauge", "seconds", 0.004, 0.001, 0.6, 0),
        ("postgres_sessions_waiting", "postgres", "gauge", "", 0.5, 0.4, 18.0, 1),
        ("postgres_transactions_total", "postgres", "counter", "", 80.0, 6.0, 30.0, 1),
        ("redis_command_seconds_mean", "redis", "gauge", "seconds", 0.0004, 0.0001, 0.0004, 0),
        ("redis_memory_bytes", "redis", "gauge", "bytes", 3e7, 1e5, 3e7, 0),
        ("node_memory_free_bytes", "host", "gauge", "bytes", 4e9, 1e7, 4e9, 0),
        ("node_load1", "host", "gauge", "", 0.8, 0.1, 0.9, 0),
    ];
    let mut described = "series,name,service,labels,kind,unit\n".to_owned();
    let mut rows = vec![String::new(); SECONDS as usize];
    for (index, (name, service, kind, unit, level, noise, trouble, after)) in
        ROWS.into_iter().enumerate()
    {
        described += &format!("s{index},{name},{service},{{}},{kind},{unit}\n");
        let (mut total, mut seed) = (1_000.0, 1 + index as u64);
        for (second, row) in (0..SECONDS).zip(&mut rows) {
            // An ordinary linear congruential generator; twelve sums make it bell-shaped enough.
            let mut bell = -6.0;
            for _ in 0..12 {
                seed = seed
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                bell += (seed >> 11) as f64 / (1_u64 << 53) as f64;
            }
            let hurt = (TROUBLE.start + after..TROUBLE.end + after).contains(&second);
            let value = (if hurt { trouble } else { level } + noise * bell).max(0.0);
            total += value;
            *row += &format!(",{:.6}", if kind == "counter" { total } else { value });
        }
    }
    let head: String = (0..ROWS.len()).map(|index| format!(",s{index}")).collect();
    let mut metrics = format!("time_ms{head}\n");
    for (second, row) in (0..).zip(&rows) {
        metrics += &format!("{}{row}\n", START_MS + second * 1_000);
    }
    let alert = |name: &str, service: &str, from: i64| {
        format!(
            "{{\"starts_at_ms\":{},\"ends_at_ms\":{},\"name\":\"{name}\",\"severity\":\"critical\",\
             \"service\":\"{service}\",\"labels\":{{}},\"annotations\":{{}}}}\n",
            START_MS + (TROUBLE.start + from) * 1_000,
            START_MS + (TROUBLE.end + from) * 1_000,
        )
    };
    let alerts = alert("DatabaseSlow", "postgres", 12)
        + &alert("ApiLatency", "api", 15)
        + &alert("GatewayErrors", "gateway", 21);
    let change = format!(
        "{{\"time_ms\":{},\"kind\":\"job\",\"service\":\"redis\",\"title\":\"nightly cleanup\",\"labels\":{{}}}}\n",
        START_MS + (TROUBLE.start - 200) * 1_000
    );
    let truth = format!(
        "{{\"fault\":\"slow_queries\",\"root_services\":[\"postgres\"],\"root_metric_kind\":\"latency\",\
         \"root_change\":null,\"start_ms\":{},\"end_ms\":{},\"seed\":1}}",
        START_MS + TROUBLE.start * 1_000,
        START_MS + TROUBLE.end * 1_000
    );
    Files(BTreeMap::from([
        ("recording.json", about("synthetic", SECONDS, ROWS.len())),
        ("topology.json", TOPOLOGY.to_owned()),
        ("series.csv.gz", described),
        ("metrics.csv.gz", metrics),
        ("alerts.jsonl", alerts),
        ("changes.jsonl", change),
        ("truth.json", truth),
    ]))
}

/// The same incident as the pool runbook knows it: an alert about the pool, the gateway's errors as
/// a share.
pub(crate) fn pool_incident() -> Files {
    let mut files = incident();
    let alerts = files.0["alerts.jsonl"].replace("ApiLatency", "ApiPoolWaiting");
    files = files.edit(
        "series.csv.gz",
        "gateway_errors_total,gateway,{},counter,",
        "gateway:error_ratio:10s,gateway,{},gauge,",
    );
    let metrics = ratio_instead_of_counter(&files.0["metrics.csv.gz"]);
    files
        .edit("series.csv.gz", "api_db_pool_in_use", "api_pool_waiting")
        .with("metrics.csv.gz", metrics)
        .with("alerts.jsonl", alerts)
}

/// The synthetic gateway counts errors; the runbook asks for their share.
fn ratio_instead_of_counter(metrics: &str) -> String {
    let mut last = None;
    let rows = metrics.lines().enumerate().map(|(index, line)| {
        let mut cells: Vec<String> = line.split(',').map(str::to_owned).collect();
        if index > 0 {
            let total: f64 = cells[2].parse().unwrap();
            let rate = total - last.unwrap_or(total);
            last = Some(total);
            cells[2] = format!("{:.6}", rate / 60.0);
        }
        cells.join(",") + "\n"
    });
    rows.collect()
}
