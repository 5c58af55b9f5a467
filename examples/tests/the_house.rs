//! The invariants that no single crate can test: arrows between crates, light defaults, no unsafe.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What library code of a stage may depend on inside the family.
const ARROWS: &[(&str, &[&str])] = &[
    ("aiops-core", &[]),
    ("aiops-observe", &["aiops-core"]),
    ("aiops-detect", &["aiops-core"]),
    ("aiops-correlate", &["aiops-core"]),
    ("aiops-rca", &["aiops-core"]),
    ("aiops-act", &["aiops-core"]),
    ("aiops-knowledge", &["aiops-core"]),
    ("aiops-gpu", &["aiops-core", "aiops-detect"]),
];

/// What must not come in with default features. `aiops-act` drives its engine on tokio.
const HEAVY: &[&str] = &[
    "axum",
    "burn",
    "cubecl",
    "cudarc",
    "hyper",
    "mio",
    "openssl-sys",
    "postgres",
    "rdkafka-sys",
    "reqwest",
    "rustls",
    "tokio",
    "tonic",
    "ureq",
    "wgpu",
];
const MAY_BE_ASYNC: &[&str] = &["aiops-act"];

/// Crates in the tree of one stage. `aiops-act` parses strict YAML, evaluates CEL and hashes, on
/// tokio: as few as is honest.
fn max_crates(stage: &str) -> usize {
    if stage == "aiops-act" { 90 } else { 60 }
}

/// Modules that may say `unsafe`, each with a portable twin that a test compares it with.
/// The twin of `gpu/`, where launching a kernel is unsafe, is the CPU engine.
const UNSAFE_ALLOWED: &[&str] =
    &["aiops-gpu/src/simd/", "aiops-gpu/src/gpu/", "aiops-detect/src/simd.rs"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn cargo(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).args(args).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "cargo {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn members() -> Vec<Value> {
    let metadata = cargo(&["metadata", "--no-deps", "--format-version", "1"]);
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

fn stages() -> Vec<String> {
    let names = members().into_iter().map(|p| p["name"].as_str().unwrap().to_owned());
    names.filter(|name| ARROWS.iter().any(|(stage, _)| stage == name)).collect()
}

/// Invariant 1: stage crates never depend on each other.
#[test]
fn every_arrow_is_on_the_plan() {
    let members = members();
    assert!(members.len() > 6, "the workspace was read");
    for package in &members {
        let name = package["name"].as_str().unwrap();
        let Some((_, allowed)) = ARROWS.iter().find(|(stage, _)| *stage == name) else {
            let publish = package["publish"].as_array().is_some_and(Vec::is_empty);
            assert!(publish, "{name} is published and has no place on the plan");
            continue;
        };
        for dependency in package["dependencies"].as_array().unwrap() {
            let target = dependency["name"].as_str().unwrap();
            if !target.starts_with("aiops-") {
                continue;
            }
            if dependency["kind"] == "dev" {
                let requirement = dependency["req"].as_str().unwrap();
                assert_eq!(requirement, "*", "{name}: dev-dependency {target} must be path-only");
            } else {
                assert!(allowed.contains(&target), "{name} must not depend on {target}");
            }
        }
    }
}

/// Invariant 8: default features are light, and each crate stays under sixty crates.
#[test]
fn default_features_are_light() {
    for stage in stages() {
        let args = ["tree", "-p", &stage, "-e", "normal", "--prefix", "none"];
        let tree = cargo(&args);
        let crates: BTreeSet<&str> =
            tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
        assert!(crates.len() < max_crates(&stage), "{stage} pulls in {} crates", crates.len());
        let heavy: Vec<_> = crates.iter().filter(|name| HEAVY.contains(name)).collect();
        if !MAY_BE_ASYNC.contains(&stage.as_str()) {
            assert!(heavy.is_empty(), "{stage} pulls in {heavy:?} by default");
        } else {
            assert!(heavy.iter().all(|name| **name == "tokio"), "{stage} pulls in {heavy:?}");
        }
    }
}

/// Invariant 7: `unsafe` only where it is named. The lint denies it; this finds who allowed it.
#[test]
fn unsafe_lives_in_named_modules_only() {
    let mut files = Vec::new();
    for stage in stages() {
        rust_files(&root().join(stage).join("src"), &mut files);
    }
    assert!(files.len() > 30, "the sources were found");
    for file in files {
        let path = file.to_string_lossy().replace('\\', "/");
        if UNSAFE_ALLOWED.iter().any(|allowed| path.contains(allowed)) {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let says =
                code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w == "unsafe");
            assert!(!says, "{path}:{} says unsafe", number + 1);
        }
    }
}

/// Invariant 2, the half that can be read off the sources: stages never ask a clock. The other
/// half, same input and seed, same output, is in the pipeline's and the stages' own tests.
#[test]
fn stages_never_ask_the_time() {
    let mut files = Vec::new();
    for stage in stages().iter().filter(|s| *s != "aiops-core") {
        rust_files(&root().join(stage).join("src"), &mut files);
    }
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for banned in ["SystemTime::now", "Instant::now", "clippy::disallowed_methods"] {
            assert!(!text.contains(banned), "{} says {banned}", file.display());
        }
    }
    // Detection, correlation and ranking do not even know a clock; drivers are given one.
    for stage in ["aiops-detect", "aiops-correlate", "aiops-rca"] {
        let mut files = Vec::new();
        rust_files(&root().join(stage).join("src"), &mut files);
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            for clock in ["SystemClock", "SystemTime", "time::Instant", "dyn Clock", "::Clock"] {
                // A `ClockSkew` is no clock.
                let ends = |at: usize| !text[at + clock.len()..].starts_with(char::is_alphanumeric);
                let says = text.match_indices(clock).any(|(at, _)| ends(at));
                assert!(!says, "{} says {clock}", file.display());
            }
        }
    }
}

fn rust_files(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
}
