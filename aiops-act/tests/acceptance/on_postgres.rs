//! Two engines as two processes on one PostgreSQL: one is killed or stopped in the middle, the other
//! finishes the run. Starts a server of its own on loopback; skipped where none is installed.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use aiops_act::{Ending, Run};
use aiops_knowledge::PostgresConfig;

use crate::file_hands::{FileExecutor, each_once, finish};
use crate::postgres_server::Server;

const CHILD: &str = "AIOPS_ACT_POSTGRES_CHILD";

/// Connection, schema and folder of a child, in its environment.
fn engine_process(server: &Server, schema: &str, dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "on_postgres::child_on_postgres", "--nocapture"])
        .env(CHILD, dir)
        .env("AIOPS_ACT_CONNECTION", server.connection())
        .env("AIOPS_ACT_SCHEMA", schema)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// What each of the processes does: finishes the run that is there, or begins it.
#[test]
fn child_on_postgres() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let variable = |name| std::env::var(name).unwrap();
    let run = in_this_process(
        &variable("AIOPS_ACT_CONNECTION"),
        &variable("AIOPS_ACT_SCHEMA"),
        Path::new(&dir),
        Duration::from_millis(20),
    );
    println!("ended {:?}", run.ending());
}

fn in_this_process(connection: &str, schema: &str, dir: &Path, takes: Duration) -> Run {
    let (connection, schema) = (connection.to_owned(), schema.to_owned());
    let config = PostgresConfig { connection, schema, ..PostgresConfig::default() };
    let store = Arc::new(config.build().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(finish(store, dir, takes))
}

/// What must hold at the end: the run succeeded, and each of the six effects happened once.
fn is_done_once(server: &Server, schema: &str, dir: &Path, what: &str) {
    let run = in_this_process(&server.connection(), schema, dir, Duration::ZERO);
    assert_eq!(run.ending(), Some(Ending::Succeeded), "{what}: {:?}", run.because);
    let lines = FileExecutor::new(dir.join("effects"), Duration::ZERO).lines();
    assert_eq!(lines.len(), 6, "{what}: {lines:?}");
    each_once(&lines, what);
}

/// A small generator, so that a round is the same on every machine.
fn moment(seed: &mut u32, within_ms: u32) -> Duration {
    *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    Duration::from_millis(u64::from((*seed >> 16) % within_ms))
}

/// Pass: of two processes on one incident, one is killed with SIGKILL at a random moment (200 kills
/// in the long check); the other finishes the run, each step once, the audit chain whole.
#[test]
fn acceptance_03_two_engines_as_processes_on_postgresql() {
    let Some(server) = Server::start() else { return };
    let wanted = if std::env::var_os("AIOPS_FULL").is_some() { 200 } else { 4 };
    let (mut kills, mut seed, mut round) = (0, 4_711_u32, 0);
    while kills < wanted {
        round += 1;
        let schema = format!("pair_{round}");
        let dir = tempfile::tempdir().unwrap();
        let mut pair = [
            engine_process(&server, &schema, dir.path()),
            engine_process(&server, &schema, dir.path()),
        ];
        std::thread::sleep(Duration::from_millis(80) + moment(&mut seed, 700));
        let victim = round % 2;
        if pair[victim].try_wait().unwrap().is_none() {
            pair[victim].kill().unwrap(); // SIGKILL
            kills += 1;
        }
        let _ = pair[victim].wait().unwrap();
        let status = pair[1 - victim].wait().unwrap();
        assert!(status.success(), "round {round}: the other one finishes");
        is_done_once(&server, &schema, dir.path(), &format!("round {round}"));
    }
    println!("{kills} kills in {round} rounds");
}

/// Pass: a process that is stopped (SIGSTOP) until another one took over and finished, and then goes
/// on, has no further effect: its token is old, and what it writes late is refused.
#[test]
fn acceptance_04_a_stopped_process_on_postgresql_has_no_late_effect() {
    let Some(server) = Server::start() else { return };
    let rounds = if std::env::var_os("AIOPS_FULL").is_some() { 50 } else { 3 };
    let mut seed = 815_u32;
    for round in 0..rounds {
        let schema = format!("stopped_{round}");
        let dir = tempfile::tempdir().unwrap();
        let mut first = engine_process(&server, &schema, dir.path());
        std::thread::sleep(Duration::from_millis(80) + moment(&mut seed, 500));
        stop_outside_an_effect(&first, &dir.path().join("effects.fence"));
        // The lease of the first is over after 60 ms.
        let mut second = engine_process(&server, &schema, dir.path());
        assert!(second.wait().unwrap().success(), "round {round}: the second finishes");
        signal(&first, "CONT");
        assert!(first.wait().unwrap().success(), "round {round}: the first finds it ended");
        is_done_once(&server, &schema, dir.path(), &format!("round {round}"));
    }
}

/// Stops the process while it does not hold the lock of the file that stands for the world.
fn stop_outside_an_effect(child: &Child, lock: &Path) {
    loop {
        signal(child, "STOP");
        match std::fs::File::open(lock) {
            Ok(file) if file.try_lock().is_err() => signal(child, "CONT"),
            _ => return,
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn signal(child: &Child, name: &str) {
    let id = child.id().to_string();
    let sent = Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap();
    // One that has ended already is fine too.
    let _ = sent;
}
