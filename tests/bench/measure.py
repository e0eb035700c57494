"""What is measured and with what: hookd, its peers and the roofs as processes of this machine, and what they use up."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HERE = os.path.join(ROOT, "tests", "bench")
sys.path.insert(0, os.path.join(ROOT, "tests", "system"))
from harness import BUILD, Hookd, wait_until  # noqa: E402

PROGRAMS = os.path.join(BUILD, "tests", "bench")
RESULTS = os.path.join(ROOT, "build", "bench")
NODE = os.path.join(RESULTS, "node")  # the peers in JavaScript, and what they need

NGINX = """
worker_processes 1; daemon off; pid {directory}/nginx.pid; error_log {directory}/nginx.log;
events {{ worker_connections 8192; }}
http {{
    access_log off; keepalive_requests 1000000000; keepalive_timeout {keepalive}; client_max_body_size 8m;
    client_body_buffer_size 2m; client_body_temp_path {directory}/body; ssl_session_cache off; ssl_session_tickets off;
    proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{ listen 127.0.0.1:{port}{tls}; location / {{ return 200 ""; }} }}
}}
"""


def program(name, *arguments):
    """Runs a program of this folder and returns what it prints: an object, or a list of numbers."""
    done = subprocess.run([os.path.join(PROGRAMS, name), *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{name} {arguments}: {done.stderr}")
    return json.loads(done.stdout) if done.stdout.startswith("{") else [float(word) for word in done.stdout.split()]


def node(name, *arguments):
    done = subprocess.run(["node", os.path.join(NODE, name), *map(str, arguments)], cwd=NODE, capture_output=True,
                          text=True, timeout=600)
    if done.returncode:
        raise RuntimeError(f"{name} {arguments}: {done.stderr}")
    return json.loads(done.stdout)


def load(protocol, address, **options):
    """Producers: see load.c. Returns also how many events a second."""
    arguments = [word for name, value in options.items() for word in (f"-{name}", value)]
    result = program("load", "-p", protocol, "-a", address, *arguments)
    return {**result, "rate": result["events"] / result["seconds"]}


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def answers(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


@contextlib.contextmanager
def running(command, port=None):
    """A server, until the block ends."""
    process = subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    try:
        if port:
            wait_until(lambda: answers(port), 20, command[0])
        yield process
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def nginx(directory, keepalive="300s", certificate=None):
    """A receiver that says 200 to everything; yields its URL."""
    port = free_port()
    tls = f" ssl; ssl_certificate {certificate}; ssl_certificate_key {certificate}" if certificate else ""
    path = os.path.join(directory, "nginx.conf")
    with open(path, "w") as file:
        file.write(NGINX.format(directory=directory, port=port, keepalive=keepalive, tls=tls))
    with running(["nginx", "-c", path], port):
        yield f"https://localhost:{port}/" if certificate else f"http://127.0.0.1:{port}/"


@contextlib.contextmanager
def redis(directory):
    """Every write synced before its answer, as hookd does; yields its port."""
    port = free_port()
    with running(["redis-server", "--port", port, "--appendonly", "yes", "--appendfsync", "always", "--save", "",
                  "--dir", directory], port):
        yield port


@contextlib.contextmanager
def beanstalkd(directory):
    port = free_port()
    with running(["beanstalkd", "-l", "127.0.0.1", "-p", port, "-b", directory, "-f", 0], port):
        yield port


@contextlib.contextmanager
def bare_http(directory):
    path = os.path.join(directory, "http")
    with running([os.path.join(PROGRAMS, "roof_http"), path]):
        wait_until(lambda: os.path.exists(path), 10)
        yield path


class Measured(Hookd):
    """A hookd, and what it and its senders have used up."""

    def pids(self):
        pid = self.process.pid
        senders = []
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as file:
                senders += map(int, file.read().split())
        return [pid, *senders]

    def cpu(self):
        """Seconds of CPU, user and system, by name of the thread; senders count as one."""
        used = {}
        for pid in self.pids():
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/comm") as name, open(f"/proc/{pid}/task/{task}/schedstat") as stat:
                    key = name.read().strip()
                    used[key] = used.get(key, 0) + int(stat.read().split()[0]) / 1e9
        return used

    def memory(self):
        """Bytes of memory of hookd's own (RssAnon); pages of the data file belong to the page cache."""
        with open(f"/proc/{self.process.pid}/status") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("RssAnon"))

    def wakeups(self):
        """How often its threads and senders went to sleep so far."""
        total = 0
        for pid in self.pids():
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/status") as file:
                    total += next(int(line.split()[1]) for line in file if line.startswith("voluntary_ctxt"))
        return total

    def load(self, **options):
        return load("hookd", self.socket_path("submit"), **options)

    def waiting(self):
        return int(self.metric("hookd_queue_deliveries", state="pending"))

    def drain(self, timeout=600):
        """Resumes all sending and waits until nothing is pending; returns deliveries a second."""
        waiting, start = self.waiting(), time.monotonic()
        self.admin.post("/v1/resume")
        wait_until(lambda: self.waiting() == 0, timeout)
        return waiting / (time.monotonic() - start)


ROOMY = {"store": {"budget": "64G", "min_free_disk": "1M"}, "intake": {"max_connections_per_user": 1024}}


@contextlib.contextmanager
def hookd(directory, **config):
    """A hookd with a directory of its own; says what it logged when the block fails."""
    merged = {section: {**ROOMY.get(section, {}), **config.get(section, {})} for section in {**ROOMY, **config}}
    daemon = Measured(directory, merged)
    daemon.start()
    try:
        yield daemon
    except BaseException:
        sys.stderr.write(daemon.log()[-3000:])
        raise
    finally:
        daemon.stop()


def since(before, after):
    """Seconds of CPU between two readings, by thread."""
    return {name: after[name] - before.get(name, 0) for name in after}


class Bench:
    """One run: how long, and where its files are."""

    def __init__(self, quick):
        self.quick = quick
        self.seconds = 1 if quick else 3

    @contextlib.contextmanager
    def directory(self):
        base = os.environ.get("HOOKD_BENCH_DIR", RESULTS)
        path = tempfile.mkdtemp(prefix="data-", dir=base)
        try:
            yield path
        finally:
            shutil.rmtree(path)

    def size(self, whole, quick):
        """How many of something."""
        return quick if self.quick else whole


class Row:
    """One line of the report: a reading, and what it has to be at least (or at most, with below)."""

    def __init__(self, what, reading, unit, target=None, of="", below=False, note=""):
        self.what, self.reading, self.unit, self.target = what, reading, unit, target
        self.of, self.below, self.note = of, below, note

    @property
    def ratio(self):
        return self.reading / self.target if self.target else None

    @property
    def met(self):
        if self.target is None:
            return None
        return self.reading <= self.target if self.below else self.reading >= self.target
