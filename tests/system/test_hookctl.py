"""hookctl: what it prints, what it asks, what it does, and what it says to those who make mistakes."""

import contextlib
import datetime
import fcntl
import json
import os
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import termios
import threading
import time

import pytest

from harness import (BUILD, PATIENCE, ROOT, closed_port, free_port, hookctl, is_signed, seconds, thread_of, traced,
                     wait_until)

PROGRAM = os.path.join(BUILD, "ctl", "hookctl")
EVENT = r"evt_[0-9A-HJKMNP-TV-Z]{26}"
SPAN = r"\d+(?:s|m|h|d)(?: \d+[mh])?"
DONE, FAILED, USAGE, UNREACHABLE = range(4)


def is_clean(text):
    """No complaint of a sanitizer."""
    text = text if isinstance(text, str) else text.decode(errors="replace")
    return "Sanitizer" not in text and "runtime error" not in text


@pytest.fixture
def ctl(hookd):
    """Runs hookctl, not on a terminal; expects the exit status."""

    def run(*arguments, status=DONE, input=None):
        result = hookctl(hookd, *arguments, input=input)
        assert result.returncode == status, (result.returncode, result.stdout, result.stderr)
        assert is_clean(result.stderr), result.stderr
        return result

    run.hookd = hookd
    return run


@pytest.fixture
def world(ctl, receive):
    """Tenant acme: good (all delivered), bad (all dead: 503), slow (pending, connection refused)."""
    admin = ctl.hookd.admin
    ctl.good, ctl.bad = receive(), receive(lambda r: (503, {}, b'{"error":"maintenance"}'))
    ctl.closed = closed_port()
    admin.add_endpoint("good", ctl.good.url, tenant="acme", types=["order.*"])
    admin.add_endpoint("bad", ctl.bad.url, tenant="acme", types=["order.*"], retry_schedule_s=[1])
    admin.add_endpoint("slow", f"http://127.0.0.1:{ctl.closed}/", tenant="acme", types=["order.*"],
                       retry_schedule_s=[3600])
    ctl.ids = [ctl.hookd.submit.submit("order.paid", {"order": n}, tenant="acme",
                                       idempotency_key=f"order-{n}")["id"] for n in range(3)]
    for event in ctl.ids:
        ctl.hookd.manage.wait_for(event, "good", "delivered")
        ctl.hookd.manage.wait_for(event, "bad", "dead")
        wait_until(lambda: ctl.hookd.manage.delivery(event, "slow")["next_attempt_at"])
    return ctl


def fill(hookd, n, name="later"):
    """n deliveries that stay pending, to an endpoint of the default tenant."""
    hookd.admin.add_endpoint(name, "https://later.example/", types=["bulk.*"])
    assert hookd.admin.post(f"/v1/endpoints/{name}/pause").status == 200
    for first in range(0, n, 1000):
        lines = "".join(json.dumps({"type": "bulk.made", "data": i}) + "\n"
                        for i in range(first, min(n, first + 1000)))
        answer = hookd.submit.post("/v1/events", lines.encode(), {"Content-Type": "application/x-ndjson"})
        assert answer.status == 202, answer


def states(hookd, endpoint, tenant="acme"):
    counts = {}
    for delivery in hookd.manage.all("/v1/deliveries", endpoint=endpoint, tenant=tenant):
        counts[delivery["state"]] = counts.get(delivery["state"], 0) + 1
    return counts


class Screen:
    """What was on a terminal in the end, and how the command ended."""

    def __init__(self, status, text):
        self.status, self.text = status, text


def on_terminal(hookd, *arguments, answer=None, input=None, colour=False, meanwhile=None, columns=0, stderr=None):
    """Runs hookctl on a terminal of its own, and answers its question, after what happens meanwhile. input: comes
    through a pipe. stderr: a file for it."""
    terminal, its_end = os.openpty()
    fcntl.ioctl(its_end, termios.TIOCSWINSZ, struct.pack("HHHH", 0, columns, 0, 0))
    with contextlib.ExitStack() as files:
        reading, writing = os.pipe()
        os.write(writing, (input or "").encode())
        os.close(writing)
        # The shell becomes hookctl; as it leads a session, the terminal that it opens is the session's.
        process = subprocess.Popen(["sh", "-c", ': <>"$0"; exec "$@"', os.ttyname(its_end),
                                    PROGRAM, "--sockets", hookd.sockets, *arguments],
                                   stdin=its_end if input is None else reading, stdout=its_end,
                                   stderr=files.enter_context(open(stderr, "w")) if stderr else its_end,
                                   env={**os.environ, "TERM": "xterm", "NO_COLOR": "" if colour else "1"},
                                   start_new_session=True)
        os.close(reading)
        os.close(its_end)
    text = b""
    deadline = time.monotonic() + 30 * PATIENCE
    while time.monotonic() < deadline:
        if not select.select([terminal], [], [], 0.1)[0]:
            continue
        try:
            piece = os.read(terminal, 65536)
        except OSError:
            break
        if not piece:
            break
        text += piece
        if answer is not None and text.endswith(b"[y/N] "):
            if meanwhile:
                meanwhile()
            os.write(terminal, answer.encode() + b"\n")
            answer = None
    os.close(terminal)
    assert is_clean(text), text
    return Screen(process.wait(30 * PATIENCE), text.decode().replace("\r", ""))


# ---- Reaching hookd -----------------------------------------------------------------------------


def as_nobody(hookd, *arguments, groups=()):
    """As a user who is in none of the groups but those."""

    def become_nobody():
        os.setgroups(list(groups))
        os.setgid(65534)
        os.setuid(65534)

    os.chmod(os.path.dirname(hookd.directory), 0o755)
    os.chmod(hookd.directory, 0o755)
    # The build may be where nobody may look.
    program = shutil.copy(PROGRAM, hookd.directory)
    # A build for coverage says so if it cannot leave its counts where it was built.
    counts = os.path.join(hookd.directory, "counts")
    os.makedirs(counts, exist_ok=True)
    os.chmod(counts, 0o777)
    environment = {**os.environ, "GCOV_PREFIX": counts}
    return subprocess.run([program, "--sockets", hookd.sockets, *arguments], preexec_fn=become_nobody, env=environment,
                          input="1", capture_output=True, text=True, timeout=30 * PATIENCE)


def test_a_missing_socket_is_named_with_what_to_do(tmp_path):
    result = subprocess.run([PROGRAM, "--sockets", str(tmp_path), "status"], capture_output=True, text=True)
    assert result.returncode == UNREACHABLE
    assert result.stderr == f"hookctl: {tmp_path}/admin.sock: no such socket: systemctl status hookd\n"


def test_the_directory_comes_from_the_environment(ctl):
    run = lambda directory: subprocess.run([PROGRAM, "status"], capture_output=True, text=True,
                                           env={**os.environ, "HOOKD_SOCKETS": directory})
    assert run(ctl.hookd.sockets).returncode == DONE
    assert run("/nowhere").returncode == UNREACHABLE


def test_a_socket_that_hookd_left_is_not_hookd(hookd):
    hookd.kill()
    result = hookctl(hookd, "list")
    assert result.returncode == UNREACHABLE
    assert "admin.sock: hookd does not run behind this socket: systemctl status hookd" in result.stderr


def test_a_forbidden_socket_says_which_group_would_do(hookd):
    result = as_nobody(hookd, "purge", "--all", "-y")
    assert result.returncode == UNREACHABLE
    assert result.stderr == (f"hookctl: {hookd.sockets}/admin.sock: permission denied: "
                             "be root or in group hookd-admin\n")
    result = as_nobody(hookd, "list")
    assert "be root or in group hookd-admin (hookd-manage is enough for list)" in result.stderr
    result = as_nobody(hookd, "submit", "a")
    assert result.stderr.endswith("submit.sock: permission denied: be root or in group hookd-submit\n")


def test_the_strongest_socket_that_may_be_opened_is_used(hookd):
    os.chown(hookd.socket_path("manage"), 0, 12345)
    os.chown(hookd.socket_path("submit"), 0, 12346)
    assert as_nobody(hookd, "list", groups=[12345]).returncode == DONE
    assert as_nobody(hookd, "purge", "--all", "-y", groups=[12345]).returncode == UNREACHABLE
    assert as_nobody(hookd, "submit", "a", groups=[12346]).returncode == DONE
    assert as_nobody(hookd, "submit", "a", groups=[12345]).returncode == DONE
    assert as_nobody(hookd, "list", groups=[12346]).returncode == UNREACHABLE


DIE = object()


@contextlib.contextmanager
def fake_hookd(directory, *answers):
    """A server on admin.sock and submit.sock that gives these answers one after the other: bytes; None to close the
    connection; DIE to close everything; or (bytes, one of the two) to answer before. What was asked is in the list
    that it returns."""
    asked, left, lock = [], list(answers), threading.Lock()
    listeners = []

    def read(connection):
        data = b""
        while b"\r\n\r\n" not in data:
            piece = connection.recv(65536)
            if not piece:
                return None
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: *(\d+)", head)
        while length and len(body) < int(length[1]):
            piece = connection.recv(65536)
            if not piece:
                return None
            body += piece
        return body

    def end():
        for listener in listeners:
            listener.shutdown(socket.SHUT_RDWR)

    def serve(listener):
        while True:
            try:
                connection = listener.accept()[0]
            except OSError:
                return
            with connection:
                while (body := read(connection)) is not None:
                    with lock:
                        asked.append(body)
                        answer = left.pop(0) if len(left) > 1 else left[0]
                    if isinstance(answer, tuple):
                        answer, then = answer
                        if then is DIE:
                            end()
                        connection.shutdown(socket.SHUT_RD)  # takes nothing from before the answer on
                        connection.sendall(answer)
                        break
                    if answer is DIE:
                        end()
                    if answer is DIE or answer is None:
                        break
                    connection.sendall(answer)

    for name in ["admin.sock", "submit.sock"]:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(os.path.join(directory, name))
        listener.listen(16)
        listeners.append(listener)
    for listener in listeners:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
    try:
        yield asked
    finally:
        end()
        for listener in listeners:
            listener.close()


def http_answer(status, body, content_type="application/json"):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return (f"HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body


def problem(status, code, detail, **members):
    return http_answer(status, {"title": "", "status": status, "code": code, "detail": detail, "field": None,
                                "line": None, **members}, "application/problem+json")


def run_at(directory, *arguments, input="1"):
    result = subprocess.run([PROGRAM, "--sockets", directory, *arguments], input=input, capture_output=True,
                            text=True, timeout=30 * PATIENCE)
    assert is_clean(result.stderr), result.stderr
    return result


STRANGE = [b"", b"{}", b"[]", b"null", b'"x"', b"17", b"{", b"<html>", b'{"items":{}}', b'{"items":[1,null,{}]}',
           b'{"items":[{"last_attempt":[],"since":5,"health":"x","queue":[]}],"next":3}', b'{"id":{"a":1}}',
           b'{"problems":{"a":1},"worst":[{},4],"version":"\\u001b[31m","started_at":"x"}']


@pytest.mark.parametrize("body", STRANGE)
def test_answers_of_another_kind_break_nothing(directory, body):
    with fake_hookd(directory, http_answer(200, body)):
        for command in [["status"], ["list"], ["list", "--events"], ["backlog"], ["endpoint", "list"],
                        ["endpoint", "show", "x"], ["endpoint", "test", "x"], ["submit", "x"], ["backup"], ["rekey", "-y"],
                        ["replay", "--all"], ["pause", "x"], ["endpoint", "rotate-secret", "x"],
                        ["show", "--key", "x"], ["show", "evt_" + 26 * "0"], ["endpoint", "remove", "x", "-y"]]:
            result = run_at(directory, *command)
            assert result.returncode in (DONE, FAILED), (command, result)
            assert is_clean(result.stderr), result.stderr
            assert "\033" not in result.stdout


def test_a_problem_is_told_in_its_own_words(directory):
    with fake_hookd(directory, problem(503, "stopping", "hookd is stopping: try again")):
        result = run_at(directory, "status")
    assert (result.returncode, result.stderr) == (FAILED, "hookctl: hookd is stopping: try again\n")


def test_a_get_is_repeated_when_the_connection_breaks(directory):
    with fake_hookd(directory, None, http_answer(200, {"items": [], "next": None})) as asked:
        assert run_at(directory, "list").returncode == DONE
    assert len(asked) == 2


def test_a_verb_is_not_repeated_when_the_connection_breaks(directory):
    with fake_hookd(directory, None) as asked:
        result = run_at(directory, "replay", "--all")
    assert result.returncode == FAILED
    assert "perhaps it was done" in result.stderr
    assert len(asked) == 1


def test_a_repeat_that_is_refused_leaves_a_get_unanswered(directory):
    with fake_hookd(directory, DIE) as asked:
        result = run_at(directory, "list")
    assert result.returncode == UNREACHABLE and len(asked) == 1
    assert "no answer from hookd" in result.stderr and "perhaps" not in result.stderr


def test_a_stopped_hookd_fails_the_monitoring_check_within_seconds(directory):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.path.join(directory, "admin.sock"))
    listener.listen(4)
    start = time.monotonic()
    result = run_at(directory, "status")
    assert 9 < time.monotonic() - start < 10 + 5 * PATIENCE
    assert result.returncode == UNREACHABLE and "no answer from hookd" in result.stderr
    listener.close()


def test_a_hookd_that_dies_in_the_middle_is_called_dead_and_what_was_done_counts(directory):
    slice = {"matched": 1000, "changed": 1000, "not_found": [], "next": "c"}
    with fake_hookd(directory, (http_answer(200, slice), DIE)):
        result = run_at(directory, "purge", "--all", "-y")
    assert result.returncode == FAILED
    assert result.stderr == (f"hookctl: {directory}/admin.sock: hookd does not run behind this socket: "
                             "systemctl status hookd\nbefore that, 1000 were purged\n")
    assert result.stdout == ""


def test_pause_that_loses_hookd_after_the_first_endpoint_is_done_in_part(directory):
    endpoint = {"name": "x", "tenant": "", "state": "paused", "queue": {"pending": 3}}
    os.makedirs(os.path.join(directory, "sockets"))
    with fake_hookd(directory + "/sockets", (http_answer(200, endpoint), DIE)) as asked:
        result = run_at(directory + "/sockets", "pause", "x", "y", "z", "--reason", "r")
    assert result.returncode == FAILED and result.stdout.startswith("x paused") and len(asked) == 1
    with fake_hookd(directory, (problem(404, "not_found", "there is no endpoint"), DIE)):
        assert run_at(directory, "pause", "x", "y", "--reason", "r").returncode == UNREACHABLE


NOT_UNDERSTOOD = [http_answer(200, b"<html>Welcome to nginx!</html>", "text/html"), http_answer(200, {}),
                  http_answer(202, b""), b"HTTP/1.1 204 X\r\n\r\n", http_answer(200, [1]),
                  http_answer(200, {"id": "", "items": [{"id": ""}], "matched": "1", "state": "", "file": None})]


@pytest.mark.parametrize("answer", NOT_UNDERSTOOD, ids=["html", "empty", "nothing", "204", "array", "others"])
@pytest.mark.parametrize("command", [["submit", "a.b", "--key", "k-1"], ["submit", "--batch"], ["hold", "--all"],
                                     ["backup"], ["rekey", "-y"], ["pause", "x", "--reason", "r"], ["resume", "x"],
                                     ["resume", "--all", "-y"], ["status"]], ids=" ".join)
def test_a_success_that_is_not_hookds_is_none(directory, command, answer):
    with fake_hookd(directory, answer):
        result = run_at(directory, *command, input='{"type":"a","data":1}\n')
    assert result.returncode == FAILED and result.stdout == "", result
    assert "an answer that hookctl does not understand, HTTP status 20" in result.stderr
    assert ("perhaps" in result.stderr) == (command != ["status"])
    assert ("submit again with --key k-1" in result.stderr) == ("k-1" in command)


def test_pausing_all_sending_needs_the_admin_socket_and_says_so(hookd):
    os.chown(hookd.socket_path("manage"), 0, 12345)
    result = as_nobody(hookd, "pause", "--all", "-y", groups=[12345])
    assert result.returncode == UNREACHABLE
    assert result.stderr == (f"hookctl: {hookd.sockets}/admin.sock: permission denied: "
                             "be root or in group hookd-admin\n")
    result = as_nobody(hookd, "pause", "nobody", groups=[12345])
    assert result.returncode == FAILED and "there is no endpoint nobody" in result.stderr


# ---- The command line ---------------------------------------------------------------------------


@pytest.mark.parametrize("arguments, words", [
    (["list", "-t", "or*"], "--type: expected a pattern"),
    (["list", "--tenant", "b@d"], "--tenant: expected"),
    (["list", "--events", "--tenant", "b@d"], "--tenant: expected"),
    (["hold", "-s", "dead"], "--state: hold works on pending only"),
    (["endpoint", "set", "x", "--types", "order*"], "--types: expected"),
    (["endpoint", "set", "x", "--header", "Host: x"], "--header: Host is set by hookd itself"),
    (["endpoint", "set", "x", "--url", "nonsense"], "--url: expected"),
    (["endpoint", "add", "y", "nonsense"], "URL: expected"),
    (["submit", "bad type"], "TYPE: expected"),
    (["submit", "bad type", "--content-type", "text/plain"], "TYPE: expected"),
    (["submit", "a", "--tenant", "b@d"], "--tenant: expected"),
    (["submit", "a", "--at", "400d"], "--at: expected"),
])
def test_what_hookd_refuses_of_the_command_line_is_wrong_usage_too(ctl, arguments, words):
    ctl("endpoint", "add", "x", "https://x.example/")
    result = ctl(*arguments, input="1", status=USAGE)
    assert result.stderr.startswith("hookctl: " + words) and result.stdout == ""


def test_help_lists_every_command_and_each_explains_itself():
    overview = subprocess.run([PROGRAM, "--help"], capture_output=True, text=True)
    assert overview.returncode == DONE and overview.stderr == ""
    commands = re.findall(r"^  ([a-z-]+(?: [a-z-]+)?)  +\S", overview.stdout, re.M)
    commands = [c for c in commands if not c.startswith("-")]
    assert len(commands) == 24
    for command in commands:
        result = subprocess.run([PROGRAM, *command.split(), "--help"], capture_output=True, text=True)
        assert result.returncode == DONE
        assert result.stdout.startswith(f"Usage: hookctl {command}")


def test_no_command_shows_the_commands_on_standard_error():
    result = subprocess.run([PROGRAM], capture_output=True, text=True)
    assert result.returncode == USAGE
    assert result.stdout == "" and "endpoint add" in result.stderr


def test_a_mistyped_command_is_suggested():
    result = subprocess.run([PROGRAM, "stauts"], capture_output=True, text=True)
    assert result.returncode == USAGE
    assert 'there is no command "stauts"; did you mean "status"?' in result.stderr
    for words, meant in [("endpoint addd", "endpoint add"), ("test", "endpoint test"), ("lst", "list")]:
        result = subprocess.run([PROGRAM, *words.split()], capture_output=True, text=True)
        assert result.returncode == USAGE
        assert f'there is no command "{words}"; did you mean "{meant}"?' in result.stderr
    result = subprocess.run([PROGRAM, "endpoint"], capture_output=True, text=True)
    assert result.returncode == USAGE and "endpoint add" in result.stderr


def test_help_is_a_command_too():
    run = lambda *arguments: subprocess.run([PROGRAM, *arguments], capture_output=True, text=True)
    assert run("help").stdout == run("--help").stdout
    assert run("help", "endpoint", "add").stdout == run("endpoint", "add", "--help").stdout
    result = run("endpoint", "--help")
    assert result.returncode == DONE and "endpoint rotate-secret" in result.stdout
    assert run("help", "nonsense").returncode == USAGE


def test_version():
    assert re.fullmatch(r"hookctl \d+\.\d+\.\d+\n",
                        subprocess.run([PROGRAM, "--version"], capture_output=True, text=True).stdout)


@pytest.mark.parametrize("arguments, words", [
    (["list", "--bogus"], "unknown option --bogus"),
    (["list", "--sockets", ""], "--sockets: expected a directory"),
    (["--sockets=", "list"], "--sockets: expected a directory"),
    (["list", "-z"], "unknown option -z"),
    (["list", "extra"], 'unexpected argument "extra"'),
    (["list", "-n"], "a value is missing behind -n"),
    (["list", "-n", "0"], "-n: expected a whole number from 1"),
    (["list", "--ids=1"], "no value belongs to --ids=1"),
    (["list", "--ids", "--json"], "exclude each other"),
    (["list", "-s", "broken"], "--state: expected some of pending, held, delivered, dead"),
    (["list", "-e", "a/b/c"], '"a/b/c" is not an endpoint'),
    (["list", "-e", "../x"], '"../x" is not an endpoint'),
    (["list", "-e", "a/b", "--tenant", "c"], "exclude each other"),
    (["list", "--since", "yesterday"], "--since: expected how long ago such as 2h"),
    (["list", "--since", "2026-02-30"], "--since: expected"),
    (["list", "--since", "99999d"], '--since: expected 0s to 36525d, not "99999d"'),
    (["endpoint", "list", "--state", "or"], '--state: expected active or paused, not "or"'),
    (["endpoint", "list", "--health", "ok,"], "--health: expected ok, failing or untried"),
    (["endpoint", "rotate-secret", "x", "--overlap", "99999d"], '--overlap: expected 0s to 30d, not "99999d"'),
    (["endpoint", "add", "x", "http://a/", "--max-age", "99999d"], '--max-age: expected 1s to 3650d, not "99999d"'),
    (["verify", "--id", "a", "--timestamp", "1", "--signature", "x", "--tolerance", "9999w"],
     '--tolerance: expected 0s to 36525d, not "9999w"'),
    (["list", "--http-status", "6xxx"], "--http-status: expected a status such as 503"),
    (["list", "--error", "bad"], "--error: expected one of ok, status, dns"),
    (["list", "--events", "-s", "dead"], "--events lists events"),
    (["list", "-t", "x" * 5000], "an argument is too long"),
    (["list", "-t", b"\xff"], "argument 5 is not UTF-8"),
    (["show"], "expected an id, or --key KEY"),
    (["show", "evt_1"], '"evt_1" is not an id'),
    (["show", "evt_" + 26 * "0" + "/.."], "is not an id"),
    (["show", "evt_" + 26 * "0", "--tenant", "a"], "--tenant goes with --key"),
    (["replay"], "say which: ids, - (ids on standard input), filters, or --all"),
    (["replay", "--all", "-e", "x"], "--all goes with no filter"),
    (["replay", "evt_" + 26 * "0", "-e", "x"], "ids go with --state alone"),
    (["replay", "order.paid"], '"order.paid" is not an id'),
    (["pause"], "expected endpoints, or --all"),
    (["pause", ".."], '".." is not an endpoint'),
    (["pause", "x", "--all"], "--all goes without endpoints"),
    (["endpoint", "add", "x"], "expected NAME URL"),
    (["endpoint", "add", "x", "http://a/", "--retry", "5"], "--retry: expected up to 50 waits"),
    (["endpoint", "add", "x", "http://a/", "--retry", "exponential 5s"], "exponential BASE FACTOR CAP ATTEMPTS"),
    (["endpoint", "add", "x", "http://a/", "--timeout", "90s"], "--timeout: expected 1s to 1m"),
    (["endpoint", "add", "x", "http://a/", "--timeout", "15"], "--timeout: expected a duration"),
    (["endpoint", "add", "x", "http://a/", "--in-flight", "0"], "--in-flight: expected a whole number"),
    (["endpoint", "add", "x", "http://a/", "--rate", "fast"], "--rate: expected attempts per second"),
    (["endpoint", "add", "x", "http://a/", "--header", "Nocolon"], "--header: expected 'NAME: VALUE'"),
    (["endpoint", "add", "x", "http://a/", "--allow-http=perhaps"], "--allow-http: expected yes or no"),
    (["endpoint", "set", "x"], "say what to set"),
    (["endpoint", "list", "--health", "fine"], "--health: expected ok, failing or untried"),
    (["submit"], "expected TYPE [FILE]"),
    (["submit", "a", "--key", "a b"], "--key: expected 1 to 255 visible ASCII characters"),
    (["submit", "a", "--content-type", "a\nb"], "--content-type: expected a media type"),
    (["submit", "a", "--content-type", " text/plain"], "--content-type: expected a media type"),
    (["submit", "a", "--at", "soon"], "--at: expected how long from now"),
    (["submit", "--batch", "a", "b"], "--batch takes one file"),
    (["submit", "--batch", "--key", "k"], "--batch: tenant, idempotency_key and deliver_at are members"),
    (["listen", "70000"], "PORT: expected a whole number from 0 to 65535"),
    (["listen", "--status", "100"], "--status: expected a whole number from 200 to 599"),
    (["listen", "--json"], "--json has no meaning here"),
    (["sign"], "expected --secret-file FILE"),
    (["sign", "--secret-file", "-"], "standard input is the body"),
    (["verify"], "expected --id, --timestamp and --signature"),
])
def test_a_wrong_command_line_says_what_is_expected(directory, arguments, words):
    result = subprocess.run([PROGRAM, "--sockets", directory, *arguments], capture_output=True, input=b"")
    assert result.returncode == USAGE and is_clean(result.stderr), result
    assert words in result.stderr.decode()
    assert result.stdout == b""


def test_an_output_that_cannot_be_written_is_a_failure(ctl):
    with open("/dev/full", "w") as full:
        result = subprocess.run([PROGRAM, "--sockets", ctl.hookd.sockets, "status"], stdout=full,
                                stderr=subprocess.PIPE, text=True)
    assert result.returncode == FAILED
    assert "cannot write the output: No space left on device" in result.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["list", "--help"], ["help"], ["--version"], ["list", "--version"]])
def test_a_help_that_cannot_be_written_is_a_failure(arguments):
    with open("/dev/full", "w") as full:
        result = subprocess.run([PROGRAM, *arguments], stdout=full, stderr=subprocess.PIPE, text=True)
    assert result.returncode == FAILED
    assert "cannot write the output: No space left on device" in result.stderr


# ---- status, backlog ----------------------------------------------------------------------------


def test_status_shows_hookd_in_a_dozen_lines(world):
    world.hookd.admin.post("/v1/endpoints/slow/pause?tenant=acme", {"reason": "their move"})
    lines = world("status").stdout.splitlines()
    expected = [
        rf"hookd \d+\.\d+\.\d+   up {SPAN}, 2 senders, 0 requests in flight",
        r"intake        accepting, \S+( \S+)?/s; 3 events since start, 0 duplicates, 0 refused",
        r"sending       on, \S+( \S+)? attempts/s, 25\.0 % ok in 5 min, none late",
        rf"queue         3 pending \(oldest {SPAN}\), 0 held, 3 dead \(newest {SPAN} ago\)",
        r"store         \S+ \S+ of 256 MiB budget, disk \S+ \S+ free, commit \d+\.\d ms",
        r"endpoints     3, \d failing, 1 paused",
        rf"paused        acme/slow  {SPAN}  3 pending  by request: their move",
        rf"failing       acme/bad   {SPAN}  0 pending  503 Service Unavailable, {SPAN} ago",
        r"no problems",
    ]
    assert len(lines) == len(expected), lines
    for line, pattern in zip(lines, expected):
        assert re.fullmatch(pattern, line), (line, pattern)


def test_status_exits_1_and_names_the_problem_when_hookd_has_one(ctl):
    ctl("pause", "--all", "-y", "--reason", "we send rubbish")
    lines = ctl("status", status=FAILED).stdout.splitlines()
    assert re.fullmatch(rf"sending       paused {SPAN}: we send rubbish", lines[2])
    assert re.fullmatch(rf"problem       all sending is paused: we send rubbish .*; since {SPAN}", lines[-1])
    assert json.loads(ctl("status", "--json", status=FAILED).stdout)["problems"][0]["code"] == "sending_paused"


def test_a_failing_receiver_is_no_problem_of_hookd(world):
    assert world("status").stdout.endswith("no problems\n")


def test_backlog_counts_by_age_and_endpoint(world):
    fill(world.hookd, 5)
    lines = world("backlog").stdout.splitlines()
    assert lines[0] == "           total  <1m  <5m  <30m  <2h  <8h  <1d  >1d  next try"
    assert lines[1] == "all            8    8    0     0    0    0    0    0"
    assert lines[2] == "later          5    5    0     0    0    0    0    0  paused"
    assert re.fullmatch(rf"acme/slow      3    3    0     0    0    0    0    0  in {SPAN}", lines[3])
    assert world("backlog", "--tenant", "acme").stdout.splitlines()[1].split()[:2] == ["all", "3"]
    assert json.loads(world("backlog", "--tenant", "acme", "--json").stdout)["pending"] == 3


# ---- list ---------------------------------------------------------------------------------------


def test_list_shows_what_is_pending_held_and_dead(world):
    lines = world("list").stdout.splitlines()
    assert re.fullmatch(r"EVENT {27}TYPE +ENDPOINT +STATE +SINCE +TRIES +NEXT +LAST ANSWER", lines[0])
    assert len(lines) == 7
    assert re.fullmatch(rf"{world.ids[2]}  order.paid  acme/slow  pending  {SPAN} +1/2    in {SPAN} +"
                        rf"connection refused by 127.0.0.1:{world.closed}", lines[1])
    assert re.fullmatch(rf"{world.ids[2]}  order.paid  acme/bad   dead     {SPAN} +2/2    no try left  "
                        r"503 Service Unavailable", lines[2])
    assert not any(line != line.rstrip() for line in lines)


def test_list_shows_delivered_ones_when_asked(world):
    lines = world("list", "-s", "delivered").stdout.splitlines()[1:]
    assert [line.split()[0] for line in lines] == world.ids[::-1]
    assert all(line.endswith("-     204 No Content") for line in lines)


@pytest.mark.parametrize("filters, n", [
    (["-e", "acme/bad"], 3), (["--endpoint=acme/slow"], 3), (["-e", "bad"], 0), (["-e", "bad", "--tenant", "acme"], 3),
    (["--tenant", "acme"], 6), (["--tenant", ""], 0), (["-t", "order.*"], 6), (["-t", "user.*"], 0),
    (["--http-status", "5xx"], 3), (["--http-status", "none"], 3), (["--error", "connect"], 3), (["-s", "dead"], 3),
    (["-s", "dead,pending"], 6), (["--since", "1h"], 6), (["--until", "1h"], 0), (["--since", "2020-01-01"], 6),
    (["--since", "2020-01-01 10:00:00", "--until", "2099-12-31T23:59:59Z"], 6), (["-s", "held"], 0),
])
def test_list_filters(world, filters, n):
    assert len(world("list", "--ids", *filters).stdout.splitlines()) == n


def test_list_goes_through_all_pages_in_a_pipe(ctl):
    fill(ctl.hookd, 2300)
    lines = ctl("list").stdout.splitlines()
    assert len(lines) == 2301
    ids = ctl("list", "--ids", "--oldest").stdout.splitlines()
    assert len(set(ids)) == 2300 and ids == sorted(ids)


def test_list_ends_after_50_rows_on_a_terminal_and_says_how_many_more(ctl):
    fill(ctl.hookd, 130)
    screen = on_terminal(ctl.hookd, "list", "-t", "bulk.*")
    lines = screen.text.splitlines()
    assert screen.status == DONE and len(lines) == 52
    assert lines[-1] == ("50 shown, newest first; 80 more: "
                         f"hookctl --sockets {ctl.hookd.sockets} list -t 'bulk.*' -n all")
    assert len(on_terminal(ctl.hookd, "list", "-n", "all").text.splitlines()) == 131


def test_list_n_limits_and_counts_nothing(ctl):
    fill(ctl.hookd, 5)
    result = ctl("list", "-n", "3")
    assert len(result.stdout.splitlines()) == 4 and result.stderr == ""
    assert on_terminal(ctl.hookd, "list", "--oldest", "-n1").text.count("\n") == 2


def page(n, next="c"):
    return http_answer(200, {"items": [{"id": "x", "event": "x"}] * n, "next": next})


@pytest.mark.parametrize("arguments, columns", [(["-n", "1"], 2), (["-n", "1", "--json"], 1), (["-n", "1", "--ids"], 1)])
def test_rows_that_were_asked_for_cost_one_request(directory, arguments, columns):
    with fake_hookd(directory, page(1)) as asked:
        result = run_at(directory, "list", *arguments)
    assert (result.returncode, result.stderr, len(result.stdout.splitlines())) == (DONE, "", columns)
    assert len(asked) == 1


def test_the_rest_is_counted_in_two_pages_at_most(directory):
    class Fake:
        sockets = directory

    with fake_hookd(directory, page(50), page(1000), page(1000)) as asked:
        screen = on_terminal(Fake, "list")
    assert screen.text.endswith("50 shown, newest first; at least 2000 more: "
                                f"hookctl --sockets {directory} list -n all\n")
    assert len(asked) == 3


def test_the_rest_is_not_counted_for_nobody(directory):
    class Fake:
        sockets = directory

    with fake_hookd(directory, page(50), page(1000)) as asked:
        assert on_terminal(Fake, "list", stderr="/dev/null").text.count("\n") == 51
        assert len(asked) == 1


def test_the_hint_keeps_every_option(ctl):
    fill(ctl.hookd, 60)
    screen = on_terminal(ctl.hookd, "--utc", "list", "-s", "pending,dead")
    assert screen.text.splitlines()[-1] == ("50 shown, newest first; 10 more: hookctl --sockets "
                                            f"{ctl.hookd.sockets} --utc list -s pending,dead -n all")


def test_a_list_ends_when_its_output_cannot_be_written(directory):
    with open("/dev/full", "w") as full, fake_hookd(directory, page(1000)) as asked:
        result = subprocess.run([PROGRAM, "--sockets", directory, "list", "--json"], stdout=full,
                                stderr=subprocess.PIPE, text=True, timeout=30 * PATIENCE)
    assert result.returncode == FAILED and "No space left on device" in result.stderr
    assert len(asked) == 1


def test_list_says_why_a_delivery_is_dead(world):
    world("cancel", f"{world.ids[0]}/slow", "-y")
    world("endpoint", "remove", "acme/slow", "-y")
    wait_until(lambda: states(world.hookd, "slow") == {"dead": 3})
    lines = world("list", "-e", "acme/slow").stdout.splitlines()[1:]
    assert sorted(re.search(r"1/2    (\S+( \S+)?)  ", line)[1] for line in lines) == [
        "cancelled", "endpoint removed", "endpoint removed"]


def test_a_delivery_that_is_too_old_says_so(ctl):
    ctl.hookd.admin.add_endpoint("codes", "https://codes.example/", max_age_s=1)
    ctl.hookd.admin.post("/v1/endpoints/codes/pause")
    event = ctl.hookd.submit.submit("code.made")["id"]
    time.sleep(1.1)
    ctl.hookd.admin.post("/v1/endpoints/codes/resume")
    ctl.hookd.manage.wait_for(event, "codes", "dead")
    assert re.search(r" 0/12 +too old +-$", ctl("list").stdout, re.M)
    assert "0 of 12 tries: too old to be sent" in ctl("show", event).stdout


def test_the_last_answer_is_cut_to_the_terminal(world):
    lines = on_terminal(world.hookd, "list", columns=115).text.splitlines()
    assert max(map(len, lines)) == 115
    assert any(line.endswith("...") for line in lines)
    lines = on_terminal(world.hookd, "list", columns=200).text.splitlines()
    assert any(line.endswith(f"connection refused by 127.0.0.1:{world.closed}") for line in lines)
    assert all(len(line) > 80 for line in on_terminal(world.hookd, "list", columns=80).text.splitlines())


def test_a_clock_time_is_the_last_one_of_that_name(world):
    at = lambda seconds: f"{datetime.datetime.utcnow() + datetime.timedelta(seconds=seconds):%H:%M}"
    count = lambda *filters: len(world("--utc", "list", "--ids", *filters).stdout.splitlines())
    assert count("--since", at(-120)) == 6 and count("--until", at(-120)) == 0
    assert count("--since", at(180)) == 6 and count("--until", at(180)) == 0  # yesterday's
    assert "--since: expected how long ago" in world("list", "--since", "25:00", status=USAGE).stderr


def test_a_clock_time_is_local_or_utc(directory):
    def asked(*options):
        with fake_hookd(directory, http_answer(200, {"matched": 0, "changed": 0, "not_found": [], "next": None})) as bodies:
            subprocess.run([PROGRAM, "--sockets", directory, *options, "hold", "--since", "00:00"], check=True,
                           stdout=subprocess.DEVNULL, env={**os.environ, "TZ": "Asia/Kolkata"})
        for name in ["admin.sock", "submit.sock"]:
            os.unlink(os.path.join(directory, name))
        return json.loads(bodies[0])["since"]

    assert asked().endswith("T18:30:00.000Z")
    assert asked("--utc").endswith("T00:00:00.000Z")


def test_a_clock_time_in_an_hour_that_comes_twice_is_not_ahead(directory):
    """In a zone whose summer time, of an hour, began yesterday and ends in half an hour: ten minutes ago by the clock is
    that, and not in fifty minutes, when the clock says so again."""
    now = datetime.datetime.utcnow() + datetime.timedelta(hours=1)
    end = now + datetime.timedelta(minutes=30)
    day = lambda moment: moment.timetuple().tm_yday - 1
    zone = f"STD0SUM-1,{day(end - datetime.timedelta(days=1))}/0,{day(end)}/{end:%H:%M:%S}"
    with fake_hookd(directory, http_answer(200, {"matched": 0, "changed": 0, "not_found": [], "next": None})) as bodies:
        subprocess.run([PROGRAM, "--sockets", directory, "hold", "--since",
                        f"{now - datetime.timedelta(minutes=10):%H:%M}"], check=True, stdout=subprocess.DEVNULL,
                       env={**os.environ, "TZ": zone})
    since = datetime.datetime.fromisoformat(json.loads(bodies[0])["since"].replace("Z", "+00:00"))
    ago = datetime.datetime.now(datetime.timezone.utc) - since
    assert datetime.timedelta(minutes=9) < ago < datetime.timedelta(minutes=13)


def test_deliver_at_a_clock_time_is_the_next_one(ctl):
    then = datetime.datetime.utcnow() - datetime.timedelta(minutes=2)
    event = ctl("--utc", "submit", "a", "--at", f"{then:%H:%M}", input="1").stdout.strip()
    at = ctl.hookd.manage.get(f"/v1/events/{event}").json["deliver_at"]
    assert at == f"{then + datetime.timedelta(days=1):%Y-%m-%dT%H:%M}:00.000Z"


def test_an_empty_list_says_so_on_a_terminal_only(ctl):
    assert on_terminal(ctl.hookd, "list").text == "nothing is pending, held or dead\n"
    assert "delivered ones are listed with -s delivered" in on_terminal(ctl.hookd, "list", "-t", "x").text
    result = ctl("list")
    assert (result.stdout, result.stderr) == ("", "")


def test_list_prints_api_objects_as_json(world):
    items = [json.loads(line) for line in world("list", "--json").stdout.splitlines()]
    assert items == world.hookd.manage.all("/v1/deliveries", state="pending,held,dead")


def test_list_events_counts_deliveries_by_state(world):
    lines = world("list", "--events").stdout.splitlines()
    assert lines[0].split() == ["EVENT", "TYPE", "TENANT", "ACCEPTED", "BYTES", "PENDING", "HELD", "DELIVERED",
                                "DEAD", "KEY"]
    assert [line.split()[0] for line in lines[1:]] == world.ids[::-1]
    assert lines[1].split()[-5:] == ["1", "0", "1", "1", "order-2"]
    assert world("list", "--events", "--ids").stdout.splitlines() == world.ids[::-1]
    assert len(world("list", "--events", "--tenant", "").stdout.splitlines()) == 0


def test_what_a_receiver_sends_cannot_steer_a_terminal(ctl, receive):
    bad = receive(lambda r: (500, {}, b"\033[31mred \xc2\x9b31m \x07\xff"))
    ctl.hookd.admin.add_endpoint("bad", bad.url)
    event = ctl.hookd.submit.submit("a")["id"]
    bad.wait_for(1)
    wait_until(lambda: ctl.hookd.manage.delivery(event, "bad")["last_attempt"])
    for command in [["list"], ["show", event], ["show", event, "--json"], ["endpoint", "test", "bad"], ["status"]]:
        screen = on_terminal(ctl.hookd, *command)
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", screen.text), screen.text


def test_colours_are_for_terminals_without_no_color(world):
    assert "\033[31mdead" in on_terminal(world.hookd, "list", colour=True).text
    assert "\033" not in on_terminal(world.hookd, "list").text
    assert "\033" not in world("list").stdout


def test_times_are_local_or_utc(ctl):
    event = ctl.hookd.submit.submit("a")["id"]
    accepted = ctl.hookd.manage.get(f"/v1/events/{event}").json["accepted_at"]
    moment = datetime.datetime.fromisoformat(accepted.replace("Z", "+00:00"))
    shown = lambda *options: subprocess.run(
        [PROGRAM, "--sockets", ctl.hookd.sockets, *options, "show", event], capture_output=True, text=True,
        env={**os.environ, "TZ": "Asia/Tokyo"}).stdout
    tokyo = moment.astimezone(datetime.timezone(datetime.timedelta(hours=9)))
    assert f"accepted  {tokyo:%Y-%m-%d %H:%M:%S}, " in shown()
    assert f"accepted  {moment:%Y-%m-%d %H:%M:%S}, " in shown("--utc")


# ---- show ---------------------------------------------------------------------------------------


def test_show_tells_the_story_of_an_event(world):
    lines = world("show", world.ids[0]).stdout.splitlines()
    clock = r"\d\d:\d\d:\d\d"
    assert lines[0] == f"event     {world.ids[0]}  order.paid  tenant acme  key order-0"
    assert re.fullmatch(rf"accepted  \d\d\d\d-\d\d-\d\d {clock}, {SPAN} ago, from uid \d+( \(\w+\))?; "
                        r"application/json, 80 bytes", lines[1])
    text = "\n".join(sorted(lines[2:]))
    assert re.search(rf"^acme/good  delivered at {clock}$", text, re.M)
    assert re.search(rf"^   1  {clock} +\d+ ms  204 No Content +127.0.0.1:{world.good.port}$", text, re.M)
    assert re.search(rf"^acme/bad   dead since {clock}, 2 of 2 tries: every try failed$", text, re.M)
    assert len(re.findall(rf"^   [12]  {clock} +\d+ ms  503 Service Unavailable  127.0.0.1:{world.bad.port}  "
                          r'{"error":"maintenance"}$', text, re.M)) == 2
    assert re.search(rf"^acme/slow  pending, 1 of 2 tries, next at .*{clock} \(in {SPAN}\)$", text, re.M)
    assert re.search(rf"^   1  {clock} +\d+ ms  connection refused by 127.0.0.1:{world.closed}  127.0.0.1:{world.closed}$",
                     text, re.M)


def test_show_of_one_delivery_leaves_the_others_out(world):
    lines = world("show", world.ids[0] + "/bad").stdout.splitlines()
    assert len(lines) == 5 and lines[2].startswith("acme/bad  dead since ")
    delivery = json.loads(world("show", world.ids[0] + "/bad", "--json").stdout)
    assert delivery["id"] == world.ids[0] + "/bad" and len(delivery["history"]) == 2


def test_show_finds_an_event_by_its_key(world):
    assert world("show", "--key", "order-1", "--tenant", "acme").stdout.startswith(f"event     {world.ids[1]}  ")
    result = world("show", "--key", "order-1", status=FAILED)
    assert result.stderr == "hookctl: no event of the default tenant has the key order-1\n"


def test_show_payload_is_exact_in_a_pipe(ctl):
    payload = bytes(range(256)) * 3
    event = ctl("submit", "a", "--content-type", "application/x-any", input=payload).stdout.decode().strip()
    assert ctl("show", event, "--payload", input=b"").stdout == payload
    screen = on_terminal(ctl.hookd, "show", event, "--payload")
    assert "what a terminal cannot show is shown as ?" in screen.text and "\x1b" not in screen.text


def test_show_of_what_is_not_there_fails(ctl):
    result = ctl("show", "evt_01M80FKB5JV3RS3DTR98H6BCFN", status=FAILED)
    assert "there is no event evt_01M80FKB5JV3RS3DTR98H6BCFN" in result.stderr
    event = ctl.hookd.submit.submit("a")["id"]
    assert f"there is no delivery {event}/nobody" in ctl("show", f"{event}/nobody", status=FAILED).stderr
    assert "no endpoint took it" in ctl("show", event).stderr


def test_show_says_when_an_event_happened_and_is_to_be_delivered(ctl):
    event = ctl.hookd.submit.submit("a", timestamp="2020-01-02T03:04:05Z",
                                    deliver_at="2020-02-01T00:00:00Z")["id"]
    lines = ctl("--utc", "show", event).stdout.splitlines()
    assert lines[2:] == ["happened  2020-01-02 03:04:05, says the producer", "deliver   not before 2020-02-01 00:00:00"]


# ---- Verbs --------------------------------------------------------------------------------------


def test_replay_by_filter_says_how_many(world):
    world.bad.answer = 204
    assert world("replay", "-e", "acme/bad", "-s", "dead").stdout == "3 replayed\n"
    for event in world.ids:
        world.hookd.manage.wait_for(event, "bad", "delivered")


def test_hold_and_release_by_id(world):
    slow = f"{world.ids[0]}/slow"
    assert world("hold", slow).stdout == "1 held\n"
    assert states(world.hookd, "slow") == {"held": 1, "pending": 2}
    assert world("release", slow).stdout == "1 released\n"
    assert states(world.hookd, "slow") == {"pending": 3}


def test_ids_on_standard_input_go_in_as_many_requests_as_needed(ctl):
    fill(ctl.hookd, 2100)
    ids = ctl("list", "--ids").stdout
    assert ctl("hold", "-", input=ids).stdout == "2100 held\n"
    assert ctl("release", "--all").stdout == "2100 released\n"


def test_filters_go_through_all_slices(ctl):
    fill(ctl.hookd, 2300)
    assert ctl("hold", "-t", "bulk.*", "--dry-run").stdout == "2300 would be held\n"
    assert ctl("hold", "-t", "bulk.*").stdout == "2300 held\n"
    assert ctl("cancel", "-e", "later", "-y").stdout == "2300 cancelled\n"
    assert ctl("purge", "--all", "-y").stdout == "2300 purged\n"


def test_ids_that_are_not_found_are_named_and_fail(world):
    missing = "evt_01M80FKB5JV3RS3DTR98H6BCFN/slow"
    result = world("hold", f"{world.ids[0]}/slow", missing, status=FAILED)
    assert result.stdout == "1 held\n"
    assert result.stderr == f"not found: {missing}\n"
    answer = json.loads(world("hold", missing, "--json", status=FAILED).stdout)
    assert answer == {"matched": 0, "changed": 0, "not_found": [missing], "next": None}


def test_what_a_verb_does_not_take_is_left_and_told(world):
    result = world("release", world.ids[0])
    assert result.stdout == "0 released\n"
    assert result.stderr == "3 left as they are: release takes what is held\n"


def test_a_line_that_is_no_id_spoils_nothing(world):
    result = world("hold", "-", input=f"{world.ids[0]}/slow\n\nEVENT  TYPE\n", status=USAGE)
    assert 'standard input, line 3: "EVENT  TYPE" is not an id: nothing was done' in result.stderr
    assert states(world.hookd, "slow") == {"pending": 3}


def test_no_ids_are_no_deliveries_and_never_all(world):
    result = world("cancel", "-", "-y", input="")
    assert (result.stdout, result.stderr) == ("0 cancelled\n", "no ids came from standard input\n")
    assert states(world.hookd, "slow") == {"pending": 3}


@pytest.mark.parametrize("verb", ["cancel", "purge"])
def test_without_terminal_and_yes_nothing_is_done(world, verb):
    result = world(verb, "--all", status=USAGE)
    assert result.stderr == (f"hookctl: {verb} asks first, and there is no terminal to ask at: nothing was done "
                             "(-y answers yes)\n")
    assert states(world.hookd, "slow") == {"pending": 3} and states(world.hookd, "bad") == {"dead": 3}


def test_cancel_asks_with_the_number_and_takes_yes(world):
    screen = on_terminal(world.hookd, "cancel", "-e", "acme/slow", answer="y")
    assert screen.text == "cancel 3 deliveries? [y/N] y\n3 cancelled\n"
    assert screen.status == DONE and states(world.hookd, "slow") == {"dead": 3}


@pytest.mark.parametrize("answer", ["n", "", "yellow", "Y es"])
def test_anything_but_yes_is_no(world, answer):
    screen = on_terminal(world.hookd, "cancel", f"{world.ids[0]}/slow", answer=answer)
    assert screen.text == f"cancel 1 delivery? [y/N] {answer}\nnothing was done\n"
    assert screen.status == FAILED and states(world.hookd, "slow") == {"pending": 3}


def test_purge_asks_and_forgets_for_good(world):
    screen = on_terminal(world.hookd, "purge", "-e", "acme/bad", answer="yes")
    assert screen.text == "purge 3 deliveries for good? [y/N] yes\n3 purged\n"
    assert states(world.hookd, "bad") == {}


@pytest.mark.parametrize("verb, state, asked", [("cancel", "pending", "cancel 1 delivery?"),
                                                ("purge", "pending", "purge 1 delivery for good?")])
def test_what_comes_while_the_question_stands_is_not_meant(ctl, verb, state, asked):
    fill(ctl.hookd, 1, "race")
    more = lambda: [ctl.hookd.submit.submit("bulk.late") for _ in range(5)]
    screen = on_terminal(ctl.hookd, verb, "-s", state, "-t", "bulk.*", answer="y", meanwhile=more)
    assert asked in screen.text and screen.text.splitlines()[-1].startswith("1 ")
    assert states(ctl.hookd, "race", "")["pending"] == 5


def test_what_comes_into_a_state_while_the_question_about_ids_stands_is_not_meant(world):
    """An event with one dead letter, and another delivery that dies meanwhile: that was not asked about."""
    event = world.ids[0]
    die = lambda: world("cancel", "-y", f"{event}/slow")
    screen = on_terminal(world.hookd, "purge", "-s", "dead", event, answer="y", meanwhile=die)
    assert screen.text == "purge 1 delivery for good? [y/N] y\n1 purged\n1 left as it is: not dead\n"  # delivered
    assert world.hookd.manage.delivery(event, "slow")["state"] == "dead"
    # Named itself it is found, and left.
    event = world.ids[1]
    die = lambda: world("cancel", "-y", f"{event}/slow")
    screen = on_terminal(world.hookd, "purge", f"{event}/slow", f"{event}/bad", answer="y", meanwhile=die)
    assert screen.text.endswith("y\n1 purged\n") and screen.status == DONE
    assert world.hookd.manage.delivery(event, "slow")["state"] == "dead"


def test_what_is_delivered_while_the_question_stands_is_not_replayed(world):
    def more():
        event = world.hookd.submit.submit("order.late", tenant="acme")["id"]
        world.hookd.manage.wait_for(event, "good", "delivered")

    screen = on_terminal(world.hookd, "replay", "-e", "acme/good", "-s", "delivered", answer="y", meanwhile=more)
    assert screen.text == "replay 3 deliveries? [y/N] y\n3 replayed\n"


def test_all_is_what_there_was_when_it_asked(ctl):
    fill(ctl.hookd, 2)
    screen = on_terminal(ctl.hookd, "cancel", "--all", answer="y",
                         meanwhile=lambda: ctl.hookd.submit.submit("bulk.late"))
    assert screen.text == "cancel 2 deliveries? [y/N] y\n2 cancelled\n"


def test_an_until_that_was_given_stays(directory):
    class Fake:
        sockets = directory

    answer = http_answer(200, {"matched": 1, "changed": 1, "not_found": [], "next": None})
    with fake_hookd(directory, answer) as asked:
        on_terminal(Fake, "cancel", "--all", answer="y")
        on_terminal(Fake, "cancel", "--until", "2026-01-02T03:04:05Z", answer="y")
        on_terminal(Fake, "cancel", "evt_" + 26 * "0", answer="y")
    untils = [json.loads(body).get("until") for body in asked]
    assert untils[0] and untils[0] == untils[1]
    assert untils[2:4] == 2 * ["2026-01-02T03:04:05.000Z"]
    assert untils[4] and untils[4] == untils[5]


def test_a_delivery_of_an_event_that_is_named_too_is_counted_and_done_once(world):
    event = world.ids[0]
    assert world("cancel", "--dry-run", event, f"{event}/slow", f"{event}/good").stdout == "1 would be cancelled\n"
    result = world("replay", f"{event}/bad", event)
    assert result.stdout == "2 replayed\n" and "1 left" in result.stderr  # good is delivered


def test_an_id_given_twice_is_one(world):
    slow = f"{world.ids[0]}/slow"
    assert world("hold", "-", "--dry-run", input=f"{slow}\n{slow}\n").stdout == "1 would be held\n"
    result = world("hold", slow, slow)
    assert (result.stdout, result.stderr) == ("1 held\n", "")


def test_an_id_on_standard_input_may_have_spaces_around_it_but_no_nul(world):
    slow = f"{world.ids[0]}/slow"
    assert world("hold", "-", input=f" \t{slow} \n").stdout == "1 held\n"
    for bad in [f"{slow}\0garbage", f"{slow}\0", f"\0{slow}"]:
        result = world("release", "-", input=bad + "\n", status=USAGE)
        assert "standard input, line 1: " in result.stderr and "nothing was done" in result.stderr


def test_left_ones_are_explained_by_what_can_be(world):
    world("endpoint", "remove", "acme/bad", "-y")
    wait_until(lambda: world.hookd.manage.get("/v1/endpoints/bad", tenant="acme").status == 404)
    result = world("replay", "-s", "dead", "--tenant", "acme", "--dry-run")
    assert (result.stdout, result.stderr) == ("0 would be replayed\n", "3 left as they are: of a removed endpoint\n")
    assert world("hold", world.ids[0], "-s", "pending").stderr == "2 left as they are: not pending\n"
    assert world("replay", world.ids[0], "-s", "dead").stderr == (
        "3 left as they are: not dead, or of a removed endpoint\n")


def test_the_question_finds_the_terminal_when_ids_come_through_a_pipe(world):
    ids = "".join(f"{event}/slow\n" for event in world.ids)
    screen = on_terminal(world.hookd, "cancel", "-", input=ids, answer="y")
    assert screen.text.endswith("3 cancelled\n") and screen.status == DONE


def test_replay_asks_only_for_delivered_ones(world):
    world("replay", "-e", "acme/good", "-s", "delivered", status=USAGE)
    assert len(world.good.requests) == 3
    screen = on_terminal(world.hookd, "replay", "-e", "acme/good", "-s", "delivered", answer="y")
    assert screen.text == "replay 3 deliveries? [y/N] y\n3 replayed\n"
    world.good.wait_for(6)


def test_a_dry_run_asks_nothing_and_changes_nothing(world):
    assert world("purge", "--all", "--dry-run").stdout == "6 would be purged\n"
    assert states(world.hookd, "good") == {"delivered": 3}


def test_a_question_about_nothing_is_not_asked(world):
    screen = on_terminal(world.hookd, "cancel", "-e", "acme/nobody")
    assert (screen.status, screen.text) == (DONE, "0 cancelled\n")


# ---- pause, resume ------------------------------------------------------------------------------


def test_pause_and_resume_endpoints(world):
    assert world("pause", "acme/slow", "acme/bad", "--reason", "their weekend").stdout.splitlines() == [
        "acme/slow paused; 3 pending, and nothing ages while it is paused",
        "acme/bad paused; 0 pending, and nothing ages while it is paused"]
    endpoint = world.hookd.manage.get("/v1/endpoints/slow", tenant="acme").json
    assert (endpoint["state"], endpoint["paused_by"], endpoint["reason"]) == ("paused", "request", "their weekend")
    assert world("resume", "acme/slow").stdout == "acme/slow resumed; 3 pending\n"


def test_pause_says_what_a_max_age_does_to_what_waits(world):
    """With one, the promise that nothing ages would be false."""
    world("endpoint", "set", "acme/slow", "--max-age", "5m")
    assert world("pause", "acme/slow").stdout == (
        "acme/slow paused; 3 pending, and what is older than 5m when it goes on is not sent\n")


def test_pausing_again_keeps_the_reason(world):
    world("pause", "acme/slow", "--reason", "Ann: do not touch")
    assert re.fullmatch(rf"acme/slow is paused already, for {SPAN}: Ann: do not touch\n",
                        world("pause", "acme/slow").stdout)
    reason = lambda: world.hookd.manage.get("/v1/endpoints/slow", tenant="acme").json["reason"]
    assert reason() == "Ann: do not touch"
    assert json.loads(world("pause", "acme/slow", "--json").stdout)["reason"] == "Ann: do not touch"
    world("pause", "acme/slow", "--reason", "Bob: nor I")
    assert reason() == "Bob: nor I"


def test_pausing_all_sending_again_keeps_the_reason(ctl):
    ctl("pause", "--all", "-y", "--reason", "Ann: do not touch")
    assert re.fullmatch(rf"all sending is paused already, for {SPAN}: Ann: do not touch\n",
                        ctl("pause", "--all", "-y").stdout)
    assert ctl.hookd.manage.get("/v1/status").json["sending"]["reason"] == "Ann: do not touch"


def test_what_all_sending_keeps_back_is_told(world):
    world("pause", "acme/slow")
    assert world("resume", "acme/slow").stderr == ""
    world("pause", "--all", "-y")
    assert world("resume", "acme/slow").stderr == "all sending is still paused (hookctl resume --all)\n"
    result = world("backlog")
    assert result.stderr == "all sending is paused (hookctl resume --all)\n"
    assert re.search(r"^acme/slow .* paused$", result.stdout, re.M)


def test_pause_goes_on_behind_an_endpoint_that_is_not_there(world):
    result = world("pause", "acme/nobody", "acme/slow", status=FAILED)
    assert result.stderr == "hookctl: there is no endpoint nobody in tenant acme\n"
    assert world.hookd.manage.get("/v1/endpoints/slow", tenant="acme").json["state"] == "paused"


def test_all_sending_is_paused_only_when_somebody_says_yes(ctl):
    sending = lambda: ctl.hookd.manage.get("/v1/status").json["sending"]["state"]
    ctl("pause", "--all", status=USAGE)
    assert on_terminal(ctl.hookd, "pause", "--all", answer="n").status == FAILED
    assert sending() == "on"
    screen = on_terminal(ctl.hookd, "pause", "--all", answer="y")
    assert screen.text.startswith("pause all sending? [y/N] y\nall sending is paused")
    assert sending() == "paused"
    ctl("resume", "--all", status=USAGE)
    assert ctl("resume", "--all", "-y").stdout == "all sending goes on\n"
    assert sending() == "on"


# ---- Endpoints ----------------------------------------------------------------------------------


def test_endpoint_add_prints_the_secret_once(ctl, receive):
    receiver = receive()
    result = ctl("endpoint", "add", "acme/billing", receiver.url, "--types", "order.*,user.new", "--types", "x")
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=\n", result.stdout)
    assert "acme/billing added" in result.stderr and "shown only now" in result.stderr
    secret = result.stdout.split()[-1]
    ctl.hookd.submit.submit("order.paid", tenant="acme")
    assert is_signed(receiver.wait_for(1)[0], secret)
    assert ctl.hookd.manage.get("/v1/endpoints/billing", tenant="acme").json["types"] == ["order.*", "user.new", "x"]
    for command in [["endpoint", "show", "acme/billing"], ["endpoint", "list"], ["endpoint", "show", "acme/billing",
                                                                               "--json"]]:
        assert "whsec_" not in ctl(*command).stdout


def test_endpoint_add_takes_a_secret_from_a_file_and_does_not_print_it(ctl, receive, tmp_path):
    receiver, file = receive(), tmp_path / "secret"
    secret = "whsec_" + "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0"
    file.write_text(secret + "\n")
    result = ctl("endpoint", "add", "x", receiver.url, "--secret-file", str(file))
    assert secret not in result.stdout + result.stderr
    assert "secret" not in json.loads(ctl("endpoint", "add", "y", receiver.url, "--secret-file", "-", "--json",
                                          input=secret).stdout)
    ctl.hookd.submit.submit("a")
    assert all(is_signed(received, secret) for received in receiver.wait_for(2))
    file.write_text("not one")
    assert "not a secret" in ctl("endpoint", "add", "z", receiver.url, "--secret-file", str(file), status=FAILED).stderr


def test_endpoint_settings_reach_hookd_and_empty_values_bring_defaults_back(ctl, tmp_path):
    token = tmp_path / "token"
    token.write_text("Bearer 123\n")
    ctl("endpoint", "add", "x", "https://x.example/", "--header", f"Authorization: @{token}", "--header", "X-A: b",
        "--retry", "5s,30s,2m", "--max-age", "1h", "--timeout", "20s", "--in-flight", "3", "--rate", "0.5", "--burst",
        "4", "--description", "for x", "--allow-http", "--allow-private", "10.0.0.0/8,fd00::/8", "--ca", "x.pem")
    get = lambda: ctl.hookd.manage.get("/v1/endpoints/x").json
    expected = {"headers": {"Authorization": "***", "X-A": "***"}, "retry_schedule_s": [5, 30, 120],
                "max_age_s": 3600, "timeout_s": 20, "max_in_flight": 3, "rate_per_s": 0.5, "burst": 4,
                "description": "for x", "allow_http": True, "allow_private": ["10.0.0.0/8", "fd00::/8"],
                "ca": "x.pem", "types": ["*"]}
    assert {name: get()[name] for name in expected} == expected
    assert ctl("endpoint", "set", "x", "--retry", "exponential 5s 4 12h 5", "--header", "X-A:").stdout == "x changed\n"
    assert get()["retry_schedule_s"] == [5, 20, 80, 320] and get()["headers"] == {"Authorization": "***"}
    ctl("endpoint", "set", "x", "--retry", "none", "--url", "https://y.example/")
    assert get()["retry_schedule_s"] == [] and get()["url"] == "https://y.example/"
    ctl("endpoint", "set", "x", "--max-age", "none", "--rate", "none")
    assert (get()["max_age_s"], get()["rate_per_s"]) == (0, 0)
    assert "no rate limit, no max age" in ctl("endpoint", "show", "x").stdout
    ctl("endpoint", "set", "x", "--header", "", "--retry", "", "--max-age", "", "--timeout", "", "--in-flight", "",
        "--rate", "", "--burst", "", "--description", "", "--allow-http=no", "--allow-private", "", "--ca", "",
        "--types", "")
    expected = {"headers": {}, "max_age_s": None, "timeout_s": 15, "max_in_flight": 8, "rate_per_s": None, "burst": 1,
                "description": "", "allow_http": False, "allow_private": [], "ca": None, "types": ["*"]}
    assert {name: get()[name] for name in expected} == expected and len(get()["retry_schedule_s"]) == 11


def test_patterns_may_have_spaces_between_them(ctl):
    ctl("endpoint", "add", "x", "https://x.example/", "--types", " order.*, user.* ,a")
    assert ctl.hookd.manage.get("/v1/endpoints/x").json["types"] == ["order.*", "user.*", "a"]


def test_help_says_what_has_no_limit():
    text = subprocess.run([PROGRAM, "endpoint", "set", "--help"], capture_output=True, text=True).stdout
    assert re.search(r"--max-age SPAN +what is older is not sent at all; none: ", text)
    assert re.search(r"--rate N .*; none: no limit", text)


def test_a_header_from_a_file_is_sent(ctl, receive, tmp_path):
    receiver, token = receive(), tmp_path / "token"
    token.write_text("Bearer 123\n")
    ctl("endpoint", "add", "x", receiver.url, "--header", f"Authorization: @{token}")
    ctl.hookd.submit.submit("a")
    assert receiver.wait_for(1)[0].headers["Authorization"] == "Bearer 123"
    token.write_text("two\nlines\n")
    assert "one line of visible ASCII" in ctl("endpoint", "set", "x", "--header", f"A: @{token}", status=FAILED).stderr


def test_a_problem_names_the_option(ctl):
    ctl("endpoint", "add", "x", "https://x.example/")
    assert ctl("endpoint", "set", "x", "--ca", "../x", status=USAGE).stderr.startswith("hookctl: --ca: expected")
    result = ctl("endpoint", "add", "y", "https://10.0.0.1/", status=USAGE)
    assert result.stderr.startswith("hookctl: URL: ") and "allow it with --allow-private" in result.stderr
    result = ctl("endpoint", "add", "x", "https://x.example/", status=FAILED)
    assert result.stderr == "hookctl: name: there is an endpoint of this name already\n"


def test_endpoint_list_is_ordered_by_name(world):
    world.hookd.admin.add_endpoint("zero", "https://zero.example/")
    world("pause", "acme/slow")
    lines = world("endpoint", "list").stdout.splitlines()
    assert re.fullmatch(r"ENDPOINT +STATE +TYPES +PENDING  DEAD  LAST ANSWER +URL", lines[0])
    assert [line.split()[0] for line in lines[1:]] == ["acme/bad", "acme/good", "acme/slow", "zero"]
    assert re.fullmatch(rf"acme/bad   failing {SPAN} +order\.\*        0     3  503, {SPAN} ago +http\S+", lines[1])
    assert re.fullmatch(rf"acme/good  ok +order\.\*        0     0  204, {SPAN} ago +http\S+", lines[2])
    assert re.fullmatch(rf"acme/slow  paused {SPAN} +order\.\*        3     0  connect, {SPAN} ago +http\S+", lines[3])
    assert re.fullmatch(r"zero       untried +\*              0     0  - +https://zero\.example/", lines[4])


def test_endpoint_list_filters(world):
    names = lambda *options: [json.loads(line)["name"] for line in
                              world("endpoint", "list", "--json", *options).stdout.splitlines()]
    assert sorted(names()) == ["bad", "good", "slow"]
    assert names("--health", "ok") == ["good"]
    assert sorted(names("--health", "failing")) == ["bad", "slow"]
    assert names("--state", "paused") == [] and names("--tenant", "") == []


def test_endpoint_list_says_that_hookd_paused_it(ctl, receive):
    gone = receive(410)
    ctl.hookd.admin.add_endpoint("gone", gone.url)
    event = ctl.hookd.submit.submit("a")["id"]
    wait_until(lambda: ctl.hookd.manage.get("/v1/endpoints/gone").json["state"] == "paused")
    assert re.search(rf"gone +paused {SPAN} +\* +1     0  410, by hookd  http", ctl("endpoint", "list").stdout)
    assert re.search(r"by hookd: the receiver answered 410 Gone", ctl("status").stdout)
    assert re.search(rf"{event}  a +gone +pending +{SPAN} +1/12 +paused  410 Gone", ctl("list").stdout)


def test_endpoint_show_shows_every_setting(world):
    text = world("endpoint", "show", "acme/slow").stdout
    for pattern in [rf"endpoint   acme/slow  failing {SPAN}, 3 failures in a row", r"url        http://127.0.0.1:\d+/",
                    r"types      order\.\*", rf"queue      3 pending \(oldest {SPAN}\), 0 held, 0 dead",
                    rf"last       connection refused by 127.0.0.1:\d+, {SPAN} ago, after \d+ ms",
                    r"retry      1h \(2 tries in 1h\)", r"limits     timeout 15s, 8 in flight, no rate limit, no max age",
                    r"secrets    fingerprint \w+, of \d{4}-.*"]:
        assert re.search(f"^{pattern}$", text, re.M), pattern


def test_endpoint_remove_says_how_many_deliveries_die_and_asks(world):
    world("endpoint", "remove", "acme/slow", status=USAGE)
    world("hold", f"{world.ids[0]}/slow")
    screen = on_terminal(world.hookd, "endpoint", "remove", "acme/slow", answer="n")
    assert screen.text.startswith("remove acme/slow? 3 deliveries die (2 pending, 1 held) and cannot be replayed [y/N] ")
    assert screen.status == FAILED
    assert world("endpoint", "remove", "acme/slow", "-y").stdout == \
        "acme/slow removed; 3 deliveries become dead letters\n"
    wait_until(lambda: states(world.hookd, "slow") == {"dead": 3})
    result = world("replay", "-e", "acme/slow")
    assert result.stdout == "0 replayed\n" and "of a removed endpoint" in result.stderr


def test_endpoint_test_tells_what_came_back(world):
    lines = world("endpoint", "test", "acme/good").stdout.splitlines()
    assert lines[0] == f"endpoint  acme/good  {world.good.url}"
    assert lines[1] == f"address   127.0.0.1:{world.good.port}, no TLS (plain http)"
    assert re.fullmatch(r"answer    204 No Content after \d+ ms", lines[2])
    result = world("endpoint", "test", "acme/bad", status=FAILED)
    assert result.stdout.splitlines()[3] == 'body      {"error":"maintenance"}'
    assert "connection refused" in world("endpoint", "test", "acme/slow", status=FAILED).stdout
    world.hookd.admin.add_endpoint("nobody", f"https://127.0.0.1:{world.closed}/", tenant="acme")
    lines = world("endpoint", "test", "acme/nobody", status=FAILED).stdout.splitlines()
    assert lines[1] == f"address   127.0.0.1:{world.closed}, no connection"


def test_rotate_secret_prints_the_new_one_and_says_when_the_old_one_ends(ctl, receive):
    receiver = receive()
    old = ctl("endpoint", "add", "x", receiver.url).stdout.split()[-1]
    result = ctl("endpoint", "rotate-secret", "x", "--overlap", "1h")
    new = result.stdout.split()[-1]
    assert result.stdout == f"{new}\n" and "hookd signs with the old secret, too" in result.stderr
    ctl.hookd.submit.submit("a")
    assert is_signed(receiver.wait_for(1)[0], new, old)
    result = ctl("endpoint", "rotate-secret", "x", "--overlap", "0s")
    assert "The old secret is no longer used." in result.stderr
    ctl.hookd.submit.submit("a")
    assert is_signed(receiver.wait_for(2)[1], result.stdout.split()[-1])


# ---- submit -------------------------------------------------------------------------------------


def test_submit_keeps_the_data_byte_for_byte(ctl, receive):
    receiver = receive()
    ctl.hookd.admin.add_endpoint("x", receiver.url, tenant="acme")
    data = b'{ "n":1.10 , "big":12345678901234567890123,\n"s":"\\u00e9\\/" }'
    result = ctl("submit", "order.paid", "--tenant", "acme", input=b"  " + data + b"\n")
    assert re.fullmatch(EVENT, result.stdout.decode().strip()) and result.stderr == b""
    body = receiver.wait_for(1)[0].body
    assert body.startswith(b'{"type":"order.paid","timestamp":"') and body.endswith(b',"data":' + data + b"}")


def test_submit_makes_a_key_that_grows_with_time(ctl):
    keys = []
    for _ in range(3):
        event = ctl("submit", "a", input="1").stdout.strip()
        keys.append(ctl.hookd.manage.get(f"/v1/events/{event}").json["idempotency_key"])
        time.sleep(0.01)
    assert keys == sorted(set(keys)) and all(re.fullmatch("[0-9A-Z]{26}", key) for key in keys)


def test_submit_says_when_nobody_takes_it(ctl):
    assert ctl("submit", "order.paid", input="1").stderr == "no endpoint takes order.paid\n"
    assert ctl("submit", "order.paid", "--tenant", "acme", input="1").stderr == \
        "no endpoint takes order.paid in tenant acme\n"


def test_submit_with_a_known_key_gives_the_event_of_then(ctl):
    first = ctl("submit", "a", "--key", "k", input="1")
    second = ctl("submit", "a", "--key", "k", input="1")
    assert second.stdout == first.stdout and "the key k was known" in second.stderr
    assert "stands for another event" in ctl("submit", "a", "--key", "k", input="2", status=FAILED).stderr
    assert json.loads(ctl("submit", "a", "--key", "k", "--json", input="1").stdout)["duplicate"] is True


def test_submit_from_a_file_and_for_later(ctl, tmp_path):
    file = tmp_path / "data.json"
    file.write_text('{"a":1}')
    event = ctl("submit", "a", str(file), "--at", "5m").stdout.strip()
    deliver_at = ctl.hookd.manage.get(f"/v1/events/{event}").json["deliver_at"]
    ahead = seconds(deliver_at) - time.time()
    assert 280 < ahead <= 300
    assert "No such file" in ctl("submit", "a", "/nonexistent", status=FAILED).stderr


@pytest.mark.parametrize("data, words", [
    ("", "empty; expected JSON"), ('{"a":', "not JSON: expected a value at byte 5, in line 1"),
    ('{"a":1}\n{"b":2}', "at byte 8, in line 2"), ("hello", "not JSON"),
    pytest.param("[" * 512 + "]" * 512, "at most 511 levels of nesting", id="too deep"),
])
def test_submit_refuses_what_is_not_json_before_it_is_sent(ctl, data, words):
    result = ctl("submit", "a", input=data, status=FAILED)
    assert words in result.stderr and "--content-type sends other bytes as they are" in result.stderr
    assert ctl.hookd.manage.get("/v1/events").json["items"] == []


def test_submit_of_other_content_is_delivered_as_it_is(ctl, receive):
    receiver = receive()
    ctl.hookd.admin.add_endpoint("x", receiver.url)
    for body in [b"", b"\x00\xff\r\n", b"<a/>"]:
        ctl("submit", "doc.made", "--content-type", "application/xml", input=body)
    received = receiver.wait_for(3)
    assert sorted(r.body for r in received) == [b"", b"\x00\xff\r\n", b"<a/>"]
    assert {r.headers["Content-Type"] for r in received} == {"application/xml"}


def test_submit_is_repeated_once_with_the_same_key_when_its_fate_is_unknown(directory):
    receipt = http_answer(202, {"id": "evt_" + 26 * "0", "deliveries": 1, "duplicate": True})
    with fake_hookd(directory, None, receipt) as asked:
        result = run_at(directory, "submit", "a")
    assert (result.returncode, result.stdout, result.stderr) == (DONE, "evt_" + 26 * "0" + "\n", "")
    assert len(asked) == 2 and asked[0] == asked[1]


def test_submit_names_the_key_when_the_fate_stays_unknown(directory):
    with fake_hookd(directory, problem(503, "unknown", "the store failed: perhaps stored")) as asked:
        result = run_at(directory, "submit", "a", "--key", "k-1")
    assert result.returncode == FAILED and len(asked) == 1
    assert "perhaps stored; to be sure, submit again with --key k-1" in result.stderr


@pytest.mark.parametrize("second", [DIE, None, problem(503, "busy", "x"), problem(507, "full", "x")],
                         ids=["refused", "broken", "busy", "full"])
@pytest.mark.parametrize("options", [["--key", "k-1"], [], ["--content-type", "text/plain"]], ids=" ".join)
def test_a_second_try_that_fails_does_not_make_the_first_one_undone(directory, options, second):
    with fake_hookd(directory, *([DIE] if second is DIE else [None, second])) as asked:
        result = run_at(directory, "submit", "a", *options)
    assert result.returncode == FAILED and result.stdout == "", result
    key = re.search(r"perhaps stored; to be sure, submit again with --key (\S+)\n", result.stderr)[1]
    if options == ["--key", "k-1"]:
        assert key == "k-1"
    elif not options:
        assert json.loads(asked[0])["idempotency_key"] == key


def lines_of(n, **members):
    return "".join(json.dumps({"type": "a.b", "data": i, **members}) + "\n" for i in range(n))


def test_batch_goes_in_requests_of_1000_lines(ctl):
    result = ctl("submit", "--batch", input=lines_of(2500))
    ids = result.stdout.splitlines()
    assert len(ids) == 2500 and ids == sorted(set(ids))
    assert result.stderr == "2500 events submitted\n2500 of them are of types that no endpoint takes\n"
    assert ctl.hookd.manage.get("/v1/status").json["intake"]["accepted_total"] == 2500


def test_batch_goes_in_requests_below_8_megabytes(ctl):
    line = json.dumps({"type": "a", "data": "x" * 900_000}) + "\n"
    assert len(ctl("submit", "--batch", input=line * 20).stdout.splitlines()) == 20


def test_batch_names_the_line_of_the_file_and_goes_on_with_other_requests(ctl, tmp_path):
    lines = lines_of(2500).splitlines()
    lines[1499] = '{"type":"not a type","data":1}'
    file = tmp_path / "batch"
    file.write_text("\n\n" + "\n".join(lines))
    result = ctl("submit", "--batch", str(file), status=FAILED)
    assert len(result.stdout.splitlines()) == 1500
    assert "hookctl: line 1502: type: expected" in result.stderr
    assert "lines 1003 to 2002: not stored" in result.stderr


def test_batch_passes_over_a_line_of_carriage_returns(ctl):
    """As a file has them whose line ends were changed twice."""
    lines = '{"type":"a","data":1}\r\r\n\r\r\n{"type":"b","data":2}\r\r\n'
    result = ctl("submit", "--batch", input=lines)
    assert len(result.stdout.split()) == 2 and "2 events submitted" in result.stderr


def test_batch_with_known_keys_says_so(ctl):
    lines = "".join(json.dumps({"type": "a", "data": i, "idempotency_key": f"k{i}"}) + "\n" for i in range(3))
    first = ctl("submit", "--batch", "-", input=lines)
    second = ctl("submit", "--batch", input=lines)
    assert second.stdout == first.stdout and "3 of them had known keys" in second.stderr


def test_batch_is_repeated_only_when_every_line_has_a_key(directory):
    receipts = http_answer(202, {"items": [{"id": "evt_" + 26 * "0", "deliveries": 1, "duplicate": False}]})
    with fake_hookd(directory, None, receipts) as asked:
        result = run_at(directory, "submit", "--batch", input='{"type":"a","idempotency_key":"k","data":1}\n')
    assert result.returncode == DONE and len(asked) == 2


def test_batch_without_keys_is_not_repeated(directory):
    with fake_hookd(directory, None) as asked:
        result = run_at(directory, "submit", "--batch", input=lines_of(3) + lines_of(1, idempotency_key="k"))
    assert result.returncode == FAILED and len(asked) == 1
    assert "lines 1 to 4: perhaps stored" in result.stderr and "not tried again" in result.stderr


def receipts(n):
    return http_answer(202, {"items": [{"id": f"evt_{i:026}", "deliveries": 1, "duplicate": False} for i in range(n)]})


@pytest.mark.parametrize("end", [None, DIE], ids=["broken", "dead"])
def test_batch_without_keys_is_not_repeated_on_a_kept_connection_either(directory, end):
    with fake_hookd(directory, receipts(1000), end, receipts(500)) as asked:
        result = run_at(directory, "submit", "--batch", input=lines_of(1500))
    assert result.returncode == FAILED and len(asked) == 2
    assert "lines 1001 to 1500: perhaps stored" in result.stderr and "not submitted" not in result.stderr
    assert "1000 events submitted" in result.stderr and len(result.stdout.splitlines()) == 1000


@pytest.mark.parametrize("second", [DIE, None, problem(503, "stopping", "x")], ids=["refused", "broken", "stopping"])
def test_batch_with_keys_is_unknown_when_its_second_try_is_refused(directory, second):
    with fake_hookd(directory, *([DIE] if second is DIE else [None, second])):
        result = run_at(directory, "submit", "--batch", input=lines_of(3, idempotency_key="k"))
    assert result.returncode == FAILED
    assert "lines 1 to 3: perhaps stored; nothing behind was submitted" in result.stderr
    assert "not submitted" not in result.stderr


def test_batch_opens_a_connection_again_that_ended_while_it_was_idle(directory):
    with fake_hookd(directory, (receipts(1000), None), receipts(1)) as asked:
        process = subprocess.Popen([PROGRAM, "--sockets", directory, "submit", "--batch"], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        process.stdin.write(lines_of(1001))
        process.stdin.flush()
        wait_until(lambda: len(asked) == 1)
        time.sleep(0.5)
        out, err = process.communicate(timeout=30 * PATIENCE)
    assert process.returncode == DONE and len(asked) == 2, err
    assert len(out.splitlines()) == 1001


def is_held(hookd, thread):
    """Whether strace holds a thread of hookd in a system call."""
    with open(f"/proc/{hookd.process.pid}/task/{thread_of(hookd, thread)}/stat") as file:
        return file.read().rsplit(") ", 1)[1][0] == "t"


@pytest.mark.parametrize("keyed", [False, True], ids=["without keys", "with keys"])
def test_batch_that_loses_hookd_says_of_every_line_what_became_of_it(hookd, tmp_path, keyed):
    """On a slow disk, so that hookd has a request when it dies."""
    lines = "".join(json.dumps({"type": "a.b", "data": i, **({"idempotency_key": f"k{i}"} if keyed else {})}) + "\n"
                    for i in range(20000))
    (tmp_path / "batch").write_text(lines)
    with traced(hookd, "fdatasync:delay_exit=700000"):
        process = subprocess.Popen([PROGRAM, "--sockets", hookd.sockets, "submit", "--batch", str(tmp_path / "batch")],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        wait_until(lambda: hookd.manage.get("/v1/status").json["intake"]["accepted_total"] >= 1000)
        wait_until(lambda: is_held(hookd, "hookd-store"), what="hookd stores what came next")
        hookd.kill()
    out, err = process.communicate(timeout=60 * PATIENCE)
    hookd.start()
    ids, stored = out.splitlines(), [event["id"] for event in hookd.manage.all("/v1/events", order="oldest")]
    assert process.returncode == FAILED and is_clean(err), err
    known = len(ids)  # on a busy machine some more thousands were answered
    assert known >= 1000 and ids == stored[:known] and len(stored) in (known, known + 1000)
    assert f"lines {known + 1} to {known + 1000}: perhaps stored" in err and "nothing behind was submitted" in err
    assert f"\n{known} events submitted" in "\n" + err


def test_batch_of_which_an_answer_forgets_a_line_is_not_done(directory):
    with fake_hookd(directory, receipts(2)):
        result = run_at(directory, "submit", "--batch", input=lines_of(3))
    assert result.returncode == FAILED and result.stdout == ""
    assert "lines 1 to 3: perhaps stored" in result.stderr


def test_batch_goes_in_smaller_requests_when_hookd_takes_less(make_hookd):
    hookd = make_hookd({"intake": {"max_payload": "60K", "max_batch": "64K"}})
    lines = "".join(json.dumps({"type": "a.b", "data": f"{i:0220}"}) + "\n" for i in range(3000))
    lines += json.dumps({"type": "a.b", "data": "x" * 70000}) + "\n" + lines_of(1)
    result = hookctl(hookd, "submit", "--batch", input=lines)
    assert result.returncode == FAILED
    ids = result.stdout.splitlines()
    assert len(ids) == 3001 and ids == sorted(set(ids))
    assert [e["id"] for e in hookd.manage.all("/v1/events", order="oldest")] == ids
    first, second, *rest = result.stderr.splitlines()
    assert first.startswith("hookctl: the body has 70") and "[intake] max_batch" in first
    assert second == "line 3001: not stored" and rest[0] == "3001 events submitted"


def test_batch_goes_in_smaller_requests_when_it_would_owe_too_much_at_once(ctl):
    for n in range(101):
        ctl.hookd.admin.add_endpoint(f"e{n}", "https://later.example/", types=["none"])
    result = ctl("submit", "--batch", input=lines_of(1000))
    assert len(result.stdout.splitlines()) == 1000 and result.stderr.startswith("1000 events submitted")


def test_batch_with_a_payload_that_is_too_large_is_refused_as_a_whole(make_hookd):
    hookd = make_hookd({"intake": {"max_payload": "1K"}})
    result = hookctl(hookd, "submit", "--batch", input=lines_of(3) + '{"type":"a","data":"%s"}\n' % (2000 * "x"))
    assert result.returncode == FAILED and result.stdout == ""
    assert "line 4: data: receivers would get" in result.stderr and "lines 1 to 4: not stored" in result.stderr


def test_batch_waits_while_hookd_is_busy(directory):
    receipts = http_answer(202, {"items": [{"id": "evt_" + 26 * "0", "deliveries": 1, "duplicate": False}]})
    with fake_hookd(directory, problem(503, "busy", "the store is behind: try again"), receipts) as asked:
        result = run_at(directory, "submit", "--batch", input=lines_of(1))
    assert result.returncode == DONE and len(asked) == 2


def test_batch_of_an_endless_line_ends(ctl):
    with open("/dev/zero", "rb") as zero:
        result = subprocess.run([PROGRAM, "--sockets", ctl.hookd.sockets, "submit", "--batch"], stdin=zero,
                                capture_output=True, text=True, timeout=60 * PATIENCE)
    assert result.returncode == FAILED
    assert "line 1 is longer than 64 MiB; it and all behind: not submitted" in result.stderr


def test_batch_stops_when_hookd_is_full(directory):
    with fake_hookd(directory, problem(507, "full", "the budget is used up")) as asked:
        result = run_at(directory, "submit", "--batch", input=lines_of(2500))
    assert result.returncode == FAILED and len(asked) == 1
    assert result.stderr == ("hookctl: the budget is used up\n"
                             "lines 1 to 1000: not stored; nothing behind was submitted\n")


# ---- listen -------------------------------------------------------------------------------------


class Listening:
    """hookctl listen, while it runs."""

    def __init__(self, hookd, *arguments, port="0"):
        self.process = subprocess.Popen([PROGRAM, "--sockets", hookd.sockets, "listen", port, *arguments], bufsize=0,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        self.first = self.line()
        match = re.match(r"listening on http://127\.0\.0\.1:(\d+)/", self.first)
        assert match, self.first
        self.port = int(match[1])
        self.url = f"http://127.0.0.1:{self.port}/"

    def line(self):
        """The next line of its output, in time."""
        line, deadline = b"", time.monotonic() + 20 * PATIENCE
        while not line.endswith(b"\n"):
            assert select.select([self.process.stdout], [], [], max(0, deadline - time.monotonic()))[0], line
            piece = self.process.stdout.read(1)
            assert piece, (line, self.process.stderr.read())
            line += piece
        return line.decode()

    def stop(self, number=signal.SIGINT):
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=30 * PATIENCE)
        assert is_clean(err), err
        return self.process.returncode, out.decode(), err.decode()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.process.kill()
        self.process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_listen_subscribes_while_it_runs(ctl, number):
    with Listening(ctl.hookd, "--subscribe", "order.*") as listening:
        assert listening.first == f"listening on {listening.url} as endpoint hookctl-listen\n"
        event = ctl("submit", "order.paid", input='{"order":4711}').stdout.strip()
        assert listening.line() == f"order.paid  {event}  82 bytes  signature verified  answered 200\n"
        ctl.hookd.manage.wait_for(event, "hookctl-listen", "delivered")
        assert ctl("submit", "user.new", input="1").stderr == "no endpoint takes user.new\n"
        status, out, err = listening.stop(number)
        assert (status, out, err) == (DONE, "", "")
    assert ctl.hookd.manage.get("/v1/endpoints/hookctl-listen").status == 404


def test_listen_takes_over_what_a_killed_run_left(ctl):
    with Listening(ctl.hookd, "--subscribe", "order.*") as listening:
        listening.process.kill()
        listening.process.wait()
    event = ctl("submit", "order.paid", input="1").stdout.strip()
    wait_until(lambda: ctl.hookd.manage.delivery(event, "hookctl-listen")["attempts"])
    with Listening(ctl.hookd, "--subscribe", "user.*") as listening:
        assert ctl.hookd.manage.get("/v1/endpoints/hookctl-listen").json["types"] == ["user.*"]
        ctl("replay", event)
        assert "signature verified" in listening.line()
        status, _, err = listening.stop()
        assert status == DONE and "took over endpoint hookctl-listen" in err


def test_listen_verifies_with_a_secret_from_a_file(ctl, tmp_path):
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    wrong.write_text("whsec_MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0\n")
    port = str(free_port())
    with Listening(ctl.hookd, "--secret-file", str(wrong), port=port) as listening:
        secret = ctl("endpoint", "add", "x", listening.url).stdout.split()[-1]
        event = ctl("submit", "a", input="1").stdout.strip()
        assert re.fullmatch(rf"a  {event}  \d+ bytes  signature WRONG  answered 200\n", listening.line())
    right.write_text(secret)
    with Listening(ctl.hookd, "--secret-file", str(right), port=port) as listening:
        event = ctl("submit", "a", input="1").stdout.strip()
        assert re.fullmatch(rf"a  {event}  \d+ bytes  signature verified  answered 200\n", listening.line())


def test_listen_without_a_secret_says_that_nothing_is_checked(ctl):
    with Listening(ctl.hookd) as listening:
        ctl("endpoint", "add", "x", listening.url)
        ctl("submit", "a", input="1")
        assert "  signature not checked (no --secret-file)  answered 200" in listening.line()


def test_listen_answers_as_it_is_told(ctl):
    with Listening(ctl.hookd, "--fail-first", "1", "--status", "201", "--delay", "1s") as listening:
        ctl("endpoint", "add", "x", listening.url, "--retry", "1s")
        began = time.monotonic()
        event = ctl("submit", "a", input="1").stdout.strip()
        assert listening.line().endswith("answered 503 after 1s\n") and time.monotonic() - began >= 1
        assert listening.line().endswith("answered 201 after 1s\n")
        ctl.hookd.manage.wait_for(event, "x", "delivered")


def has_read(port):
    """Whether bytes came over a connection to the port, and all of them were read."""
    connections = subprocess.check_output(["ss", "-Htin", "state", "established", f"sport = :{port}"], text=True)
    return re.match(r"0 .*\n.* bytes_received:[1-9]", connections)


def test_listen_does_not_claim_an_answer_that_was_cut_short(ctl):
    with Listening(ctl.hookd, "--delay", "60s") as listening:
        ctl("endpoint", "add", "x", listening.url)
        event = ctl("submit", "a", input="1").stdout.strip()
        wait_until(lambda: ctl.hookd.manage.delivery(event, "x")["waiting_for"] == "answer")
        wait_until(lambda: has_read(listening.port), what="listen has the request")
        status, out, _ = listening.stop()
        assert status == DONE and out.endswith("  not answered\n")


def test_listen_complains_about_its_own_option(ctl):
    result = ctl("listen", "0", "--subscribe", "b a d", status=USAGE)
    assert result.stderr.startswith("hookctl: --subscribe: expected")


def test_listen_stalls_until_the_sender_gives_up_and_ends_at_once(ctl):
    with Listening(ctl.hookd, "--stall") as listening:
        ctl("endpoint", "add", "x", listening.url, "--timeout", "1s")
        event = ctl("submit", "a", input="1").stdout.strip()
        assert listening.line().endswith("not answered\n")
        wait_until(lambda: ctl.hookd.manage.delivery(event, "x")["last_attempt"])
        assert ctl.hookd.manage.delivery(event, "x")["last_attempt"]["result"] == "timeout"
        ctl("replay", event)
        listening.line()
        began = time.monotonic()
        assert listening.stop()[0] == DONE and time.monotonic() - began < 5 * PATIENCE


def test_listen_says_that_a_port_is_in_use(ctl, receive):
    result = ctl("listen", str(receive().port), "--subscribe", "*", status=FAILED)
    assert "is in use; give another one" in result.stderr
    assert ctl.hookd.manage.get("/v1/endpoints").json["items"] == []


def test_listen_removes_its_endpoint_when_nobody_reads_its_output(ctl):
    with Listening(ctl.hookd, "--subscribe", "*") as listening:
        listening.process.stdout.close()
        for _ in range(2):
            ctl("submit", "a", input="1")
        assert listening.process.wait(30 * PATIENCE) in (DONE, FAILED)
        listening.process.stdout = None
    assert ctl.hookd.manage.get("/v1/endpoints/hookctl-listen").status == 404


# ---- sign, verify, backup -----------------------------------------------------------------------


def offline(*arguments, input):
    result = subprocess.run([PROGRAM, *arguments], input=input, capture_output=True)
    assert is_clean(result.stderr), result.stderr
    return result


@pytest.fixture
def secret_file(tmp_path):
    file = tmp_path / "secret"
    # From the test vectors of Standard Webhooks.
    file.write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")
    return str(file)


def test_sign_prints_the_headers_of_standard_webhooks(secret_file):
    result = offline("sign", "--secret-file", secret_file, "--id", "msg_p5jXN8AQM9LWM0D4loKWxJek", "--timestamp",
                     "1614265330", input=b'{"test": 2432232314}')
    assert result.stdout.decode().splitlines() == [
        "webhook-id: msg_p5jXN8AQM9LWM0D4loKWxJek", "webhook-timestamp: 1614265330",
        "webhook-signature: v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="]


def verify_what_was_signed(secret_file, *options, body=b"x\x00y", signed=(), checked=None):
    headers = dict(line.split(": ", 1) for line in
                   offline("sign", "--secret-file", secret_file, *signed, input=body).stdout.decode().splitlines())
    return offline("verify", "--secret-file", secret_file, "--id", headers["webhook-id"], "--timestamp",
                   headers["webhook-timestamp"], "--signature", "v1,other " + headers["webhook-signature"], *options,
                   input=body if checked is None else checked)


def test_verify_accepts_what_sign_made(secret_file):
    result = verify_what_was_signed(secret_file)
    assert (result.returncode, result.stdout) == (DONE, b"verified\n")


@pytest.mark.parametrize("options, words", [
    ({"checked": b"xy"}, b"no signature fits"),
    ({"signed": ["--timestamp", "1614265330"]}, b"the signature fits, but was made"),
    ({"signed": ["--timestamp", "9614265330"]}, b"in the future"),
])
def test_verify_tells_why_not(secret_file, options, words):
    result = verify_what_was_signed(secret_file, **options)
    assert result.returncode == FAILED
    assert result.stdout.startswith(b"not verified: ") and words in result.stdout


def test_verify_takes_a_tolerance(secret_file):
    old = str(int(time.time()) - 3600)
    assert verify_what_was_signed(secret_file, "--tolerance", "2h", signed=["--timestamp", old]).returncode == DONE
    assert verify_what_was_signed(secret_file, signed=["--timestamp", old]).returncode == FAILED


def test_verify_calls_malformed_headers_so(secret_file):
    result = offline("verify", "--secret-file", secret_file, "--id", "a.b", "--timestamp", "soon", "--signature", "x",
                     input=b"")
    assert result.returncode == FAILED and b"expected an id without dots" in result.stdout


def test_a_bad_secret_file_is_named_without_its_content(tmp_path):
    file = tmp_path / "secret"
    file.write_text("whsec_hunter2")
    result = offline("sign", "--secret-file", str(file), input=b"")
    assert result.returncode == FAILED
    assert str(file).encode() in result.stderr and b"hunter2" not in result.stderr


def test_backup_prints_the_path_of_the_copy(ctl):
    path = ctl("backup").stdout.strip()
    assert path.startswith(ctl.hookd.data) and os.path.getsize(path) > 0
    time.sleep(1.1)
    assert os.path.exists(json.loads(ctl("backup", "--json").stdout)["file"])


def test_a_closed_standard_output_is_not_a_socket(ctl):
    result = subprocess.run(["sh", "-c", '"$0" --sockets "$1" status >&-', PROGRAM, ctl.hookd.sockets],
                            capture_output=True, text=True)
    assert result.stderr == "" and "malformed" not in ctl.hookd.log()


# ---- Completion ---------------------------------------------------------------------------------


def complete(hookd, *words, program="hookctl"):
    """What bash offers behind these words."""
    script = (f'source {ROOT}/ctl/completion/hookctl.bash; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _hookctl; '
              'printf "%s\\n" "${COMPREPLY[@]}"')
    result = subprocess.run(["bash", "-c", script, "bash", program, *words], capture_output=True, text=True,
                            env={**os.environ, "HOOKD_SOCKETS": hookd.sockets,
                                 "PATH": os.path.dirname(PROGRAM) + ":" + os.environ["PATH"]})
    assert result.stderr == ""
    return result.stdout.split()


def test_bash_completes_commands_options_and_endpoints(world):
    assert {"status", "list", "endpoint", "backup"} <= set(complete(world.hookd, ""))
    assert complete(world.hookd, "endpoint", "ro") == ["rotate-secret"]
    assert complete(world.hookd, "list", "--http") == ["--http-status"]
    assert complete(world.hookd, "endpoint", "set", "acme/bad", "--in") == ["--in-flight"]
    assert sorted(complete(world.hookd, "pause", "")) == ["acme/bad", "acme/good", "acme/slow"]
    assert complete(world.hookd, "list", "-e", "acme/g") == ["acme/good"]
    assert complete(world.hookd, "list", "-s", "de") == ["delivered", "dead"]
    assert complete(world.hookd, "list", "-s", "dead,") == ["dead,pending", "dead,held", "dead,delivered"]
    assert complete(world.hookd, "list", "--state", "=") == ["pending", "held", "delivered", "dead"]
    assert complete(world.hookd, "list", "--state", "=", "pe") == ["pending"]
    assert complete(world.hookd, "list", "--tenant", "") == ["acme"]
    assert {"status", "list", "endpoint"} <= set(complete(world.hookd, "help", ""))
    assert "add" in complete(world.hookd, "help", "endpoint", "")
    assert complete(world.hookd, "help", "pause", "") == []


def test_bash_asks_the_hookctl_that_is_typed(world, directory):
    link = os.path.join(directory, "other")
    os.symlink(PROGRAM, link)
    assert complete(world.hookd, "list", "-e", "acme/g", program=link) == ["acme/good"]
    assert complete(world.hookd, "list", "-e", "acme/g", program="/nowhere/hookctl") == []


def test_bash_completion_is_quiet_without_hookd(hookd):
    hookd.stop()
    assert complete(hookd, "pause", "") == []


def complete_in_zsh(hookd, *words):
    """What zsh offers behind these words; its own functions that show it are stood in for."""
    script = """
        compadd() { if [[ $1 == -a ]]; then print -l -- ${(P)2}; else print -l -- ${@:#--}; fi }
        _describe() { print -l -- ${${(P)4}%%:*} }
        _files() { print files }
        _directories() { print directories }
        _message() { print message }
        compset() { }
        words=("$@") CURRENT=$#
        source $SCRIPT
    """
    result = subprocess.run(["zsh", "-f", "-c", script, "zsh", "hookctl", *words], capture_output=True, text=True,
                            env={**os.environ, "HOOKD_SOCKETS": hookd.sockets,
                                 "SCRIPT": f"{ROOT}/ctl/completion/_hookctl",
                                 "PATH": os.path.dirname(PROGRAM) + ":" + os.environ["PATH"]})
    assert result.stderr == ""
    return result.stdout.split("\n")[:-1]


def test_zsh_completes_commands_options_and_endpoints(world):
    assert {"status", "list", "endpoint", "backup"} <= set(complete_in_zsh(world.hookd, ""))
    assert "rotate-secret" in complete_in_zsh(world.hookd, "endpoint", "")
    assert {"--http-status", "--oldest", "-n"} <= set(complete_in_zsh(world.hookd, "list", "-"))
    assert "--in-flight" in complete_in_zsh(world.hookd, "endpoint", "set", "acme/bad", "--")
    assert sorted(complete_in_zsh(world.hookd, "pause", "")) == ["acme/bad", "acme/good", "acme/slow"]
    assert "delivered" in complete_in_zsh(world.hookd, "list", "-s", "")
    assert complete_in_zsh(world.hookd, "submit", "x", "") == ["files"]
    assert "held" in complete_in_zsh(world.hookd, "list", "--state=")
    assert complete_in_zsh(world.hookd, "list", "--tenant", "") == ["acme"]
    assert "list" in complete_in_zsh(world.hookd, "help", "")
    assert "add" in complete_in_zsh(world.hookd, "help", "endpoint", "")
