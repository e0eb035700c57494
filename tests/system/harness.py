"""What all system tests share: a real hookd, clients on its sockets, and receivers.

HOOKD_BUILD names the build directory whose hookd is tested; by default build/release.
"""

import base64
import contextlib
import datetime
import hashlib
import hmac
import http.client
import http.server
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.parse

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get("HOOKD_BUILD", os.path.join(ROOT, "build", "release")))

# Sanitizers make everything slower; what a test waits for at most is stretched by this.
PATIENCE = float(os.environ.get("HOOKD_PATIENCE", "1"))

# Tests that find more the longer they run do so when this is set, as tests/run --long does.
LONG = os.environ.get("HOOKD_LONG") == "1"

# What a log shows when a sanitizer or an assertion has complained.
TROUBLE = re.compile(r"ERROR: AddressSanitizer|runtime error:|ERROR: LeakSanitizer|WARNING: ThreadSanitizer|Assertion")

LOCAL = {"network": {"allow_http": "yes", "allow_private": "127.0.0.0/8"}}
DEFAULTS = {"store": {"min_free_disk": "1M", "budget": "256M"}, "senders": {"count": "2"}}


def wait_until(condition, timeout=10, what=None):
    """Returns the first true value of condition(); fails when there is none in time."""
    deadline = time.monotonic() + timeout * PATIENCE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout * PATIENCE:g} s: {what or condition}")
        time.sleep(0.01)


def seconds(text):
    """A time in an answer, in seconds since 1970."""
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def end_of(attempt):
    """When an attempt was over, as the sender that made it saw it; hookd hears of it later."""
    return seconds(attempt["started_at"]) + attempt["duration_ms"] / 1000


# ---- hookd ------------------------------------------------------------------------------------


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout=30):
        super().__init__("hookd", timeout=timeout * PATIENCE)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.status} {self.body[:400]!r}"


class Client:
    """Speaks to one socket. Every call is a connection of its own, unless keep is used."""

    def __init__(self, path, timeout=30):
        self.path, self.timeout = path, timeout

    def call(self, method, target, body=None, headers=None, **query):
        query = {name: value for name, value in query.items() if value is not None}
        if query:
            target += "?" + urllib.parse.urlencode(query, quote_via=urllib.parse.quote)
        headers = dict(headers or {})
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        connection = UnixConnection(self.path, self.timeout)
        try:
            connection.request(method, target, body, headers)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def get(self, target, **query):
        return self.call("GET", target, **query)

    def post(self, target, body=None, headers=None, **query):
        return self.call("POST", target, {} if body is None else body, headers, **query)

    def patch(self, target, body, **query):
        return self.call("PATCH", target, body, **query)

    def delete(self, target, **query):
        return self.call("DELETE", target, **query)

    def submit(self, type, data=None, **members):
        """One envelope; returns the receipt."""
        answer = self.post("/v1/events", {"type": type, "data": data, **members})
        assert answer.status == 202, answer
        return answer.json

    def all(self, target, **query):
        """All items of a list."""
        items, cursor = [], None
        while True:
            answer = self.get(target, cursor=cursor, **query)
            assert answer.status == 200, answer
            items += answer.json["items"]
            cursor = answer.json["next"]
            if not cursor:
                return items

    def add_endpoint(self, name, url, **members):
        answer = self.post("/v1/endpoints", {"name": name, "url": url, **members})
        assert answer.status == 201, answer
        return answer.json

    def delivery(self, event, endpoint):
        answer = self.get(f"/v1/deliveries/{event}/{endpoint}")
        assert answer.status == 200, answer
        return answer.json

    def wait_for(self, event, endpoint, state, timeout=10):
        """Waits for a delivery to be in a state, and returns it."""
        return wait_until(
            lambda: (lambda d: d if d["state"] == state else None)(self.delivery(event, endpoint)),
            timeout, f"{event}/{endpoint} {state}")


def write_config(path, *sections):
    merged = {}
    for part in sections:
        for section, keys in part.items():
            merged.setdefault(section, {}).update(keys)
    with open(path, "w") as file:
        for section, keys in merged.items():
            file.write(f"[{section}]\n")
            for key, value in keys.items():
                file.write(f"{key} = {value}\n")


class Hookd:
    """A hookd of a test's own, on a directory of its own."""

    timeout = 30  # of its clients

    def __init__(self, directory, config=None, local=True):
        self.directory = directory
        self.data = os.path.join(directory, "data")
        self.sockets = os.path.join(directory, "run")
        self.config = os.path.join(directory, "hookd.conf")
        self.log_path = os.path.join(directory, "log")
        self.process = None
        self.configure(config, local)

    def configure(self, config=None, local=True):
        write_config(self.config, DEFAULTS, LOCAL if local else {}, config or {})

    def command(self):
        return [os.path.join(BUILD, "daemon", "hookd"), "--config", self.config, "--data", self.data,
                "--sockets", self.sockets]

    def start(self, wait=True, **popen):
        self.log_file = open(self.log_path, "ab")
        self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=self.log_file,
                                        stderr=self.log_file, **popen)
        self.log_file.close()
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self, timeout=20):
        def ready():
            assert self.process.poll() is None, f"hookd ended: {self.log()}"
            try:
                return self.submit.get("/v1/health").status
            except OSError:
                return None
        wait_until(ready, timeout, "hookd answers")

    def stop(self, timeout=30):
        """An orderly stop; returns the exit status."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout * PATIENCE)
        self.process = None
        return status

    def kill(self):
        """As a crash would: hookd and, by its going, the senders."""
        self.process.kill()
        self.process.wait()
        self.process = None

    def restart(self):
        assert self.stop() == 0, self.log()
        return self.start()

    def reload(self):
        before = self.log().count("configuration read again")
        self.process.send_signal(signal.SIGHUP)
        wait_until(lambda: self.log().count("configuration read again") > before, what="reload")

    def log(self):
        with open(self.log_path, errors="replace") as file:
            return file.read()

    def senders(self):
        """The process ids of the senders."""
        path = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        with open(path) as file:
            return [int(pid) for pid in file.read().split()]

    def some_senders(self):
        """The same, when there are any: hookd replaces those that are killed before they could begin more and more
        rarely, up to once in a minute."""
        return wait_until(self.senders, 70, "there are senders")

    def confined_senders(self):
        """The process ids of the senders, when all have their configuration and have confined themselves."""
        def confined():
            pids = self.senders()
            try:
                states = [open(f"/proc/{pid}/status").read() for pid in pids]
            except (FileNotFoundError, ProcessLookupError):
                return None
            return pids if pids and all("Seccomp:\t2" in state for state in states) else None
        return wait_until(confined, 20, "the senders are confined")

    def socket_path(self, role):
        return os.path.join(self.sockets, role + ".sock")

    @property
    def submit(self):
        return Client(self.socket_path("submit"), self.timeout)

    @property
    def manage(self):
        return Client(self.socket_path("manage"), self.timeout)

    @property
    def admin(self):
        return Client(self.socket_path("admin"), self.timeout)

    @property
    def metrics(self):
        return Client(self.socket_path("metrics"), self.timeout)

    def metric(self, name, **labels):
        """A sample's value; 0 when there is none."""
        text = self.metrics.get("/metrics").body.decode()
        for line in text.splitlines():
            match = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
            if match and match[1] == name:
                found = dict(re.findall(r'(\w+)="([^"]*)"', match[2] or ""))
                if all(found.get(key) == value for key, value in labels.items()):
                    return float(match[3])
        return 0.0


def hookctl(hookd, *arguments, input=None, timeout=60):
    """Runs hookctl against a hookd, not on a terminal."""
    return subprocess.run([os.path.join(BUILD, "ctl", "hookctl"), "--sockets", hookd.sockets, *arguments],
                          input=input, capture_output=True, text=not isinstance(input, bytes),
                          timeout=timeout * PATIENCE)


def thread_of(hookd, name):
    """The id of hookd's thread of that name."""
    return next(task for task in os.listdir(f"/proc/{hookd.process.pid}/task")
                if open(f"/proc/{hookd.process.pid}/task/{task}/comm").read() == name + "\n")


def state_of(path):
    """The state of a process or thread in /proc: R, S, T and so on."""
    with open(path + "/stat") as file:
        return file.read().rsplit(")", 1)[1].split()[0]


def wait_until_stopped(hookd):
    """Waits until a SIGSTOP has arrived at all threads."""
    path = f"/proc/{hookd.process.pid}/task"
    wait_until(lambda: all(state_of(f"{path}/{task}") == "T" for task in os.listdir(path)))


def wait_until_held(hookd, thread="hookd-store"):
    """Waits until a thread, of which strace delays a call, stands in that call; in others it does for a moment only."""
    path = f"/proc/{hookd.process.pid}/task/{thread_of(hookd, thread)}"
    wait_until(lambda: all(state_of(path) == "t" for _ in range(10) if not time.sleep(0.01)), 20, f"{thread} is held")


@contextlib.contextmanager
def strace(pid, *arguments, follow=True, log="/dev/null"):
    """strace on a process that runs, or with follow=False on one thread, from when it is attached to the block's end."""
    tracer = subprocess.Popen(["strace", *(["-f"] if follow else []), "-o", log, "-p", str(pid), *arguments],
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        line = tracer.stderr.readline()  # "strace: Process 17 attached with 4 threads"
        assert "attached" in line, line
        yield
    finally:
        # Not asked to end: it would wait for a process that it has killed and that nobody has waited for yet.
        tracer.kill()
        tracer.communicate()


def injected(pid, injection, follow=True):
    """Something is done to system calls of a process or thread; injection is strace's: "CALL:error=EIO", for example.
    Ends with the block: a call that is being delayed then goes on at once."""
    call = injection.split(":")[0]
    return strace(pid, "-e", f"trace={call}", "-e", f"inject={injection}", follow=follow)


def traced(hookd, injection, thread="hookd-store"):
    """The same to one thread of hookd."""
    return injected(thread_of(hookd, thread), injection, follow=False)


def check_data(hookd):
    """Looks through the data of a hookd that does not run."""
    return subprocess.run([os.path.join(BUILD, "daemon", "hookd"), "--check-data", hookd.data], capture_output=True,
                          text=True, timeout=60 * PATIENCE)


# ---- Receivers --------------------------------------------------------------------------------


class Received:
    """A request as it came in."""

    def __init__(self, handler, body):
        self.path, self.headers, self.body = handler.path, handler.headers, body
        self.time, self.monotonic = time.time(), time.monotonic()
        self.peer = handler.client_address
        self.id = handler.headers.get("webhook-id")
        self.type = handler.headers.get("webhook-event")

    @property
    def json(self):
        return json.loads(self.body)


class Receiver:
    """A receiver whose answers a test decides: answer(received) gives a status, or a tuple of status,
    headers and body; it may sleep. What came is in requests."""

    def __init__(self, answer=204, tls=None, address="127.0.0.1", port=0):
        self.answer = answer
        self.requests = []
        self.lock = threading.Lock()
        self.open = self.most_open = 0
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                received = Received(self, body)
                with receiver.lock:
                    receiver.requests.append(received)
                    receiver.open += 1
                    receiver.most_open = max(receiver.most_open, receiver.open)
                try:
                    answer = receiver.answer(received) if callable(receiver.answer) else receiver.answer
                finally:
                    with receiver.lock:
                        receiver.open -= 1
                status, headers, content = answer if isinstance(answer, tuple) else (answer, {}, b"")
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if status != 204:
                    self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if status != 204:
                    self.wfile.write(content)

            def do_GET(self):
                self.send_error(405)

            def log_message(self, *arguments):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 512

            def handle_error(self, request, client_address):
                pass

        self.server = Server((address, port), Handler)
        if tls:
            # Handshakes are made by the threads of the requests: one that does not end holds up nobody else.
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self.server.server_address[1]
        self.url = f"{'https' if tls else 'http'}://{address}:{self.port}/"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def wait_for(self, n, timeout=10):
        """Waits for at least n requests, and returns them."""
        wait_until(lambda: len(self.requests) >= n, timeout, f"{n} requests, got {len(self.requests)}")
        return self.requests

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@contextlib.contextmanager
def raw_receiver(serve):
    """A TCP server for what no decent HTTP server would do: serve(connection) runs in a thread for each
    connection."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)

    def run():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return

            def handle(connection=connection):
                with contextlib.suppress(OSError):
                    serve(connection)
                with contextlib.suppress(OSError):
                    connection.close()

            threading.Thread(target=handle, daemon=True).start()

    threading.Thread(target=run, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        listener.close()


def read_request(connection):
    """Reads one request with a Content-Length from a raw connection; returns its body."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return None
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(re.search(rb"(?i)content-length: *(\d+)", head)[1])
    while len(body) < length:
        piece = connection.recv(65536)
        if not piece:
            return None
        body += piece
    return body


taken = []  # the sockets that keep closed ports closed


def closed_port():
    """A port of 127.0.0.1 at which nobody listens and nobody can begin to, over TCP and UDP, as long as the tests run:
    it is bound. A UDP socket that is connected, here to itself, takes no datagrams of others; they are refused."""
    while True:
        tcp, udp = socket.socket(), socket.socket(type=socket.SOCK_DGRAM)
        try:
            tcp.bind(("127.0.0.1", 0))
            udp.bind(tcp.getsockname())
            udp.connect(udp.getsockname())
        except OSError:  # another has that port for UDP
            tcp.close()
            udp.close()
            continue
        taken.extend([tcp, udp])
        return tcp.getsockname()[1]


def free_port():
    """A port of 127.0.0.1 for a process that has to be told one: none of those that the kernel gives to who asks for
    any, which all the other tests do."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
        first_given = int(file.read().split()[0])
    while True:
        port = random.randrange(first_given // 2, first_given)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


def is_signed(received, *secrets):
    """Does the request carry a Standard Webhooks signature of each of the secrets? Written from the
    specification, not with hookd's own code."""
    given = received.headers["webhook-signature"].split(" ")
    content = f"{received.headers['webhook-id']}.{received.headers['webhook-timestamp']}.".encode() + received.body
    for secret in secrets:
        key = base64.b64decode(secret.removeprefix("whsec_"))
        expected = "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
        if expected not in given:
            return False
    return len(given) == len(secrets)


@contextlib.contextmanager
def temporary_directory():
    # Short, because the path of a socket has 107 bytes at most.
    path = tempfile.mkdtemp(prefix="hookd-", dir="/tmp")
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
