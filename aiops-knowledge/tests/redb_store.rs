//! The embedded store keeps its contract, over reopening, damage and kill -9.
#![cfg(feature = "redb")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use aiops_core::{Batch, Store, StoreError};
use aiops_knowledge::RedbStore;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Keeps its folder as long as the store.
#[derive(Debug)]
struct InFolder {
    store: RedbStore,
    _folder: tempfile::TempDir,
}

impl Store for InFolder {
    fn commit(&self, batch: Batch) -> Result<aiops_core::Version, StoreError> {
        self.store.commit(batch)
    }
    fn get(&self, key: &[u8]) -> Result<Option<aiops_core::Versioned>, StoreError> {
        self.store.get(key)
    }
    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<aiops_core::Entry>, StoreError> {
        self.store.scan(prefix, after, limit)
    }
    fn read_log(
        &self,
        log: &[u8],
        from: u64,
        limit: usize,
    ) -> Result<Vec<aiops_core::Record>, StoreError> {
        self.store.read_log(log, from, limit)
    }
    fn now(&self) -> Result<aiops_core::Timestamp, StoreError> {
        self.store.now()
    }
}

#[test]
fn conforms() {
    aiops_core::testing::check_store(|| {
        let folder = tempfile::tempdir().unwrap();
        let store = RedbStore::open(folder.path().join("store.redb")).unwrap();
        InFolder { store, _folder: folder }
    });
}

#[test]
fn everything_is_there_after_reopening_and_versions_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let store = RedbStore::open(&path).unwrap();
    let version =
        store.commit(Batch::new().put("k", "v").append("l", "a").append("m", "x")).unwrap();
    store.commit(Batch::new().append("l", "b").delete("gone")).unwrap();
    drop(store);
    let store = RedbStore::open(&path).unwrap();
    assert_eq!(
        store.get(b"k").unwrap().map(|v| (v.version, v.value)),
        Some((version, b"v".to_vec()))
    );
    let log: Vec<_> = store.read_log(b"l", 0, 9).unwrap().into_iter().map(|r| r.record).collect();
    assert_eq!(log, [b"a".to_vec(), b"b".to_vec()]);
    assert!(store.commit(Batch::new().put("k", "w")).unwrap() > version + 1);
}

#[test]
fn a_new_file_is_made_beside_its_place_and_nothing_is_left_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let left = folder.path().join(format!("store.redb.new-{}", std::process::id()));
    std::fs::write(&left, "of a process that was killed while it made one").unwrap();
    assert!(RedbStore::open(&path).is_ok());
    let files: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|f| f.unwrap().path()).collect();
    assert_eq!(files, [path]);
}

#[test]
fn a_second_open_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let _first = RedbStore::open(&path).unwrap();
    assert!(matches!(RedbStore::open(&path), Err(StoreError::Failed { operation: "open", .. })));
}

/// Flips one byte at a time of a small file: each is noticed at open, or concerns free space and
/// leaves everything readable. Nothing panics, and no wrong value is ever returned.
#[test]
fn a_damaged_file_never_returns_a_wrong_value() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let store = RedbStore::open(&path).unwrap();
    store
        .commit(Batch::new().put("key", "the value that must not change").append("log", "record"))
        .unwrap();
    drop(store);
    let good = std::fs::read(&path).unwrap();
    // The interesting bytes: wherever our own value stands.
    let needle = b"the value that must not change";
    let places: Vec<_> =
        (0..good.len() - needle.len()).filter(|&i| good[i..].starts_with(needle)).collect();
    assert!(!places.is_empty(), "the value is in the file");
    let mut noticed = 0;
    for offset in places.into_iter().flat_map(|place| [place, place + 10]) {
        let mut bad = good.clone();
        bad[offset] ^= 1;
        let copy = folder.path().join("damaged.redb");
        std::fs::write(&copy, &bad).unwrap();
        match RedbStore::open(&copy) {
            Err(_) => noticed += 1,
            Ok(store) => {
                let value = store.get(b"key").unwrap().map(|v| v.value);
                assert_eq!(value.as_deref(), Some(&needle[..]), "offset {offset}");
            }
        }
    }
    assert!(noticed > 0, "damage to the live page is refused at open");
}

const CHILD: &str = "AIOPS_REDB_CHILD";

/// Not a test of its own: what the killed process runs.
#[test]
fn child_writes_until_killed() {
    let Ok(path) = std::env::var(CHILD) else { return };
    let store = RedbStore::open(path).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..3_u8 {
            let store = &store;
            scope.spawn(move || {
                loop {
                    let key = [b'w', writer];
                    let seen = store.get(&key).unwrap();
                    let (count, version) = seen.map_or((0, 0), |v| (parse(&v.value), v.version));
                    let next = (count + 1_u64).to_le_bytes();
                    let batch = Batch::new().expect(key, version).put(key, next).append(key, next);
                    store.commit(batch).unwrap();
                    // Acknowledged only after it is durable.
                    let line = format!("ack {writer} {}\n", count + 1);
                    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
                }
            });
        }
    });
}

#[test]
fn nothing_acknowledged_is_lost_over_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let mut acknowledged = [0_u64; 3];
    for round in 0..12_u64 {
        let killed_after = Duration::from_millis(60 + (round * 37) % 150);
        for (writer, count) in run_and_kill(&path, killed_after) {
            acknowledged[writer] = acknowledged[writer].max(count);
        }
        let store = RedbStore::open(&path).unwrap();
        for (writer, &at_least) in acknowledged.iter().enumerate() {
            let key = [b'w', writer as u8];
            let count = store.get(&key).unwrap().map_or(0, |v| parse(&v.value));
            assert!(count >= at_least, "round {round}: {count} kept of {at_least} acknowledged");
            let log = store.read_log(&key, 0, usize::MAX).unwrap();
            let numbers: Vec<_> = log.iter().map(|r| parse(&r.record)).collect();
            assert_eq!(numbers, (1..=count).collect::<Vec<_>>(), "key and log moved together");
        }
    }
    assert!(acknowledged.iter().sum::<u64>() > 30, "the children did work: {acknowledged:?}");
}

fn run_and_kill(path: &Path, after: Duration) -> Vec<(usize, u64)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_writes_until_killed", "--nocapture", "--test-threads=1"])
        .env(CHILD, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let stdout = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let lines = BufReader::new(stdout).lines().map_while(Result::ok);
        lines.filter_map(|line| acknowledgement(&line)).collect::<Vec<_>>()
    });
    std::thread::sleep(after);
    child.kill().unwrap(); // SIGKILL
    child.wait().unwrap();
    reader.join().unwrap()
}

fn acknowledgement(line: &str) -> Option<(usize, u64)> {
    let (_, rest) = line.split_once("ack ")?;
    let (writer, count) = rest.split_once(' ')?;
    Some((writer.parse().ok()?, count.parse().ok()?))
}

fn parse(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().unwrap())
}
