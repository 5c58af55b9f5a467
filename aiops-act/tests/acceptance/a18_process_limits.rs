//! Programs that print without end, ignore signals, fork, or close their output.

use std::path::Path;
use std::time::Duration;

use aiops_act::executor::process::ProcessExecutor;
use aiops_act::testing::{check_executor, permit};
use aiops_act::{Call, Digest, Output, StepError, StepExecutor};
use serde_json::json;

fn call(argv: &[&str], timeout: Duration) -> Call {
    let with = json!({"argv": argv}).as_object().unwrap().clone();
    Call { step: "s".to_owned(), uses: "process".to_owned(), with, targets: vec![], timeout }
}

fn executor() -> ProcessExecutor {
    ProcessExecutor::new().allowing("sh", "/bin/sh").allowing("cat", "/bin/cat")
}

/// Runs as the engine does: dropped at the timeout.
async fn run(script: &str, timeout: Duration) -> Option<Result<Output, StepError>> {
    let executor = executor();
    let call = call(&["sh", "-c", script], timeout);
    let permit = permit(Digest::ZERO, 1);
    tokio::time::timeout(timeout, executor.run(&call, &permit)).await.ok()
}

/// Resident memory of this process, in bytes.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4_096
}

async fn gone(pid_file: &Path) -> bool {
    let pid = std::fs::read_to_string(pid_file).unwrap();
    for _ in 0..200 {
        let stat =
            std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        // A zombie that waits for its parent is gone for our purpose.
        if stat.is_empty() || stat.contains(") Z ") {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

/// Pass: large and endless output takes less than 16 MB more; it is kept head, tail, length and hash;
/// a program that ignores SIGTERM, forks or closes its output is gone with its whole group.
#[tokio::test]
async fn acceptance_18_process_limits() {
    // 1 GB of output in the long check; 200 MB are far beyond what may be kept too, and done in
    // seconds.
    let bytes: u64 =
        if std::env::var_os("AIOPS_FULL").is_some() { 1_000_000_000 } else { 200_000_000 };
    let before = resident();
    let script = format!("head -c {bytes} /dev/zero | tr '\\0' 'x'; printf END");
    let output = run(&script, Duration::from_secs(60)).await.unwrap().unwrap();
    let clip = output.log.unwrap();
    assert_eq!(clip.bytes, bytes + 3);
    assert!(clip.head.starts_with("xxx") && clip.tail.ends_with("END"));
    assert!(clip.head.len() + clip.tail.len() <= 64 * 1024);
    assert_eq!(output.value, json!({"code": 0}));
    let grown = resident().saturating_sub(before);
    assert!(grown < 16 * 1024 * 1024, "{grown} bytes more");

    // Endless output, and binary output.
    assert!(run("cat /dev/zero", Duration::from_millis(300)).await.is_none());
    let binary = run("printf '\\377\\376'", Duration::from_secs(10)).await.unwrap().unwrap();
    assert_eq!(binary.log.unwrap().bytes, 2);

    // Ignores SIGTERM and forks: the child of the child is gone too.
    let dir = std::env::temp_dir().join(format!("aiops-act-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let pid_file = dir.join("grandchild");
    let script = format!(
        "trap '' TERM; (trap '' TERM; sh -c 'echo $$ > {}; exec sleep 1000') & wait",
        pid_file.display()
    );
    assert!(run(&script, Duration::from_millis(700)).await.is_none());
    assert!(gone(&pid_file).await, "the whole group is killed");
    // Closes its output and goes on; leaves a child behind that holds it open.
    assert!(run("exec >&- 2>&-; sleep 1000", Duration::from_millis(300)).await.is_none());
    let script = format!("(echo $$ > {}; sleep 1000) & exit 0", pid_file.display());
    let output = run(&script, Duration::from_secs(20)).await.unwrap().unwrap();
    assert_eq!(output.value, json!({"code": 0}), "it ends with the program, not with its child");

    // Exit codes, signals, and values.
    let failed = run("echo broken >&2; exit 3", Duration::from_secs(10)).await.unwrap();
    assert_eq!(failed, Err(StepError::failed("exit code 3: broken")));
    let killed = run("kill -9 $$", Duration::from_secs(10)).await.unwrap();
    assert!(matches!(killed, Err(StepError::Failed { .. })));
    let value = run("echo '{\"size\": 3}'", Duration::from_secs(10)).await.unwrap().unwrap();
    assert_eq!(value.value, json!({"size": 3}));

    // Only listed programs, no shell strings, no secrets among the arguments.
    for (with, reason) in [
        (json!({"argv": ["rm", "-rf", "/"]}), "not on the list"),
        (json!({"argv": []}), "empty"),
        (json!({"argv": "echo hi"}), "`with`"),
        (json!({"argv": ["sh", "secret://x"]}), "not into argv"),
        (json!({"argv": ["sh"], "shell": true}), "`with`"),
    ] {
        let mut call = call(&[], Duration::from_secs(1));
        call.with = with.as_object().unwrap().clone();
        let refused = executor().plan(&call).await.unwrap_err();
        assert!(
            matches!(&refused, StepError::NotStarted { reason: r } if r.contains(reason)),
            "{refused}"
        );
        assert!(executor().run(&call, &permit(Digest::ZERO, 1)).await.is_err());
    }
    // Its environment is empty but for what the runbook gives, and the conformance function agrees.
    let state = dir.join("state");
    let script = format!("env | grep -c HOME >> /dev/null; echo set > {}", state.display());
    let call = call(&["sh", "-c", &script], Duration::from_secs(10));
    check_executor(&executor(), &call, true, || {
        std::fs::read_to_string(&state).unwrap_or_default()
    })
    .await;
    std::fs::remove_dir_all(&dir).unwrap();
}
