//! What [`Snapshots`] and a [`ShardWorker`] must do.

use crate::{Shard, ShardBatch, ShardWorker, Snapshots};
use std::fmt::Debug;

/// Judges per-shard snapshots.
///
/// `make` gives a fresh value; `feed(value, round)` feeds round 0, 1, 2, ... of one fixed input that
/// concerns `shard`, and returns what came out of it.
///
/// # Panics
/// With the sentence of the contract that does not hold.
pub fn check_snapshots<S, O>(
    shard: Shard,
    make: impl Fn() -> S,
    mut feed: impl FnMut(&mut S, usize) -> O,
) where
    S: Snapshots,
    O: PartialEq + Debug,
{
    let mut original = make();
    for round in 0..4 {
        feed(&mut original, round);
    }
    let bytes = original.snapshot(shard);
    assert_eq!(bytes, original.snapshot(shard), "taking a snapshot changes nothing");

    let mut restored = make();
    restored.restore(shard, &bytes).unwrap_or_else(|e| panic!("own snapshots restore: {e}"));
    assert_eq!(restored.snapshot(shard), bytes, "a restored state writes the same snapshot");
    for round in 4..8 {
        assert_eq!(
            feed(&mut restored, round),
            feed(&mut original, round),
            "a restored state continues bit for bit (round {round})"
        );
    }
    assert_eq!(restored.snapshot(shard), original.snapshot(shard), "and ends in the same state");

    let before = restored.snapshot(shard);
    for (what, bad) in damaged(&bytes) {
        assert!(restored.restore(shard, &bad).is_err(), "{what} does not restore");
        assert_eq!(restored.snapshot(shard), before, "a refused snapshot changes nothing ({what})");
    }
    restored.restore(shard, &bytes).unwrap_or_else(|e| panic!("a snapshot restores again: {e}"));
    assert_eq!(restored.snapshot(shard), bytes, "restoring replaces what the shard held");
}

/// Judges a [`ShardWorker`] on batches that all belong to `shard`, in order of time.
///
/// # Panics
/// With the sentence of the contract that does not hold.
pub fn check_shard_worker<W>(shard: Shard, make: impl Fn() -> W, batches: &[ShardBatch<'_>])
where
    W: ShardWorker,
    W::Item: PartialEq + Debug,
{
    let (first, second) = batches.split_at(batches.len() / 2);
    let mut original = make();
    run(&mut original, shard, first);
    let bytes = original.snapshot(shard);
    let expected = run(&mut original, shard, second);

    let mut restored = make();
    restored.restore(shard, &bytes).unwrap_or_else(|e| panic!("own snapshots restore: {e}"));
    let replayed = run(&mut restored, shard, first);
    assert!(replayed.is_empty(), "what the snapshot already holds produces nothing when replayed");
    assert_eq!(restored.snapshot(shard), bytes, "and changes nothing");
    assert_eq!(run(&mut restored, shard, second), expected, "then it continues bit for bit");

    let other = Shard::all().find(|s| *s != shard).expect("there are many shards");
    let (kept, foreign) = (restored.snapshot(shard), make().snapshot(other));
    assert_eq!(restored.snapshot(other), foreign, "other shards stay empty");
    restored.forget(other);
    assert_eq!(restored.snapshot(shard), kept, "forgetting another shard changes nothing");
    restored.forget(shard);
    assert_eq!(restored.snapshot(shard), make().snapshot(shard), "a forgotten shard is empty");
    for (what, bad) in damaged(&bytes) {
        assert!(restored.restore(shard, &bad).is_err(), "{what} does not restore");
    }
}

fn run<W: ShardWorker>(worker: &mut W, shard: Shard, batches: &[ShardBatch<'_>]) -> Vec<W::Item> {
    let mut items = Vec::new();
    for batch in batches {
        let processed = worker
            .process(shard, *batch, &mut |item| items.push(item))
            .unwrap_or_else(|e| panic!("a good batch is processed: {e}"));
        let counted = processed.accepted + processed.late + processed.rejected;
        assert_eq!(counted, batch.len(), "every row is accepted, late or rejected");
    }
    items
}

fn damaged(bytes: &[u8]) -> [(&'static str, Vec<u8>); 4] {
    let mut flipped = bytes.to_vec();
    if let Some(byte) = flipped.get_mut(bytes.len() / 2) {
        *byte ^= 0x10;
    }
    let cut = bytes[..bytes.len() - 1].to_vec();
    let longer = [bytes, &[0]].concat();
    [("nothing", vec![]), ("a cut one", cut), ("a longer one", longer), ("a damaged one", flipped)]
}
