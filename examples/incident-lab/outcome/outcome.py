"""Breaks a running lab again and again, lets one of two answer, and measures when users were well again.

Started by `run.sh outcome`, which says what for. Every episode is: a service with an empty memory, some minutes of
normal life, the fault, the answer, and everything as it was. Both who answer watch every episode, and only the one
whose turn it is may act:

* `service`: aiops-service. It is approved automatically where the runbook's tier is 0 or 1.
* `rules`: the page of Alertmanager; the service that its first alert names is restarted, once.

Users are well when, for HOLD seconds, no alert of the rule set fires and the gateway's errors and latency are within
their limits. An episode that is not well LIMIT seconds after the fault began counts as LIMIT and as not recovered.
One line of JSON an episode in DIR/episodes-SLOT.jsonl; what is there already is not done again.
"""
import argparse
import http.server
import json
import pathlib
import random
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

FAULTS = {"pool-exhaustion": "postgres", "cpu-starvation": "api", "redis-slow": "redis", "db-network-delay": "postgres",
          "db-disk-pressure": "postgres", "bad-deploy": "api"}
REMEDY = {"pool-exhaustion": "end-idle-transactions", "cpu-starvation": "lift-cpu-limit", "redis-slow": "stop-redis-scan",
          "db-network-delay": "switch-database-path", "db-disk-pressure": "raise-volume-limit",
          "bad-deploy": "roll-back-deploy"}
HARMLESS = ["config", "deploy", "job", "load-step"]
NORMAL, LIMIT, HOLD = 150, 210, 20


def drawn(count, seed):
    """The episodes, in order: every fault twice, a harmless one after every fourth. Kinds take turns, so that any
    beginning of the list has all of them about equally often; strengths and orders are the seed's."""
    chance = random.Random(seed)
    kinds = []
    while len(kinds) < count:
        some = list(FAULTS)
        chance.shuffle(some)
        kinds += some
    episodes = []
    for number, kind in enumerate(kinds[:count]):
        arms = ["service", "rules"]
        chance.shuffle(arms)
        episodes += [{"fault": number, "kind": kind, "seed": seed * 1000 + number, "answers": arm} for arm in arms]
        if number % 4 in (1, 2):
            episodes.append({"fault": number, "kind": "harmless", "what": chance.choice(HARMLESS), "answers": "nobody"})
    return episodes


def get(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


def post(url, body, kind):
    with urllib.request.urlopen(urllib.request.Request(url, body.encode(), {"content-type": kind}), timeout=60) as answer:
        return answer.status


class Lab:
    """The running lab: its commands, what Prometheus says, and the changes that it writes down."""

    def __init__(self, args):
        self.args, self.changes_read = args, 0

    def do(self, *words, **options):
        command = [self.args.lab, *words, "--slot", self.args.slot, "--bin", self.args.bin,
                   "--fault", options.get("fault", "harmless"), "--seed", str(options.get("seed", self.args.seed))]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        return done.stdout.strip()

    def ask(self, query):
        answer = json.loads(get(f"{self.args.prometheus}/api/v1/query?" + urllib.parse.urlencode({"query": query})))
        return [(one["metric"], float(one["value"][1])) for one in answer["data"]["result"]]

    def firing(self):
        return sorted({labels["alertname"] for labels, _ in self.ask('ALERTS{alertstate="firing"}')})

    def well(self):
        """No alert fires, and what users feel is within limits. NaN means that nobody asked: not well."""
        felt = {name: [value for _, value in self.ask(name)] for name in
                ("gateway:error_ratio:10s", "gateway:latency_seconds:p99")}
        errors, latency = felt.values()
        within = bool(errors) and bool(latency) and errors[0] < 0.05 and latency[0] < 0.5
        return within and not self.firing()

    def changes(self):
        """What was changed since the last call."""
        lines = (pathlib.Path(self.args.work) / "changes.jsonl").read_text().splitlines()
        new, self.changes_read = lines[self.changes_read:], len(lines)
        return [json.loads(line) for line in new]


class Operator(http.server.ThreadingHTTPServer):
    """Takes Alertmanager's pages and carries out the remedies that the service asks for."""

    daemon_threads = True

    def __init__(self, port, lab):
        self.lab, self.pages, self.done, self.may_remedy = lab, [], [], False
        super().__init__(("127.0.0.1", port), Hands)


class Hands(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        status = 200
        if self.path == "/page":
            page = json.loads(body)
            if page["status"] == "firing":
                alerts = [a for a in page["alerts"] if a["status"] == "firing"]
                first = min(alerts, key=lambda a: a["startsAt"])
                self.server.pages.append({"at": time.time(), "first": first["labels"].get("service", ""),
                                          "alert": first["labels"]["alertname"]})
        elif self.server.may_remedy:
            name = self.path.rsplit("/", 1)[-1]
            self.server.done.append({"at": time.time(), "what": name})
            self.server.lab.do("remedy", name)
        else:
            status = 409
        answer = b"{}"
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


class Service:
    """The service under test, with an empty memory."""

    def __init__(self, args):
        self.args, self.url = args, f"http://127.0.0.1:{args.listen}"
        self.folder = pathlib.Path(args.work) / "service"
        self.process = None
        topology = self.folder.parent / "topology.csv"
        edges = [("gateway", "api", "calls"), ("api", "postgres", "calls"), ("api", "redis", "calls")]
        edges += [(name, "host", "runs_on") for name in ("gateway", "api", "postgres", "redis")]
        topology.write_text("from,to,kind\n" + "".join(",".join(edge) + "\n" for edge in edges))
        (self.folder.parent / "service.toml").write_text(
            f'listen = "127.0.0.1:{args.listen}"\ndata = "{self.folder}"\ntopology = "{topology}"\n'
            f'rank_every_seconds = 2\n[act]\nrunbooks = "{args.work}/runbooks"\ndry_run = false\n'
            f'propose_after_seconds = 10\nallow_urls = ["http://127.0.0.1:{args.operator}/"]\n')

    def start(self):
        subprocess.run(["rm", "-rf", str(self.folder)], check=True)
        log = open(self.folder.parent / "log" / "service.log", "ab")
        config = str(self.folder.parent / "service.toml")
        self.process = subprocess.Popen([self.args.service, "serve", "--config", config], stdout=log, stderr=log)
        for _ in range(300):
            try:
                return get(self.url + "/healthz")
            except (OSError, urllib.error.URLError):
                time.sleep(0.1)
        raise RuntimeError("the service does not come up")

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait(timeout=60)
            self.process = None

    def incidents(self):
        return json.loads(get(self.url + "/api/incidents"))["incidents"]

    def runs(self):
        return json.loads(get(self.url + "/api/runs"))["runs"]

    def tell(self, change):
        body = {"kind": change["kind"], "service": change["service"], "title": change["title"],
                "starts_at": change["time_ms"] / 1000, "labels": change["labels"]}
        post(self.url + "/changes", json.dumps(body), "application/json")

    def approve(self, run):
        """As a person does it, on the page: the answer is bound to what the page showed."""
        page = get(f"{self.url}/incidents/{run['plan']['incident']}")
        fields = {name: re.search(rf'name="{name}" value="([^"]*)"', page) for name in ("key", "to")}
        if not all(fields.values()):
            return
        form = {name: found[1].replace("&quot;", '"').replace("&amp;", "&") for name, found in fields.items()}
        form.update(says="approve", comment="low risk: approved automatically")
        post(f"{self.url}/runs/{run['plan']['run']}/answer", urllib.parse.urlencode(form),
             "application/x-www-form-urlencoded")


def episode(plan, lab, operator, service):
    """One episode; gives what was seen in it."""
    quiet(lab)
    lab.do("reset")
    operator.pages.clear()
    operator.done.clear()
    service.start()
    fault = plan["kind"] if plan["kind"] in FAULTS else None
    began = time.time()
    seen = {**plan, "began": began, "false_incidents": 0, "false_pages": 0, "felt": None, "well": None,
            "detected": None, "right_first": None, "ranked": None, "runs": [], "restarted": None}
    at_hand = {"fault": fault or "harmless", "seed": plan.get("seed", 0)}
    while time.time() < began + NORMAL - 12:
        watch(seen, lab, service)
    if fault == "cpu-starvation":
        lab.do("measure", **at_hand)
    while time.time() < began + NORMAL:
        watch(seen, lab, service)
    seen["false_incidents"] = len(service.incidents())
    seen["false_pages"] = len(operator.pages)
    if fault is None:
        lab.do(*(["load-step"] if plan["what"] == "load-step" else ["routine", plan["what"]]))
        end = time.time() + 100
        while time.time() < end:
            watch(seen, lab, service)
        seen["false_incidents"], seen["false_pages"] = len(service.incidents()), len(operator.pages)
        seen["normal_seconds"] = time.time() - began
        return seen
    seen["normal_seconds"] = time.time() - began
    known = {row["id"] for row in service.incidents()}
    operator.pages.clear()
    operator.may_remedy = plan["answers"] == "service"
    injecting = []
    injector = threading.Thread(target=lambda: injecting.append(lab.do("inject", **at_hand)), daemon=True)
    injector.start()
    injected, approved, good_since = time.time(), set(), None
    while time.time() < injected + LIMIT:
        watch(seen, lab, service)
        now = time.time()
        fresh = [row for row in service.incidents() if row["id"] not in known]
        for row in fresh:
            seen["detected"] = seen["detected"] or now - injected
            if row["cause"]:
                cause = row["cause"]["cause"]
                named = cause.get("service") or ""
                seen["ranked"] = json.dumps(cause)
                if named == FAULTS[fault] and seen["right_first"] is None:
                    seen["right_first"] = now - injected
        if plan["answers"] == "service":
            for run in service.runs():
                if run["state"].get("is") == "asking" and run["plan"]["risk"] in (0, 1, "read_only", "reversible"):
                    if run["plan"]["run"] not in approved:
                        approved.add(run["plan"]["run"])
                        service.approve(run)
            seen["runs"] = [{"runbook": run["plan"].get("id") or run["plan"]["runbook"]["id"], "state": run["state"]}
                            for run in service.runs()]
        elif operator.pages and seen["restarted"] is None:
            seen["restarted"] = operator.pages[0]["first"]
            seen["acted"] = time.time() - injected
            lab.do("restart", seen["restarted"])
        if not lab.well():
            seen["felt"] = seen["felt"] or now - injected
            good_since = None
        elif seen["felt"]:
            good_since = good_since or now
            if now - good_since >= HOLD:
                break
    operator.may_remedy = False
    if good_since and time.time() - good_since >= HOLD:
        seen["well"] = good_since - injected
    if operator.pages:
        page = operator.pages[0]
        seen["page"] = {"after": page["at"] - injected, "first": page["first"], "alert": page["alert"]}
    seen["remedies"] = [{"what": one["what"], "after": one["at"] - injected} for one in operator.done]
    injector.join()
    seen["injecting"] = injecting[0] if injecting else ""
    lab.do("heal", **at_hand)
    return seen


def watch(seen, lab, service):
    """A second passes; changes are told."""
    for change in lab.changes():
        service.tell(change)
    time.sleep(1)


def quiet(lab):
    """Waits until users have been well for ten seconds, at most three minutes."""
    since, end = None, time.time() + 180
    while time.time() < end:
        try:
            well = lab.well()
        except (OSError, urllib.error.URLError):
            well = False
        since = (since or time.time()) if well else None
        if since and time.time() - since >= 10:
            return
        time.sleep(1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("lab", "bin", "service", "slot", "work", "share", "out", "prometheus", "alertmanager"):
        parser.add_argument("--" + name, required=True)
    for name in ("faults", "seed", "listen", "operator"):
        parser.add_argument("--" + name, type=int, required=True)
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    out = pathlib.Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    share, shares = map(int, args.share.split("/"))
    known = [json.loads(line) for file in out.glob("episodes-*.jsonl") for line in file.read_text().splitlines()]
    done = {(one["fault"], one["kind"], one["answers"]) for one in known}
    lab = Lab(args)
    operator = Operator(args.operator, lab)
    threading.Thread(target=operator.serve_forever, daemon=True).start()
    service = Service(args)
    for plan in drawn(args.faults, args.seed):
        # A fault's two episodes are one lane's, so that they have the same machine.
        if plan["fault"] % shares != share - 1 or (plan["fault"], plan["kind"], plan["answers"]) in done:
            continue
        try:
            seen = episode(plan, lab, operator, service)
        finally:
            service.stop()
        with open(out / f"episodes-{args.slot}.jsonl", "a") as file:
            file.write(json.dumps(seen) + "\n")
        print({k: v for k, v in seen.items() if k not in ("began", "runs")}, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
