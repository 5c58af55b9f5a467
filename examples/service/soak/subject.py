"""A service under the soak: starting it, ending it well or badly, and what it says of itself."""
import json
import os
import pathlib
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request


class Subject:
    """One service with data of its own, on a port of its own on loopback."""

    def __init__(self, name, binary, out, port, topology):
        self.name, self.binary, self.out = name, str(pathlib.Path(binary).resolve()), out
        self.url = f"http://127.0.0.1:{port}"
        self.config = out / f"{name}.toml"
        self.config.write_text(f'listen = "127.0.0.1:{port}"\ndata = "{out}/{name}-data"\ntopology = "{topology}"\n')
        self.process = None
        self.began = time.time()
        self.lock = threading.Lock()
        # What was done to it: (seconds since the beginning, what, seconds until it answered again).
        self.marks = []

    def start(self):
        log = open(self.out / f"{self.name}.log", "ab")
        self.process = subprocess.Popen([self.binary, "serve", "--config", str(self.config)], stdout=log, stderr=log)
        asked = time.time()
        while time.time() - asked < 120:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended with {self.process.returncode}; see its log")
            try:
                urllib.request.urlopen(self.url + "/healthz", timeout=2).read()
                return time.time() - asked
            except (OSError, urllib.error.URLError):
                time.sleep(0.05)
        raise RuntimeError(f"{self.name} does not answer after two minutes")

    def kill(self, wait):
        """SIGKILL, and a start `wait` seconds later; in the background, as a supervisor would."""
        threading.Thread(target=self.again, args=("kill", signal.SIGKILL, wait), daemon=True).start()

    def restart(self):
        self.again("restart", signal.SIGTERM, 0)

    def again(self, what, how, wait):
        with self.lock:
            at = time.time() - self.began
            self.process.send_signal(how)
            self.process.wait(timeout=60)
            time.sleep(wait)
            self.marks.append((at, what, self.start()))

    def stop(self):
        with self.lock:
            if self.process and self.process.poll() is None:
                self.process.terminate()
                self.process.wait(timeout=60)

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            return answer.read().decode()

    def json(self, path):
        return json.loads(self.get(path))

    def usage(self):
        """Resident bytes and processor seconds of the process."""
        pid = self.process.pid
        pages = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1])
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks = int(stat[11]) + int(stat[12])
        return pages * os.sysconf("SC_PAGE_SIZE"), ticks / os.sysconf("SC_CLK_TCK")

    def journal(self):
        """Every alert and change that the store holds; the service must have ended."""
        printed = subprocess.run([self.binary, "journal", "--config", str(self.config)], check=True, capture_output=True)
        return [json.loads(line) for line in printed.stdout.splitlines()]
