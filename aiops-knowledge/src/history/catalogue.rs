//! The sealed tiers: which parts stand on which shelf, and reading them with damage put aside.

use super::part::{File, Level, Part, checksum};
use super::table::{Rows, Run, Table, Values, read_names};
use super::{HistoryError, Shelf};
use aiops_core::SeriesHash;
use bytes::Bytes;
use parquet::errors::ParquetError;
use std::collections::BTreeMap;

/// A shelf and the parts that are complete on it, each with the checksums of its two files.
#[derive(Debug)]
pub(super) struct Catalogue {
    pub(super) shelf: Shelf,
    parts: BTreeMap<Part, (u64, u64)>,
}

/// The rows of some series of one part.
pub(super) struct Opened {
    pub(super) names: Vec<(Run, usize)>,
    pub(super) rows: Rows,
}

impl Catalogue {
    /// Lists the shelf. Of a part with one file the other was never written: it does not count.
    pub(super) fn open(shelf: Shelf) -> Result<Self, HistoryError> {
        let mut files: BTreeMap<Part, (Option<u64>, Option<u64>)> = BTreeMap::new();
        for path in shelf.list()? {
            if let Some((part, file, checksum)) = Part::parse(&path) {
                let known = files.entry(part).or_default();
                match file {
                    File::Points => known.0 = Some(checksum),
                    File::Series => known.1 = Some(checksum),
                }
            }
        }
        let whole =
            |(part, files): (Part, (Option<u64>, Option<u64>))| Some((part, (files.0?, files.1?)));
        Ok(Catalogue { shelf, parts: files.into_iter().filter_map(whole).collect() })
    }

    pub(super) fn parts(&self) -> impl Iterator<Item = &Part> {
        self.parts.keys()
    }

    /// Writes both files of a part, the one that makes it count last.
    pub(super) fn add<V: Values>(
        &mut self,
        part: Part,
        table: &Table<V>,
    ) -> Result<(), HistoryError> {
        let failed = HistoryError::failed::<ParquetError>("writing columns");
        let names = Bytes::from(table.names_to_parquet().map_err(&failed)?);
        let points = Bytes::from(table.to_parquet().map_err(&failed)?);
        let sums = (checksum(&points), checksum(&names));
        if self.parts.get(&part).is_some_and(|known| *known != sums) {
            self.delete(&part)?; // of a former attempt
        }
        self.shelf.put(&part.path(File::Series, sums.1), names)?;
        self.shelf.put(&part.path(File::Points, sums.0), points)?;
        self.parts.insert(part, sums);
        Ok(())
    }

    pub(super) fn delete(&mut self, part: &Part) -> Result<(), HistoryError> {
        if let Some((points, names)) = self.parts.get(part) {
            self.shelf.delete(&part.path(File::Points, *points))?;
            self.shelf.delete(&part.path(File::Series, *names))?;
            self.parts.remove(part);
        }
        Ok(())
    }

    /// Deletes the parts that a former attempt at the same work left.
    pub(super) fn delete_all(&mut self, left: impl Fn(&Part) -> bool) -> Result<(), HistoryError> {
        let left: Vec<_> = self.parts.keys().filter(|part| left(part)).cloned().collect();
        left.iter().try_for_each(|part| self.delete(part))
    }

    pub(super) fn names(&self, part: &Part) -> Result<Vec<(Run, usize)>, HistoryError> {
        let (_, sum) = self.sums(part)?;
        let path = part.path(File::Series, sum);
        read_names(&path, self.checked(&path, sum)?)
    }

    pub(super) fn load(&self, part: &Part) -> Result<Opened, HistoryError> {
        let (sum, _) = self.sums(part)?;
        let path = part.path(File::Points, sum);
        Ok(Opened { names: self.names(part)?, rows: Rows::open(&path, self.checked(&path, sum)?)? })
    }

    /// Puts a damaged part aside and returns the error as a sentence; passes other errors on.
    pub(super) fn put_aside(
        &mut self,
        part: &Part,
        error: HistoryError,
    ) -> Result<String, HistoryError> {
        if !matches!(error, HistoryError::Damaged { .. }) {
            return Err(error);
        }
        if let Some((points, names)) = self.parts.remove(part) {
            self.shelf.quarantine(&part.path(File::Points, points))?;
            self.shelf.quarantine(&part.path(File::Series, names))?;
        }
        Ok(error.to_string())
    }

    fn sums(&self, part: &Part) -> Result<(u64, u64), HistoryError> {
        let gone = || HistoryError::damaged(&part.path(File::Points, 0), "it is gone");
        self.parts.get(part).copied().ok_or_else(gone)
    }

    fn checked(&self, path: &str, sum: u64) -> Result<Bytes, HistoryError> {
        let bytes = self.shelf.get(path)?;
        if checksum(&bytes) == sum {
            return Ok(bytes);
        }
        Err(HistoryError::damaged(path, "its content does not match the checksum in its name"))
    }
}

impl Opened {
    /// Reads the rows of one series, if the part has it.
    pub(super) fn read<V: Values>(
        &self,
        hash: SeriesHash,
        times: &mut Vec<i64>,
        values: &mut Vec<V>,
    ) -> Result<Option<&Run>, HistoryError> {
        let Ok(place) = self.names.binary_search_by_key(&hash, |(run, _)| run.hash) else {
            return Ok(None);
        };
        let (run, first) = &self.names[place];
        self.rows.read(*first, run.rows, times, values)?;
        Ok(Some(run))
    }
}

impl Part {
    /// The part that holds a table.
    pub(super) fn of<V>(
        level: Level,
        tenant: &str,
        span: (i64, i64),
        seq: u64,
        table: &Table<V>,
    ) -> Part {
        let hash = |run: Option<&Run>| run.map_or(0, |run| run.hash.as_u64());
        let hashes = (hash(table.series.first()), hash(table.series.last()));
        Part { level, tenant: tenant.to_owned(), from: span.0, to: span.1, seq, hashes }
    }

    pub(super) fn may_hold(&self, hash: SeriesHash) -> bool {
        (self.hashes.0..=self.hashes.1).contains(&hash.as_u64())
    }
}
