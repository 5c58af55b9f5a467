//! Snapshots: state as checked bytes, written and read per shard.
//!
//! Layout, little-endian: magic `AIOP`, container version `u16`, kind (length `u8` and bytes),
//! format version of the kind `u16`, payload length `u64`, payload, xxh3-64 of everything before.

use crate::Shard;
use xxhash_rust::xxh3::xxh3_64;

const MAGIC: [u8; 4] = *b"AIOP";
const CONTAINER_VERSION: u16 = 1;

/// Why bytes are not a snapshot that can be restored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The bytes do not begin as a snapshot does.
    #[error("not a snapshot")]
    NotASnapshot,
    /// The bytes end before the snapshot does, or go on after it.
    #[error("{expected} bytes expected, {got} found: the snapshot was cut or extended")]
    WrongLength {
        /// How many bytes were needed.
        expected: u64,
        /// How many there were.
        got: u64,
    },
    /// The bytes were damaged.
    #[error("the checksum does not match: the snapshot was damaged")]
    Damaged,
    /// A snapshot of something else.
    #[error("a snapshot of {found:?}, expected {expected:?}")]
    WrongKind {
        /// What the reader restores.
        expected: String,
        /// What the bytes hold.
        found: String,
    },
    /// Written by a version that this one cannot read.
    #[error("format version {found}, this build reads up to {supported}")]
    UnsupportedVersion {
        /// The version in the bytes.
        found: u16,
        /// The newest version that can be read.
        supported: u16,
    },
    /// The payload passes its checksum and still makes no sense.
    #[error("malformed payload: {0}")]
    Malformed(String),
    /// It was taken under a configuration that this state does not have.
    #[error("taken under another configuration: {0}")]
    ConfigMismatch(String),
}

/// State as bytes that say what they are.
///
/// ```
/// use aiops_core::{Snapshot, SnapshotReader, SnapshotWriter};
/// let mut writer = SnapshotWriter::new();
/// writer.u64(7);
/// writer.f64s(&[1.0, f64::NAN]);
/// let bytes = Snapshot::new("example", 1, writer.finish()).to_bytes();
///
/// let snapshot = Snapshot::from_bytes(&bytes, "example", 1)?;
/// let mut reader = SnapshotReader::new(snapshot.payload());
/// assert_eq!(reader.u64()?, 7);
/// assert_eq!(reader.f64s()?.len(), 2);
/// reader.end()?;
/// # Ok::<(), aiops_core::SnapshotError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    kind: String,
    version: u16,
    payload: Vec<u8>,
}

impl Snapshot {
    /// A snapshot of `kind` (at most 255 bytes of text; longer names are cut) in its format
    /// `version`.
    pub fn new(kind: &str, version: u16, payload: Vec<u8>) -> Self {
        let mut kind = kind.to_owned();
        while kind.len() > usize::from(u8::MAX) {
            kind.pop();
        }
        Snapshot { kind, version, payload }
    }

    /// The bytes to keep.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.payload.len() + self.kind.len() + 25);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&CONTAINER_VERSION.to_le_bytes());
        out.push(self.kind.len() as u8);
        out.extend_from_slice(self.kind.as_bytes());
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(&(self.payload.len() as u64).to_le_bytes());
        out.extend_from_slice(&self.payload);
        let checksum = xxh3_64(&out);
        out.extend_from_slice(&checksum.to_le_bytes());
        out
    }

    /// Reads bytes that must hold a `kind` of format version `supported` or older.
    ///
    /// # Errors
    /// Any [`SnapshotError`]; nothing is allocated beyond the size of `bytes`.
    pub fn from_bytes(bytes: &[u8], kind: &str, supported: u16) -> Result<Self, SnapshotError> {
        if !bytes.starts_with(&MAGIC) {
            return Err(SnapshotError::NotASnapshot);
        }
        let got = bytes.len() as u64;
        let short = |expected: usize| SnapshotError::WrongLength { expected: expected as u64, got };
        let Some((body, checksum)) = bytes.split_last_chunk::<8>() else { return Err(short(25)) };
        let mut reader = SnapshotReader::new(body);
        let header = (|| {
            reader.array::<4>()?;
            let container = u16::from_le_bytes(reader.array()?);
            let kind_len = usize::from(reader.u8()?);
            let kind = reader.take(kind_len)?;
            let version = u16::from_le_bytes(reader.array()?);
            Ok::<_, SnapshotError>((container, kind, version, reader.u64()?))
        })();
        let (container, found, version, length) = header.map_err(|_| short(25))?;
        if container != CONTAINER_VERSION {
            let supported = CONTAINER_VERSION;
            return Err(SnapshotError::UnsupportedVersion { found: container, supported });
        }
        let payload = reader.rest();
        if payload.len() as u64 != length {
            let head = got - payload.len() as u64;
            return Err(SnapshotError::WrongLength { expected: head.saturating_add(length), got });
        }
        if xxh3_64(body).to_le_bytes() != *checksum {
            return Err(SnapshotError::Damaged);
        }
        if found != kind.as_bytes() {
            let found = String::from_utf8_lossy(found).into_owned();
            return Err(SnapshotError::WrongKind { expected: kind.to_owned(), found });
        }
        if version > supported {
            return Err(SnapshotError::UnsupportedVersion { found: version, supported });
        }
        Ok(Snapshot { kind: kind.to_owned(), version, payload: payload.to_vec() })
    }

    /// What it holds.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The format version of the payload.
    pub fn version(&self) -> u16 {
        self.version
    }

    /// The state.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }
}

/// State that can be written and read back per shard, so that shards move between processes.
///
/// The contract: `restore(shard, snapshot(shard))` into a fresh value of the same configuration
/// continues **bit for bit** as the original would have. `restore` replaces what the shard held,
/// leaves other shards alone, and changes nothing when it fails. `testing::check_snapshots`
/// judges it.
pub trait Snapshots {
    /// The state of one shard.
    fn snapshot(&self, shard: Shard) -> Vec<u8>;

    /// Replaces the state of one shard.
    ///
    /// # Errors
    /// A [`SnapshotError`]; the state is as before then.
    fn restore(&mut self, shard: Shard, bytes: &[u8]) -> Result<(), SnapshotError>;
}

/// Writes primitives, little-endian.
#[derive(Debug, Default)]
pub struct SnapshotWriter(Vec<u8>);

impl SnapshotWriter {
    /// An empty payload.
    pub fn new() -> Self {
        SnapshotWriter::default()
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    /// Four bytes.
    pub fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Eight bytes.
    pub fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Eight bytes, signed.
    pub fn i64(&mut self, value: i64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// The bits of a float, NaN payloads included.
    pub fn f64(&mut self, value: f64) {
        self.u64(value.to_bits());
    }

    /// The bits of a float.
    pub fn f32(&mut self, value: f32) {
        self.u32(value.to_bits());
    }

    /// A length and that many floats.
    pub fn f64s(&mut self, values: &[f64]) {
        self.u64(values.len() as u64);
        values.iter().for_each(|&value| self.f64(value));
    }

    /// A length and that many bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.u64(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// Text with its length.
    pub fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// The payload.
    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Reads what a [`SnapshotWriter`] wrote. Never allocates more than the bytes that are there.
#[derive(Debug, Clone)]
pub struct SnapshotReader<'a>(&'a [u8]);

impl<'a> SnapshotReader<'a> {
    /// Reads from the start of a payload.
    pub fn new(payload: &'a [u8]) -> Self {
        SnapshotReader(payload)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], SnapshotError> {
        let (head, rest) = self.0.split_at_checked(len).ok_or_else(|| {
            SnapshotError::Malformed(format!("{len} bytes wanted, {} left", self.0.len()))
        })?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], SnapshotError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// One byte.
    ///
    /// # Errors
    /// [`SnapshotError::Malformed`] at the end of the payload, as for every read below.
    pub fn u8(&mut self) -> Result<u8, SnapshotError> {
        Ok(self.array::<1>()?[0])
    }

    /// Four bytes.
    ///
    /// # Errors
    /// [`SnapshotError::Malformed`] at the end of the payload.
    pub fn u32(&mut self) -> Result<u32, SnapshotError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// Eight bytes.
    ///
    /// # Errors
    /// [`SnapshotError::Malformed`] at the end of the payload.
    pub fn u64(&mut self) -> Result<u64, SnapshotError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// Eight bytes, signed.
    ///
    /// # Errors
    /// [`SnapshotError::Malformed`] at the end of the payload.
    pub fn i64(&mut self) -> Result<i64, SnapshotError> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    /// A float, bit for bit.
    ///
    /// # Errors
    /// [`SnapshotError::Malformed`] at the end of the payload.
    pub fn f64(&mut self) -> Result<f64, SnapshotError> {
        Ok(f64::from_bits(self.u64()?))
    }

    /// A float, bit for bit.
    ///
    /// # Errors
    /// [`SnapshotError::Malformed`] at the end of the payload.
    pub fn f32(&mut self) -> Result<f32, SnapshotError> {
        Ok(f32::from_bits(self.u32()?))
    }

    /// A count of things that take at least `size` bytes each: never more than can follow, so that
    /// it is safe to reserve.
    ///
    /// # Errors
    /// [`SnapshotError::Malformed`] when so many cannot follow.
    pub fn count(&mut self, size: usize) -> Result<usize, SnapshotError> {
        let count = self.u64()?;
        let room = self.0.len() / size.max(1);
        usize::try_from(count).ok().filter(|&count| count <= room).ok_or_else(|| {
            SnapshotError::Malformed(format!("{count} items announced, room for {room}"))
        })
    }

    /// Floats with their length.
    ///
    /// # Errors
    /// [`SnapshotError::Malformed`] at the end of the payload.
    pub fn f64s(&mut self) -> Result<Vec<f64>, SnapshotError> {
        let count = self.count(8)?;
        (0..count).map(|_| self.f64()).collect()
    }

    /// Bytes with their length.
    ///
    /// # Errors
    /// [`SnapshotError::Malformed`] at the end of the payload.
    pub fn bytes(&mut self) -> Result<&'a [u8], SnapshotError> {
        let count = self.count(1)?;
        self.take(count)
    }

    /// Text with its length.
    ///
    /// # Errors
    /// [`SnapshotError::Malformed`] at the end of the payload, or when it is not UTF-8.
    pub fn text(&mut self) -> Result<&'a str, SnapshotError> {
        std::str::from_utf8(self.bytes()?)
            .map_err(|error| SnapshotError::Malformed(format!("text is not UTF-8: {error}")))
    }

    /// Everything that is left.
    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// Checks that everything was read.
    ///
    /// # Errors
    /// [`SnapshotError::Malformed`] when bytes are left.
    pub fn end(self) -> Result<(), SnapshotError> {
        if !self.0.is_empty() {
            let left = self.0.len();
            return Err(SnapshotError::Malformed(format!("{left} bytes left over")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes() -> Vec<u8> {
        Snapshot::new("bank", 3, b"state".to_vec()).to_bytes()
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_noticed() {
        let good = bytes();
        assert_eq!(Snapshot::from_bytes(&good, "bank", 3).unwrap().payload(), b"state");
        for len in 0..good.len() {
            assert!(Snapshot::from_bytes(&good[..len], "bank", 3).is_err(), "cut at {len}");
        }
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Snapshot::from_bytes(&bad, "bank", 3).is_err(), "bit {bit}");
        }
        let longer = [good.as_slice(), &[0]].concat();
        assert!(matches!(
            Snapshot::from_bytes(&longer, "bank", 3),
            Err(SnapshotError::WrongLength { .. })
        ));
    }

    #[test]
    fn kinds_and_versions_are_told_apart() {
        assert!(matches!(
            Snapshot::from_bytes(&bytes(), "correlator", 3),
            Err(SnapshotError::WrongKind { .. })
        ));
        assert_eq!(
            Snapshot::from_bytes(&bytes(), "bank", 2),
            Err(SnapshotError::UnsupportedVersion { found: 3, supported: 2 })
        );
    }

    #[test]
    fn an_announced_length_reserves_nothing() {
        let mut writer = SnapshotWriter::new();
        writer.u64(u64::MAX);
        let payload = writer.finish();
        assert!(SnapshotReader::new(&payload).f64s().is_err());
        assert!(SnapshotReader::new(&payload).bytes().is_err());
    }
}
