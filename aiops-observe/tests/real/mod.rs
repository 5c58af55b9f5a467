//! A server of ours on loopback and processes of others, for the tests with real senders.
#![allow(dead_code, reason = "each test uses a part")]

use aiops_core::{Clock, SystemClock, Timestamp};
use aiops_observe::http::HttpConfig;
use aiops_observe::{Inbox, Intake, IntakeAnswer, Normaliser, NormaliserConfig};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

/// Ends the process when the test does, however it ends.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let started = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Running(started.expect("the program is installed"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A folder that goes with the test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("aiops-observe-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Serves intake on a free port, and sends on what `look` makes of each request.
pub(crate) fn serve<T: Send + 'static>(
    mut look: impl FnMut(&IntakeAnswer, &Inbox, &Normaliser) -> T + Send + 'static,
) -> (u16, mpsc::Receiver<T>) {
    let (seen, requests) = mpsc::channel();
    let mut intake = Intake::default();
    let mut normaliser = NormaliserConfig::default().build().unwrap();
    let mut inbox = Inbox::default();
    let server = HttpConfig::default().build(move |request| {
        inbox.clear();
        let now: Timestamp = SystemClock.now();
        let answer = intake.handle(request, now, &mut normaliser.sink(&mut inbox));
        let _ = seen.send(look(&answer, &inbox, &normaliser));
        answer
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = server.unwrap();
    std::thread::spawn(move || runtime.block_on(server.serve(listener)));
    (port, requests)
}

/// A port that nobody listens on at the moment.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
