//! Programs on this machine (feature `process`): an argument list, never a shell string.
//!
//! ```yaml
//! uses: process
//! with:
//!   argv: [systemctl, restart, "${{ params.unit }}"]
//!   env: {LANG: C}             # nothing else of the engine's environment is passed on
//!   stdin: text                # optional
//!   ok_codes: [0]              # optional
//! ```
//!
//! The program runs in a process group of its own. At the timeout, or when the engine lets go of it,
//! the whole group is killed, so that children that it left behind go too. Its output is kept head and
//! tail; standard output that is one JSON document becomes the step's value.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use super::{
    BoxFuture, Call, Clipper, MAX_OUTPUT, Output, Permit, Preview, Probe, StepError, StepExecutor,
};
use crate::canonical::Digest;
use crate::runbook::Risk;
use crate::secret::{SCHEME, SecretSource, StaticSecrets, is_reference};

/// How long after its end a program's output is still waited for.
const LAST_OUTPUT: std::time::Duration = std::time::Duration::from_millis(500);

/// Runs programs from a list of allowed ones.
pub struct ProcessExecutor {
    name: String,
    allowed: BTreeMap<String, PathBuf>,
    risk: Risk,
    secrets: Arc<dyn SecretSource>,
}

impl fmt::Debug for ProcessExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessExecutor")
            .field("name", &self.name)
            .field("allowed", &self.allowed)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct With {
    argv: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    stdin: Option<String>,
    #[serde(default = "zero")]
    ok_codes: Vec<i32>,
}

fn zero() -> Vec<i32> {
    vec![0]
}

impl ProcessExecutor {
    /// An executor that may run nothing yet; its floor is tier 2, because a program can do anything
    /// to the machine.
    #[must_use]
    pub fn new() -> ProcessExecutor {
        ProcessExecutor {
            name: "process".to_owned(),
            allowed: BTreeMap::new(),
            risk: Risk::Stateful,
            secrets: Arc::new(StaticSecrets::new()),
        }
    }

    /// Lets runbooks run `path` under a name. Only what is listed can be run: a name is never looked
    /// up in a search path.
    #[must_use]
    pub fn allowing(mut self, name: &str, path: impl Into<PathBuf>) -> ProcessExecutor {
        self.allowed.insert(name.to_owned(), path.into());
        self
    }

    /// The risk floor, for an executor whose programs are known to be gentler or harsher.
    #[must_use]
    pub fn with_risk(mut self, risk: Risk) -> ProcessExecutor {
        self.risk = risk;
        self
    }

    /// Where values of `env` and `stdin` that are references get their secrets. Give the engine the
    /// same source, so that it can remove the values from what the program prints.
    #[must_use]
    pub fn secrets(mut self, secrets: Arc<dyn SecretSource>) -> ProcessExecutor {
        self.secrets = secrets;
        self
    }

    fn read(&self, call: &Call) -> Result<(With, PathBuf), StepError> {
        let with: With = serde_json::from_value(Value::Object(call.with.clone()))
            .map_err(|e| StepError::not_started(format!("`with`: {e}")))?;
        let name = with.argv.first().ok_or_else(|| StepError::not_started("argv is empty"))?;
        let path = self.allowed.get(name).cloned().ok_or_else(|| {
            StepError::not_started(format!("`{name}` is not on the list of allowed programs"))
        })?;
        if with.argv.iter().chain(with.env.keys()).any(|text| text.contains('\0')) {
            return Err(StepError::not_started("a zero byte in an argument"));
        }
        // Other users of the machine can read arguments.
        if with.argv.iter().any(|text| text.contains(SCHEME)) {
            return Err(StepError::not_started("secrets go into `env` or `stdin`, not into argv"));
        }
        Ok((with, path))
    }

    fn resolve(&self, text: &str) -> Result<String, StepError> {
        if !is_reference(text) {
            return Ok(text.to_owned());
        }
        let name = &text[SCHEME.len()..];
        let secret = self.secrets.secret(name);
        let secret =
            secret.ok_or_else(|| StepError::not_started(format!("no secret is called {name}")))?;
        Ok(secret.expose().to_owned())
    }

    async fn spawn_and_wait(&self, call: &Call) -> Result<Output, StepError> {
        let (with, path) = self.read(call)?;
        let mut command = Command::new(&path);
        command
            .args(&with.argv[1..])
            .env_clear()
            .stdin(if with.stdin.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        for (name, value) in &with.env {
            command.env(name, self.resolve(value)?);
        }
        let input = with.stdin.as_deref().map(|text| self.resolve(text)).transpose()?;
        let child = command
            .spawn()
            .map_err(|e| StepError::not_started(format!("{}: {e}", path.display())))?;
        let mut group = Group::of(child);
        let child = &mut group.child;
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let feed = async {
            if let (Some(mut stdin), Some(input)) = (stdin, input) {
                // A program that does not read its input is not at fault.
                let _ = stdin.write_all(input.as_bytes()).await;
            }
        };
        let (mut out, mut err) = (Collected::new(), Collected::new());
        let status = {
            let collected = async { tokio::join!(feed, out.read(stdout), err.read(stderr)) };
            tokio::pin!(collected);
            let ended = async {
                let status = group.child.wait().await;
                // Children that outlived the program are not left behind.
                group.kill();
                status
            };
            tokio::pin!(ended);
            tokio::select! {
                status = &mut ended => {
                    // A descendant that left the group may hold the output open for ever.
                    let _ = tokio::time::timeout(LAST_OUTPUT, &mut collected).await;
                    status
                }
                _ = &mut collected => ended.await,
            }
        };
        let status =
            status.map_err(|e| StepError::unknown(format!("it could not be waited for: {e}")))?;
        finish(status, &with, out, err)
    }
}

impl Default for ProcessExecutor {
    fn default() -> ProcessExecutor {
        ProcessExecutor::new()
    }
}

/// What a stream gave: its beginning in full as far as a value may be large, and a clip of all.
struct Collected {
    start: Vec<u8>,
    clipper: Clipper,
}

impl Collected {
    fn new() -> Collected {
        Collected { start: Vec::new(), clipper: Clipper::new(MAX_OUTPUT) }
    }

    async fn read(&mut self, stream: Option<impl AsyncRead + Unpin>) {
        let Some(mut stream) = stream else { return };
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(read @ 1..) = stream.read(&mut buffer).await {
            let bytes = &buffer[..read];
            // One byte more than allowed tells "too long" from "just fits".
            let room = (MAX_OUTPUT + 1).saturating_sub(self.start.len()).min(read);
            self.start.extend_from_slice(&bytes[..room]);
            self.clipper.push(bytes);
        }
    }
}

fn finish(
    status: ExitStatus,
    with: &With,
    out: Collected,
    err: Collected,
) -> Result<Output, StepError> {
    let errors = err.clipper.finish();
    let Some(code) = status.code() else {
        return Err(StepError::failed(format!(
            "it was ended by a signal ({status}); {}",
            errors.head
        )));
    };
    if !with.ok_codes.contains(&code) {
        let said: String = errors.head.chars().take(400).collect();
        return Err(StepError::failed(format!("exit code {code}: {}", said.trim())));
    }
    let whole = out.start.len() <= MAX_OUTPUT;
    let parsed = if whole { serde_json::from_slice(&out.start).ok() } else { None };
    let value = parsed.unwrap_or_else(|| json!({"code": code}));
    Ok(Output { value, log: Some(out.clipper.finish()) })
}

/// A child with its process group, which is killed when this is dropped.
struct Group {
    child: Child,
    id: Option<rustix::process::Pid>,
}

impl Group {
    fn of(child: Child) -> Group {
        let id = child.id().and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?));
        Group { child, id }
    }

    fn kill(&mut self) {
        if let Some(id) = self.id.take() {
            // "No such process" is what we want.
            let _ = rustix::process::kill_process_group(id, rustix::process::Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

impl StepExecutor for ProcessExecutor {
    fn name(&self) -> &str {
        &self.name
    }

    fn version(&self) -> &str {
        "1"
    }

    fn risk_floor(&self, _: &Call) -> Risk {
        self.risk
    }

    fn plan<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<Preview, StepError>> {
        let preview = self.read(call).and_then(|(with, path)| {
            if !path.is_file() {
                return Err(StepError::not_started(format!("{} is not there", path.display())));
            }
            Ok(Preview { summary: format!("run {}", with.argv.join(" ")), before: Value::Null })
        });
        Box::pin(std::future::ready(preview))
    }

    fn run<'a>(
        &'a self,
        call: &'a Call,
        _permit: &'a Permit,
    ) -> BoxFuture<'a, Result<Output, StepError>> {
        Box::pin(self.spawn_and_wait(call))
    }

    fn probe<'a>(&'a self, _: &'a Call, _: Digest) -> BoxFuture<'a, Probe> {
        // Nothing on the machine remembers whether a program ran.
        let reason = "a program leaves no record of having run".to_owned();
        Box::pin(std::future::ready(Probe::CannotTell { reason }))
    }

    fn undo<'a>(
        &'a self,
        _: &'a Call,
        _: &'a Value,
        _: &'a Permit,
    ) -> BoxFuture<'a, Result<Output, StepError>> {
        let error = StepError::not_started("a program has no undo of its own; name one");
        Box::pin(std::future::ready(Err(error)))
    }
}
