//! The hot tier: blocks of time that still take points, in memory and in their log.

use super::HistoryError;
use super::log::{Addition, Log, replay, sync_folder};
use super::part::{escape, unescape};
use super::table::{Run, Table};
use aiops_core::{SeriesHash, SeriesKey};
use rustc_hash::FxHashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One tenant's points of one block of time.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) tenant: String,
    /// Seconds since the epoch.
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) seq: u64,
    series: Vec<Series>,
    numbers: FxHashMap<SeriesHash, u32>,
    pub(super) points: usize,
    /// Accepted since the last [`commit`](Self::commit).
    pending: Addition,
    log: Log,
}

#[derive(Debug)]
struct Series {
    hash: SeriesHash,
    key: Arc<SeriesKey>,
    times: Vec<i64>,
    values: Vec<f64>,
}

impl Block {
    pub(super) fn create(
        folder: &Path,
        tenant: &str,
        span: (i64, i64),
        seq: u64,
    ) -> Result<Self, HistoryError> {
        let path = folder.join(format!("{}~{}~{}~{seq}.log", escape(tenant), span.0, span.1));
        let log = Log::create(path.clone())?;
        sync_folder(&path)?;
        Ok(Block {
            tenant: tenant.to_owned(),
            from: span.0,
            to: span.1,
            seq,
            series: Vec::new(),
            numbers: FxHashMap::default(),
            points: 0,
            pending: Addition::default(),
            log,
        })
    }

    /// A block as its log has it, and how many bytes of the log were no good; `None` for a file that
    /// is no log of ours.
    pub(super) fn recover(
        path: &Path,
        quarantine: &Path,
    ) -> Result<Option<(Self, u64)>, HistoryError> {
        let Some((tenant, from, to, seq)) = named(path) else { return Ok(None) };
        let replayed = replay(path, quarantine)?;
        let folder = path.parent().map(PathBuf::from).unwrap_or_default();
        let mut block = Block::create(&folder, &tenant, (from, to), seq)?;
        for Addition { series, rows } in replayed.additions {
            for key in series {
                block.add_series(key.hash(), key);
            }
            for (number, time, value) in rows {
                block.add_row(number, time, value);
            }
        }
        Ok(Some((block, replayed.dropped_bytes)))
    }

    pub(super) fn append(&mut self, hash: SeriesHash, key: &SeriesKey, time: i64, value: f64) {
        let number = match self.numbers.get(&hash) {
            Some(&number) => number,
            None => {
                self.pending.series.push(key.clone());
                self.add_series(hash, key.clone())
            }
        };
        self.pending.rows.push((number, time, value));
        self.add_row(number, time, value);
    }

    /// Hands what was appended to the log.
    pub(super) fn commit(&mut self) -> Result<(), HistoryError> {
        if !self.pending.rows.is_empty() {
            self.log.append(&self.pending)?;
            self.pending.series.clear();
            self.pending.rows.clear();
        }
        Ok(())
    }

    pub(super) fn sync(&self) -> Result<(), HistoryError> {
        self.log.sync()
    }

    pub(super) fn delete_log(self) -> Result<(), HistoryError> {
        self.log.delete()
    }

    fn add_series(&mut self, hash: SeriesHash, key: SeriesKey) -> u32 {
        let number = self.series.len() as u32;
        self.series.push(Series {
            hash,
            key: Arc::new(key),
            times: Vec::new(),
            values: Vec::new(),
        });
        self.numbers.insert(hash, number);
        number
    }

    /// A row of a series that the log never named can only come from a log of another version.
    fn add_row(&mut self, number: u32, time: i64, value: f64) {
        if let Some(series) = self.series.get_mut(number as usize) {
            series.times.push(time);
            series.values.push(value);
            self.points += 1;
        }
    }

    /// The series with their points, by hash.
    pub(super) fn runs(&self) -> Vec<Run> {
        let run = |s: &Series| Run { hash: s.hash, key: Arc::clone(&s.key), rows: s.times.len() };
        let mut runs: Vec<_> = self.series.iter().map(run).collect();
        runs.sort_unstable_by_key(|run| run.hash);
        runs
    }

    /// The points of a series by time; of several at one time, the one that came last.
    pub(super) fn points_of(&self, hash: SeriesHash) -> (Vec<i64>, Vec<f64>) {
        let (mut times, mut values) = (Vec::new(), Vec::new());
        if let Some(&number) = self.numbers.get(&hash) {
            let series = &self.series[number as usize];
            in_order(&series.times, &series.values, &mut times, &mut values);
        }
        (times, values)
    }

    /// Everything, in tables of about `max_points`.
    pub(super) fn tables(&self, max_points: usize) -> Vec<Table<f64>> {
        let mut tables = Vec::new();
        let mut table = Table::default();
        for mut run in self.runs() {
            let from = table.times.len();
            let series = &self.series[self.numbers[&run.hash] as usize];
            in_order(&series.times, &series.values, &mut table.times, &mut table.values);
            run.rows = table.times.len() - from;
            table.series.push(run);
            if table.times.len() >= max_points {
                tables.push(std::mem::take(&mut table));
            }
        }
        if !table.series.is_empty() {
            tables.push(table);
        }
        tables
    }
}

/// Appends points sorted by time, the last of several at one time.
pub(super) fn in_order(times: &[i64], values: &[f64], to: &mut Vec<i64>, out: &mut Vec<f64>) {
    if times.is_sorted_by(|a, b| a < b) {
        to.extend_from_slice(times);
        out.extend_from_slice(values);
        return;
    }
    let mut order: Vec<u32> = (0..times.len() as u32).collect();
    order.sort_by_key(|&row| times[row as usize]);
    for (place, &row) in order.iter().enumerate() {
        let time = times[row as usize];
        let last = order.get(place + 1).is_none_or(|&next| times[next as usize] != time);
        if last {
            to.push(time);
            out.push(values[row as usize]);
        }
    }
}

fn named(path: &Path) -> Option<(String, i64, i64, u64)> {
    let mut words = path.file_name()?.to_str()?.strip_suffix(".log")?.split('~');
    let tenant = unescape(words.next()?)?;
    let named =
        (words.next()?.parse().ok()?, words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some((tenant, named.0, named.1, named.2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_several_points_at_one_time_counts() {
        let (mut times, mut values) = (Vec::new(), Vec::new());
        in_order(&[3, 1, 3, 2], &[1.0, 2.0, 3.0, 4.0], &mut times, &mut values);
        assert_eq!((times, values), (vec![1, 2, 3], vec![2.0, 4.0, 3.0]));
    }
}
