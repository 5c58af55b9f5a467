//! The tiers together: what comes in, what moves on, what is read.

use super::block::{Block, in_order};
use super::catalogue::Catalogue;
use super::part::{Level, Part};
use super::rollup::{Rollup, roll, roll_table};
use super::table::{Run, Table};
use super::{HistoryConfig, HistoryError, Shelf};
use aiops_core::{Interner, Sample, SampleBatch, SeriesHash, SeriesKey, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Metric history in three tiers: see the [module](super) for what each holds.
///
/// Appending and tending need `&mut self`, reading `&self`. Time is an argument.
#[derive(Debug)]
pub struct History {
    config: HistoryConfig,
    logs: PathBuf,
    blocks: BTreeMap<(String, i64), Block>,
    warm: Mutex<Catalogue>,
    cold: Mutex<Catalogue>,
    next_seq: u64,
    recovered: Recovered,
}

/// What [`History::open`] found in the logs of a process that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Recovered {
    /// Points of blocks that had not been sealed.
    pub points: usize,
    /// Bytes at the end of a log that were no whole record. A torn end is what a crash leaves; what
    /// is damaged otherwise is kept under `quarantine/`.
    pub dropped_log_bytes: u64,
}

/// What became of a batch; the numbers add up to its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Appended {
    /// Points that were kept.
    pub accepted: usize,
    /// Samples without a value: absence is kept by keeping nothing.
    pub gaps: usize,
    /// Points older than [`HistoryConfig::late`], or than 1970.
    pub too_old: usize,
    /// Points further ahead of the clock than [`HistoryConfig::ahead`].
    pub too_new: usize,
    /// Samples of ids that the interner does not know.
    pub unknown_series: usize,
}

/// What one round of [`History::tend`] did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Tended {
    /// Points that went from memory to files.
    pub sealed_points: usize,
    /// Files, in pairs, that moved to the cold shelf and were rolled up.
    pub moved_parts: usize,
    /// Files, in pairs, whose time was over.
    pub expired_parts: usize,
    /// Files that were damaged and put aside, each with what was wrong.
    pub damaged: Vec<String>,
}

/// What a read found.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Found<T> {
    /// What was asked for.
    pub items: Vec<T>,
    /// Files that were damaged and put aside, each with what was wrong: what they held is missing.
    pub damaged: Vec<String>,
}

impl History {
    /// Opens the history in `folder` (made if it is not there), with `cold` for what is older, and
    /// takes over what a former process had accepted and not sealed.
    ///
    /// One process at a time may have a folder open; this is not checked.
    ///
    /// # Errors
    /// [`HistoryError::InvalidConfig`], and [`HistoryError::Failed`] when the folder or the store
    /// cannot be read. Damaged logs are not errors: see [`recovered`](Self::recovered).
    pub fn open(
        folder: impl AsRef<Path>,
        cold: Shelf,
        config: HistoryConfig,
    ) -> Result<Self, HistoryError> {
        config.check()?;
        let folder = folder.as_ref();
        let logs = folder.join("log");
        let failed = HistoryError::failed::<std::io::Error>("opening the folder of logs");
        std::fs::create_dir_all(&logs).map_err(&failed)?;
        let mut warm = Catalogue::open(Shelf::folder(folder.join("warm"))?)?;
        let cold = Catalogue::open(cold)?;

        let mut recovered = Recovered::default();
        let mut blocks = BTreeMap::new();
        let files = std::fs::read_dir(&logs).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let mut paths: Vec<_> = files.map_err(&failed)?.iter().map(|file| file.path()).collect();
        paths.sort();
        for path in paths {
            let Some((block, dropped)) = Block::recover(&path, &folder.join("quarantine"))? else {
                continue;
            };
            // A crash while sealing left the log: what was sealed of it is made again.
            warm.delete_all(|part| part.seq == block.seq && part.tenant == block.tenant)?;
            recovered.points += block.points;
            recovered.dropped_log_bytes += dropped;
            blocks.insert((block.tenant.clone(), block.from), block);
        }
        let sealed = warm.parts().chain(cold.parts()).map(|part| part.seq);
        let next_seq =
            sealed.chain(blocks.values().map(|block| block.seq)).max().map_or(0, |seq| seq + 1);
        let (warm, cold) = (Mutex::new(warm), Mutex::new(cold));
        Ok(History { config, logs, blocks, warm, cold, next_seq, recovered })
    }

    /// What [`open`](Self::open) took over from a process that ended.
    pub fn recovered(&self) -> Recovered {
        self.recovered
    }

    /// Takes samples of series that `series` interned. They are in the log when this returns, and
    /// outlive the process; [`sync`](Self::sync) makes them outlive the machine.
    ///
    /// A point at a time that its series already has replaces the former one, so that a batch may be
    /// sent again. Above [`HistoryConfig::max_hot_points`] the largest block is sealed.
    ///
    /// # Errors
    /// [`HistoryError::Failed`] when a log or a file cannot be written; send the batch again.
    pub fn append(
        &mut self,
        now: Timestamp,
        series: &Interner,
        batch: SampleBatch<'_>,
    ) -> Result<Appended, HistoryError> {
        let earliest = (now - self.config.late).max(Timestamp::EPOCH);
        let latest = now + self.config.ahead;
        let mut counts = Appended::default();
        let mut at: Option<(&str, i64)> = None;
        let mut block: Option<&mut Block> = None;
        for (id, sample) in batch.iter() {
            let (Some(key), Some(hash)) = (series.key(id), series.hash(id)) else {
                counts.unknown_series += 1;
                continue;
            };
            let count = match sample.time {
                _ if sample.is_gap() => &mut counts.gaps,
                time if time < earliest => &mut counts.too_old,
                time if time > latest => &mut counts.too_new,
                _ => &mut counts.accepted,
            };
            *count += 1;
            if sample.is_gap() || sample.time < earliest || sample.time > latest {
                continue;
            }
            let from = sample.time.window_start(self.config.block).as_secs();
            if at != Some((key.tenant.as_str(), from)) || block.is_none() {
                at = Some((key.tenant.as_str(), from));
                block = Some(open_block(
                    &mut self.blocks,
                    &mut self.next_seq,
                    &self.logs,
                    &key.tenant,
                    (from, from + self.config.block.as_secs() as i64),
                )?);
            }
            if let Some(block) = &mut block {
                block.append(hash, key, sample.time.as_nanos(), sample.value);
            }
        }
        for block in self.blocks.values_mut() {
            block.commit()?;
        }
        while self.blocks.values().map(|block| block.points).sum::<usize>()
            > self.config.max_hot_points
        {
            let largest = self.blocks.iter().max_by_key(|(_, block)| block.points);
            let Some(place) = largest.map(|(place, _)| place.clone()) else { break };
            self.seal(&place)?;
        }
        Ok(counts)
    }

    /// Flushes the logs to disk: what was appended before outlives the machine.
    ///
    /// # Errors
    /// [`HistoryError::Failed`] when the disk refuses.
    pub fn sync(&mut self) -> Result<(), HistoryError> {
        self.blocks.values().try_for_each(Block::sync)
    }

    /// Does what is due: seals blocks that ended, moves old files to the cold shelf with their
    /// roll-ups, and deletes what is past its retention. Cheap when nothing is due.
    ///
    /// A crash at any point loses nothing and doubles nothing: a log goes after its files stand, a
    /// warm file after its cold ones do.
    ///
    /// # Errors
    /// [`HistoryError::Failed`] when a disk or the store refuses; what was done stays done, and the
    /// next round goes on from there.
    pub fn tend(&mut self, now: Timestamp) -> Result<Tended, HistoryError> {
        let mut done = Tended::default();
        let ended = now - self.config.linger;
        let due: Vec<_> = self
            .blocks
            .iter()
            .filter(|(_, block)| Timestamp::from_secs(block.to) <= ended)
            .map(|(place, _)| place.clone())
            .collect();
        for place in due {
            done.sealed_points += self.seal(&place)?;
        }
        self.move_to_cold(now - self.config.retention.warm, &mut done)?;
        let cold = self.cold.get_mut().unwrap_or_else(PoisonError::into_inner);
        let over = |part: &&Part| {
            part.ended_by(match part.level {
                Level::Raw => now - self.config.retention.raw,
                Level::Rollup => now - self.config.retention.rollups,
            })
        };
        let expired: Vec<_> = cold.parts().filter(over).cloned().collect();
        for part in expired {
            cold.delete(&part)?;
            done.expired_parts += 1;
        }
        Ok(done)
    }

    /// The points of each of `keys` in `from..to`, by time, from all tiers.
    ///
    /// Cost: the files of the tenant that may hold a key are loaded one after the other, whole.
    ///
    /// # Errors
    /// [`HistoryError::Failed`] when a file cannot be read. A damaged one is put aside and named in
    /// [`Found::damaged`].
    pub fn points(
        &self,
        keys: &[SeriesKey],
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Found<Vec<Sample>>, HistoryError> {
        let mut columns = vec![(Vec::new(), Vec::new()); keys.len()];
        let wanted = wanted(keys);
        let mut damaged = Vec::new();
        for (catalogue, part) in self.raw_parts(from, to) {
            read_part(catalogue, &part, &wanted, &mut columns, &mut damaged)?;
        }
        self.read_hot(&wanted, from, to, &mut columns);
        let sorted = |(times, values): (Vec<i64>, Vec<f64>)| {
            let (mut sorted, mut points) = (Vec::new(), Vec::new());
            in_order(&times, &values, &mut sorted, &mut points);
            let samples = sorted.into_iter().map(Timestamp::from_nanos).zip(points);
            let within = samples.filter(|(time, _)| from <= *time && *time < to);
            within.map(|(time, value)| Sample { time, value }).collect()
        };
        Ok(Found { items: columns.into_iter().map(sorted).collect(), damaged })
    }

    /// The roll-ups of each of `keys` whose windows start in `from..to`, by time: those on the cold
    /// shelf, and for what is younger those that its points would give.
    ///
    /// # Errors
    /// As [`points`](Self::points).
    pub fn rollups(
        &self,
        keys: &[SeriesKey],
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Found<Vec<(Timestamp, Rollup)>>, HistoryError> {
        let from = from.window_start(self.config.rollup);
        let warm: BTreeSet<_> =
            lock(&self.warm).parts().map(|p| (p.tenant.clone(), p.from)).collect();
        let rolled = |part: &&Part| part.level == Level::Rollup && part.overlaps(from, to);
        let rolled: Vec<_> = lock(&self.cold)
            .parts()
            .filter(rolled)
            .filter(|part| !warm.contains(&(part.tenant.clone(), part.from)))
            .cloned()
            .collect();
        let covered: BTreeSet<_> = rolled.iter().map(|p| (p.tenant.clone(), p.from)).collect();

        let wanted = wanted(keys);
        let mut damaged = Vec::new();
        let mut found: Vec<BTreeMap<i64, Rollup>> = vec![BTreeMap::new(); keys.len()];
        let mut add = |item: usize, time: i64, rollup: Rollup| {
            let merged = found[item].get(&time).map_or(rollup, |known| known.merge(rollup));
            found[item].insert(time, merged);
        };
        for part in rolled {
            let mut columns = vec![(Vec::new(), Vec::<Rollup>::new()); keys.len()];
            read_part(&self.cold, &part, &wanted, &mut columns, &mut damaged)?;
            for (item, (times, values)) in columns.into_iter().enumerate() {
                times.into_iter().zip(values).for_each(|(time, value)| add(item, time, value));
            }
        }
        let mut columns = vec![(Vec::new(), Vec::new()); keys.len()];
        for (catalogue, part) in self.raw_parts(from, to) {
            if !covered.contains(&(part.tenant.clone(), part.from)) {
                read_part(catalogue, &part, &wanted, &mut columns, &mut damaged)?;
            }
        }
        self.read_hot(&wanted, from, to, &mut columns);
        for (item, (times, values)) in columns.into_iter().enumerate() {
            let (mut sorted, mut points, mut windows) = (Vec::new(), Vec::new(), Vec::new());
            in_order(&times, &values, &mut sorted, &mut points);
            roll(&sorted, &points, self.config.rollup, &mut windows);
            windows.into_iter().for_each(|(time, rollup)| add(item, time, rollup));
        }
        let within = |windows: BTreeMap<i64, Rollup>| {
            let times =
                windows.into_iter().map(|(time, rollup)| (Timestamp::from_nanos(time), rollup));
            times.filter(|(time, _)| from <= *time && *time < to).collect()
        };
        Ok(Found { items: found.into_iter().map(within).collect(), damaged })
    }

    /// The series of a tenant that have points or roll-ups in the blocks that `from..to` touches.
    ///
    /// # Errors
    /// As [`points`](Self::points).
    pub fn series(
        &self,
        tenant: &str,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Found<SeriesKey>, HistoryError> {
        let (mut keys, mut damaged) = (BTreeSet::new(), Vec::new());
        for shelf in [&self.warm, &self.cold] {
            let mut catalogue = lock(shelf);
            let of = |part: &&Part| part.tenant == tenant && part.overlaps(from, to);
            let parts: Vec<_> = catalogue.parts().filter(of).cloned().collect();
            for part in parts {
                match catalogue.names(&part) {
                    Ok(names) => {
                        keys.extend(names.iter().map(|(run, _)| SeriesKey::clone(&run.key)))
                    }
                    Err(error) => damaged.push(catalogue.put_aside(&part, error)?),
                }
            }
        }
        for block in self.blocks_within(from, to).filter(|block| block.tenant == tenant) {
            keys.extend(block.runs().iter().map(|run| SeriesKey::clone(&run.key)));
        }
        Ok(Found { items: keys.into_iter().collect(), damaged })
    }

    /// Turns a block into files, and lets its log go once they stand.
    fn seal(&mut self, place: &(String, i64)) -> Result<usize, HistoryError> {
        let Some(block) = self.blocks.get(place) else { return Ok(0) };
        let warm = self.warm.get_mut().unwrap_or_else(PoisonError::into_inner);
        // A former attempt may have failed half-way, with fewer points.
        warm.delete_all(|part| part.seq == block.seq && part.tenant == block.tenant)?;
        let mut points = 0;
        for table in block.tables(self.config.max_file_points) {
            let span = (block.from, block.to);
            points += table.times.len();
            warm.add(Part::of(Level::Raw, &block.tenant, span, block.seq, &table), &table)?;
        }
        match self.blocks.remove(place) {
            Some(block) => block.delete_log().map(|()| points),
            None => Ok(points),
        }
    }

    /// Moves every block that ended by `time`: its parts become one set, points and roll-ups.
    fn move_to_cold(&mut self, time: Timestamp, done: &mut Tended) -> Result<(), HistoryError> {
        let warm = self.warm.get_mut().unwrap_or_else(PoisonError::into_inner);
        let cold = self.cold.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut due: BTreeMap<(String, i64, i64), Vec<Part>> = BTreeMap::new();
        for part in warm.parts().filter(|part| part.ended_by(time)) {
            due.entry((part.tenant.clone(), part.from, part.to)).or_default().push(part.clone());
        }
        for ((tenant, from, to), mut parts) in due {
            parts.sort_by_key(|part| part.seq);
            let seq = parts.last().map_or(0, |part| part.seq);
            let mut rows: BTreeMap<SeriesHash, usize> = BTreeMap::new();
            for part in &parts {
                // A damaged one is found again below, where it is put aside.
                for (run, _) in warm.names(part).unwrap_or_default() {
                    *rows.entry(run.hash).or_default() += run.rows;
                }
            }
            cold.delete_all(|part| {
                let rollup = part.level == Level::Rollup && part.seq == seq;
                rollup && part.tenant == tenant && part.from == from
            })?;
            for hashes in slices(&rows, self.config.max_file_points) {
                let points = gather(warm, &parts, &hashes, &mut done.damaged)?;
                if points.series.is_empty() {
                    continue;
                }
                let rolled = roll_table(&points, self.config.rollup);
                let part = |level| Part::of(level, &tenant, (from, to), seq, &points);
                cold.add(part(Level::Raw), &points)?;
                cold.add(part(Level::Rollup), &rolled)?;
                done.moved_parts += 1;
            }
            for part in parts {
                match warm.names(&part) {
                    Err(error @ HistoryError::Damaged { .. })
                        if warm.parts().any(|p| *p == part) =>
                    {
                        done.damaged.push(warm.put_aside(&part, error)?);
                    }
                    _ => warm.delete(&part)?,
                }
            }
        }
        Ok(())
    }

    /// The parts with points, the cold ones first, later ones of a block after earlier ones.
    fn raw_parts(&self, from: Timestamp, to: Timestamp) -> Vec<(&Mutex<Catalogue>, Part)> {
        let mut found = Vec::new();
        for shelf in [&self.cold, &self.warm] {
            let raw = |part: &&Part| part.level == Level::Raw && part.overlaps(from, to);
            found.extend(lock(shelf).parts().filter(raw).map(|part| (shelf, part.clone())));
        }
        found.sort_by_key(|(_, part)| part.seq);
        found
    }

    fn blocks_within(&self, from: Timestamp, to: Timestamp) -> impl Iterator<Item = &Block> {
        let touches = move |block: &&Block| {
            Timestamp::from_secs(block.from) < to && from < Timestamp::from_secs(block.to)
        };
        self.blocks.values().filter(touches)
    }

    fn read_hot(
        &self,
        wanted: &[(&str, SeriesHash, usize)],
        from: Timestamp,
        to: Timestamp,
        columns: &mut [(Vec<i64>, Vec<f64>)],
    ) {
        for block in self.blocks_within(from, to) {
            for (_, hash, item) in wanted.iter().filter(|(tenant, ..)| *tenant == block.tenant) {
                let (times, values) = block.points_of(*hash);
                columns[*item].0.extend(times);
                columns[*item].1.extend(values);
            }
        }
    }
}

fn lock(catalogue: &Mutex<Catalogue>) -> MutexGuard<'_, Catalogue> {
    catalogue.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wanted(keys: &[SeriesKey]) -> Vec<(&str, SeriesHash, usize)> {
    keys.iter().enumerate().map(|(item, key)| (key.tenant.as_str(), key.hash(), item)).collect()
}

fn open_block<'a>(
    blocks: &'a mut BTreeMap<(String, i64), Block>,
    next_seq: &mut u64,
    logs: &Path,
    tenant: &str,
    span: (i64, i64),
) -> Result<&'a mut Block, HistoryError> {
    use std::collections::btree_map::Entry;
    match blocks.entry((tenant.to_owned(), span.0)) {
        Entry::Occupied(block) => Ok(block.into_mut()),
        Entry::Vacant(place) => {
            let block = Block::create(logs, tenant, span, *next_seq)?;
            *next_seq += 1;
            Ok(place.insert(block))
        }
    }
}

/// Appends the rows of the wanted series that a part has; damage is put aside and noted.
fn read_part<V: super::table::Values>(
    catalogue: &Mutex<Catalogue>,
    part: &Part,
    wanted: &[(&str, SeriesHash, usize)],
    columns: &mut [(Vec<i64>, Vec<V>)],
    damaged: &mut Vec<String>,
) -> Result<(), HistoryError> {
    let held = |(tenant, hash, _): &&(&str, SeriesHash, usize)| {
        *tenant == part.tenant && part.may_hold(*hash)
    };
    let mut held = wanted.iter().filter(held).peekable();
    if held.peek().is_none() {
        return Ok(());
    }
    let mut catalogue = lock(catalogue);
    let read = catalogue.load(part).and_then(|opened| {
        let mut rows = Vec::new();
        for (_, hash, item) in held {
            let (mut times, mut values) = (Vec::new(), Vec::<V>::new());
            opened.read(*hash, &mut times, &mut values)?;
            rows.push((*item, times, values));
        }
        Ok(rows)
    });
    match read {
        Ok(rows) => rows.into_iter().for_each(|(item, times, values)| {
            columns[item].0.extend(times);
            columns[item].1.extend(values);
        }),
        Err(error) => damaged.push(catalogue.put_aside(part, error)?),
    }
    Ok(())
}

/// The hashes in runs of about `max_rows` rows.
fn slices(rows: &BTreeMap<SeriesHash, usize>, max_rows: usize) -> Vec<Vec<SeriesHash>> {
    let mut slices = vec![Vec::new()];
    let mut filled = 0;
    for (hash, rows) in rows {
        if filled >= max_rows {
            slices.push(Vec::new());
            filled = 0;
        }
        filled += rows;
        if let Some(slice) = slices.last_mut() {
            slice.push(*hash);
        }
    }
    slices
}

/// The points of some series from all parts of a block, later parts over earlier ones.
fn gather(
    warm: &mut Catalogue,
    parts: &[Part],
    hashes: &[SeriesHash],
    damaged: &mut Vec<String>,
) -> Result<Table<f64>, HistoryError> {
    let mut found: BTreeMap<SeriesHash, (Run, Vec<i64>, Vec<f64>)> = BTreeMap::new();
    for part in parts.iter().filter(|part| hashes.iter().any(|hash| part.may_hold(*hash))) {
        let read = warm.load(part).and_then(|opened| {
            let mut rows = Vec::new();
            for hash in hashes {
                let (mut times, mut values) = (Vec::new(), Vec::<f64>::new());
                if let Some(run) = opened.read(*hash, &mut times, &mut values)? {
                    rows.push((run.clone(), times, values));
                }
            }
            Ok(rows)
        });
        match read {
            Ok(rows) => rows.into_iter().for_each(|(run, times, values)| {
                let known = found.entry(run.hash).or_insert_with(|| (run, Vec::new(), Vec::new()));
                known.1.extend(times);
                known.2.extend(values);
            }),
            Err(error) if warm.parts().any(|known| known == part) => {
                damaged.push(warm.put_aside(part, error)?);
            }
            Err(_) => {} // put aside already
        }
    }
    let mut table = Table::default();
    for (run, times, values) in found.into_values() {
        let (mut sorted, mut points) = (Vec::new(), Vec::new());
        in_order(&times, &values, &mut sorted, &mut points);
        table.push(&run, &sorted, &points);
    }
    Ok(table)
}
