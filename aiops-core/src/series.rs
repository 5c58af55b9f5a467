//! What a series is called: labels, keys, stable hashes and the dense ids that index columns.

use crate::hash::{CanonicalHasher, hash_id};
use crate::{Error, Result, Timestamp};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Label names and values, sorted by name; a name occurs once.
///
/// ```
/// use aiops_core::Labels;
/// let labels = Labels::from([("service", "api"), ("zone", "a")]);
/// assert_eq!(labels.get("service"), Some("api"));
/// assert_eq!(labels.to_string(), r#"{service="api", zone="a"}"#);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Labels(BTreeMap<String, String>);

impl Labels {
    /// No labels.
    pub fn new() -> Self {
        Labels::default()
    }

    /// The value of `name`. An empty value counts as absent, as it does in Prometheus.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Sets `name` to `value` and returns the former value.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<String>) -> Option<String> {
        self.0.insert(name.into(), value.into())
    }

    /// Removes `name` and returns its value.
    pub fn remove(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    /// Names and values in the order of names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// How many labels there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(iter: I) -> Self {
        Labels(iter.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl<N: Into<String>, V: Into<String>, const K: usize> From<[(N, V); K]> for Labels {
    fn from(pairs: [(N, V); K]) -> Self {
        pairs.into_iter().collect()
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, (name, value)) in self.iter().enumerate() {
            write!(f, "{}{name}={value:?}", if i == 0 { "" } else { ", " })?;
        }
        f.write_str("}")
    }
}

hash_id! {
    /// The stable identity of a series: xxh3 over the canonical bytes of tenant, name and sorted
    /// labels. Used wherever something outlives the process: shards, snapshots, alert ids.
    SeriesHash
}

/// How many logical shards there are, for ever: growing a deployment moves shards, not keys.
pub const SHARDS: u16 = 1_024;

/// A logical shard, `SeriesHash mod SHARDS`. State is stored per shard so that it can move.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(try_from = "u16", into = "u16")]
pub struct Shard(u16);

impl Shard {
    /// The shard with this number.
    ///
    /// # Errors
    /// [`Error::Malformed`] at [`SHARDS`] and above.
    pub fn new(number: u16) -> Result<Self> {
        if number >= SHARDS {
            let reason = format!("must be below {SHARDS}, got {number}");
            return Err(Error::malformed("shard", reason));
        }
        Ok(Shard(number))
    }

    /// Its number, below [`SHARDS`].
    pub const fn number(self) -> u16 {
        self.0
    }

    /// Every shard, in order.
    pub fn all() -> impl ExactSizeIterator<Item = Shard> {
        (0..SHARDS).map(Shard)
    }
}

impl TryFrom<u16> for Shard {
    type Error = Error;
    fn try_from(number: u16) -> Result<Self> {
        Shard::new(number)
    }
}

impl From<Shard> for u16 {
    fn from(shard: Shard) -> u16 {
        shard.0
    }
}

impl SeriesHash {
    /// The shard that this series belongs to.
    pub const fn shard(self) -> Shard {
        Shard((self.as_u64() % SHARDS as u64) as u16)
    }
}

/// The full name of a series: tenant, metric name and labels.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct SeriesKey {
    /// Whose series it is; empty in a single-tenant deployment.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tenant: String,
    /// The metric name, for example `http_request_duration_seconds_p99`.
    pub name: String,
    /// Everything else that tells it from its siblings.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
}

impl SeriesKey {
    /// A series of the empty tenant.
    pub fn new(name: impl Into<String>, labels: impl Into<Labels>) -> Self {
        SeriesKey { tenant: String::new(), name: name.into(), labels: labels.into() }
    }

    /// The stable identity.
    pub fn hash(&self) -> SeriesHash {
        let head = CanonicalHasher::new("series").text(&self.tenant).text(&self.name);
        let hasher = self.labels.iter().fold(head, |h, (name, value)| h.text(name).text(value));
        SeriesHash::from_u64(hasher.finish())
    }

    /// The service that the labels name, under `service`.
    pub fn service(&self) -> Option<&str> {
        self.labels.get("service")
    }
}

impl fmt::Display for SeriesKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.tenant.is_empty() {
            write!(f, "{}/", self.tenant)?;
        }
        f.write_str(&self.name)?;
        if !self.labels.is_empty() {
            write!(f, "{}", self.labels)?;
        }
        Ok(())
    }
}

/// The index of a series in columns: dense, from an [`Interner`], and only valid in this process.
///
/// It has no serde on purpose: a dense id that reached a disk would name another series after a
/// restart. Use [`SeriesHash`] for that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SeriesId(pub u32);

impl SeriesId {
    /// As a column index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Hands out dense [`SeriesId`]s, evicts idle series and reuses their ids safely.
///
/// An id passes through four hands: [`intern`](Self::intern) gives it out,
/// [`evict_idle`](Self::evict_idle) retires it after a time to live, every bank that keeps columns
/// releases it, and only then [`reuse`](Self::reuse) lets it name another series. Reusing it at
/// eviction would let a new series inherit the state of a dead one.
///
/// Memory: one key, one hash entry and 24 bytes per series; bounded by `max_series`.
///
/// ```
/// use aiops_core::{Interner, SeriesKey, Labels, Timestamp};
/// use std::time::Duration;
///
/// let mut interner = Interner::new(10);
/// let key = SeriesKey::new("up", Labels::new());
/// let id = interner.intern(&key, Timestamp::from_secs(0))?;
///
/// let retired = interner.evict_idle(Timestamp::from_secs(100), Duration::from_secs(60));
/// assert_eq!(retired, [id]);
/// // ... every bank: bank.release(&retired) ...
/// interner.reuse(&retired);
/// # Ok::<(), aiops_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Interner {
    ids: FxHashMap<SeriesHash, SeriesId>,
    slots: Vec<Slot>,
    free: Vec<SeriesId>,
    max_series: usize,
}

#[derive(Debug)]
enum Slot {
    Live {
        key: SeriesKey,
        hash: SeriesHash,
        last_seen: Timestamp,
    },
    /// Evicted, but a bank may still hold state under this id.
    Retired,
    Free,
}

impl Interner {
    /// An interner that refuses more than `max_series` series at once.
    pub fn new(max_series: usize) -> Self {
        let max_series = max_series.min(u32::MAX as usize);
        Interner { ids: FxHashMap::default(), slots: Vec::new(), free: Vec::new(), max_series }
    }

    /// The id of `key`, a new one if it has none, and notes that it was seen at `now`.
    ///
    /// # Errors
    /// [`Error::LimitReached`] when a new series would exceed the limit, [`Error::Duplicate`] when
    /// two different keys have the same 64-bit hash (one chance in 10^7 at a million series).
    pub fn intern(&mut self, key: &SeriesKey, now: Timestamp) -> Result<SeriesId> {
        let hash = key.hash();
        if let Some(&id) = self.ids.get(&hash) {
            if let Slot::Live { key: known, last_seen, .. } = &mut self.slots[id.index()] {
                if known != key {
                    return Err(Error::Duplicate { what: "series hash of", name: key.to_string() });
                }
                *last_seen = now.max(*last_seen);
            }
            return Ok(id);
        }
        if self.ids.len() >= self.max_series {
            return Err(Error::LimitReached { what: "series", limit: self.max_series });
        }
        let slot = Slot::Live { key: key.clone(), hash, last_seen: now };
        let id = match self.free.pop() {
            Some(id) => {
                self.slots[id.index()] = slot;
                id
            }
            None if self.slots.len() >= self.max_series => {
                // Retired ids still occupy their columns: they count until they are reused.
                return Err(Error::LimitReached { what: "series", limit: self.max_series });
            }
            None => {
                self.slots.push(slot);
                SeriesId((self.slots.len() - 1) as u32)
            }
        };
        self.ids.insert(hash, id);
        Ok(id)
    }

    /// Notes that a series was seen, without looking its key up. Unknown ids are ignored.
    pub fn touch(&mut self, id: SeriesId, now: Timestamp) {
        if let Some(Slot::Live { last_seen, .. }) = self.slots.get_mut(id.index()) {
            *last_seen = now.max(*last_seen);
        }
    }

    /// The id of a series that was interned.
    pub fn get(&self, hash: SeriesHash) -> Option<SeriesId> {
        self.ids.get(&hash).copied()
    }

    /// The key behind an id, while the series lives.
    pub fn key(&self, id: SeriesId) -> Option<&SeriesKey> {
        match self.slots.get(id.index()) {
            Some(Slot::Live { key, .. }) => Some(key),
            _ => None,
        }
    }

    /// The stable identity behind an id, while the series lives.
    pub fn hash(&self, id: SeriesId) -> Option<SeriesHash> {
        match self.slots.get(id.index()) {
            Some(Slot::Live { hash, .. }) => Some(*hash),
            _ => None,
        }
    }

    /// How many series live.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether none lives.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// One more than the largest id ever given out: how long a column must be.
    pub fn columns(&self) -> usize {
        self.slots.len()
    }

    /// Retires every series not seen for `ttl`, in the order of ids. The ids stay unused until
    /// [`reuse`](Self::reuse).
    pub fn evict_idle(&mut self, now: Timestamp, ttl: Duration) -> Vec<SeriesId> {
        let mut retired = Vec::new();
        for (index, slot) in self.slots.iter_mut().enumerate() {
            if let Slot::Live { hash, last_seen, .. } = slot
                && now.since(*last_seen) > ttl
            {
                self.ids.remove(hash);
                *slot = Slot::Retired;
                retired.push(SeriesId(index as u32));
            }
        }
        retired
    }

    /// Makes retired ids available again, after every bank has released them. Ids that are not
    /// retired are left alone, so that a repeated call is harmless.
    pub fn reuse(&mut self, released: &[SeriesId]) {
        for &id in released {
            if let Some(slot @ Slot::Retired) = self.slots.get_mut(id.index()) {
                *slot = Slot::Free;
                self.free.push(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u32) -> SeriesKey {
        SeriesKey::new("m", [("n", n.to_string())])
    }

    #[test]
    fn hash_is_frozen() {
        // The canonical bytes are a format: these values must survive every refactoring. They
        // were checked against an independent implementation; see tests/golden/hashes.md.
        let key = SeriesKey {
            tenant: "acme".into(),
            name: "http_requests_total".into(),
            labels: Labels::from([("code", "500"), ("service", "api")]),
        };
        assert_eq!(key.hash().to_string(), include_str!("../tests/golden/series_hash.txt").trim());
    }

    #[test]
    fn an_id_is_not_reused_before_it_is_released() -> Result<()> {
        let mut interner = Interner::new(2);
        let old = interner.intern(&key(0), Timestamp::from_secs(0))?;
        let kept = interner.intern(&key(1), Timestamp::from_secs(90))?;
        assert_eq!(interner.evict_idle(Timestamp::from_secs(100), Duration::from_secs(60)), [old]);
        assert!(interner.intern(&key(2), Timestamp::from_secs(100)).is_err(), "column still held");
        interner.reuse(&[old, old, kept]);
        assert_eq!(interner.intern(&key(2), Timestamp::from_secs(100))?, old);
        assert_eq!(interner.key(kept), Some(&key(1)), "a live id is never freed");
        assert!(interner.intern(&key(3), Timestamp::from_secs(100)).is_err());
        Ok(())
    }

    #[test]
    fn a_returning_series_gets_a_fresh_id() -> Result<()> {
        let mut interner = Interner::new(8);
        let first = interner.intern(&key(0), Timestamp::from_secs(0))?;
        interner.evict_idle(Timestamp::from_secs(100), Duration::from_secs(1));
        let second = interner.intern(&key(0), Timestamp::from_secs(101))?;
        assert_ne!(first, second, "the banks may still hold state of the first life");
        Ok(())
    }
}
