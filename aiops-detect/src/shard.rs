//! The state of a bank, a watcher or a router per shard, so that shards move between processes.

use aiops_core::{
    Interner, Labels, SeriesId, SeriesKey, Shard, Snapshot, SnapshotError, SnapshotReader,
    SnapshotWriter, Timestamp,
};

use crate::{DetectorBank, Error, Result, saved::invalid};

const VERSION: u16 = 1;

/// State that is kept per series and moves with its shard.
pub(crate) trait PerSeriesState {
    /// What a snapshot of it calls itself.
    fn kind(&self) -> String;
    /// Writes one series.
    fn save(&self, id: SeriesId, out: &mut SnapshotWriter);
    /// Replaces one series; on an error the series may be half loaded and is released by the caller.
    fn load(&mut self, id: SeriesId, from: &mut SnapshotReader<'_>) -> Result<()>;
    /// Forgets series.
    fn release(&mut self, ids: &[SeriesId]);
}

impl PerSeriesState for dyn DetectorBank + '_ {
    fn kind(&self) -> String {
        format!("detect:{}", self.name())
    }

    fn save(&self, id: SeriesId, out: &mut SnapshotWriter) {
        DetectorBank::save(self, id, out);
    }

    fn load(&mut self, id: SeriesId, from: &mut SnapshotReader<'_>) -> Result<()> {
        DetectorBank::load(self, id, from)
    }

    fn release(&mut self, ids: &[SeriesId]) {
        DetectorBank::release(self, ids);
    }
}

/// Everything that `bank` learnt about the series of one shard, with their keys.
pub fn snapshot_shard(bank: &dyn DetectorBank, interner: &Interner, shard: Shard) -> Vec<u8> {
    snapshot(bank, interner, shard)
}

/// Replaces what `bank` knows about the series of one shard by a snapshot, and returns how many series
/// came. They continue bit for bit. Series of the shard that are not in the snapshot are released.
///
/// # Errors
/// When the bytes are damaged, of another bank, of series of another shard, or do not fit the bank's
/// configuration; the bank is then as it was.
pub fn restore_shard(
    bank: &mut dyn DetectorBank,
    interner: &mut Interner,
    shard: Shard,
    bytes: &[u8],
    now: Timestamp,
) -> Result<usize> {
    restore(bank, interner, shard, bytes, now)
}

pub(crate) fn snapshot<S: PerSeriesState + ?Sized>(
    state: &S,
    interner: &Interner,
    shard: Shard,
) -> Vec<u8> {
    let mut out = SnapshotWriter::new();
    let ids = of_shard(interner, shard);
    out.u64(ids.len() as u64);
    for id in ids {
        let key = interner.key(id).expect("ids of the shard come from the interner");
        write_key(key, &mut out);
        out.bytes(&saved_series(state, id));
    }
    Snapshot::new(&state.kind(), VERSION, out.finish()).to_bytes()
}

fn saved_series<S: PerSeriesState + ?Sized>(state: &S, id: SeriesId) -> Vec<u8> {
    let mut out = SnapshotWriter::new();
    state.save(id, &mut out);
    out.finish()
}

pub(crate) fn restore<S: PerSeriesState + ?Sized>(
    state: &mut S,
    interner: &mut Interner,
    shard: Shard,
    bytes: &[u8],
    now: Timestamp,
) -> Result<usize> {
    let snapshot = Snapshot::from_bytes(bytes, &state.kind(), VERSION)?;
    let mut reader = SnapshotReader::new(snapshot.payload());
    // All is read before anything changes.
    let mut series = Vec::new();
    for _ in 0..reader.count(24)? {
        let key = read_key(&mut reader)?;
        if key.hash().shard() != shard {
            return Err(invalid("shard of a series", key.hash().shard().number()));
        }
        series.push((key, reader.bytes()?));
    }
    reader.end()?;
    let held = of_shard(interner, shard);
    let before: Vec<(SeriesId, Vec<u8>)> =
        held.into_iter().map(|id| (id, saved_series(state, id))).collect();
    let outcome = replace(state, interner, &before, &series, now);
    if outcome.is_err() {
        for (id, bytes) in &before {
            state.load(*id, &mut SnapshotReader::new(bytes))?;
        }
    }
    outcome.map(|()| series.len())
}

fn replace<S: PerSeriesState + ?Sized>(
    state: &mut S,
    interner: &mut Interner,
    before: &[(SeriesId, Vec<u8>)],
    series: &[(SeriesKey, &[u8])],
    now: Timestamp,
) -> Result<()> {
    let held: Vec<SeriesId> = before.iter().map(|(id, _)| *id).collect();
    state.release(&held);
    for (key, bytes) in series {
        let id = interner.intern(key, now)?;
        let mut reader = SnapshotReader::new(bytes);
        let loaded = state.load(id, &mut reader).and_then(|()| Ok(reader.end()?));
        if let Err(error) = loaded {
            state.release(&[id]);
            return Err(error);
        }
    }
    Ok(())
}

fn of_shard(interner: &Interner, shard: Shard) -> Vec<SeriesId> {
    let ids = (0..interner.columns() as u32).map(SeriesId);
    ids.filter(|id| interner.hash(*id).is_some_and(|hash| hash.shard() == shard)).collect()
}

fn write_key(key: &SeriesKey, out: &mut SnapshotWriter) {
    out.text(&key.tenant);
    out.text(&key.name);
    out.u64(key.labels.len() as u64);
    for (name, value) in key.labels.iter() {
        out.text(name);
        out.text(value);
    }
}

fn read_key(from: &mut SnapshotReader<'_>) -> Result<SeriesKey, Error> {
    let tenant = from.text()?.to_owned();
    let name = from.text()?.to_owned();
    let mut labels = Labels::new();
    for _ in 0..from.count(16)? {
        let label = from.text()?.to_owned();
        let value = from.text()?.to_owned();
        if labels.insert(label.clone(), value).is_some() {
            return Err(SnapshotError::Malformed(format!("label {label:?} comes twice")).into());
        }
    }
    Ok(SeriesKey { tenant, name, labels })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PerSeries, Tier, testing::Noise, tier1::RobustConfig, tier2::SurpriseConfig};
    use aiops_core::SampleBatch;

    fn feed(bank: &mut dyn DetectorBank, ids: &[SeriesId], from: i64, to: i64) -> Vec<f64> {
        let mut noise = Noise::new(from as u64);
        let mut all = Vec::new();
        for second in from..to {
            let times = vec![Timestamp::from_secs(second); ids.len()];
            let values: Vec<f64> = ids.iter().map(|_| 5.0 + noise.normal()).collect();
            let mut scores = vec![0.0; ids.len()];
            let batch = SampleBatch::new(ids, &times, &values).unwrap();
            bank.update(&batch, &mut scores, &mut Vec::new()).unwrap();
            all.extend(scores);
        }
        all
    }

    fn check(make: impl Fn() -> Box<dyn DetectorBank>) {
        let mut interner = Interner::new(100);
        let now = Timestamp::EPOCH;
        let key = |i: u32| SeriesKey::new(format!("metric_{i}"), [("service", "api")]);
        let ids: Vec<_> = (0..20).map(|i| interner.intern(&key(i), now).unwrap()).collect();
        let mut bank = make();
        feed(&mut *bank, &ids, 0, 100);
        // Another process: other ids, and a series of the shard that the snapshot does not know.
        let mut elsewhere = Interner::new(100);
        let moved: Vec<_> =
            (0..20).rev().map(|i| elsewhere.intern(&key(i), now).unwrap()).collect();
        let mut other = make();
        let mut shards: Vec<Shard> = (0..20).map(|i| key(i).hash().shard()).collect();
        shards.sort_by_key(|shard| shard.number());
        shards.dedup_by_key(|shard| shard.number());
        let mut restored = 0;
        for shard in shards {
            let bytes = snapshot_shard(&*bank, &interner, shard);
            let mut damaged = bytes.clone();
            damaged[30] ^= 1;
            assert!(restore_shard(&mut *other, &mut elsewhere, shard, &damaged, now).is_err());
            restored += restore_shard(&mut *other, &mut elsewhere, shard, &bytes, now).unwrap();
        }
        assert_eq!(restored, 20);
        let in_order: Vec<_> = moved.into_iter().rev().collect();
        let (a, b) = (feed(&mut *bank, &ids, 100, 200), feed(&mut *other, &in_order, 100, 200));
        assert_eq!(a, b, "a moved shard continues bit for bit");
    }

    #[test]
    fn shards_move_between_processes() {
        check(|| Box::new(RobustConfig::default().build_bank().unwrap()));
        check(|| {
            Box::new(PerSeries::new(Tier::Two, 0, || SurpriseConfig::default().build().unwrap()))
        });
    }
}
