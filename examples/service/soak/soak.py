#!/usr/bin/env python3
"""A soak of the service: live traffic, kills, a rolling restart, and a count of what was kept.

    cargo build --release -p aiops-service
    examples/service/soak/soak.py --bin target/release/aiops-service --out /tmp/soak --seconds 7200

Two services get the same traffic: samples by remote write once a second, alerts by Alertmanager's webhook, changes,
and people's answers. `steady` is left alone but for one restart at half time; `killed` gets SIGKILL at moments drawn
from the seed as well. The sender repeats what is not acknowledged, as Prometheus and Alertmanager do, and writes down
what is. At the end every acknowledged alert, change and answer, and every incident that was ever seen, must be there
exactly once. RSS, processor time and counters are written every few seconds.

Exit code 0: nothing lost, nothing doubled. DIR gets `report.md`, `CSV` files, plots and the services' data.
Standard library only. The traffic is drawn from `--seed`; the machine's timing is its own.
"""
import argparse
import json
import pathlib
import queue
import random
import struct
import sys
import threading
import time
import urllib.error
import urllib.request

import drawing
import ledger
from subject import Subject

SERVICES = ["gateway", "api", "search", "cart", "orders", "stock", "users", "mail", "queue", "db"]
CALLS = [("gateway", "api"), ("gateway", "search"), ("api", "cart"), ("api", "orders"), ("api", "users"),
         ("orders", "stock"), ("orders", "queue"), ("queue", "mail"), ("stock", "db"), ("users", "db"), ("search", "db")]
METRICS = [("latency_seconds", 0.08), ("error_ratio", 0.01), ("cpu_usage_ratio", 0.35), ("requests_per_second", 120.0),
           ("memory_usage_ratio", 0.5)]


def varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(number, payload):
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def snappy(raw):
    """The block format with literals only."""
    out = [varint(len(raw))]
    for at in range(0, len(raw), 65536):
        piece = raw[at:at + 65536]
        out.append(bytes([61 << 2]) + struct.pack("<H", len(piece) - 1) + piece)
    return b"".join(out)


class Traffic:
    """What happens: episodes that make a service and its callers slow, with alerts and sometimes a deploy."""

    def __init__(self, seed, series, first):
        self.random = random.Random(seed)
        self.labels, self.base = [], []
        for n in range(series):
            service, rest = SERVICES[n % len(SERVICES)], n // len(SERVICES)
            metric, level = METRICS[rest % len(METRICS)]
            labels = {"__name__": metric, "service": service, "instance": f"{service}-{rest // len(METRICS)}"}
            pairs = (field(1, field(1, k.encode()) + field(2, v.encode())) for k, v in sorted(labels.items()))
            self.labels.append((b"".join(pairs), service, metric))
            self.base.append(level * self.random.uniform(0.7, 1.4))
        self.sick = {}
        self.todo = []
        self.next_episode = first
        self.number = 0

    def samples(self, now_ms, second):
        parts = []
        for (labels, service, metric), base in zip(self.labels, self.base):
            value = base * (1 + 0.05 * self.random.gauss(0, 1))
            if self.sick.get(service, 0) > second:
                value *= {"latency_seconds": 8, "error_ratio": 15, "cpu_usage_ratio": 1.7}.get(metric, 1)
            sample = b"\x09" + struct.pack("<d", value) + b"\x10" + varint(now_ms)
            parts.append(field(1, labels + field(2, sample)))
        return snappy(b"".join(parts))

    def sent_at(self, second):
        """Alerts and changes that are sent in this second: (path, body, kind, id)."""
        if second >= self.next_episode:
            self.next_episode = second + self.random.uniform(45, 120)
            self.episode(second)
        due = [item for item in self.todo if item[0] <= second]
        self.todo = [item for item in self.todo if item[0] > second]
        return [make() for _, make in due]

    def episode(self, second):
        root = self.random.choice(SERVICES)
        callers = [a for a, b in CALLS if b == root]
        hurt = [root] + self.random.sample(callers, self.random.randint(0, len(callers)))
        lasts = self.random.uniform(30, 90)
        if self.random.random() < 0.4:
            self.number += 1
            self.todo.append((second, lambda n=self.number: self.change(root, n)))
        for place, service in enumerate(hurt):
            begins = second + 3 * place
            self.sick[service] = begins + lasts
            for name in self.random.sample(["Slow", "Errors", "CpuHigh"], self.random.randint(1, 2)):
                self.number += 1
                alert = {"name": service.capitalize() + name, "service": service, "number": self.number}
                self.todo.append((begins + 8, lambda a=alert: self.alert(a, False)))
                self.todo.append((begins + lasts + 12, lambda a=alert: self.alert(a, True)))

    def change(self, service, number):
        body = {"kind": "deploy", "service": service, "version": f"1.{number}", "starts_at": stamp(time.time()),
                "labels": {"soak": str(number)}}
        return "/changes", json.dumps(body), "change", str(number)

    def alert(self, alert, over):
        alert.setdefault("since", stamp(time.time()))
        body = {"version": "4", "status": "resolved" if over else "firing", "receiver": "soak", "groupLabels": {},
                "commonLabels": {}, "commonAnnotations": {}, "groupKey": "{}", "externalURL": "", "alerts": [{
                    "status": "resolved" if over else "firing", "startsAt": alert["since"],
                    "endsAt": stamp(time.time()) if over else "0001-01-01T00:00:00Z",
                    "labels": {"alertname": alert["name"], "service": alert["service"], "severity": "warning",
                               "soak": str(alert["number"])}, "annotations": {}}]}
        return "/webhook/alertmanager", json.dumps(body), "over" if over else "alert", str(alert["number"])


def stamp(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds % 1 * 1000):03d}Z"


def post(url, body, kind, headers=()):
    request = urllib.request.Request(url, data=body, headers={"content-type": kind, **dict(headers)})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.status


class Sender(threading.Thread):
    """Sends what is queued, in order, each until it is acknowledged; samples are given up after a minute."""

    def __init__(self, subject, name):
        super().__init__(daemon=True)
        self.subject, self.name = subject, name
        self.queue = queue.Queue()
        self.dropped = self.repeated = self.acknowledged = 0
        self.start()

    def run(self):
        while True:
            path, body, headers, kind, number, done, born = self.queue.get()
            while True:
                try:
                    post(self.subject.url + path, body, headers[0], headers[1:])
                    self.acknowledged += 1
                    done(kind, number)
                    break
                except (OSError, urllib.error.URLError):
                    self.repeated += 1
                    if kind == "samples" and time.time() - born > 60:
                        self.dropped += 1
                        break
                    time.sleep(0.3)
            self.queue.task_done()


def main():
    args = arguments()
    out = pathlib.Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    topology = out / "topology.csv"
    topology.write_text("from,to,kind\n" + "".join(f"{a},{b},calls\n" for a, b in CALLS))
    subjects = [Subject(name, args.bin, out, args.port + n, topology)
                for n, name in enumerate(("steady", "killed"))]
    books = {s.name: ledger.Ledger(out / f"{s.name}.jsonl") for s in subjects}
    for subject in subjects:
        subject.start()
    print(f"soak: {args.seconds} s, {args.series} series a second, seed {args.seed}", flush=True)

    traffic, chance = Traffic(args.seed, args.series, min(150.0, args.seconds / 8)), random.Random(args.seed + 1)
    senders = {s.name: (Sender(s, "samples"), Sender(s, "others")) for s in subjects}
    watchers = [ledger.Watcher(s, books[s.name], out, args.every, random.Random(args.seed + 2)) for s in subjects]
    kill_at, restarted = 20 + chance.expovariate(1 / args.kill_every), False
    started, second = time.time(), 0
    quiet_end = args.seconds - min(120, args.seconds / 4)
    try:
        while second < args.seconds:
            now = time.time()
            body = traffic.samples(int(now * 1000), second)
            wire = ("application/x-protobuf", ("content-encoding", "snappy"),
                    ("x-prometheus-remote-write-version", "0.1.0"))
            others = traffic.sent_at(second) if second < quiet_end or traffic.todo else []
            for subject in subjects:
                samples, rest = senders[subject.name]
                samples.queue.put(("/api/v1/write", body, wire, "samples", "", lambda *_: None, now))
                for path, text, kind, number in others:
                    done = books[subject.name].acknowledged
                    rest.queue.put((path, text.encode(), ("application/json",), kind, number, done, now))
            if second >= quiet_end:
                traffic.next_episode = float("inf")
            elif second >= kill_at:
                subjects[1].kill(chance.uniform(0, 5))
                kill_at = second + 20 + chance.expovariate(1 / args.kill_every)
            if not restarted and second >= args.seconds / 2:
                restarted = True
                threading.Thread(target=lambda: [s.restart() for s in subjects], daemon=True).start()
            second += 1
            time.sleep(max(0.0, started + second - time.time()))
        for pair in senders.values():
            for sender in pair:
                sender.queue.join()
        time.sleep(15)
        for watcher in watchers:
            watcher.stop()
        results = [ledger.judge(s, books[s.name], senders[s.name]) for s in subjects]
    finally:
        for subject in subjects:
            subject.stop()
    for subject, result in zip(subjects, results):
        result.update(ledger.judge_journal(subject, books[subject.name]))
    report = ledger.report(args, subjects, results, out)
    (out / "report.md").write_text(report)
    for subject in subjects:
        drawing.draw(out / f"{subject.name}.csv", subject.marks, out / f"{subject.name}.svg", subject.name)
    print(report)
    return 0 if all(r["lost"] == 0 and r["doubled"] == 0 for r in results) else 1


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", required=True, help="the service's binary")
    parser.add_argument("--out", required=True, help="a folder for everything that comes of it")
    parser.add_argument("--seconds", type=int, default=7200)
    parser.add_argument("--series", type=int, default=500, help="samples a second")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kill-every", type=float, default=300.0, help="seconds between kills, on average")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between measurements")
    parser.add_argument("--port", type=int, default=21910)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
