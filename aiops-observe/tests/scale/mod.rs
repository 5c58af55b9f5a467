//! A worker that is easy to check, and a log of samples for it.
#![allow(dead_code, reason = "each test uses a part")]

use aiops_core::{
    Error, MemoryStore, Processed, Sample, SeriesHash, Shard, ShardBatch, ShardWorker,
    SnapshotError, SnapshotReader, SnapshotWriter, Timestamp,
};
use aiops_observe::scale_out::{Batcher, Runner};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

pub(crate) const PARTITIONS: u16 = 6;

/// An exponentially weighted mean a series; reports values far above it.
#[derive(Default)]
pub(crate) struct Mean(pub(crate) BTreeMap<Shard, BTreeMap<SeriesHash, (Timestamp, f64)>>);

/// Series and time make the id of a report; the number must be the same whoever reports it.
pub(crate) type Report = ((SeriesHash, Timestamp), u64);

impl ShardWorker for Mean {
    type Item = Report;

    fn process(
        &mut self,
        shard: Shard,
        batch: ShardBatch<'_>,
        sink: &mut dyn FnMut(Report),
    ) -> Result<Processed, Error> {
        let series = self.0.entry(shard).or_default();
        let mut done = Processed::default();
        for ((&hash, &time), &value) in batch.series().iter().zip(batch.times()).zip(batch.values())
        {
            let (last, mean) = series.entry(hash).or_insert((Timestamp::MIN, value));
            if time <= *last {
                done.late += 1;
                continue;
            }
            if value > *mean * 1.4 {
                sink(((hash, time), (value - *mean).to_bits()));
            }
            (*last, *mean) = (time, *mean + 0.3 * (value - *mean));
            done.accepted += 1;
        }
        Ok(done)
    }

    fn snapshot(&self, shard: Shard) -> Vec<u8> {
        let mut writer = SnapshotWriter::new();
        for (hash, (last, mean)) in self.0.get(&shard).into_iter().flatten() {
            writer.u64(hash.as_u64());
            writer.i64(last.as_nanos());
            writer.f64(*mean);
        }
        writer.finish()
    }

    fn restore(&mut self, shard: Shard, bytes: &[u8]) -> Result<(), SnapshotError> {
        let mut reader = SnapshotReader::new(bytes);
        let mut series = BTreeMap::new();
        while let Ok(hash) = reader.u64() {
            let state = (Timestamp::from_nanos(reader.i64()?), reader.f64()?);
            series.insert(SeriesHash::from_u64(hash), state);
        }
        self.0.insert(shard, series);
        Ok(())
    }

    fn forget(&mut self, shard: Shard) {
        self.0.remove(&shard);
    }
}

/// `steps` samples of 40 series, among them one of every seventh series twice.
pub(crate) fn samples(steps: Range<u64>) -> impl Iterator<Item = (SeriesHash, Sample)> {
    steps.flat_map(|step| {
        (0..40u64).flat_map(move |series| {
            let mixed = (series * 977 + step).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let sample = Sample {
                time: Timestamp::from_secs(step as i64),
                value: 1.0 + (mixed >> 54) as f64 / 1_024.0,
            };
            let hash = SeriesHash::from_u64(series.wrapping_mul(0x2545_f491_4f6c_dd1d));
            std::iter::repeat_n((hash, sample), if series % 7 == 0 { 2 } else { 1 })
        })
    })
}

/// A log in memory.
#[derive(Default, Clone)]
pub(crate) struct Log(pub(crate) Vec<Vec<Vec<u8>>>);

impl Log {
    /// Those [`samples`] in small messages.
    pub(crate) fn of(partitions: u16, steps: Range<u64>) -> Self {
        let mut log = Log(vec![Vec::new(); usize::from(partitions)]);
        let mut batcher = Batcher::new(partitions, 7).unwrap();
        let mut send = |p: u16, message| log.0[usize::from(p)].push(message);
        samples(steps).for_each(|(hash, sample)| batcher.push(hash, sample, &mut send));
        batcher.flush(&mut send);
        log
    }

    pub(crate) fn ends(&self) -> Vec<u64> {
        self.0.iter().map(|messages| messages.len() as u64).collect()
    }
}

/// What one worker makes of a log, and its state.
pub(crate) fn undisturbed(log: &Log) -> (BTreeMap<(SeriesHash, Timestamp), u64>, Mean) {
    let mut runner =
        Runner::open("metrics", PARTITIONS, Arc::new(MemoryStore::default()), Mean::default())
            .unwrap();
    let mut out = BTreeMap::new();
    for (partition, messages) in (0..).zip(&log.0) {
        assert_eq!(runner.take(partition).unwrap(), 0);
        for (offset, message) in (0..).zip(messages) {
            let mut sink = |(id, number)| assert_eq!(out.insert(id, number), None);
            runner.offer(partition, offset, message, &mut sink).unwrap();
        }
    }
    let mut state = Mean::default();
    for shard in Shard::all().filter(|shard| runner.worker().0.contains_key(shard)) {
        state.restore(shard, &runner.worker().snapshot(shard)).unwrap();
    }
    (out, state)
}
