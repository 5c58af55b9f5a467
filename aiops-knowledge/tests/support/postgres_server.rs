//! A PostgreSQL of the test's own, on loopback. Shared by the tests of this crate and of those that
//! use it.
#![allow(dead_code, reason = "each test uses its part")]
#![allow(clippy::print_stderr, reason = "a skipped test says so")]

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use aiops_knowledge::{PostgresConfig, PostgresStore};

/// A server in a folder of its own, stopped when dropped.
pub(crate) struct Server {
    bin: PathBuf,
    folder: tempfile::TempDir,
    port: u16,
}

impl Server {
    /// `None` where PostgreSQL is not installed: the test is skipped, and says so.
    pub(crate) fn start() -> Option<Server> {
        let Some(bin) = find_bin() else {
            eprintln!("skipped: PostgreSQL is not installed (apt-get install postgresql)");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        if is_root() {
            run(Command::new("chown").arg("postgres").arg(folder.path()));
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Server { bin, folder, port };
        run(server.tool("initdb").args(["-A", "trust", "-U", "aiops", "-D"]).arg(server.data()));
        server.control(&["start"]);
        Some(server)
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// PostgreSQL refuses to run as root.
    fn tool(&self, name: &str) -> Command {
        let path = self.bin.join(name);
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(path);
            command
        } else {
            Command::new(path)
        };
        command.current_dir(self.folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    pub(crate) fn control(&self, verb: &[&str]) {
        let options = format!(
            "-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off",
            self.port
        );
        let mut command = self.tool("pg_ctl");
        command.args(verb).args(["-w", "-o", &options, "-l"]).arg(self.folder.path().join("log"));
        run(command.arg("-D").arg(self.data()));
    }

    pub(crate) fn connection(&self) -> String {
        format!("host=127.0.0.1 port={} user=aiops dbname=postgres", self.port)
    }

    pub(crate) fn store(&self, schema: &str) -> PostgresStore {
        let schema = schema.to_owned();
        let config =
            PostgresConfig { connection: self.connection(), schema, ..PostgresConfig::default() };
        config.build().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut command = self.tool("pg_ctl");
        let _ = command.args(["stop", "-m", "immediate", "-D"]).arg(self.data()).status();
    }
}

fn find_bin() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let bins = versions.filter_map(|entry| Some(entry.ok()?.path().join("bin")));
    bins.filter(|bin| bin.join("initdb").exists()).max()
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0)
}

fn run(command: &mut Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?} failed");
}
