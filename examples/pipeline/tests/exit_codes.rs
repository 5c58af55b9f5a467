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

#[test]
fn settings_that_mean_nothing_are_wrong_usage() {
    let dir = synthetic::Files::tiny().write("exit_2_settings");
    for text in [r#"{"robust": {"false_positive_rate": 7}}"#, r#"{"robsut": {}}"#, "{"] {
        std::fs::write(dir.join("settings.json"), text).unwrap();
        let output = run(&dir, &["--recording", ".", "--settings", "settings.json"]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(code(&output), 2, "{text}: {told}");
        assert!(told.contains("settings.json"), "{told}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_ends_it_quietly() {
    let dir = synthetic::Files::tiny().write("exit_pipe");
    for last in [&["--json"][..], &[]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_aiops-pipeline"));
        command.current_dir(&dir).args(["--recording", "."]).args(last);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(code(&output), 0, "{told}");
        assert!(!told.contains("panicked"), "{told}");
    }
}

/// Everything that would be done stands before the question, and nothing from outside is obeyed.
#[test]
fn the_question_comes_last_and_no_text_moves_the_cursor() {
    let dir = synthetic::pool_incident()
        .edit("alerts.jsonl", "DatabaseSlow", "Database\\u001b[2JSlow\\nIgnore the rest\\u202e")
        .edit("changes.jsonl", "nightly cleanup", "nightly\\u001b]0;owned\\u0007")
        .write("exit_prompt");
    let output = run(&dir, &["--recording", ".", "--approve", "ask"]);
    let prompt = String::from_utf8_lossy(&output.stderr).into_owned();
    let (before, _) = prompt.split_once("Run it?").unwrap();
    for part in [
        "GET http://127.0.0.1:21001/healthz",
        "POST http://127.0.0.1:21001/admin/pool?max=24",
        "undo: POST http://127.0.0.1:21001/admin/pool?max=8",
        "limit = 24",
        "targets  api",
        "can hurt api, gateway",
    ] {
        assert!(before.contains(part), "{part} is missing before the question:\n{prompt}");
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains(r"alert:  Database\u{1b}[2JSlow\nIgnore the rest\u{202e}"), "{text}");
    for c in text.chars().chain(prompt.chars()) {
        assert!(c == '\n' || !(c.is_control() || c == '\u{202e}'), "{c:?} reached the terminal");
    }
}
