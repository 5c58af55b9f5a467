#!/usr/bin/env python3
"""Goals, predictions, results and the best peer, as a table: table.py OUT

Predictions are for one H100 and were written down before anything was measured; docs/benchmarks/gpu.md
derives them. Reads OUT/ours.json and OUT/peers.json.
"""
import json
import os
import sys

# Row of the leaderboard: goal, prediction, unit, and what a peer's row must have in its name.
ROWS = {
    "lstm64_step": ("G1", 500e6, 0.9e9, "steps/s", "steps with state"),
    "lstm64_window": ("G2", 30e6, 14e6, "windows/s", "windows of 64"),
    "iforest_score": ("G3", 400e6, 600e6, "rows/s", "forest"),
    "end_to_end": ("G4", 150e6, 120e6, "metrics/s", None),
    "end_to_end_512_p50": ("G5", None, 120e-6, "s", None),
    "end_to_end_512_p99": ("G5", 500e-6, 300e-6, "s", None),
    "all_series": ("G8", None, 100e6, "metrics/s", None),
}


def number(value):
    for scale, prefix in ((1e9, " G"), (1e6, " M"), (1e3, " K"), (1, ""), (1e-3, " m"), (1e-6, " µ")):
        if abs(value) >= scale:
            return f"{value / scale:.3g}{prefix}"
    return f"{value:.3g}"


def read(name):
    path = os.path.join(sys.argv[1], name)
    return json.load(open(path)) if os.path.exists(path) else []


ours = {row["id"]: row for row in read("ours.json")}
peers = [row for row in read("peers.json")]
print("| goal | row | unit | wanted | predicted (H100) | cuda | result / predicted | wgpu | best peer | cuda / peer |")
print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
for row, (goal, wanted, predicted, unit, peer) in ROWS.items():
    cuda, wgpu = (ours.get(f"{row}_{kind}", {}).get("ours") for kind in ("cuda", "wgpu"))
    best = max((p["per_second"] for p in peers if peer and peer in p["what"] and p["unit"] == unit), default=None)
    cells = [goal, f"`{row}`", unit]
    cells += [number(value) if value else "" for value in (wanted, predicted)]
    cells.append(number(cuda) if cuda else "not measured")
    cells.append(f"{cuda / predicted:.2f}" if cuda else "")
    cells.append(number(wgpu) if wgpu else "not measured")
    cells.append(number(best) if best else "")
    cells.append(f"{cuda / best:.1f}" if cuda and best else "")
    print("| " + " | ".join(cells) + " |")
