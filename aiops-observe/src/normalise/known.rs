//! Known identities: from the bytes that name a series on the wire to its dense id, without reading
//! its labels again.

use aiops_core::SeriesId;
use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// No entry.
pub(crate) const NONE: u32 = u32::MAX;

/// What was seen on the wire, with the id it resolved to.
///
/// Senders repeat themselves: after one series comes the series that came after it last time. So
/// each entry remembers its successor, and a guess is confirmed by comparing bytes, which costs
/// less than hashing them and misses no cache line of a table. A wrong guess costs a look-up by
/// hash. Bytes are always compared: a position or a hash is never trusted.
///
/// Memory: 32 bytes, the identity and 6 to 12 bytes of table per entry.
#[derive(Debug, Default)]
pub(crate) struct Known {
    entries: Vec<Entry>,
    bytes: Vec<u8>,
    by_hash: HashTable<u32>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    hash: u64,
    start: usize,
    len: u32,
    source: u32,
    id: SeriesId,
    /// The entry that came after this one last time.
    next: u32,
}

impl Known {
    /// The identity of the entry after `last`; nothing when there is none of this source.
    #[inline]
    pub(crate) fn guess(&self, last: u32, source: u32) -> &[u8] {
        let next = self.entries.get(last as usize).map_or(NONE, |entry| entry.next);
        match self.entries.get(next as usize) {
            Some(entry) if entry.source == source => self.bytes_of(entry),
            _ => &[],
        }
    }

    /// The entry after `last`, if it has these bytes. Entries of another source never match.
    #[inline]
    pub(crate) fn follow(
        &self,
        last: u32,
        source: u32,
        identity: &[u8],
    ) -> Option<(u32, SeriesId)> {
        let next = self.entries.get(last as usize)?.next;
        let entry = self.entries.get(next as usize)?;
        (entry.source == source && self.bytes_of(entry) == identity).then_some((next, entry.id))
    }

    /// Looks the identity up by its hash.
    pub(crate) fn find(&self, source: u32, identity: &[u8]) -> Result<(u32, SeriesId), u64> {
        let hash = xxh3_64_with_seed(identity, u64::from(source));
        let found = self.by_hash.find(hash, |&index| {
            let entry = &self.entries[index as usize];
            entry.hash == hash && entry.source == source && self.bytes_of(entry) == identity
        });
        found.map(|&index| (index, self.entries[index as usize].id)).ok_or(hash)
    }

    /// Remembers an identity that [`find`](Self::find) did not know; `hash` is what it returned.
    pub(crate) fn insert(&mut self, hash: u64, source: u32, identity: &[u8], id: SeriesId) -> u32 {
        let index = self.entries.len() as u32;
        let (start, len) = (self.bytes.len(), identity.len() as u32);
        self.bytes.extend_from_slice(identity);
        self.entries.push(Entry { hash, start, len, source, id, next: NONE });
        self.by_hash.insert_unique(hash, index, |&index| self.entries[index as usize].hash);
        index
    }

    /// Notes that `next` came after `last`.
    #[inline]
    pub(crate) fn link(&mut self, last: u32, next: u32) {
        if let Some(entry) = self.entries.get_mut(last as usize) {
            entry.next = next;
        }
    }

    /// Forgets the entries of ids that are `gone`, and closes the gaps.
    pub(crate) fn retain(&mut self, keep: impl Fn(SeriesId) -> bool) {
        let old = std::mem::take(self);
        for entry in old.entries.iter().filter(|entry| keep(entry.id)) {
            self.insert(entry.hash, entry.source, old.bytes_of(entry), entry.id);
        }
        // Neighbours in the table came one after the other when they were first seen: a good guess.
        for index in 1..self.entries.len() {
            self.entries[index - 1].next = index as u32;
        }
    }

    /// Bytes of memory held.
    pub(crate) fn memory(&self) -> usize {
        self.bytes.capacity()
            + self.entries.capacity() * size_of::<Entry>()
            + self.by_hash.capacity() * (size_of::<u32>() + 1)
    }

    /// Bytes of memory needed, as against reserved.
    pub(crate) fn used(&self) -> usize {
        self.bytes.len() + self.entries.len() * (size_of::<Entry>() + 2 * size_of::<u32>())
    }

    #[inline]
    fn bytes_of(&self, entry: &Entry) -> &[u8] {
        &self.bytes[entry.start..entry.start + entry.len as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learn(known: &mut Known, source: u32, identity: &[u8], id: u32) -> u32 {
        let hash = known.find(source, identity).unwrap_err();
        known.insert(hash, source, identity, SeriesId(id))
    }

    #[test]
    fn successors_are_guessed_and_checked() {
        let mut known = Known::default();
        let a = learn(&mut known, 0, b"a", 7);
        let b = learn(&mut known, 0, b"b", 8);
        assert_eq!(known.follow(a, 0, b"b"), None, "not seen in this order yet");
        known.link(a, b);
        assert_eq!(known.follow(a, 0, b"b"), Some((b, SeriesId(8))));
        assert_eq!(known.follow(a, 0, b"c"), None);
        assert_eq!(known.follow(a, 1, b"b"), None, "of another source");
        assert_eq!(known.follow(NONE, 0, b"a"), None);
        assert_eq!(known.find(0, b"a"), Ok((a, SeriesId(7))));
        assert!(known.find(1, b"a").is_err());
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let mut known = Known::default();
        for id in 0..100 {
            learn(&mut known, 3, format!("series {id}").as_bytes(), id);
        }
        known.retain(|id| id.0 % 2 == 1);
        assert!(known.find(3, b"series 42").is_err());
        let (at, id) = known.find(3, b"series 43").unwrap();
        assert_eq!(id, SeriesId(43));
        assert_eq!(known.follow(at, 3, b"series 45"), Some((at + 1, SeriesId(45))));
    }
}
