"""Life as a service: sockets handed in, notifications, watchdog, reload, stop, journal; and the units."""

import contextlib
import glob
import http.client
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import threading
import time

import pytest

from harness import BUILD, PATIENCE, TROUBLE, traced, wait_until


class Manager:
    """What the service manager does: holds the sockets, starts hookd on them, hears its notifications."""

    def __init__(self, hookd):
        self.hookd = hookd
        os.makedirs(hookd.sockets, exist_ok=True)
        self.listeners = {}
        for role in ["submit", "manage", "admin"]:
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(hookd.socket_path(role))
            listener.listen(4096)
            self.listeners[role] = listener
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(os.path.join(hookd.directory, "notify"))
        self.notify.settimeout(0.05)
        self.heard = []

    def add_tcp(self, role="metrics"):
        listener = socket.create_server(("127.0.0.1", 0))
        self.listeners[role] = listener
        return listener.getsockname()[1]

    def start(self, wait=True, names=None, **environment):
        fds = [listener.fileno() for listener in self.listeners.values()]

        def take_places():
            high = [os.dup2(fd, 100 + i) for i, fd in enumerate(fds)]
            for i, fd in enumerate(high):
                os.dup2(fd, 3 + i)

        env = {"PATH": os.environ["PATH"], "NOTIFY_SOCKET": os.path.join(self.hookd.directory, "notify"),
               "LISTEN_FDS": str(len(fds)), "LISTEN_FDNAMES": ":".join(names or self.listeners), **environment}
        command = ["/bin/sh", "-c", 'LISTEN_PID=$$ WATCHDOG_PID=$$ exec "$@"', "sh",
                   *self.hookd.command()[:-2]]
        log = open(self.hookd.log_path, "ab")
        self.hookd.process = subprocess.Popen(command, env=env, preexec_fn=take_places, close_fds=False,
                                              stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        log.close()
        if wait:
            self.wait_for("READY=1")

    def hear(self):
        with contextlib.suppress(TimeoutError):
            while True:
                self.heard.append(self.notify.recv(4096).decode())

    def wait_for(self, text, timeout=20):
        def there():
            self.hear()
            return any(text in message for message in self.heard)
        wait_until(there, timeout, f"notification {text}; heard {self.heard}")

    def close(self):
        for listener in self.listeners.values():
            listener.close()
        self.notify.close()


@pytest.fixture
def manager(make_hookd):
    manager = Manager(make_hookd(start=False))
    yield manager
    manager.close()


def test_sockets_that_are_handed_in_are_served_each_in_its_role(manager):
    port = manager.add_tcp()
    manager.start()
    hookd = manager.hookd
    assert hookd.submit.submit("t", 1)["id"]
    assert hookd.submit.get("/v1/status").status == 403
    assert hookd.manage.get("/v1/status").status == 200
    assert hookd.admin.post("/v1/pause").status == 200
    with socket.create_connection(("127.0.0.1", port)) as s:
        s.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        text = b""
        while piece := s.recv(65536):
            text += piece
    assert b"hookd_build_info" in text and text.endswith(b"# EOF\n")
    with socket.create_connection(("127.0.0.1", port)) as s:
        s.sendall(b"GET /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b" 403 " in s.recv(65536)


def test_a_socket_of_unknown_name_is_refused(manager):
    manager.start(wait=False, names=["submit", "manage", "surprise"])
    assert manager.hookd.process.wait(20) == 1
    assert 'a socket named "surprise" was handed in' in manager.hookd.log()
    manager.hookd.process = None


def test_sockets_stay_where_they_are_after_a_stop(manager):
    manager.start()
    assert manager.hookd.stop() == 0
    assert os.path.exists(manager.hookd.socket_path("submit"))
    assert any("STOPPING=1" in m for m in (manager.hear(), manager.heard)[1])


def test_ready_comes_when_everything_is_there(manager):
    manager.start(wait=False)
    answer = manager.hookd.submit.get("/v1/health")  # waits in the socket until then
    assert answer.status == 200
    manager.wait_for("READY=1")


def test_a_restart_under_load_refuses_no_connection(manager, receive):
    receiver = receive()
    manager.start()
    hookd = manager.hookd
    hookd.admin.add_endpoint("e", receiver.url, max_in_flight=64)
    stop, acknowledged, failures, strange, unsure = threading.Event(), [], [], [], []

    def produce(n):
        i = 0
        while not stop.is_set():
            key = f"{n}-{i}"
            while True:
                try:
                    answer = hookd.submit.post("/v1/events", {"type": "t", "data": key, "idempotency_key": key})
                except (ConnectionRefusedError, FileNotFoundError) as error:
                    failures.append(error)
                    return
                except (OSError, http.client.HTTPException) as error:
                    unsure.append(repr(error))  # broken in the middle: perhaps stored, so again with the key
                    continue
                if answer.status == 202:
                    acknowledged.append((key, answer.json["id"]))
                    break
                if answer.json["code"] != "stopping":
                    strange.append(answer)
                    return
            i += 1

    threads = [threading.Thread(target=produce, args=(n,), daemon=True) for n in range(8)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            time.sleep(0.7)
            assert hookd.stop() == 0
            manager.heard.clear()
            manager.start()
        time.sleep(0.5)
        wait_until(lambda: len(acknowledged) > 100)
    finally:
        stop.set()
    for thread in threads:
        thread.join()
    assert failures == [] and strange == []
    assert len({key for key, _ in acknowledged}) == len({event for _, event in acknowledged}) == len(acknowledged)
    wait_until(lambda: {event for _, event in acknowledged} <= {r.id for r in receiver.requests}, 20)
    assert {r.json["data"] for r in receiver.requests} == {key for key, _ in acknowledged}


def test_the_watchdog_is_fed_while_loop_and_store_move(manager):
    started = time.monotonic()
    manager.start(WATCHDOG_USEC="1000000")
    manager.heard.clear()
    times = []
    for _ in range(5):
        n = len(manager.heard)
        wait_until(lambda: manager.hear() or any("WATCHDOG=1" in message for message in manager.heard[n:]))
        times.append(time.monotonic())
    # Twice in the time that the manager waits; a busy machine may be late once.
    assert statistics.median(b - a for a, b in zip(times, times[1:])) < 0.7 * PATIENCE
    assert sum("WATCHDOG=1" in message for message in manager.heard) <= 3 * (time.monotonic() - started)
    assert any("STATUS=" in message and "senders" in message for message in manager.heard)


def test_the_watchdog_is_not_fed_while_the_loop_stands_still(manager):
    manager.start(WATCHDOG_USEC="1000000")
    manager.hookd.process.send_signal(signal.SIGSTOP)
    time.sleep(0.2)
    manager.hear()
    manager.heard.clear()
    time.sleep(1.5)
    manager.hear()
    assert manager.heard == []
    manager.hookd.process.send_signal(signal.SIGCONT)
    manager.wait_for("WATCHDOG=1")


def test_a_reload_says_so_and_is_ready_again(manager):
    manager.start()
    manager.heard.clear()
    manager.hookd.process.send_signal(signal.SIGHUP)
    manager.wait_for("READY=1")
    assert re.search(r"RELOADING=1\nMONOTONIC_USEC=\d+", "\n".join(manager.heard))


@pytest.mark.parametrize("settings, words", [
    ({"store": {"budget": "17M"}}, "store.budget: expected at most 16M, twice what it was when hookd started; a restart takes any"),
    ({"network": {"ca_file": "/nowhere/ca.pem"}},
     "network.ca_file: expected a file of certificates: cannot read /nowhere/ca.pem: No such file or directory"),
    ({"network": {"dns_servers": "dns.example"}}, 'network.dns_servers: expected addresses of DNS servers'),
])
def test_a_reload_of_a_bad_file_says_why_and_changes_nothing(make_hookd, settings, words):
    hookd = make_hookd({"store": {"budget": "8M"}})
    hookd.configure(settings)
    hookd.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "the old configuration stays in force" in hookd.log())
    assert words in hookd.log() and "line 0" not in hookd.log()
    assert hookd.submit.submit("t", 1)["id"]


def test_the_budget_can_be_doubled_by_a_reload(make_hookd):
    hookd = make_hookd({"store": {"budget": "8M"}})
    hookd.configure({"store": {"budget": "16M"}})
    hookd.reload()
    assert hookd.manage.get("/v1/status").json["store"]["budget_bytes"] == 16 << 20


def test_a_shorter_retention_is_in_force_with_the_reload(hookd, receive):
    hookd.admin.add_endpoint("e", receive().url)
    event = hookd.submit.submit("t", 1)["id"]
    hookd.manage.wait_for(event, "e", "delivered")
    hookd.configure({"retention": {"delivered": "1s"}})
    hookd.reload()
    wait_until(lambda: hookd.manage.get(f"/v1/events/{event}").status == 404)


def test_a_stop_lets_attempts_in_flight_finish_and_stores_what_they_came_to(hookd, receive):
    release = threading.Event()
    receiver = receive(lambda r: release.wait() and 200)
    hookd.admin.add_endpoint("slow", receiver.url)
    event = hookd.submit.submit("t", 1)["id"]
    receiver.wait_for(1)
    hookd.process.send_signal(signal.SIGTERM)
    wait_until(lambda: "stopping; attempts in flight finish" in hookd.log())
    time.sleep(0.5)
    assert hookd.process.poll() is None
    release.set()
    assert hookd.process.wait(10 * PATIENCE) == 0
    hookd.start()
    assert hookd.manage.delivery(event, "slow")["state"] == "delivered"
    assert len(receiver.requests) == 1


def test_a_hookd_that_ends_leaves_the_sockets_of_its_successor_alone(hookd, receive, make_hookd):
    release = threading.Event()
    receiver = receive(lambda r: release.wait() and 200)
    hookd.admin.add_endpoint("slow", receiver.url)
    hookd.submit.submit("t", 1)
    receiver.wait_for(1)
    successor = make_hookd(start=False)
    successor.sockets = hookd.sockets
    hookd.process.send_signal(signal.SIGTERM)
    wait_until(lambda: "stopping; attempts in flight finish" in hookd.log())

    def is_served():
        with socket.socket(socket.AF_UNIX) as s:
            return s.connect_ex(hookd.socket_path("admin")) == 0

    wait_until(lambda: not is_served())
    successor.start()
    release.set()
    assert hookd.process.wait(10 * PATIENCE) == 0
    hookd.process = None
    assert successor.submit.submit("t", 2)["id"]
    assert successor.stop() == 0
    assert os.listdir(hookd.sockets) == []


def send_head(hookd, method, target, length, role="admin"):
    """Sends all of a request but its body."""
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(20 * PATIENCE)
    s.connect(hookd.socket_path(role))
    s.sendall(b"%s %s HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
              b"Expect: 100-continue\r\n\r\n" % (method, target, length))
    assert s.recv(65536).startswith(b"HTTP/1.1 100 ")
    return s


def stop_twice(hookd):
    """As a stop that has come to its deadline."""
    hookd.process.send_signal(signal.SIGTERM)
    wait_until(lambda: "stopping; attempts in flight finish" in hookd.log())
    hookd.process.send_signal(signal.SIGTERM)


def test_a_request_that_is_still_coming_when_the_stop_begins_is_refused(hookd, receive):
    receiver = receive()
    hookd.admin.add_endpoint("e", receiver.url)
    body = b'{"type":"t","data":1}'
    requests = [(send_head(hookd, b"POST", b"/v1/endpoints/e/test", 2), b"{}"),
                (send_head(hookd, b"PATCH", b"/v1/endpoints/e", 2), b"{}"),
                (send_head(hookd, b"POST", b"/v1/events", len(body)), body)]
    hookd.process.send_signal(signal.SIGTERM)
    wait_until(lambda: "stopping; attempts in flight finish" in hookd.log())
    for s, body in requests:
        s.sendall(body)
        answer = s.recv(65536)
        assert answer.startswith(b"HTTP/1.1 503 ") and b'"code":"stopping"' in answer, answer
        s.close()
    assert hookd.process.wait(10 * PATIENCE) == 0
    hookd.start()
    assert hookd.manage.all("/v1/events") == [] and receiver.requests == []


def test_a_stop_at_once_answers_a_test_that_is_under_way(hookd, receive):
    receiver = receive(lambda r: time.sleep(20) or 200)
    hookd.admin.add_endpoint("slow", receiver.url, timeout_s=30)
    s = send_head(hookd, b"POST", b"/v1/endpoints/slow/test", 2)
    s.sendall(b"{}")
    receiver.wait_for(1)
    stop_twice(hookd)
    answer = s.recv(65536)
    s.close()
    assert hookd.process.wait(10 * PATIENCE) == 0, hookd.log()
    hookd.process = None
    assert answer.startswith(b"HTTP/1.1 503 "), answer
    assert not TROUBLE.search(hookd.log()), hookd.log()


def test_a_stop_at_once_answers_what_waits_for_the_store(hookd):
    """Changes of one endpoint wait for each other; a list of ids is looked up one by one."""
    hookd.admin.add_endpoint("e", "http://127.0.0.1:8080/")
    hookd.admin.post("/v1/pause")
    ids = json.dumps({"ids": [hookd.submit.submit("t", i)["id"] for i in range(50)] * 20}).encode()
    with traced(hookd, "fdatasync:delay_enter=1000000"):
        requests = [(send_head(hookd, b"PATCH", b"/v1/endpoints/e", 2), b"{}") for _ in range(3)]
        requests += [(send_head(hookd, b"POST", b"/v1/deliveries/hold", len(ids)), ids) for _ in range(20)]
        for s, body in requests:
            s.sendall(body)
        wait_until(lambda: hookd.metric("hookd_api_connections", role="admin") == len(requests))
        stop_twice(hookd)
        answers = [s.recv(65536) for s, _ in requests]
        for s, _ in requests:
            s.close()
        assert hookd.process.wait(20 * PATIENCE) == 0, hookd.log()
    hookd.process = None
    assert all(answer.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 503 ")) for answer in answers), answers
    assert not TROUBLE.search(hookd.log()), hookd.log()


def test_a_second_signal_stops_at_once(hookd, receive):
    receiver = receive(lambda r: time.sleep(20) or 200)
    hookd.admin.add_endpoint("slow", receiver.url, timeout_s=30)
    hookd.submit.submit("t", 1)
    receiver.wait_for(1)
    hookd.process.send_signal(signal.SIGTERM)
    wait_until(lambda: "stopping; attempts in flight finish" in hookd.log())
    hookd.process.send_signal(signal.SIGTERM)
    assert hookd.process.wait(5 * PATIENCE) == 0
    hookd.process = None


def test_a_master_key_comes_as_a_credential(manager):
    directory = os.path.join(manager.hookd.directory, "credentials")
    os.mkdir(directory)
    with open(os.path.join(directory, "hookd-master-key"), "w") as file:
        file.write("ab" * 32 + "\n")
    manager.start(CREDENTIALS_DIRECTORY=directory)
    hookd = manager.hookd
    hookd.admin.add_endpoint("e", "http://127.0.0.1:8080/")
    assert not os.path.exists(os.path.join(hookd.data, "master.key"))
    assert hookd.stop() == 0
    # Without it, or with another, hookd does not start, and says why.
    manager.start(wait=False)
    assert hookd.process.wait(20) == 1
    assert "there is no master key, neither the credential hookd-master-key nor" in hookd.log()
    assert not os.path.exists(os.path.join(hookd.data, "master.key"))
    with open(os.open(os.path.join(hookd.data, "master.key"), os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        file.write("cd" * 32 + "\n")
    manager.start(wait=False)
    assert hookd.process.wait(20) == 1
    assert "the master key is not the one" in hookd.log()
    hookd.process = None
    manager.heard.clear()
    manager.start(CREDENTIALS_DIRECTORY=directory)
    assert hookd.manage.get("/v1/endpoints/e").status == 200


def test_systemd_activates_hookd_through_its_sockets(make_hookd):
    activate = shutil.which("systemd-socket-activate")
    assert activate, "the package systemd has it"
    hookd = make_hookd(start=False)
    os.makedirs(hookd.sockets)
    log = open(hookd.log_path, "ab")
    arguments = []
    for role in ["submit", "manage", "admin"]:
        arguments += ["-l", hookd.socket_path(role)]
    hookd.process = subprocess.Popen([activate, *arguments, "--fdname=submit:manage:admin", *hookd.command()[:-2]],
                                     stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    log.close()
    wait_until(lambda: os.path.exists(hookd.socket_path("admin")))
    time.sleep(0.2)
    assert hookd.submit.submit("t", 1)["id"]
    assert hookd.manage.get("/v1/events").json["items"]


def test_lines_go_to_the_journal_with_their_fields(make_hookd, receive):
    """Played with a datagram socket in the journal's place, in a mount namespace of its own."""
    hookd = make_hookd(start=False)
    directory = os.path.join(hookd.directory, "journal")
    os.mkdir(directory)
    journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    journal.bind(os.path.join(directory, "socket"))
    journal.settimeout(0.2)
    stream, far = socket.socketpair()
    stat = os.fstat(far.fileno())
    script = f'mkdir -p /run/systemd/journal && mount --bind {directory} /run/systemd/journal && exec "$@"'
    hookd.process = subprocess.Popen(["unshare", "--mount", "sh", "-c", script, "sh", *hookd.command()],
                                     stdin=subprocess.DEVNULL, stdout=far, stderr=far,
                                     env={**os.environ, "JOURNAL_STREAM": f"{stat.st_dev}:{stat.st_ino}"})
    far.close()
    open(hookd.log_path, "a").close()
    hookd.wait_ready()
    receiver = receive(503)
    hookd.admin.add_endpoint("billing", receiver.url, tenant="acme", retry_schedule_s=[])
    event = hookd.submit.submit("order.paid", 1, tenant="acme")["id"]
    hookd.manage.call("GET", "/v1/health")
    lines = []

    def collect():
        with contextlib.suppress(TimeoutError):
            while True:
                lines.append(dict(line.split("=", 1) for line in journal.recv(65536).decode().splitlines() if "=" in line))
        return any("dead letter" in line["MESSAGE"] for line in lines)

    wait_until(collect)
    dead = next(line for line in lines if "dead letter" in line["MESSAGE"])
    assert dead["PRIORITY"] == "4" and len(dead["MESSAGE_ID"]) == 32
    assert dead["HOOKD_EVENT"] == event and dead["HOOKD_ENDPOINT"] == "acme/billing" and dead["HOOKD_TENANT"] == "acme"
    assert dead["HOOKD_TYPE"] == "order.paid" and dead["HOOKD_HTTP_STATUS"] == "503" and dead["HOOKD_RESULT"] == "status"
    assert dead["HOOKD_ATTEMPT"] == "1" and int(dead["HOOKD_DURATION_MS"]) >= 0
    added = next(line for line in lines if line.get("HOOKD_ACTION") == "add")
    assert added["HOOKD_PEER_UID"] == str(os.getuid()) and added["HOOKD_ENDPOINT"] == "acme/billing"
    hookd.admin.post("/v1/deliveries/replay", {"tenant": "acme", "endpoint": "billing", "state": "dead"})
    wait_until(lambda: collect() and any(line.get("HOOKD_ACTION") == "replay" for line in lines))
    replay = next(line for line in lines if line.get("HOOKD_ACTION") == "replay")
    assert replay["HOOKD_ENDPOINT"] == "acme/billing" and "replayed 1 deliveries" in replay["MESSAGE"]
    failing = next(line for line in lines if "is failing" in line["MESSAGE"])
    assert failing["PRIORITY"] == "5" and failing["MESSAGE_ID"] != dead["MESSAGE_ID"]
    stream.close()
    journal.close()


def test_the_log_tells_edges_not_attempts(hookd, receive):
    receiver = receive(503)
    hookd.admin.add_endpoint("e", receiver.url, retry_schedule_s=[])
    for i in range(30):
        hookd.submit.submit("t", i)
    receiver.wait_for(30)
    wait_until(lambda: hookd.manage.get("/v1/endpoints/e").json["queue"]["dead"] == 30)
    log = hookd.log()
    assert log.count("e is failing") == 1
    assert log.count("dead letter ") == 10  # the rest is a number, when the minute is over


# ---- Units ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """What meson install puts where."""
    root = str(tmp_path_factory.mktemp("root"))
    subprocess.run(["meson", "install", "-C", BUILD, "--no-rebuild", "--destdir", root], check=True, capture_output=True)
    return root


def test_everything_is_installed_where_debian_expects_it(installed):
    for path in ["usr/sbin/hookd", "usr/libexec/hookd-sender", "usr/bin/hookctl", "usr/include/hookd.h",
                 "usr/lib/systemd/system/hookd.service", "usr/lib/systemd/system/hookd-submit.socket",
                 "usr/lib/systemd/system/hookd-manage.socket", "usr/lib/systemd/system/hookd-admin.socket",
                 "usr/lib/systemd/system/hookd-metrics.socket", "usr/lib/sysusers.d/hookd.conf",
                 "usr/lib/tmpfiles.d/hookd.conf", "usr/share/man/man8/hookd.8", "usr/share/man/man1/hookctl.1",
                 "usr/share/man/man5/hookd.conf.5", "usr/share/man/man3/libhookd.3",
                 "usr/share/bash-completion/completions/hookctl", "usr/share/zsh/site-functions/_hookctl"]:
        assert os.path.exists(os.path.join(installed, path)), path
    for pattern in ["usr/lib/*/libhookd.so.1", "usr/lib/*/pkgconfig/libhookd.pc"]:
        assert glob.glob(os.path.join(installed, pattern)), pattern


def test_every_link_in_an_installed_page_leads_to_another_one(installed):
    pages = glob.glob(os.path.join(installed, "usr/share/doc/hookd/*.md"))
    assert {"SECURITY.md", "api.md", "format.md", "guarantees.md"} <= {os.path.basename(page) for page in pages}
    for page in pages:
        with open(page) as file:
            for target in re.findall(r"\]\(([^)#]+)\)", file.read()):
                there = os.path.exists(os.path.join(os.path.dirname(page), target))
                assert target.startswith("https://") or there, (page, target)


def test_the_units_run_nothing_that_a_small_debian_lacks(installed):
    """/bin/kill for example is in a package of its own; sh has a kill."""
    with open(os.path.join(installed, "usr/lib/systemd/system/hookd.service")) as file:
        programs = set(re.findall(r"^Exec\w+=[-+!@:]*(\S+)", file.read(), re.MULTILINE))
    assert programs == {"/usr/sbin/hookd", "/bin/sh"}


def test_systemd_finds_no_fault_with_the_units(installed, directory):
    units = os.path.join(directory, "units")
    shutil.copytree(os.path.join(installed, "usr/lib/systemd/system"), units)
    service = os.path.join(units, "hookd.service")
    with open(service) as file:
        text = file.read()
    with open(service, "w") as file:
        file.write(text.replace("/usr/sbin/hookd", os.path.join(installed, "usr/sbin/hookd")))
    done = subprocess.run(["systemd-analyze", "verify", *glob.glob(units + "/*")], capture_output=True, text=True,
                          env={**os.environ, "MANPATH": os.path.join(installed, "usr/share/man")})
    assert done.returncode == 0 and done.stderr == "", done.stderr


def test_the_exposure_of_the_service_is_low(installed):
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=15",
                           os.path.join(installed, "usr/lib/systemd/system/hookd.service")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
