//! Speed rows of the metric history: from points in memory to Parquet files, and what they take.
//!
//! A block of 1,000 series with 720 points each, every 10 s: gauges with three decimals, which swing by a
//! tenth around a level of their own with normal noise of a tenth. As a share of one they have a
//! thousand values; in percent a hundred thousand (15.4 bits of entropy a value within a series).

use std::{hint::black_box, path::Path};

use aiops_core::{Interner, Labels, SampleBatch, SeriesId, SeriesKey, Timestamp};
use aiops_knowledge::history::{History, HistoryConfig, Shelf};

use crate::{
    registry::{Measured, Result, SpeedRow, Unit},
    stopwatch::cpu_seconds,
};

pub(crate) const ROWS: &[SpeedRow] = &[
    SpeedRow {
        id: "history_append",
        unit: Unit::PerSecond("points/s"),
        baseline_is: "pushed to a vector of the series",
        measure: append,
    },
    SpeedRow {
        id: "history_write",
        unit: Unit::PerSecond("points/s"),
        baseline_is: "times and values as they are, through zstd -1",
        measure: write,
    },
    SpeedRow {
        id: "history_bytes_per_point",
        unit: Unit::Bytes,
        baseline_is: "times and values as they are, through zstd -1",
        measure: |_| bytes_per_point(SHARE),
    },
    SpeedRow {
        id: "history_bytes_per_point_percent",
        unit: Unit::Bytes,
        baseline_is: "times and values as they are, through zstd -1",
        measure: |_| bytes_per_point(PERCENT),
    },
];

const SHARE: f64 = 0.01;
const PERCENT: f64 = 1.0;

const SERIES: usize = 1_000;
const POINTS: usize = 720;
const START: i64 = 1_700_006_400;

struct Block {
    series: Interner,
    ids: Vec<SeriesId>,
    /// By scrape: a time, and a value of every series.
    scrapes: Vec<(Timestamp, Vec<f64>)>,
}

impl Block {
    fn new(scale: f64) -> Result<Self> {
        let mut series = Interner::new(SERIES);
        let start = Timestamp::from_secs(START);
        let mut ids = Vec::new();
        for i in 0..SERIES {
            let labels =
                Labels::from([("service", format!("svc-{}", i % 40)), ("host", format!("h-{i}"))]);
            ids.push(series.intern(&SeriesKey::new("cpu", labels), start)?);
        }
        let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
        let scrapes = (0..POINTS).map(|step| {
            let time = Timestamp::from_secs(START + 10 * step as i64);
            let value = |i: usize| {
                let level = 20.0 + (i * 37 % 60) as f64;
                let swing = 10.0 * (step as f64 / 115.0 + i as f64).sin();
                let value = level + swing + 10.0 * noise.normal();
                (value.clamp(0.0, 100.0) * scale * 1_000.0).round() / 1_000.0
            };
            (time, (0..SERIES).map(value).collect())
        });
        let scrapes = scrapes.collect();
        Ok(Block { series, ids, scrapes })
    }

    fn history(&self, folder: &Path) -> Result<History> {
        Ok(History::open(folder, Shelf::memory()?, HistoryConfig::default())?)
    }

    fn append(&self, history: &mut History) -> Result<()> {
        for (time, values) in &self.scrapes {
            let times = vec![*time; SERIES];
            history.append(*time, &self.series, SampleBatch::new(&self.ids, &times, values)?)?;
        }
        Ok(())
    }

    /// Series by series, eight bytes a time and a value.
    fn plain(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16 * SERIES * POINTS);
        for series in 0..SERIES {
            self.scrapes.iter().for_each(|(time, _)| out.extend(time.as_nanos().to_le_bytes()));
            self.scrapes.iter().for_each(|(_, values)| out.extend(values[series].to_le_bytes()));
        }
        out
    }
}

/// A small generator with normal deviates by Box and Muller.
struct Noise(u64);

impl Noise {
    fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

const AFTER: i64 = START + 3 * 3_600;

fn append(quick: bool) -> Result<Measured> {
    let block = Block::new(PERCENT)?;
    let mut best = (f64::INFINITY, f64::INFINITY);
    for _ in 0..if quick { 1 } else { 5 } {
        let folder = tempfile::tempdir()?;
        let mut history = block.history(folder.path())?;
        let mut result = Ok(());
        best.0 = best.0.min(cpu_seconds(|| result = block.append(&mut history)));
        result?;
        best.1 = best.1.min(cpu_seconds(|| {
            let mut series = vec![Vec::new(); SERIES];
            for (time, values) in &block.scrapes {
                series
                    .iter_mut()
                    .zip(values)
                    .for_each(|(points, value)| points.push((*time, *value)));
            }
            black_box(series);
        }));
    }
    let points = (SERIES * POINTS) as f64;
    Ok(Measured { ours: points / best.0, baseline: Some(points / best.1), bytes_per_series: None })
}

fn write(quick: bool) -> Result<Measured> {
    let block = Block::new(PERCENT)?;
    let mut best = (f64::INFINITY, f64::INFINITY);
    for _ in 0..if quick { 1 } else { 7 } {
        let folder = tempfile::tempdir()?;
        let mut history = block.history(folder.path())?;
        block.append(&mut history)?;
        let mut tended = None;
        best.0 =
            best.0.min(cpu_seconds(|| tended = Some(history.tend(Timestamp::from_secs(AFTER)))));
        let sealed = tended.transpose()?.map_or(0, |tended| tended.sealed_points);
        if sealed != SERIES * POINTS {
            return Err(format!("{sealed} points sealed").into());
        }
        best.1 = best.1.min(cpu_seconds(|| drop(black_box(zstd(&block.plain())))));
    }
    let points = (SERIES * POINTS) as f64;
    Ok(Measured { ours: points / best.0, baseline: Some(points / best.1), bytes_per_series: None })
}

fn bytes_per_point(scale: f64) -> Result<Measured> {
    let block = Block::new(scale)?;
    let folder = tempfile::tempdir()?;
    let mut history = block.history(folder.path())?;
    block.append(&mut history)?;
    history.tend(Timestamp::from_secs(AFTER))?;
    let points = (SERIES * POINTS) as f64;
    let baseline = Some(zstd(&block.plain())?.len() as f64 / points);
    // Points and names of series alike.
    let ours = size(&folder.path().join("warm"))? as f64 / points;
    Ok(Measured { ours, baseline, bytes_per_series: None })
}

fn zstd(bytes: &[u8]) -> Result<Vec<u8>> {
    Ok(zstd::bulk::compress(bytes, 1)?)
}

fn size(folder: &Path) -> Result<u64> {
    let mut total = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let inside = entry.file_type()?.is_dir();
        total += if inside { size(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(total)
}
