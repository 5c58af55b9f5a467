//! The local log of a block that is still open: what was accepted outlives the process.
//!
//! A record is its length (u32), the xxh3 of its payload (u64), and the payload: new series, then
//! rows. A record that was cut by a crash is the last one and is dropped; bytes after a damaged
//! record are kept in a file of their own.

use super::HistoryError;
use aiops_core::{SeriesKey, SnapshotError, SnapshotReader, SnapshotWriter};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_64;

const HEADER: usize = 12;

/// An open log, appended to only.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    file: File,
    length: u64,
    payload: Vec<u8>,
}

/// What one record adds: series in the order of their numbers, and rows by those numbers.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Addition {
    pub(super) series: Vec<SeriesKey>,
    pub(super) rows: Vec<(u32, i64, f64)>,
}

/// What a log held.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    pub(super) additions: Vec<Addition>,
    /// Bytes that were no record: cut off by a crash, or damaged.
    pub(super) dropped_bytes: u64,
}

impl Log {
    pub(super) fn create(path: PathBuf) -> Result<Self, HistoryError> {
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.map_err(HistoryError::failed("opening a log"))?;
        let length = file.metadata().map_err(HistoryError::failed("opening a log"))?.len();
        Ok(Log { path, file, length, payload: Vec::new() })
    }

    /// Hands one record to the operating system; [`sync`](Self::sync) makes it outlive the machine.
    pub(super) fn append(&mut self, addition: &Addition) -> Result<(), HistoryError> {
        let mut head = SnapshotWriter::new();
        head.u32(addition.series.len() as u32);
        for key in &addition.series {
            head.text(&key.tenant);
            head.text(&key.name);
            head.u32(key.labels.len() as u32);
            for (name, value) in key.labels.iter() {
                head.text(name);
                head.text(value);
            }
        }
        self.payload.clear();
        self.payload.extend_from_slice(&[0; HEADER]);
        self.payload.extend_from_slice(&head.finish());
        for (number, time, value) in &addition.rows {
            self.payload.extend_from_slice(&number.to_le_bytes());
            self.payload.extend_from_slice(&time.to_le_bytes());
            self.payload.extend_from_slice(&value.to_le_bytes());
        }
        let length = u32::try_from(self.payload.len() - HEADER)
            .map_err(HistoryError::failed("writing a record of more than 4 GiB"))?;
        let checksum = xxh3_64(&self.payload[HEADER..]);
        self.payload[..4].copy_from_slice(&length.to_le_bytes());
        self.payload[4..HEADER].copy_from_slice(&checksum.to_le_bytes());
        if let Err(error) = self.file.write_all(&self.payload) {
            // Half a record in the middle would hide all that follow it.
            let _ = self.file.set_len(self.length);
            return Err(HistoryError::failed("writing a log")(error));
        }
        self.length += self.payload.len() as u64;
        Ok(())
    }

    pub(super) fn sync(&self) -> Result<(), HistoryError> {
        self.file.sync_data().map_err(HistoryError::failed("flushing a log"))
    }

    /// The block is sealed: its log has done its work.
    pub(super) fn delete(self) -> Result<(), HistoryError> {
        drop(self.file);
        fs::remove_file(&self.path).map_err(HistoryError::failed("deleting a log"))?;
        sync_folder(&self.path)
    }
}

/// Reads a log, cuts it where it stops being whole, and keeps what was cut in `quarantine` unless
/// it is a mere torn end.
pub(super) fn replay(path: &Path, quarantine: &Path) -> Result<Replayed, HistoryError> {
    let bytes = fs::read(path).map_err(HistoryError::failed("reading a log"))?;
    let mut found = Replayed::default();
    let mut whole = 0;
    while let Some(payload) = record(&bytes[whole..]) {
        let Ok(addition) = parse(payload) else { break };
        found.additions.push(addition);
        whole += HEADER + payload.len();
    }
    let rest = &bytes[whole..];
    if rest.is_empty() {
        return Ok(found);
    }
    found.dropped_bytes = rest.len() as u64;
    if !torn(rest) {
        let failed = HistoryError::failed("putting the rest of a log aside");
        let name = path.file_name().unwrap_or_default();
        fs::create_dir_all(quarantine)
            .and_then(|()| fs::write(quarantine.join(name), rest))
            .map_err(failed)?;
    }
    let cut = OpenOptions::new().write(true).open(path).and_then(|file| {
        file.set_len(whole as u64)?;
        file.sync_all()
    });
    cut.map_err(HistoryError::failed("cutting a log"))?;
    Ok(found)
}

fn header(bytes: &[u8]) -> Option<(usize, u64, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (checksum, rest) = rest.split_first_chunk::<8>()?;
    Some((u32::from_le_bytes(*length) as usize, u64::from_le_bytes(*checksum), rest))
}

/// The payload of the first record, if it is whole.
fn record(bytes: &[u8]) -> Option<&[u8]> {
    let (length, checksum, rest) = header(bytes)?;
    rest.get(..length).filter(|payload| xxh3_64(payload) == checksum)
}

/// Whether this is a record that the end of the file cut.
fn torn(bytes: &[u8]) -> bool {
    header(bytes).is_none_or(|(length, _, rest)| rest.len() < length)
}

fn parse(payload: &[u8]) -> Result<Addition, SnapshotError> {
    let mut reader = SnapshotReader::new(payload);
    let mut found = Addition::default();
    for _ in 0..reader.u32()? {
        let mut key = SeriesKey { tenant: reader.text()?.into(), ..SeriesKey::default() };
        key.name = reader.text()?.into();
        for _ in 0..reader.u32()? {
            let name = reader.text()?;
            key.labels.insert(name, reader.text()?);
        }
        found.series.push(key);
    }
    while let Ok(number) = reader.u32() {
        found.rows.push((number, reader.i64()?, reader.f64()?));
    }
    Ok(found)
}

/// Makes the appearance or disappearance of a file in its folder durable.
pub(super) fn sync_folder(path: &Path) -> Result<(), HistoryError> {
    let Some(folder) = path.parent() else { return Ok(()) };
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    if cfg!(unix) { synced.map_err(HistoryError::failed("flushing a folder")) } else { Ok(()) }
}
