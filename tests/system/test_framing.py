"""Framing: what a careless HTTP reader would take for a shorter request than it was meant. Either the exact
body is stored, or the request is refused; never a part of it."""

import re
import socket
import threading
import time

import pytest

from harness import PATIENCE, wait_until

BODY = b'{"type":"t","data":"0123456789"}'


def count_answers(data):
    """How many whole responses these bytes are; interim ones do not count."""
    n = 0
    while b"\r\n\r\n" in data:
        head, _, data = data.partition(b"\r\n\r\n")
        if head.startswith(b"HTTP/1.1 100"):
            continue
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        size = int(length[1]) if length else 0
        if len(data) < size:
            break
        data = data[size:]
        n += 1
    return n


def exchange(hookd, data, role="submit", answers=1, half_close=False):
    """Sends bytes; returns what comes back until that many responses have come or the connection ends."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(5 * PATIENCE)
        s.connect(hookd.socket_path(role))
        answer = b""
        try:
            s.sendall(data)
            if half_close:
                s.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        try:
            while count_answers(answer) < answers and (piece := s.recv(65536)):
                answer += piece
        except (ConnectionResetError, TimeoutError):
            pass
        return answer


def status(answer):
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.") else None


def head(*lines, method=b"POST", target=b"/v1/events", version=b"HTTP/1.1", host=b"Host: h\r\n"):
    return (method + b" " + target + b" " + version + b"\r\n" + host + b"Content-Type: application/json\r\n" +
            b"".join(line + b"\r\n" for line in lines) + b"\r\n")


LENGTH = b"Content-Length: %d" % len(BODY)

REFUSED = {
    "two lengths that differ": head(LENGTH, b"Content-Length: 5") + BODY,
    "two equal lengths": head(LENGTH, LENGTH) + BODY,
    "a list of lengths": head(b"Content-Length: 3, 3") + BODY,
    "plus": head(b"Content-Length: +3") + BODY,
    "hexadecimal": head(b"Content-Length: 0x20") + BODY,
    "negative": head(b"Content-Length: -1") + BODY,
    "not a number": head(b"Content-Length: many") + BODY,
    "huge": head(b"Content-Length: 99999999999999999999") + BODY,
    "space before the colon": head(b"Content-Length : 32") + BODY,
    "length and coding": head(LENGTH, b"Transfer-Encoding: chunked") + b"20\r\n" + BODY + b"\r\n0\r\n\r\n",
    "coding twice": head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked") + b"20\r\n" + BODY + b"\r\n0\r\n\r\n",
    "unknown coding": head(b"Transfer-Encoding: gzip") + BODY,
    "list of codings": head(b"Transfer-Encoding: gzip, chunked") + b"20\r\n" + BODY + b"\r\n0\r\n\r\n",
    "bad chunk size": head(b"Transfer-Encoding: chunked") + b"zz\r\n" + BODY + b"\r\n0\r\n\r\n",
    "no length": head() + BODY,
    "two hosts": head(LENGTH, b"Host: i") + BODY,
    "no host": head(LENGTH, host=b"") + BODY,
    "control in a header": head(b"X-A: \x01", LENGTH) + BODY,
    "space in a name": head(b"X A: 1", LENGTH) + BODY,
    "no colon": head(b"garbage", LENGTH) + BODY,
    "unknown version": head(LENGTH, version=b"HTTP/2.0") + BODY,
    "long target": head(LENGTH, target=b"/v1/events?type=" + b"x" * 65536) + BODY,
    "many headers": head(*[b"X-%d: 1" % i for i in range(10000)], LENGTH) + BODY,
    "body on a GET": head(LENGTH, method=b"GET", target=b"/v1/health") + BODY,
    "over the limit": head(b"Content-Length: 9000000000") + BODY,
}


@pytest.mark.parametrize("name", REFUSED)
def test_doubtful_framing_is_refused(hookd, name):
    answer = exchange(hookd, REFUSED[name])
    assert answer == b"" or 400 <= status(answer) < 600, answer
    assert b" 202 " not in answer.split(b"\r\n")[0]
    assert hookd.manage.all("/v1/events") == []


ACCEPTED = {
    "plain": head(LENGTH) + BODY,
    "chunked": head(b"Transfer-Encoding: chunked") + b"10\r\n" + BODY[:16] + b"\r\n10;ext=1\r\n" + BODY[16:] + b"\r\n0\r\n\r\n",
    "leading zero": head(b"Content-Length: 0%d" % len(BODY)) + BODY,
    "http 1.0": head(LENGTH, version=b"HTTP/1.0") + BODY,
    "absolute form": head(LENGTH, target=b"http://anything.example/v1/events") + BODY,
    "lower case": head(LENGTH.lower()) + BODY,
    "expect": head(LENGTH, b"Expect: 100-continue") + BODY,
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_sound_framing_stores_the_exact_body(hookd, name):
    answer = exchange(hookd, ACCEPTED[name])
    assert b"HTTP/1.1 202 " in answer or b"HTTP/1.0 202 " in answer, answer
    events = hookd.manage.all("/v1/events")
    assert len(events) == 1
    assert hookd.manage.get(f"/v1/events/{events[0]['id']}/payload").body.endswith(b'"data":"0123456789"}')


@pytest.mark.parametrize("name, data", [
    ("bare line feeds", (head(LENGTH) + BODY).replace(b"\r\n", b"\n")),
    ("folded header", head(b"X-A: 1\r\n  2", LENGTH) + BODY),
    ("NUL in a header", head(b"X-A: a\0b", LENGTH) + BODY),
])
def test_what_the_reader_hides_is_stored_wholly_or_refused(hookd, name, data):
    answer = exchange(hookd, data)
    events = hookd.manage.all("/v1/events")
    if events:
        assert b" 202 " in answer
        assert hookd.manage.get(f"/v1/events/{events[0]['id']}/payload").body.endswith(b'"data":"0123456789"}')
    else:
        assert b" 202 " not in answer


def test_a_body_that_ends_too_early_is_not_stored(hookd):
    for data in [head(LENGTH) + BODY[:-1], head(b"Transfer-Encoding: chunked") + b"20\r\n" + BODY]:
        assert b" 202 " not in exchange(hookd, data, half_close=True)
    assert hookd.manage.all("/v1/events") == []


def test_pipelined_requests_are_answered_in_order(hookd):
    data = b"".join(head(b"Content-Length: 23") + b'{"type":"t","data":%03d}' % (100 + i) for i in range(200))
    answer = exchange(hookd, data, answers=200)
    assert answer.count(b"HTTP/1.1 202 ") == 200
    payloads = [hookd.manage.get(f"/v1/events/{e['id']}/payload").json["data"]
                for e in hookd.manage.all("/v1/events", order="oldest")]
    assert payloads == list(range(100, 300))


def resident(hookd):
    """The memory hookd has, in bytes."""
    with open(f"/proc/{hookd.process.pid}/statm") as file:
        return int(file.read().split()[1]) * 4096


@pytest.mark.parametrize("prefix", [b"", b"POST /", b"POST /v1/events HTTP/1.1\r\nX: ",
                                    head(b"Transfer-Encoding: chunked"), head(b"Transfer-Encoding: chunked") + b"0\r\nX: "])
def test_a_flood_without_a_line_end_is_cut_off_in_bounded_memory(hookd, prefix):
    before = resident(hookd)
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(5 * PATIENCE)
        s.connect(hookd.socket_path("submit"))
        sent = 0
        with pytest.raises(OSError):
            s.sendall(prefix)
            while sent < 64 << 20:
                s.sendall(b"x" * 65536)
                sent += 65536
        assert sent < 16 << 20
    assert resident(hookd) - before < 8 << 20
    assert hookd.submit.get("/v1/health").status == 200


def trickle(hookd, data, seconds):
    """Sends a byte every now and then; returns after how long the connection was cut."""
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(hookd.socket_path("submit"))
        start = time.monotonic()
        for i in range(len(data)):
            try:
                s.send(data[i:i + 1])
            except OSError:
                return time.monotonic() - start
            time.sleep(seconds)
    return None


@pytest.mark.parametrize("data", [head(b"X: " + b"y" * 200), b"x" * 500])
def test_a_slow_request_is_cut_off_at_the_absolute_deadline(make_hookd, data):
    hookd = make_hookd({"intake": {"request_timeout": "1s"}})
    for start in [b"", head(b"Content-Length: 10000") if data.startswith(b"x") else b""]:
        if start:
            with socket.socket(socket.AF_UNIX) as s:
                s.connect(hookd.socket_path("submit"))
                s.sendall(start)
                begin = time.monotonic()
                with pytest.raises(OSError):
                    while time.monotonic() - begin < 6 * PATIENCE:
                        s.send(b"x")
                        time.sleep(0.1)
                assert 0.8 < time.monotonic() - begin < 4 * PATIENCE
        elif not data.startswith(b"x"):
            assert 0.8 < trickle(hookd, data, 0.1) < 4 * PATIENCE


def test_a_kept_connection_may_be_idle_longer_than_a_request_may_take(make_hookd):
    hookd = make_hookd({"intake": {"request_timeout": "1s"}})
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(5 * PATIENCE)
        s.connect(hookd.socket_path("submit"))
        for _ in range(2):
            s.sendall(head(LENGTH) + BODY)
            assert b" 202 " in s.recv(65536)
            time.sleep(1.5)


def test_a_users_connections_are_bounded_and_the_rest_is_told(make_hookd):
    hookd = make_hookd({"intake": {"max_connections_per_user": "5"}})
    held = []
    for _ in range(5):
        s = socket.socket(socket.AF_UNIX)
        s.connect(hookd.socket_path("submit"))
        s.sendall(head(LENGTH) + BODY)
        assert b" 202 " in s.recv(65536)
        held.append(s)
    answer = exchange(hookd, head(LENGTH) + BODY)
    assert status(answer) == 429 and b'"code":"too_many"' in answer
    held.pop().close()
    wait_until(lambda: status(exchange(hookd, head(LENGTH) + BODY)) == 202)
    for s in held:
        s.close()


def test_connections_beyond_the_limit_wait_and_are_served_later(make_hookd):
    hookd = make_hookd({"intake": {"max_connections": "4"}})
    held = [socket.socket(socket.AF_UNIX) for _ in range(4)]
    for s in held:
        s.connect(hookd.socket_path("submit"))
        s.sendall(head(LENGTH) + BODY)
        assert b" 202 " in s.recv(65536)
    answers = []
    thread = threading.Thread(target=lambda: answers.append(status(exchange(hookd, head(LENGTH) + BODY))))
    thread.start()
    time.sleep(0.5)
    assert answers == []
    for s in held:
        s.close()
    thread.join()
    assert answers == [202]


NDJSON = b"POST /v1/events HTTP/1.1\r\nHost: h\r\nContent-Type: application/x-ndjson\r\n"


def announce(hookd, length):
    """Says that so many bytes will come, and waits for hookd's word: 100 or a refusal."""
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(10 * PATIENCE)
    s.connect(hookd.socket_path("submit"))
    s.sendall(NDJSON + b"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n" % length)
    return s, s.recv(65536)


def lines(length):
    """A batch of so many bytes, in lines of about 900 KB."""
    n = length // 900000 + 1
    sizes = [length // n] * (n - 1) + [length - length // n * (n - 1)]
    frame = len(b'{"type":"t","data":""}\n')
    return b"".join(b'{"type":"t","data":"%s"}\n' % (b"y" * (size - frame)) for size in sizes)


def test_a_large_body_finds_the_place_that_its_head_was_promised_and_the_rest_is_told_to_come_again(make_hookd):
    hookd = make_hookd({"intake": {"max_batch": "8M"}})
    length = 7200000
    before = resident(hookd)
    held, refused = [], []
    for _ in range(16):
        s, answer = announce(hookd, length)
        (held if status(answer) == 100 else refused).append((s, answer))
    assert len(held) == 13  # 96 MiB
    assert resident(hookd) - before < 32 << 20  # announcing costs nothing
    for s, answer in refused:
        assert status(answer) == 503 and b'"code":"busy"' in answer and b"Retry-After: 1" in answer, answer
        assert b"the bodies of other requests" in answer
    # A chunked body, whose length is not known before, is told the same.
    chunked = NDJSON + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (length, lines(length))
    answer = exchange(hookd, chunked)
    assert status(answer) == 503 and b'"code":"busy"' in answer, answer
    # Small requests have room all the same, and each that was accepted has its own.
    assert hookd.submit.submit("t", "x" * 20000)["id"]
    for s, _ in held[:3]:
        s.sendall(lines(length))
    for s, _ in held[:3]:
        assert status(s.recv(65536)) == 202
    answer = exchange(hookd, chunked)
    assert status(answer) == 202, answer
    for s, _ in held + refused:
        s.close()


def test_bodies_that_do_not_come_keep_others_out_until_the_deadline_at_most(make_hookd):
    hookd = make_hookd({"intake": {"max_batch": "8M", "request_timeout": "1s"}})
    begin = time.monotonic()
    held = [announce(hookd, 8 << 20) for _ in range(12)]
    assert [status(answer) for _, answer in held] == [100] * 11 + [503]

    def fits():
        s, answer = announce(hookd, 8 << 20)
        s.close()
        return status(answer) == 100

    wait_until(fits)
    assert time.monotonic() - begin > 0.8
    for s, _ in held:
        s.close()


def test_a_client_that_vanishes_harms_nobody(hookd):
    for data in [b"", b"PO", head(LENGTH), head(LENGTH) + BODY[:5], head(LENGTH) + BODY]:
        for _ in range(20):
            with socket.socket(socket.AF_UNIX) as s:
                s.connect(hookd.socket_path("submit"))
                s.sendall(data)
    assert hookd.submit.submit("t", 1)["id"]
    wait_until(lambda: hookd.metric("hookd_api_connections", role="submit") == 0)


def test_a_lack_of_descriptors_makes_clients_wait_not_hookd_spin(make_hookd):
    import resource
    hookd = make_hookd(start=False)
    hookd.start(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48)))
    clients = []
    for _ in range(60):
        s = socket.socket(socket.AF_UNIX)
        s.connect(hookd.socket_path("submit"))
        clients.append(s)

    def cpu():
        with open(f"/proc/{hookd.process.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    time.sleep(0.5)
    before, log = cpu(), len(hookd.log().splitlines())
    time.sleep(2)
    assert cpu() - before < 20  # a tenth of a second of two
    assert len(hookd.log().splitlines()) - log < 10
    for s in clients:
        s.close()
    wait_until(lambda: hookd.submit.get("/v1/health").status == 200)
