//! The points of the last hour in the store, so that a restart finds detectors warm and charts drawn.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use aiops_core::{
    Batch, SeriesHash, SeriesId, SeriesKey, Snapshot, SnapshotError, SnapshotReader,
    SnapshotWriter, Store, Timestamp,
};

use crate::recent::Recent;
use crate::{Error, Result};

/// How often points are kept: what came in since is lost with the process, and shows as a gap.
pub const EVERY: Duration = Duration::from_secs(10);

const KIND: &str = "service:points";
const VERSION: u16 = 1;
const PAGE: usize = 500;

/// What was kept: series, and their values step by step.
#[derive(Debug, Default)]
pub struct Kept {
    /// The series, by the number that `steps` uses.
    pub series: Vec<SeriesKey>,
    /// Time of each step with the values that there were, in the order of time.
    pub steps: BTreeMap<Timestamp, Vec<(usize, f64)>>,
}

/// Points in a store: a ring of keys, one for each [`EVERY`], so that their number does not grow, and one key a series.
/// A record is 8 bytes a series and 8 a point.
pub struct Points {
    store: Arc<dyn Store>,
    /// How many records the ring has.
    records: i64,
    known: BTreeSet<SeriesHash>,
    /// Everything before this is kept.
    until: Timestamp,
}

impl std::fmt::Debug for Points {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Points").field("series", &self.known.len()).finish_non_exhaustive()
    }
}

impl Points {
    /// Points in this store, of the last `back` before `now`. Records that cannot be read are left out and said so:
    /// points are a convenience, and no alert hangs on them.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn open(store: Arc<dyn Store>, back: Duration, now: Timestamp) -> Result<(Self, Kept)> {
        let records = back.as_secs().div_ceil(EVERY.as_secs()).max(1) as i64;
        let mut points = Points { store, records, known: BTreeSet::new(), until: now };
        let mut kept = Kept::default();
        let mut numbers = BTreeMap::new();
        points.each(b"series/", |value| match serde_json::from_slice::<SeriesKey>(value) {
            Ok(key) => {
                numbers.insert(key.hash(), kept.series.len());
                kept.series.push(key);
            }
            Err(error) => eprintln!("a series that was kept cannot be read: {error}"),
        })?;
        points.known = numbers.keys().copied().collect();
        points.each(b"points/", |value| {
            if let Err(error) = read(value, &numbers, now - back, &mut kept.steps) {
                eprintln!("points that were kept cannot be read and are left out: {error}");
            }
        })?;
        Ok((points, kept))
    }

    fn each(&self, prefix: &[u8], mut work: impl FnMut(&[u8])) -> Result<()> {
        let failed = |source| Error::Store { operation: "reading points", source };
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = self.store.scan(prefix, after.as_deref(), PAGE).map_err(failed)?;
            page.iter().for_each(|entry| work(&entry.value));
            after = page.last().map(|entry| entry.key.clone());
            if page.len() < PAGE {
                return Ok(());
            }
        }
    }

    /// Keeps the steps that ended since the last time, once [`EVERY`].
    ///
    /// # Errors
    /// [`Error::Store`]; the next call keeps them.
    pub fn keep<'a>(
        &mut self,
        series: impl Iterator<Item = (SeriesId, &'a SeriesKey, SeriesHash)>,
        recent: &Recent,
        now: Timestamp,
    ) -> Result<()> {
        if now.since(self.until) < EVERY {
            return Ok(());
        }
        let Some((first, steps)) = recent.ended(self.until, now) else { return Ok(()) };
        let mut batch = Batch::new();
        let mut body = SnapshotWriter::new();
        body.u64(first.as_nanos() as u64);
        body.u64(recent.step().as_nanos() as u64);
        let mut rows = SnapshotWriter::new();
        let mut count = 0;
        let mut new = Vec::new();
        for (id, key, hash) in series {
            let Some(values) = recent.values(id, first, steps) else { continue };
            rows.u64(hash.as_u64());
            rows.f64s(&values);
            count += 1;
            if !self.known.contains(&hash) {
                let text = serde_json::to_vec(key).expect("nouns are JSON");
                batch = batch.put(name_of(hash), text);
                new.push(hash);
            }
        }
        body.u64(count);
        body.bytes(&rows.finish());
        let record = now.as_secs().div_euclid(EVERY.as_secs() as i64).rem_euclid(self.records);
        let body = Snapshot::new(KIND, VERSION, body.finish()).to_bytes();
        batch = batch.put(format!("points/{record:06}"), body);
        let kept = self.store.commit(batch);
        kept.map_err(|source| Error::Store { operation: "keeping points", source })?;
        self.known.extend(new);
        self.until = first + recent.step() * steps as u32;
        Ok(())
    }

    /// Forgets all series but these; their points leave with the ring.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn retain(&mut self, is_kept: impl Fn(SeriesHash) -> bool) -> Result<()> {
        let gone: Vec<_> = self.known.iter().copied().filter(|hash| !is_kept(*hash)).collect();
        if gone.is_empty() {
            return Ok(());
        }
        let batch = gone.iter().fold(Batch::new(), |batch, hash| batch.delete(name_of(*hash)));
        let done = self.store.commit(batch);
        done.map_err(|source| Error::Store { operation: "forgetting series", source })?;
        gone.iter().for_each(|hash| {
            self.known.remove(hash);
        });
        Ok(())
    }
}

fn name_of(hash: SeriesHash) -> String {
    format!("series/{:016x}", hash.as_u64())
}

/// Adds the points of one record that are not older than `oldest`.
fn read(
    bytes: &[u8],
    numbers: &BTreeMap<SeriesHash, usize>,
    oldest: Timestamp,
    steps: &mut BTreeMap<Timestamp, Vec<(usize, f64)>>,
) -> std::result::Result<(), SnapshotError> {
    let snapshot = Snapshot::from_bytes(bytes, KIND, VERSION)?;
    let mut body = SnapshotReader::new(snapshot.payload());
    let first = Timestamp::from_nanos(body.u64()? as i64);
    let (step, count) = (body.u64()?, body.u64()?);
    let mut rows = SnapshotReader::new(body.bytes()?);
    for _ in 0..count {
        let number = numbers.get(&SeriesHash::from_u64(rows.u64()?)).copied();
        for (n, value) in rows.f64s()?.into_iter().enumerate() {
            let time = first + Duration::from_nanos(step.saturating_mul(n as u64));
            if let Some(number) = number.filter(|_| value.is_finite() && time >= oldest) {
                steps.entry(time).or_default().push((number, value));
            }
        }
    }
    rows.end()?;
    body.end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use aiops_core::{MemoryStore, SampleBatch};

    #[test]
    fn what_was_kept_comes_back_step_by_step_and_damage_costs_one_record() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let hour = Duration::from_secs(3_600);
        let at = |second: i64| Timestamp::from_secs(1_000_000 + second);
        let key = SeriesKey::new("latency", [("service", "api")]);
        let (id, hash) = (SeriesId(0), key.hash());
        let mut recent = Recent::new(Duration::from_secs(5), 720);
        let (mut points, kept) = Points::open(store.clone(), hour, at(0)).unwrap();
        assert!(kept.series.is_empty() && kept.steps.is_empty());
        for second in 0..95 {
            let value = [second as f64];
            recent.push(&SampleBatch::new(&[id], &[at(second)], &value).unwrap());
            points.keep([(id, &key, hash)].into_iter(), &recent, at(second)).unwrap();
        }
        let (_, kept) = Points::open(store.clone(), hour, at(100)).unwrap();
        assert_eq!(kept.series, std::slice::from_ref(&key));
        let expected: Vec<_> =
            (0..18).map(|n| (at(5 * n), vec![(0, (5 * n + 4) as f64)])).collect();
        assert_eq!(kept.steps.into_iter().collect::<Vec<_>>(), expected, "the last of each step");

        let entry = store.scan(b"points/", None, 1).unwrap().remove(0);
        store.commit(Batch::new().put(entry.key, &entry.value[..20])).unwrap();
        let (mut points, kept) = Points::open(store.clone(), hour, at(100)).unwrap();
        assert_eq!(kept.steps.len(), 16);
        points.retain(|_| false).unwrap();
        let (_, kept) = Points::open(store, hour, at(100)).unwrap();
        assert!(kept.series.is_empty() && kept.steps.is_empty());
    }
}
