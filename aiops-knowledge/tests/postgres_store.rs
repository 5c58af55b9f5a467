//! The shared store keeps its contract, with its connection cut and its server restarted in the
//! middle of commits. Starts a server of its own on loopback; skipped where none is installed.
#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

#[path = "support/postgres_server.rs"]
mod postgres_server;

use aiops_core::{Batch, Store};
use aiops_knowledge::PostgresConfig;
use postgres_server::Server;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

/// Writers that count up while `disturb` runs; at the end every acknowledged step is there exactly
/// once, and key and log moved together.
fn counts_survive(server: &Server, schema: &str, disturb: impl Fn()) {
    let acknowledged: Vec<AtomicU32> = (0..4).map(|_| AtomicU32::new(0)).collect();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for (writer, acknowledged) in acknowledged.iter().enumerate() {
            // A store each, as so many processes would have.
            let (store, stop) = (server.store(schema), &stop);
            scope.spawn(move || {
                let key = format!("w{writer}");
                let mut version = 0;
                while !stop.load(Ordering::SeqCst) {
                    let next = acknowledged.load(Ordering::SeqCst) + 1;
                    let batch = Batch::new()
                        .expect(key.as_str(), version)
                        .put(key.as_str(), next.to_le_bytes())
                        .append(key.as_str(), next.to_le_bytes());
                    // No error is expected: a cut is a delay. A conflict would mean that a commit
                    // was applied whose answer was taken for a failure.
                    version = store.commit(batch).unwrap();
                    acknowledged.store(next, Ordering::SeqCst);
                }
            });
        }
        disturb();
        stop.store(true, Ordering::SeqCst);
    });
    let store = server.store(schema);
    for (writer, acknowledged) in acknowledged.iter().enumerate() {
        let key = format!("w{writer}");
        let log = store.read_log(key.as_bytes(), 0, usize::MAX).unwrap();
        let numbers: Vec<_> = log
            .iter()
            .map(|r| u32::from_le_bytes(r.record.as_slice().try_into().unwrap()))
            .collect();
        let expected: Vec<_> = (1..=acknowledged.load(Ordering::SeqCst)).collect();
        assert_eq!(numbers, expected, "writer {writer}: each step once, none lost, none doubled");
        assert!(!numbers.is_empty(), "writer {writer} did work");
    }
}

#[test]
fn conforms_and_survives_cuts_and_restarts() {
    let Some(server) = Server::start() else { return };
    let schemas = AtomicU32::new(0);
    aiops_core::testing::check_store(|| {
        server.store(&format!("conformance_{}", schemas.fetch_add(1, Ordering::SeqCst)))
    });

    // Connections cut in the middle of commits.
    counts_survive(&server, "cut", || {
        let mut admin = postgres::Client::connect(&server.connection(), postgres::NoTls).unwrap();
        for _ in 0..60 {
            std::thread::sleep(Duration::from_millis(15));
            let cut = "select count(pg_terminate_backend(pid)) from pg_stat_activity
                       where pid <> pg_backend_pid() and backend_type = 'client backend'";
            admin.query_one(cut, &[]).unwrap();
        }
    });

    // The server killed and started again in the middle of commits. It runs without fsync, as the
    // host does not crash; kill and restart lose nothing that was committed.
    counts_survive(&server, "restarted", || {
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(300));
            server.control(&["restart", "-m", "immediate"]);
        }
    });
}

#[test]
fn a_schema_that_is_not_a_name_is_refused() {
    let config = PostgresConfig { schema: "x; drop table".into(), ..PostgresConfig::default() };
    let error = config.build().unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("[a-z_]"), "{source}");
}
