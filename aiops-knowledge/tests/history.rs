//! History over its tiers: nothing is lost on the way, whatever ends when.
#![cfg(feature = "history")]

use aiops_core::{Interner, Labels, Sample, SampleBatch, SeriesId, SeriesKey, Timestamp};
use aiops_knowledge::history::{History, HistoryConfig, Rollup, Shelf};
use std::path::{Path, PathBuf};
use std::time::Duration;

const START: i64 = 1_700_006_400; // a block begins here
const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(START + secs)
}

struct Rig {
    folder: tempfile::TempDir,
    series: Interner,
    keys: Vec<SeriesKey>,
    ids: Vec<SeriesId>,
}

impl Rig {
    fn new(count: usize) -> Self {
        let mut series = Interner::new(1_000);
        let key = |i: usize| SeriesKey {
            tenant: if i % 3 == 2 { "a/b".into() } else { String::new() },
            ..SeriesKey::new("cpu", Labels::from([("service", format!("svc-{i} \"ü\""))]))
        };
        let keys: Vec<_> = (0..count).map(key).collect();
        let ids = keys.iter().map(|key| series.intern(key, at(0)).unwrap()).collect();
        Rig { folder: tempfile::tempdir().unwrap(), series, keys, ids }
    }

    fn open(&self) -> History {
        self.open_with(HistoryConfig { max_file_points: 200, ..HistoryConfig::default() })
    }

    fn open_with(&self, config: HistoryConfig) -> History {
        let cold = Shelf::folder(self.folder.path().join("cold")).unwrap();
        History::open(self.folder.path(), cold, config).unwrap()
    }

    /// A sample of every series every 15 s of `secs`.
    fn feed(&self, history: &mut History, secs: std::ops::Range<i64>) {
        for time in secs.step_by(15) {
            let values: Vec<_> = (0..self.ids.len()).map(|i| value(i, time)).collect();
            let times = vec![at(time); self.ids.len()];
            let batch = SampleBatch::new(&self.ids, &times, &values).unwrap();
            let appended = history.append(at(time), &self.series, batch).unwrap();
            assert_eq!(appended.accepted, self.ids.len());
        }
    }

    /// Everything in `secs` is there once, in order, bit for bit.
    fn assert_holds(&self, history: &History, secs: std::ops::Range<i64>) {
        let found = history.points(&self.keys, at(secs.start), at(secs.end)).unwrap();
        assert_eq!(found.damaged, [""; 0]);
        for (i, samples) in found.items.iter().enumerate() {
            let expected: Vec<_> = (secs.clone().step_by(15))
                .map(|time| Sample { time: at(time), value: value(i, time) })
                .collect();
            assert_eq!(*samples, expected, "series {i}");
        }
    }
}

fn value(series: usize, time: i64) -> f64 {
    ((series as i64 * 7_919 + time * 31) % 1_000) as f64 / 1_000.0
}

fn files(folder: &Path, word: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            found.extend(files(&entry.path(), word));
        } else if entry.path().to_string_lossy().contains(word) {
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

#[test]
fn points_read_the_same_from_every_tier() {
    let rig = Rig::new(5);
    let mut history = rig.open();
    rig.feed(&mut history, 0..3 * HOUR);
    rig.assert_holds(&history, 0..3 * HOUR);

    let tended = history.tend(at(3 * HOUR)).unwrap();
    assert_eq!(tended.sealed_points, 5 * 480, "the first block, two hours of it");
    rig.assert_holds(&history, 0..3 * HOUR);

    history.tend(at(5 * HOUR)).unwrap();
    let tended = history.tend(at(8 * DAY)).unwrap();
    assert!(tended.moved_parts > 2, "several files a block: {tended:?}");
    assert!(files(&rig.folder.path().join("warm"), ".parquet").is_empty());
    rig.assert_holds(&history, 0..3 * HOUR);
    rig.assert_holds(&history, HOUR + 15..2 * HOUR + 30);

    let series = history.series("a/b", at(0), at(HOUR)).unwrap();
    assert_eq!(series.items, [rig.keys[2].clone()]);
    drop(history);
    rig.assert_holds(&rig.open(), 0..3 * HOUR);
}

#[test]
fn rollups_are_the_same_before_and_after_the_points_are_gone() {
    let rig = Rig::new(3);
    let mut history = rig.open();
    rig.feed(&mut history, 0..2 * HOUR);
    let read = |history: &History| history.rollups(&rig.keys, at(0), at(2 * HOUR)).unwrap().items;
    let hot = read(&history);
    assert_eq!(hot[0].len(), 24);
    let first: Vec<_> = (0..300).step_by(15).map(|time| value(0, time)).collect();
    let expected = Rollup {
        min: first.iter().copied().fold(f64::INFINITY, f64::min),
        max: first.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        mean: first.iter().sum::<f64>() / 20.0,
        count: 20,
    };
    assert!((hot[0][0].1.mean - expected.mean).abs() < 1e-12);
    assert_eq!(Rollup { mean: expected.mean, ..hot[0][0].1 }, expected);

    for day in [1, 8, 31] {
        history.tend(at(day * DAY)).unwrap();
        assert_eq!(read(&history), hot, "day {day}");
    }
    let points = history.points(&rig.keys, at(0), at(2 * HOUR)).unwrap();
    assert!(points.items.iter().all(Vec::is_empty), "points are kept for 30 days");
    history.tend(at(366 * DAY)).unwrap();
    assert!(read(&history).iter().all(Vec::is_empty), "roll-ups for a year");
    assert!(files(&rig.folder.path().join("cold"), ".parquet").is_empty());
}

#[test]
fn a_process_that_ends_loses_nothing_it_accepted() {
    let rig = Rig::new(4);
    let mut history = rig.open();
    rig.feed(&mut history, 0..HOUR);
    drop(history); // no goodbye: the log is all there is
    let mut history = rig.open();
    assert_eq!(history.recovered().points, 4 * 240);
    assert_eq!(history.recovered().dropped_log_bytes, 0);
    rig.feed(&mut history, HOUR..2 * HOUR);
    rig.assert_holds(&history, 0..2 * HOUR);
}

#[test]
fn a_crash_while_sealing_or_moving_doubles_nothing() {
    let rig = Rig::new(4);
    let mut history = rig.open();
    rig.feed(&mut history, 0..2 * HOUR);
    let logs: Vec<_> = files(&rig.folder.path().join("log"), ".log")
        .into_iter()
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect();
    history.tend(at(3 * HOUR)).unwrap();
    drop(history);
    // As if the process had ended between the files and the log: both are there, one file is not.
    logs.iter().for_each(|(path, bytes)| std::fs::write(path, bytes).unwrap());
    let sealed = files(&rig.folder.path().join("warm"), "points-");
    std::fs::remove_file(&sealed[0]).unwrap();
    let mut history = rig.open();
    rig.assert_holds(&history, 0..2 * HOUR);
    history.tend(at(3 * HOUR)).unwrap();
    rig.assert_holds(&history, 0..2 * HOUR);

    // As if it had ended between the cold files and the deletion of the warm ones.
    let warm: Vec<_> = files(&rig.folder.path().join("warm"), ".parquet")
        .into_iter()
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect();
    let before = history.rollups(&rig.keys, at(0), at(2 * HOUR)).unwrap();
    history.tend(at(8 * DAY)).unwrap();
    drop(history);
    for (path, bytes) in &warm {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    let mut history = rig.open();
    for _ in 0..2 {
        rig.assert_holds(&history, 0..2 * HOUR);
        assert_eq!(history.rollups(&rig.keys, at(0), at(2 * HOUR)).unwrap(), before);
        history.tend(at(8 * DAY)).unwrap();
    }
}

#[test]
fn a_torn_log_keeps_what_is_whole_and_damage_is_put_aside() {
    let rig = Rig::new(1);
    let mut history = rig.open();
    rig.feed(&mut history, 0..600);
    drop(history);
    let log = files(&rig.folder.path().join("log"), ".log").remove(0);
    let bytes = std::fs::read(&log).unwrap();

    std::fs::write(&log, &bytes[..bytes.len() - 5]).unwrap();
    let history = rig.open();
    assert_eq!(history.recovered().points, 39, "the last of forty records was cut");
    drop(history);
    assert!(files(&rig.folder.path().join("quarantine"), "").is_empty());

    let mut damaged = bytes.clone();
    damaged[bytes.len() - 36 * 20 - 1] ^= 1; // a record is 36 bytes: the last of the twentieth
    std::fs::write(&log, damaged).unwrap();
    let history = rig.open();
    let (points, dropped) = (history.recovered().points, history.recovered().dropped_log_bytes);
    assert_eq!(points, 19);
    let aside = files(&rig.folder.path().join("quarantine"), ".log").remove(0);
    assert_eq!(std::fs::metadata(aside).unwrap().len(), dropped, "kept for a person");
    rig.assert_holds(&history, 0..15 * points as i64);
}

#[test]
fn a_damaged_file_is_put_aside_and_the_rest_is_read() {
    let rig = Rig::new(6);
    let mut history = rig.open();
    rig.feed(&mut history, 0..2 * HOUR);
    history.tend(at(3 * HOUR)).unwrap();
    let warm = rig.folder.path().join("warm");
    let file = files(&warm, "points-").remove(1);
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(&file, bytes).unwrap();

    let found = history.points(&rig.keys, at(0), at(2 * HOUR)).unwrap();
    assert_eq!(found.damaged.len(), 1, "{:?}", found.damaged);
    assert!(found.damaged[0].contains("checksum"));
    let missing = found.items.iter().filter(|samples| samples.is_empty()).count();
    assert_eq!(missing, 1, "one series a file here");
    assert!(!file.exists() && files(&warm.join("quarantine"), ".parquet").len() == 2);
    // From now on it is as if it had never been there, over a restart and a move too.
    assert_eq!(history.tend(at(8 * DAY)).unwrap().damaged, [""; 0]);
    let again = history.points(&rig.keys, at(0), at(2 * HOUR)).unwrap();
    assert_eq!((again.items, again.damaged.len()), (found.items, 0));
}

#[test]
fn damage_that_a_move_finds_is_put_aside_and_named() {
    let rig = Rig::new(6);
    let mut history = rig.open();
    rig.feed(&mut history, 0..2 * HOUR);
    history.tend(at(3 * HOUR)).unwrap();
    for word in ["points-", "series-"] {
        let file = files(&rig.folder.path().join("warm"), word).remove(if word == "points-" {
            0
        } else {
            2
        });
        std::fs::write(file, "not a parquet file").unwrap();
    }
    let tended = history.tend(at(8 * DAY)).unwrap();
    assert_eq!(tended.damaged.len(), 2, "{tended:?}");
    let found = history.points(&rig.keys, at(0), at(2 * HOUR)).unwrap();
    assert_eq!(found.items.iter().filter(|samples| samples.len() == 480).count(), 4);
    assert!(files(&rig.folder.path().join("warm/raw"), ".parquet").is_empty());
}

#[test]
fn late_points_join_and_what_is_refused_is_counted() {
    let rig = Rig::new(2);
    let mut history = rig.open();
    rig.feed(&mut history, 0..2 * HOUR);
    history.tend(at(3 * HOUR)).unwrap();
    // Late, a second value for a known time, out of order; then what is refused.
    let ids =
        [rig.ids[0], rig.ids[0], rig.ids[0], rig.ids[0], rig.ids[0], SeriesId(99), rig.ids[1]];
    let times = [at(7), at(15), at(3), at(2 * DAY), at(-2 * DAY), at(0), at(20)];
    let values = [7.0, 15.0, 3.0, 1.0, 1.0, 1.0, f64::NAN];
    let batch = SampleBatch::new(&ids, &times, &values).unwrap();
    let counts = history.append(at(3 * HOUR), &rig.series, batch).unwrap();
    let seen =
        (counts.accepted, counts.too_new, counts.too_old, counts.unknown_series, counts.gaps);
    assert_eq!(seen, (3, 1, 1, 1, 1));
    for now in [3 * HOUR, 4 * HOUR, 8 * DAY] {
        history.tend(at(now)).unwrap();
        let found = history.points(&rig.keys[..1], at(0), at(30)).unwrap();
        let found: Vec<_> = found.items[0].iter().map(|s| (s.time, s.value)).collect();
        assert_eq!(
            found,
            [(at(0), value(0, 0)), (at(3), 3.0), (at(7), 7.0), (at(15), 15.0)],
            "{now}"
        );
    }
}

#[test]
fn memory_is_bounded_by_sealing_early() {
    let rig = Rig::new(4);
    let config = HistoryConfig { max_hot_points: 500, ..HistoryConfig::default() };
    let mut history = rig.open_with(config);
    rig.feed(&mut history, 0..HOUR);
    assert!(!files(&rig.folder.path().join("warm"), "points-").is_empty());
    rig.assert_holds(&history, 0..HOUR);
    history.tend(at(8 * DAY)).unwrap();
    rig.assert_holds(&history, 0..HOUR);
}

#[test]
fn settings_that_cannot_hold_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for config in [
        HistoryConfig { block: Duration::from_millis(1_500), ..HistoryConfig::default() },
        HistoryConfig { late: Duration::from_secs(8 * DAY as u64), ..HistoryConfig::default() },
        HistoryConfig { max_file_points: 0, ..HistoryConfig::default() },
    ] {
        let opened = History::open(folder.path(), Shelf::memory().unwrap(), config);
        assert!(opened.is_err_and(|error| error.to_string().starts_with("invalid")));
    }
}

/// Gauges with three decimals: a level of each series, a swing, and normal noise.
///
/// A share of one has a thousand values, and a file's dictionary holds all of them. A percentage has a
/// hundred thousand, which the dictionary of many series has to tell apart: 17 bits where one series
/// alone has 15.4 bits of entropy, and the dictionary on top.
#[test]
fn rounded_gauges_are_small() {
    for (name, scale, most) in [("a share of one", 0.01, 2.1), ("a percentage", 1.0, 3.4)] {
        let each = bytes_a_point(scale);
        println!("{name}: {each:.3} bytes a point, names of the series included");
        assert!(each <= most, "{name}: {each}");
    }
}

fn bytes_a_point(scale: f64) -> f64 {
    const SERIES: usize = 1_000;
    let folder = tempfile::tempdir().unwrap();
    let mut history =
        History::open(folder.path(), Shelf::memory().unwrap(), HistoryConfig::default()).unwrap();
    let mut series = Interner::new(SERIES);
    let key = |i: usize| SeriesKey::new("cpu", Labels::from([("host", format!("host-{i}"))]));
    let ids: Vec<_> = (0..SERIES).map(|i| series.intern(&key(i), at(0)).unwrap()).collect();
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut uniform = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((state >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    };
    for step in 0..720 {
        let value = |i: usize| {
            let noise = (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos();
            let swing = (step as f64 / 115.0 + i as f64).sin();
            let value = 20.0 + (i * 37 % 60) as f64 + 10.0 * swing + 10.0 * noise;
            (value.clamp(0.0, 100.0) * scale * 1_000.0).round() / 1_000.0
        };
        let values: Vec<_> = (0..SERIES).map(value).collect();
        let times = vec![at(10 * step); SERIES];
        let batch = SampleBatch::new(&ids, &times, &values).unwrap();
        history.append(at(10 * step), &series, batch).unwrap();
    }
    let points = history.tend(at(3 * HOUR)).unwrap().sealed_points;
    assert_eq!(points, 720_000);
    let files = files(folder.path(), ".parquet");
    files.iter().map(|file| std::fs::metadata(file).unwrap().len()).sum::<u64>() as f64
        / points as f64
}
