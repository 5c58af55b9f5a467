//! The exit codes that `--help` promises.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod synthetic;

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs the program in `dir`, with nobody at its input.
fn run(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aiops-pipeline"));
    command.current_dir(dir).args(args).stdin(Stdio::null()).output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("killed: {output:?}"))
}

#[test]
fn a_completed_replay_is_zero_whatever_the_answer() {
    let dir = synthetic::pool_incident().write("exit_0");
    let recording = dir.to_str().unwrap();
    for (approve, state) in [("auto", "succeeded"), ("deny", "rejected"), ("ask", "rejected")] {
        let output = run(&dir, &["--recording", recording, "--approve", approve, "--json"]);
        assert_eq!(code(&output), 0, "{approve}: {}", String::from_utf8_lossy(&output.stderr));
        let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let incidents = told["incidents"].as_array().unwrap();
        let planned = incidents.iter().find(|incident| !incident["plan"].is_null()).unwrap();
        assert_eq!(planned["plan"]["state"], state, "{approve}");
    }
}

#[test]
fn a_report_that_cannot_be_written_is_one() {
    let dir = synthetic::Files::tiny().write("exit_1");
    let recording = dir.to_str().unwrap();
    let output = run(&dir, &["--recording", recording, "--report", "no/such/folder/report.html"]);
    assert_eq!(code(&output), 1);
    assert!(String::from_utf8_lossy(&output.stderr).contains("no/such/folder/report.html"));
}

#[test]
fn wrong_usage_is_two() {
    let dir = synthetic::Files::tiny().write("exit_2");
    assert_eq!(code(&run(&dir, &["--approve", "maybe"])), 2);
    assert_eq!(code(&run(&dir, &["--settings", "missing.json"])), 2);
}

#[test]
fn a_recording_that_cannot_be_read_is_three() {
    let dir = synthetic::Files::tiny().write("exit_3");
    let output = run(&dir, &["--recording", "nowhere"]);
    assert_eq!(code(&output), 3);
    assert!(String::from_utf8_lossy(&output.stderr).contains("nowhere"));
}
