//! What a [`Store`] must do.

use crate::{Batch, Change, Store, StoreError};
use std::sync::Arc;

/// Judges a [`Store`]; `make` gives an empty one each time.
///
/// # Panics
/// With the sentence of the contract that does not hold.
pub fn check_store<S: Store + 'static>(make: impl Fn() -> S) {
    reads_of_nothing(&make());
    writes_are_read_back(&make());
    batches_are_all_or_nothing(&make());
    versions_never_return(&make());
    changes_apply_in_order(&make());
    scans_are_ordered_and_paged(&make());
    logs_are_numbered_without_gaps(&make());
    spaces_are_separate_and_bytes_are_bytes(&make());
    writers_race_without_losing_updates(Arc::new(make()));
    time_does_not_stand_at_the_epoch(&make());
}

fn reads_of_nothing(store: &dyn Store) {
    assert_eq!(ok(store.get(b"absent")), None, "an absent key has no value");
    assert!(ok(store.scan(b"", None, 10)).is_empty(), "an empty store scans empty");
    assert!(ok(store.read_log(b"absent", 0, 10)).is_empty(), "an absent log reads empty");
    ok(store.commit(Batch::new()));
}

fn writes_are_read_back(store: &dyn Store) {
    let version = ok(store.commit(Batch::new().put("k", "v")));
    let read = ok(store.get(b"k")).expect("a committed value is there");
    assert_eq!(read.value, b"v", "a value is read as it was written");
    assert_eq!(read.version, version, "commit returns the version that it gave");
    assert_ne!(version, 0, "0 means absent and is never given");
    ok(store.commit(Batch::new().expect("k", version).delete("k")));
    assert_eq!(ok(store.get(b"k")), None, "a deleted key is gone");
    ok(store.commit(Batch::new().delete("k")));
}

fn batches_are_all_or_nothing(store: &dyn Store) {
    ok(store.commit(Batch::new().put("held", "1")));
    let batch = Batch::new().put("new", "1").append("log", "1").delete("held").expect("absent", 0);
    let refused = store.commit(batch.clone().expect("held", 0));
    match refused {
        Err(StoreError::Conflict { key, expected, found }) => {
            assert_eq!((key.as_slice(), expected), (&b"held"[..], 0), "a conflict names the key");
            assert_ne!(found, 0, "a conflict names the version that was found");
        }
        other => panic!("an expectation that fails is a conflict, got {other:?}"),
    }
    assert_eq!(ok(store.get(b"new")), None, "a refused batch writes nothing");
    assert!(ok(store.get(b"held")).is_some(), "a refused batch deletes nothing");
    assert!(ok(store.read_log(b"log", 0, 1)).is_empty(), "a refused batch appends nothing");
    ok(store.commit(batch));
    assert!(ok(store.get(b"new")).is_some(), "the same batch applies once its expectations hold");
}

fn versions_never_return(store: &dyn Store) {
    let mut last = 0;
    for _ in 0..3 {
        let version = ok(store.commit(Batch::new().put("k", "same")));
        assert!(version > last, "every write of a key raises its version");
        last = version;
        ok(store.commit(Batch::new().delete("k")));
        let stale = store.commit(Batch::new().expect("k", version).put("k", "x"));
        assert!(
            stale.is_err_and(|error| error.is_conflict()),
            "the version of a deleted key is never expected with success"
        );
    }
    let other = ok(store.commit(Batch::new().put("other", "x")));
    let unchanged = ok(store.commit(Batch::new().expect("other", other)));
    let _ = unchanged;
    assert_eq!(
        ok(store.get(b"other")).map(|v| v.version),
        Some(other),
        "a batch that only expects does not touch the version of a key"
    );
}

fn changes_apply_in_order(store: &dyn Store) {
    ok(store.commit(Batch::new().put("k", "1").delete("k").put("k", "2")));
    assert_eq!(ok(store.get(b"k")).map(|v| v.value), Some(b"2".to_vec()), "the last change wins");
    ok(store.commit(Batch::new().put("k", "3").delete("k")));
    assert_eq!(ok(store.get(b"k")), None, "a delete after a put wins");
    ok(store.commit(Batch::new().append("l", "a").append("l", "b")));
    let records: Vec<_> = ok(store.read_log(b"l", 0, 9)).into_iter().map(|r| r.record).collect();
    assert_eq!(records, [b"a".to_vec(), b"b".to_vec()], "records keep the order of the batch");
}

fn scans_are_ordered_and_paged(store: &dyn Store) {
    let keys: [&[u8]; 6] = [b"a", b"b", b"b/\x00", b"b/1", b"b/\xff", b"c"];
    for key in keys.iter().rev() {
        ok(store.commit(Batch::new().put(*key, *key)));
    }
    let scan = |prefix: &[u8], after: Option<&[u8]>, limit| {
        ok(store.scan(prefix, after, limit)).into_iter().map(|e| e.key).collect::<Vec<_>>()
    };
    assert_eq!(scan(b"", None, 99), keys, "an empty prefix scans everything in byte order");
    assert_eq!(scan(b"b/", None, 99), keys[2..5], "a scan stays within its prefix, \\xff too");
    assert_eq!(scan(b"b", None, 2), keys[1..3], "a scan stops at its limit");
    assert_eq!(scan(b"b", Some(keys[2]), 99), keys[3..5], "a page starts after the last key");
    assert_eq!(
        scan(b"b", Some(b"a"), 1),
        keys[1..2],
        "an `after` before the prefix changes nothing"
    );
    assert!(scan(b"b", Some(b"c"), 9).is_empty(), "an `after` beyond the prefix ends the scan");
    assert!(scan(b"", None, 0).is_empty(), "a limit of 0 returns nothing");
    let entry = ok(store.scan(b"c", None, 1)).remove(0);
    assert_eq!(
        Some((entry.version, entry.value)),
        ok(store.get(b"c")).map(|v| (v.version, v.value)),
        "scan and get agree"
    );
}

fn logs_are_numbered_without_gaps(store: &dyn Store) {
    for i in 0..10_u8 {
        ok(store.commit(Batch::new().append("log", [i]).append("other", [i])));
    }
    let page = ok(store.read_log(b"log", 3, 4));
    let expected: Vec<_> = (3..7_u8).map(|i| (u64::from(i), vec![i])).collect();
    let found: Vec<_> = page.into_iter().map(|r| (r.position, r.record)).collect();
    assert_eq!(found, expected, "positions count from 0 without gaps, per log");
    assert!(ok(store.read_log(b"log", 10, 1)).is_empty(), "reading past the end is empty");
    assert!(
        ok(store.read_log(b"log", u64::MAX, 1)).is_empty(),
        "reading far past the end is empty"
    );
    assert!(ok(store.read_log(b"log", 0, 0)).is_empty(), "a limit of 0 returns nothing");
}

fn spaces_are_separate_and_bytes_are_bytes(store: &dyn Store) {
    let odd: Vec<u8> = (0..=255).collect();
    let changes = vec![
        Change::Put { key: vec![], value: vec![] },
        Change::Put { key: odd.clone(), value: odd.clone() },
        Change::Append { log: vec![], record: vec![] },
        Change::Append { log: odd.clone(), record: odd.clone() },
    ];
    ok(store.commit(Batch { expects: vec![], changes }));
    assert_eq!(ok(store.get(b"")).map(|v| v.value), Some(vec![]), "the empty key is a key");
    assert_eq!(ok(store.get(&odd)).map(|v| v.value), Some(odd.clone()), "any byte may occur");
    assert_eq!(ok(store.read_log(b"", 0, 9)).len(), 1, "the empty log is a log");
    assert_eq!(ok(store.read_log(&odd, 0, 9))[0].record, odd, "any byte may occur in a record");
    assert_eq!(ok(store.scan(b"", None, 9)).len(), 2, "logs are not keys");
    let large = vec![7_u8; 1 << 20];
    ok(store.commit(Batch::new().put("large", large.clone())));
    assert!(ok(store.get(b"large")).is_some_and(|v| v.value == large), "a value may have 1 MiB");
}

fn writers_race_without_losing_updates(store: Arc<dyn Store>) {
    const WRITERS: u64 = 4;
    const WRITES: u64 = 25;
    std::thread::scope(|scope| {
        for _ in 0..WRITERS {
            let store = Arc::clone(&store);
            scope.spawn(move || (0..WRITES).for_each(|_| increment(&*store)));
        }
    });
    let total = ok(store.get(b"count")).map(|v| read_u64(&v.value));
    assert_eq!(total, Some(WRITERS * WRITES), "compare-and-swap loses no update");
    let records = ok(store.read_log(b"counts", 0, 1_000));
    let counts: Vec<_> = records.iter().map(|r| read_u64(&r.record)).collect();
    let expected: Vec<_> = (1..=WRITERS * WRITES).collect();
    assert_eq!(counts, expected, "appends stand in the order of the commits");
}

fn increment(store: &dyn Store) {
    loop {
        let seen = ok(store.get(b"count"));
        let (count, version) = seen.map_or((0, 0), |v| (read_u64(&v.value), v.version));
        let next = (count + 1).to_le_bytes();
        let batch = Batch::new().expect("count", version).put("count", next).append("counts", next);
        match store.commit(batch) {
            Ok(_) => return,
            Err(error) if error.is_conflict() => {}
            Err(error) => panic!("a race ends in a conflict, not in {error}"),
        }
    }
}

fn time_does_not_stand_at_the_epoch(store: &dyn Store) {
    let (first, second) = (ok(store.now()), ok(store.now()));
    assert!(first <= second, "the store's clock does not run backwards");
}

fn read_u64(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("8 bytes were written"))
}

#[track_caller]
fn ok<T>(result: Result<T, StoreError>) -> T {
    result.unwrap_or_else(|error| panic!("a healthy store does not fail: {error} ({error:?})"))
}
