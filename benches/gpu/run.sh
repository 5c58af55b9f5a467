#!/usr/bin/env bash
# Our rows and those of other tools on this machine, in one command: benches/gpu/run.sh [OUT]
#
# Takes benches/gpu/leaderboard if it is there, so that a machine without Rust can run what another built
# (copy target/release/leaderboard to it); else it builds one. Python's packages are those that are
# installed. Writes OUT/ours.json and OUT/peers.json, and OUT/machine.txt.
#
# This version of aiops-gpu has an engine for the processor only, so "ours" are rows of one core. The peers
# are measured on a CUDA device as well where torch finds one.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-"$here/out"}
mkdir -p "$out"

binary=$here/leaderboard
if [ ! -x "$binary" ]; then
    (cd "$here/../.." && cargo build --release --locked -p aiops-benches --bin leaderboard)
    binary=${CARGO_TARGET_DIR:-$here/../../target}/release/leaderboard
fi
{
    date -u
    grep -m1 'model name' /proc/cpuinfo || true
    nproc
    nvidia-smi -L 2>/dev/null || echo "no NVIDIA device"
} >"$out/machine.txt"
cat "$out/machine.txt"
"$binary" speed --rows lstm64,iforest_score_cpu --json "$out/ours.json"
if command -v "${PYTHON:-python3}" >/dev/null; then
    "${PYTHON:-python3}" "$here/peers.py" --json "$out/peers.json"
else
    echo "peers: not measured, no Python"
fi
