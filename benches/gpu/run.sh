#!/usr/bin/env bash
# Our rows and those of other tools on this machine, in one command: benches/gpu/run.sh [OUT]
#
# Takes benches/gpu/leaderboard if it is there, so that a machine without Rust can run what another built
# (benches/gpu/run.sh --build makes it: one file that loads CUDA and Vulkan when it runs, if they are there);
# else it builds one. Python's packages are those that are installed. Writes OUT/ours.json, OUT/peers.json,
# OUT/machine.txt, and OUT/table.md: each goal with what was predicted, what came out, and the best peer.
# QUICK=1 runs everything with small sizes. Nothing is written outside of OUT.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
binary=$here/leaderboard

build() {
    (cd "$here/../.." && cargo build --release --locked -p aiops-benches --features cuda,wgpu --bin leaderboard)
    cp "${CARGO_TARGET_DIR:-$here/../../target}/release/leaderboard" "$binary"
}

if [ "${1:-}" = --build ]; then
    build
    exit
fi
out=${1:-"$here/out"}
mkdir -p "$out"
[ -x "$binary" ] || build
# The driver's own cache of compiled kernels would lie in the home directory.
export CUDA_CACHE_PATH=$out/cache XDG_CACHE_HOME=$out/cache TORCHINDUCTOR_CACHE_DIR=$out/cache
{
    date -u
    grep -m1 'model name' /proc/cpuinfo || true
    nproc
    nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm --format=csv,noheader 2>/dev/null ||
        echo "no NVIDIA device"
} >"$out/machine.txt"
cat "$out/machine.txt"
quick=()
[ -z "${QUICK:-}" ] || quick=(--quick)
"$binary" speed "${quick[@]}" --rows lstm64,iforest_score,end_to_end,all_series --json "$out/ours.json"
python=${PYTHON:-python3}
if command -v "$python" >/dev/null; then
    "$python" "$here/peers.py" "${quick[@]}" --json "$out/peers.json"
    "$python" "$here/table.py" "$out" | tee "$out/table.md"
else
    echo "peers: not measured, no Python"
fi
