//! A message: samples of the shards of one partition, in columns.
//!
//! Layout, little-endian: magic `AIOB`, version `u8`, rows `u32`; then the columns of series hashes
//! (`u64`), times (`i64`, nanoseconds) and values (`f64`); then xxh3-64 of everything before. Rows of
//! a shard stand together. Labels are not in it: they travel once, on a topic of their own.

use super::partition_of;
use aiops_core::{Sample, SeriesHash, Shard, ShardBatch, Timestamp};
use xxhash_rust::xxh3::xxh3_64;

const MAGIC: [u8; 4] = *b"AIOB";
const VERSION: u8 = 1;
const HEAD: usize = 9;
const ROW: usize = 24;

/// Why bytes are not a message. Such a message belongs on a dead-letter topic, with this reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Poison {
    /// The bytes do not begin as a message does.
    #[error("not a message of samples")]
    NotAMessage,
    /// Written by a newer version.
    #[error("message version {0}, this build reads up to {VERSION}")]
    Version(u8),
    /// The bytes end too early or too late.
    #[error("{got} bytes, {expected} announced")]
    Length {
        /// What the head announces.
        expected: usize,
        /// What there is.
        got: usize,
    },
    /// The checksum does not match.
    #[error("damaged on the way")]
    Damaged,
    /// A row belongs to another partition: the sender counts partitions differently.
    #[error("holds rows of another partition")]
    Misplaced,
}

/// The columns of a message.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rows {
    series: Vec<SeriesHash>,
    times: Vec<Timestamp>,
    values: Vec<f64>,
}

impl Rows {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// Runs of rows of one shard, in the order of the message.
    pub fn batches(&self) -> impl Iterator<Item = (Shard, ShardBatch<'_>)> {
        let mut rest = 0..self.series.len();
        std::iter::from_fn(move || {
            let shard = self.series.get(rest.start)?.shard();
            let run = self.series[rest.clone()].iter().take_while(|s| s.shard() == shard).count();
            let rows = rest.start..rest.start + run;
            rest.start = rows.end;
            let columns =
                (&self.series[rows.clone()], &self.times[rows.clone()], &self.values[rows]);
            Some((shard, ShardBatch::new(columns.0, columns.1, columns.2).ok()?))
        })
    }

    /// The message of these rows.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD + ROW * self.len() + 8);
        out.extend_from_slice(&MAGIC);
        out.push(VERSION);
        out.extend_from_slice(&(self.len() as u32).to_le_bytes());
        self.series.iter().for_each(|series| out.extend(series.as_u64().to_le_bytes()));
        self.times.iter().for_each(|time| out.extend(time.as_nanos().to_le_bytes()));
        self.values.iter().for_each(|value| out.extend(value.to_le_bytes()));
        let checksum = xxh3_64(&out);
        out.extend_from_slice(&checksum.to_le_bytes());
        out
    }

    /// Reads a message into `self`, whose memory is reused.
    ///
    /// # Errors
    /// Why it is none; `self` is empty then. Nothing is allocated beyond the size of `bytes`.
    pub fn decode(&mut self, bytes: &[u8]) -> Result<(), Poison> {
        self.series.clear();
        self.times.clear();
        self.values.clear();
        let head = bytes.strip_prefix(&MAGIC).and_then(|rest| rest.split_first());
        let Some((&version, rest)) = head else { return Err(Poison::NotAMessage) };
        if version != VERSION {
            return Err(Poison::Version(version));
        }
        let Some((rows, rest)) = rest.split_first_chunk::<4>() else {
            return Err(Poison::NotAMessage);
        };
        let rows = u32::from_le_bytes(*rows) as usize;
        let (expected, got) = (HEAD + ROW * rows + 8, bytes.len());
        let Some((columns, checksum)) = rest.split_last_chunk::<8>().filter(|_| expected == got)
        else {
            return Err(Poison::Length { expected, got });
        };
        if xxh3_64(&bytes[..got - 8]) != u64::from_le_bytes(*checksum) {
            return Err(Poison::Damaged);
        }
        let (words, _) = columns.as_chunks::<8>();
        let (series, rest) = words.split_at(rows);
        let (times, values) = rest.split_at(rows);
        self.series.extend(series.iter().map(|w| SeriesHash::from_u64(u64::from_le_bytes(*w))));
        self.times.extend(times.iter().map(|w| Timestamp::from_nanos(i64::from_le_bytes(*w))));
        self.values.extend(values.iter().map(|w| f64::from_le_bytes(*w)));
        Ok(())
    }
}

/// Groups samples into messages, one partition each; the samples of a series stay in order.
#[derive(Debug)]
pub struct Batcher {
    partitions: u16,
    rows: usize,
    waiting: Vec<Vec<(SeriesHash, Sample)>>,
    message: Rows,
}

impl Batcher {
    /// A batcher for so many partitions (1 to 1,024) that sends messages of at most `rows` rows: a
    /// thousand cost a tenth of a message each of one sample (24 kB).
    ///
    /// # Errors
    /// [`Error::InvalidConfig`](crate::Error::InvalidConfig) when either is out of range.
    pub fn new(partitions: u16, rows: usize) -> crate::Result<Self> {
        if !(1..=aiops_core::SHARDS).contains(&partitions) || !(1..=1 << 20).contains(&rows) {
            let reason =
                format!("1 to 1,024 partitions and 1 to 2^20 rows, got {partitions} and {rows}");
            return Err(crate::Error::config("batcher", reason));
        }
        let waiting = vec![Vec::new(); usize::from(partitions)];
        Ok(Batcher { partitions, rows, waiting, message: Rows::default() })
    }

    /// Adds a sample, and hands a message to `send` if its partition has enough of them.
    pub fn push(&mut self, series: SeriesHash, sample: Sample, mut send: impl FnMut(u16, Vec<u8>)) {
        let partition = partition_of(series.shard(), self.partitions);
        let waiting = &mut self.waiting[usize::from(partition)];
        waiting.push((series, sample));
        if waiting.len() >= self.rows {
            send(partition, message(waiting, &mut self.message));
        }
    }

    /// Hands over what waits: call it at least as often as samples may be late.
    pub fn flush(&mut self, mut send: impl FnMut(u16, Vec<u8>)) {
        for (partition, waiting) in (0..).zip(&mut self.waiting) {
            if !waiting.is_empty() {
                send(partition, message(waiting, &mut self.message));
            }
        }
    }
}

fn message(waiting: &mut Vec<(SeriesHash, Sample)>, rows: &mut Rows) -> Vec<u8> {
    waiting.sort_by_key(|(series, _)| series.shard());
    rows.series.clear();
    rows.times.clear();
    rows.values.clear();
    for (series, sample) in waiting.drain(..) {
        rows.series.push(series);
        rows.times.push(sample.time);
        rows.values.push(sample.value);
    }
    rows.encode()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_arrive_by_partition_with_shards_together() {
        let mut batcher = Batcher::new(10, 64).unwrap();
        let mut sent = Vec::new();
        for i in 0..1_000u64 {
            let sample = Sample { time: Timestamp::from_nanos(i as i64), value: i as f64 };
            batcher.push(SeriesHash::from_u64(i % 97 * 7_919), sample, |p, m| sent.push((p, m)));
        }
        batcher.flush(|p, m| sent.push((p, m)));
        let (mut rows, mut count) = (Rows::default(), 0);
        for (partition, message) in sent {
            rows.decode(&message).unwrap();
            for (shard, batch) in rows.batches() {
                assert_eq!(partition_of(shard, 10), partition);
                assert!(batch.series().iter().all(|series| series.shard() == shard));
                count += batch.len();
            }
            let shards: Vec<_> = rows.batches().map(|(shard, _)| shard).collect();
            assert!(shards.is_sorted_by(|a, b| a < b), "each shard once");
        }
        assert_eq!(count, 1_000);
    }

    #[test]
    fn damage_is_named() {
        let mut rows = Rows::default();
        let good = Rows {
            series: vec![SeriesHash::from_u64(5); 3],
            times: vec![Timestamp::EPOCH; 3],
            values: vec![1.0, f64::NAN, -0.0],
        };
        let bytes = good.encode();
        rows.decode(&bytes).unwrap();
        assert_eq!(rows.values[1].to_bits(), f64::NAN.to_bits());
        for cut in 0..bytes.len() {
            assert!(rows.decode(&bytes[..cut]).is_err(), "{cut}");
            let mut bytes = bytes.clone();
            bytes[cut] ^= 1;
            assert!(rows.decode(&bytes).is_err(), "{cut}");
            assert!(rows.is_empty());
        }
        assert_eq!(rows.decode(b"AIOB\x02"), Err(Poison::Version(2)));
    }
}
