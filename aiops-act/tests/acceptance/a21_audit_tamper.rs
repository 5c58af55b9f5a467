//! An audit that somebody changed.

use std::sync::Arc;

use aiops_act::audit::{AuditRecord, Head, Tampered, verify};
use aiops_act::{Digest, FixedApprover};

use crate::common::{Bench, On, library_of, one_write, situation};

/// Pass: flip, delete, insert, reorder, truncate any record, or swap the chain for an older or a new
/// one: `verify` names the first bad record (truncation and swap by the published head).
#[tokio::test]
async fn acceptance_21_audit_tamper() {
    for on in On::BOTH {
        tampered(on).await;
    }
}

async fn tampered(on: On) {
    let library = library_of([one_write("one", "")]);
    let mut bench = Bench::with_library(situation(&[("api", 0.9)]), library).on(on);
    let engine = bench
        .builder()
        .approver(Arc::new(FixedApprover::approving("ada", bench.clock.clone())))
        .build()
        .unwrap();
    engine.execute(bench.plan(&engine).await).await.unwrap();
    // What is checked is what another process reads.
    drop(engine);
    bench.restart();
    let engine = bench.builder().build().unwrap();
    let good = engine.audit(0, 1_000).await.unwrap();
    let head = engine.audit_head().await.unwrap();
    assert_eq!(verify(&good, Some(head)), Ok(head));
    assert!(good.len() > 6);
    let first_bad = |records: &[AuditRecord]| verify(records, Some(head)).unwrap_err().seq;

    for n in 0..good.len() {
        let at = n as u64;
        type Flip = fn(&mut AuditRecord);
        let flips: [Flip; 7] = [
            |r| r.what.push('x'),
            |r| r.body["by"] = "mallory".into(),
            |r| r.at += std::time::Duration::from_nanos(1),
            |r| r.run = None,
            |r| r.seq += 1,
            |r| r.prev = Digest::of_bytes(b"x"),
            |r| r.hash = Digest::of_bytes(b"x"),
        ];
        for (which, flip) in flips.into_iter().enumerate() {
            let mut bad = good.clone();
            flip(&mut bad[n]);
            if bad != good {
                assert_eq!(first_bad(&bad), at, "flip {which} of record {n}");
            }
        }
        let mut deleted = good.clone();
        deleted.remove(n);
        assert_eq!(first_bad(&deleted), at, "delete {n}");
        let mut inserted = good.clone();
        inserted.insert(n, good[n].clone());
        assert_eq!(first_bad(&inserted), at + 1, "insert at {n}");
        if n > 0 {
            let mut swapped = good.clone();
            swapped.swap(n - 1, n);
            assert_eq!(first_bad(&swapped), at - 1, "swap {n}");
        }
        // A cut tail is a whole chain: only the published head tells.
        assert!(verify(&good[..n], None).is_ok());
        assert_eq!(first_bad(&good[..n]), at, "truncate at {n}");
    }

    // All of it written anew, consistently, with one body changed.
    let mut forged: Vec<AuditRecord> = Vec::new();
    let mut end = Head::default();
    for record in &good {
        let mut body = record.body.clone();
        if record.what == "answered" {
            body["by"] = "mallory".into();
        }
        let next = AuditRecord::next(end, record.at, record.run, &record.what, body);
        end = next.head();
        forged.push(next);
    }
    assert!(verify(&forged, None).is_ok(), "by itself it looks well");
    let Tampered { seq, what } = verify(&forged, Some(head)).unwrap_err();
    assert_eq!(seq, good.len() as u64 - 1);
    assert!(what.contains("written anew"), "{what}");
    // An older state put back is a cut tail.
    let older = good[3].head();
    assert!(verify(&good[..4], Some(older)).is_ok());
    assert_eq!(first_bad(&good[..4]), 4);
}
