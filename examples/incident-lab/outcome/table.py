#!/usr/bin/env python3
"""The table of an outcome run: `table.py DIR...` reads every episodes-*.jsonl and prints Markdown.

Both arms watch every episode, so false pages are counted in all of them; the other columns are of the episodes in
which the arm was the one to answer. What did not recover within LIMIT counts as LIMIT in medians.
"""
import json
import pathlib
import statistics
import sys

from outcome import FAULTS, LIMIT, REMEDY


def main():
    files = [file for folder in sys.argv[1:] for file in sorted(pathlib.Path(folder).glob("episodes-*.jsonl"))]
    episodes = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    arms = {arm: [e for e in episodes if e["answers"] == arm] for arm in ("service", "rules")}
    hours = sum(e["normal_seconds"] for e in episodes) / 3600
    print("| | " + " | ".join(arms) + " |\n|---|---|---|")
    row("faults answered", [len(es) for es in arms.values()])
    row("seconds to detection (new incident shown; first page): median, range, of",
        [spread([detected(arm, e) for e in es], len(es)) for arm, es in arms.items()])
    row("seconds to the right service named first",
        [spread([named(arm, e) for e in es], len(es)) for arm, es in arms.items()])
    row("right service named", [f"{sum(named(a, e) is not None for e in es)} of {len(es)}" for a, es in arms.items()])
    row("users well again", [f"{sum(e['well'] is not None for e in es)} of {len(es)}" for es in arms.values()])
    row(f"seconds until then: median (those that were not count {LIMIT}), range of those that were",
        [recovery(es) for es in arms.values()])
    row("wrong actions", [sum(wrong(arm, e) for e in es) for arm, es in arms.items()])
    row("no action", [sum(not acted(arm, e) for e in es) for arm, es in arms.items()])
    row(f"pages without a fault, in {hours:.1f} h of normal life",
        [sum(e[key] for e in episodes) for key in ("false_incidents", "false_pages")])
    print("\n| fault | service: well after, s | what it did | rules: well after, s | restarted |\n|---|---|---|---|---|")
    for kind in FAULTS:
        cells = []
        for arm, es in arms.items():
            of_kind = [e for e in es if e["kind"] == kind]
            cells.append(", ".join("not" if e["well"] is None else f"{e['well']:.0f}" for e in of_kind))
            cells.append(", ".join(what(arm, e) for e in of_kind))
        print(f"| {kind} | " + " | ".join(cells) + " |")


def row(name, cells):
    print(f"| {name} | " + " | ".join(str(cell) for cell in cells) + " |")


def spread(values, count):
    found = sorted(value for value in values if value is not None)
    if not found:
        return f"none of {count}"
    return f"{statistics.median(found):.0f} ({found[0]:.0f} to {found[-1]:.0f}), {len(found)} of {count}"


def recovery(episodes):
    found = sorted(e["well"] for e in episodes if e["well"] is not None)
    middle = statistics.median(e["well"] if e["well"] is not None else LIMIT for e in episodes)
    return f"{middle:.0f} ({found[0]:.0f} to {found[-1]:.0f})" if found else f"{middle:.0f}"


def detected(arm, episode):
    return episode["detected"] if arm == "service" else episode.get("page", {}).get("after")


def named(arm, episode):
    if arm == "service":
        return episode["right_first"]
    page = episode.get("page")
    return page["after"] if page and page["first"] == FAULTS[episode["kind"]] else None


def acted(arm, episode):
    return bool(episode["remedies"]) if arm == "service" else episode["restarted"] is not None


def wrong(arm, episode):
    """Actions that do not fit the fault: another fault's remedy, the restart of a service that is not its root."""
    if arm == "service":
        return sum(one["what"] != REMEDY[episode["kind"]] for one in episode["remedies"])
    return int(acted(arm, episode) and episode["restarted"] != FAULTS[episode["kind"]])


def what(arm, episode):
    if arm == "rules":
        return episode["restarted"] or "nothing"
    return " then ".join(one["what"] for one in episode["remedies"]) or "nothing"


if __name__ == "__main__":
    main()
