"""What was acknowledged and seen, and whether it is there, once."""
import collections
import csv
import json
import math
import re
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

COUNTERS = ["aiops_service_series", "aiops_service_incidents", "aiops_correlate_alerts_total"]


class Ledger:
    """Everything that the service said it has."""

    def __init__(self, file):
        self.file = open(file, "w")
        self.lock = threading.Lock()
        self.kept = collections.defaultdict(dict)  # kind -> id -> when
        self.shown = {}                            # incident -> when it was shown, as first seen
        self.gone = set()                          # incidents that were missing or shown anew at some moment
        self.gaps = []                             # seconds from a kill to the first answer, by the watcher

    def acknowledged(self, kind, number):
        with self.lock:
            self.kept[kind].setdefault(number, time.time())
            self.file.write(json.dumps({"at": time.time(), "kind": kind, "id": number}) + "\n")
            self.file.flush()

    def saw(self, rows):
        now = {row["id"]: row for row in rows}
        with self.lock:
            for incident, shown_at in self.shown.items():
                row = now.get(incident)
                if row is None or row["shown_at"] != shown_at:
                    self.gone.add(incident)
            for row in rows:
                if row["shown_at"] is not None:
                    self.shown.setdefault(row["id"], row["shown_at"])


class Watcher(threading.Thread):
    """Looks every few seconds, writes down what it sees, and answers for a third of the incidents that ended."""

    def __init__(self, subject, book, out, every, chance):
        super().__init__(daemon=True)
        self.subject, self.book, self.every, self.chance = subject, book, every, chance
        self.rows = csv.writer(open(out / f"{subject.name}.csv", "w", newline="", buffering=1))
        self.rows.writerow(["seconds", "pid", "rss_bytes", "cpu_seconds", *COUNTERS])
        self.considered, self.ended = set(), threading.Event()
        self.start()

    def stop(self):
        self.ended.set()
        self.join()

    def run(self):
        while not self.ended.wait(self.every):
            try:
                self.look()
            except (OSError, urllib.error.URLError, json.JSONDecodeError, IndexError):
                pass  # it is down at the moment

    def look(self):
        subject = self.subject
        text = subject.get("/metrics")
        values = [sum(float(v) for v in re.findall(rf"^{c}(?:{{.*}})? (\S+)$", text, re.M)) for c in COUNTERS]
        rss, cpu = subject.usage()
        self.rows.writerow([f"{time.time() - subject.began:.1f}", subject.process.pid, rss, f"{cpu:.2f}", *values])
        incidents = subject.json("/api/incidents?all=true")["incidents"]
        self.book.saw(incidents)
        for row in incidents:
            if row["resolved_at"] and row["shown_at"] and row["id"] not in self.considered:
                self.considered.add(row["id"])
                if self.chance.random() < 0.33:
                    self.answer(row["id"])

    def answer(self, incident):
        """As a person does it: the form's key stands in the page."""
        page = self.subject.get(f"/incidents/{incident}")
        key = re.search(r'name="key" value="([^"]+)"', page)
        if key is None:
            return
        form = urllib.parse.urlencode({"key": key[1], "verdict": "noise"}).encode()
        with urllib.request.urlopen(f"{self.subject.url}/incidents/{incident}/answer", data=form, timeout=10):
            self.book.acknowledged("answer", incident)


def judge(subject, book, senders):
    """What the running service knows, against what it acknowledged."""
    rows = subject.json("/api/incidents?all=true")["incidents"]
    book.saw(rows)
    of_alert, ids, answers = collections.defaultdict(set), collections.defaultdict(set), {}
    for row in rows:
        merged = "merged" in json.dumps(row["state"])
        whole = subject.json(f"/api/incidents/{row['id']}")
        answers[row["id"]] = len(whole["answers"])
        for one in whole["decisions"]:
            number = ((one["alert"] or {}).get("labels") or {}).get("soak")
            if number is not None and not merged:
                of_alert[number].add(row["id"])
                ids[number].add(one["decision"]["alert"])
    kept = book.kept
    samples, others = senders
    return {
        "alerts": len(kept["alert"]), "ends": len(kept["over"]), "changes": len(kept["change"]),
        "answers": len(kept["answer"]), "shown": len(book.shown), "incidents": len(rows),
        "alerts lost": sum(n not in of_alert for n in kept["alert"]),
        "alerts doubled": sum(len(of_alert[n]) > 1 or len(ids[n]) > 1 for n in of_alert),
        "incidents lost": len(set(book.shown) - {row["id"] for row in rows}),
        "incidents gone or shown anew for a while": len(book.gone),
        "incidents doubled": len(rows) - len({row["id"] for row in rows}),
        "answers lost": sum(answers.get(i, 0) < 1 for i in kept["answer"]),
        "answers doubled": sum(answers.get(i, 0) > 1 for i in kept["answer"]),
        "sample bodies": samples.acknowledged, "sample bodies given up": samples.dropped,
        "sent again": samples.repeated + others.repeated,
    }


def judge_journal(subject, book):
    """What the store holds once the service has ended, and the sums over everything."""
    changes, alerts = collections.defaultdict(set), set()
    for entry in subject.journal():
        labels = (entry.get("event") or entry.get("alert") or {}).get("labels") or {}
        if "soak" in labels and "event" in entry:
            changes[labels["soak"]].add(entry["event"]["id"])
        elif "soak" in labels:
            alerts.add(labels["soak"])
    return {
        "changes lost": sum(n not in changes for n in book.kept["change"]),
        "changes doubled": sum(len(ids) > 1 for ids in changes.values()),
        "alerts not in the journal": sum(n not in alerts for n in book.kept["alert"]),
    }


def slope(points):
    """Least squares with a 95 % interval that allows for measurements that resemble their neighbours: the means of
    twenty stretches are what is fitted. In units a second."""
    if len(points) < 40:
        return None
    size = len(points) // 20
    means = [tuple(sum(p[i] for p in points[n * size:(n + 1) * size]) / size for i in (0, 1)) for n in range(20)]
    mx, my = (sum(m[i] for m in means) / 20 for i in (0, 1))
    sxx = sum((x - mx) ** 2 for x, _ in means)
    b = sum((x - mx) * (y - my) for x, y in means) / sxx
    rest = sum((y - my - b * (x - mx)) ** 2 for x, y in means)
    return b, 2.101 * math.sqrt(rest / 18 / sxx)


def stretches(file):
    """Resident bytes over time, one list for each life of the process, without its first five minutes."""
    lives = collections.defaultdict(list)
    for row in csv.DictReader(open(file)):
        lives[row["pid"]].append((float(row["seconds"]), float(row["rss_bytes"]), float(row["cpu_seconds"])))
    return [life for life in lives.values() if len(life) > 1]


def report(args, subjects, results, out):
    lines = [f"{args.seconds} s, {args.series} samples a second to each service, seed {args.seed}.", "",
             "| | " + " | ".join(s.name for s in subjects) + " |", "|---|" + "---|" * len(subjects)]
    for result in results:
        result["lost"] = sum(v for k, v in result.items() if k.endswith("lost") or k.endswith("not in the journal"))
        result["doubled"] = sum(v for k, v in result.items() if k.endswith("doubled"))
        result["lost"] += result["incidents gone or shown anew for a while"]
    kills = [[m for m in s.marks if m[1] == "kill"] for s in subjects]
    rows = [("SIGKILLs", [len(k) for k in kills]),
            ("slowest start after one, s", [f"{max((m[2] for m in k), default=0):.1f}" for k in kills]),
            ("orderly restarts", [sum(m[1] == "restart" for m in s.marks) for s in subjects])]
    rows += [(key, [r[key] for r in results]) for key in results[0]]
    for s in subjects:
        lives = stretches(out / f"{s.name}.csv")
        s.lives = lives
    longest = [max(s.lives, key=len) for s in subjects]
    rows.append(("largest RSS, MiB", [f"{max(p[1] for life in s.lives for p in life) / 2**20:.1f}" for s in subjects]))
    rows.append(("processor, % of a core", [
        f"{100 * sum(l[-1][2] - l[0][2] for l in s.lives) / max(1, sum(l[-1][0] - l[0][0] for l in s.lives)):.1f}"
        for s in subjects]))
    for title, lives in [("RSS slope in the longest life after 5 min, KiB/h", longest)]:
        cells = []
        for life in lives:
            fit = slope([(t, rss) for t, rss, _ in life if t > life[0][0] + 300])
            cells.append("too short" if fit is None else f"{fit[0] * 3600 / 1024:.0f} ± {fit[1] * 3600 / 1024:.0f}")
        rows.append((title, cells))
    rows.append(("length of that life, min", [f"{(life[-1][0] - life[0][0]) / 60:.0f}" for life in longest]))
    lines += [f"| {name} | " + " | ".join(str(cell) for cell in cells) + " |" for name, cells in rows]
    return "\n".join(lines) + "\n"
