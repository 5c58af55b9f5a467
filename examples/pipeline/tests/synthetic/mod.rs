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
