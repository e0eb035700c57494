"""Hostile producers (faults 23 to 26, 28 and 29): bytes that come slowly, without end, or so that a careless reader takes
them for less than they were; clients that vanish, that crowd, and whose addresses are odd."""

import concurrent.futures
import contextlib
import ctypes
import fcntl
import itertools
import os
import re
import socket
import struct
import termios
import threading
import time

import pytest

from harness import PATIENCE, traced, wait_until
from hostile import QUARANTINE, running_hookd
from rawhttp import BODY, LENGTH, count_answers, exchange, head, status

CHUNKED = b"Transfer-Encoding: chunked"
LIMIT_S = 1
SLACK_S = 4  # of a busy machine


@pytest.fixture(scope="module")
def shared():
    """One hookd for all requests that are answered, however long a busy machine takes to send them."""
    with running_hookd() as hookd:
        yield hookd


@pytest.fixture(scope="module")
def impatient():
    """Another one, whose requests may take a second."""
    with running_hookd({"intake": {"request_timeout": f"{LIMIT_S}s"}}) as hookd:
        yield hookd


# ---- Framing ----------------------------------------------------------------------------------

# The raw form of a submit: whatever bytes the body is taken to have would be stored.
RAW = b"/v1/events?type=framing"


def raw(*lines, body=BODY, **rest):
    return head(*lines, target=rest.pop("target", RAW), **rest) + body


def chunks(body=BODY, size=b"20", end=b"\r\n0\r\n\r\n", coding=CHUNKED, **rest):
    return raw(coding, body=size + b"\r\n" + body + end, **rest)


CLOSED = None  # without an answer

FRAMING = {  # name: (bytes, status)
    "plain": (raw(LENGTH), 202),
    "chunked": (raw(CHUNKED, body=b"10\r\n" + BODY[:16] + b"\r\n10;ext=1\r\n" + BODY[16:] + b"\r\n0\r\n\r\n"), 202),
    "expects 100": (raw(LENGTH, b"Expect: 100-continue"), 100),
    "lower case": (raw(LENGTH.lower()), 202),
    # Content-Length
    "03": (raw(b"Content-Length: 0%d" % len(BODY)), 202),
    "+3": (raw(b"Content-Length: +32"), 400),
    "-1": (raw(b"Content-Length: -1"), 400),
    "0x3": (raw(b"Content-Length: 0x20"), 400),
    "3.0": (raw(b"Content-Length: 32.0"), 400),
    "3e1": (raw(b"Content-Length: 3e1"), 400),
    "3, 3": (raw(b"Content-Length: 32, 32"), 400),
    "3 and a space": (raw(b"Content-Length: 32 "), 400),
    "many": (raw(b"Content-Length: many"), 400),
    "empty": (raw(b"Content-Length: "), 400),
    "beyond 64 bits": (raw(b"Content-Length: 18446744073709551648"), 413),
    "9 GB": (raw(b"Content-Length: 9000000000"), 413),
    "twice, the same": (raw(LENGTH, LENGTH), 400),
    "twice, others": (raw(LENGTH, b"Content-Length: 5"), 400),
    "twice, others before": (raw(b"Content-Length: 5", LENGTH), 400),
    "space before the colon": (raw(b"Content-Length : 32"), 400),
    "tab before the colon": (raw(b"Content-Length\t: 32"), 400),
    "underscore": (raw(b"Content_Length: 32"), 411),
    "missing": (raw(), 411),
    "on a GET": (raw(LENGTH, method=b"GET", target=b"/v1/health"), 400),
    "too short": (raw(b"Content-Length: 40"), CLOSED),
    # Transfer-Encoding
    "CHUNKED": (chunks(coding=b"Transfer-Encoding: CHUNKED"), 202),
    "TE and CL": (chunks(coding=CHUNKED + b"\r\n" + LENGTH), 400),
    "CL and TE": (chunks(coding=LENGTH + b"\r\n" + CHUNKED), 400),
    "TE twice": (chunks(coding=CHUNKED + b"\r\n" + CHUNKED), 400),
    "TE list": (chunks(coding=b"Transfer-Encoding: gzip, chunked"), 400),
    "TE list of the same": (chunks(coding=b"Transfer-Encoding: chunked, chunked"), 400),
    "TE gzip": (raw(b"Transfer-Encoding: gzip"), 400),
    "TE identity": (raw(b"Transfer-Encoding: identity"), 400),
    "TE xchunked": (chunks(coding=b"Transfer-Encoding: xchunked"), 400),
    "TE with a control": (chunks(coding=b"Transfer-Encoding: \x0bchunked"), 400),
    "TE with NUL": (chunks(coding=b"Transfer-Encoding: chun\0ked"), 400),
    # chunks
    "size zz": (chunks(size=b"zz"), 400),
    "size empty": (chunks(size=b""), 400),
    "size +20": (chunks(size=b"+20"), 400),
    "size -20": (chunks(size=b"-20"), 400),
    "size 0x20": (chunks(size=b"0x20"), 400),
    "size and a space": (chunks(size=b"20 "), 400),
    "size beyond 64 bits": (chunks(size=b"10000000000000020"), 413),
    "size with zeros": (chunks(size=b"0000000000000000000020"), 202),
    "size too small": (chunks(size=b"10"), 400),
    "size too large": (chunks(size=b"30"), CLOSED),
    "no end of a chunk": (chunks(end=b"0\r\n\r\n"), 400),
    "no last chunk": (chunks(end=b"\r\n"), CLOSED),
    "no end of the trailer": (chunks(end=b"\r\n0\r\n"), CLOSED),
    "a length in the trailer": (chunks(end=b"\r\n0\r\nContent-Length: 5\r\n\r\n"), 202),
    "a coding in the trailer": (chunks(end=b"\r\n0\r\nTransfer-Encoding: gzip\r\n\r\n"), 202),
    # lines
    "bare LF": (raw(LENGTH).replace(b"\r\n", b"\n"), 202),
    "bare LF in a chunk": (chunks().replace(b"20\r\n", b"20\n"), 202),
    "bare CR": (raw(LENGTH).replace(b"\r\n", b"\r"), CLOSED),
    "CR in a header": (raw(b"X-A: a\rb", LENGTH), 400),
    "folded header": (raw(b"X-A: 1\r\n  2", LENGTH), 400),
    "folded length": (raw(b"Content-Length:\r\n 32"), 400),
    "folded coding": (raw(b"X-A: 1\r\n Transfer-Encoding: chunked", LENGTH), 400),
    "folded first header": (b"POST " + RAW + b" HTTP/1.1\r\n X: 1\r\nHost: h\r\n" + LENGTH + b"\r\n\r\n" + BODY, 400),
    "NUL in a value": (raw(b"X-A: a\0b", LENGTH), 400),
    "NUL in a length": (raw(b"Content-Length: 32\x000"), 400),
    "NUL at the end of the head": (raw(LENGTH + b"\0"), 400),
    "NUL before a name": (raw(LENGTH, b"\0X-A: 1"), 400),
    "NUL alone": (raw(LENGTH, b"\0"), 400),
    "NUL in the request line": (raw(LENGTH, version=b"HTTP/1.1\0x"), 400),
    "NUL in a name": (raw(b"X\0A: 1", LENGTH), 400),
    "NUL in the target": (raw(LENGTH, target=b"/v1/ev\0ents"), 404),
    "control in a value": (raw(b"X-A: \x01", LENGTH), 400),
    "DEL in a value": (raw(b"X-A: \x7f", LENGTH), 400),
    "UTF-8 in a value": (raw(b"X-A: \xc3\xa4", LENGTH), 202),
    "UTF-8 in a name": (raw(b"X\xc3\xa4: 1", LENGTH), 400),
    "space in a name": (raw(b"X A: 1", LENGTH), 400),
    "no name": (raw(LENGTH, b": 1"), 400),
    "no name, before the length": (raw(b": 1", LENGTH), 400),
    "no name, first": (b"POST " + RAW + b" HTTP/1.1\r\n: 1\r\nHost: h\r\n" + LENGTH + b"\r\n\r\n" + BODY, 400),
    "no name, no value": (raw(LENGTH, b":"), 400),
    "no colon": (raw(b"garbage", LENGTH), 400),
    "no value": (raw(b"X-A:", b"X-B: ", b"X-C:\t \t", LENGTH), 202),
    "blanks around a value": (raw(b"X-A: \t a b \t ", LENGTH), 202),
    "no blank": (raw(b"X-A:1", LENGTH.replace(b" ", b"")), 202),
    "cookies": (raw(b'Cookie: a=1; b="2"; c', LENGTH), 202),
    "empty lines before": (b"\r\n\r\n" + raw(LENGTH), 202),
    # versions and hosts
    "HTTP/0.9": (b"GET /v1/health\r\n", 400),
    "HTTP/0.9 with a body": (b"POST " + RAW + b"\r\n\r\n" + BODY, 400),
    "HTTP/1.0": (raw(LENGTH, version=b"HTTP/1.0"), 202),
    "HTTP/1.0 without Host": (raw(LENGTH, version=b"HTTP/1.0", host=b""), 202),
    "HTTP/1.2": (raw(LENGTH, version=b"HTTP/1.2"), 202),
    "HTTP/2.0": (raw(LENGTH, version=b"HTTP/2.0"), 505),
    "HTTP/1.1x": (raw(LENGTH, version=b"HTTP/1.1x"), 400),
    "http/1.1": (raw(LENGTH, version=b"http/1.1"), 400),
    "HTTP/2 in person": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 500, CLOSED),
    "no Host": (raw(LENGTH, host=b""), 400),
    "two Hosts": (raw(LENGTH, b"Host: i"), 400),
    "absolute form": (raw(LENGTH, target=b"http://anything.example" + RAW), 202),
    "absolute form, https": (raw(LENGTH, target=b"https://anything.example" + RAW), 404),
    "asterisk": (raw(LENGTH, target=b"*"), 404),
    "a tab for a space": (b"POST\t" + RAW + b" HTTP/1.1\r\nHost: h\r\n" + LENGTH + b"\r\n\r\n" + BODY, 400),
    # too much
    "a target of 64 KiB": (raw(LENGTH, target=RAW + b"x" * 65536), 414),
    "a method of 40 KB": (raw(LENGTH, method=b"P" * 40000), 414),
    "a header of 64 KiB": (raw(b"X-A: " + b"x" * 65536, LENGTH), 431),
    "10000 headers": (raw(*[b"X-%d: 1" % i for i in range(10000)], LENGTH), 431),
}


@pytest.fixture(scope="module")
def framed(shared, impatient):
    """The answers, by name, and what is stored then: the payloads. What is not to be answered is soon cut off."""
    def send(name):
        data, status = FRAMING[name]
        return exchange(impatient if status is CLOSED else shared, data)

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = dict(zip(FRAMING, pool.map(send, FRAMING)))
    return answers, [hookd.manage.get(f"/v1/events/{event['id']}/payload").body
                     for hookd in (shared, impatient) for event in hookd.manage.all("/v1/events")]


@pytest.mark.parametrize("name", FRAMING)
def test_every_framing_has_its_one_answer(framed, name):
    assert status(framed[0][name]) == FRAMING[name][1], framed[0][name][:200]


def test_no_body_is_ever_stored_in_part(framed):
    answers, payloads = framed
    accepted = [name for name, answer in answers.items() if re.search(rb"HTTP/1\.[01] 202 ", answer)]
    assert sorted(accepted) == sorted(name for name, row in FRAMING.items() if row[1] in (100, 202))
    assert payloads == [BODY] * len(accepted)


@pytest.mark.parametrize("lines, piece", [(1, 7), (20, 333), (27, 1500), (27, 1 << 20)])
def test_a_large_head_is_read_whole_in_pieces_and_behind_others(shared, lines, piece):
    request = raw(LENGTH, *[b"X-%d: " % i + b"v" * 1000 for i in range(lines)])
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(5 * PATIENCE)
        s.connect(shared.socket_path("submit"))
        for data, answers in ((request, 1), (request, 1), (request * 3, 3)):
            for at in range(0, len(data), piece):
                s.sendall(data[at:at + piece])
            answer = b""
            while count_answers(answer) < answers and (more := s.recv(65536)):
                answer += more
            assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"202"] * answers


HIDDEN = b"X-A: 1\r\n\r\n" + raw(LENGTH, body=b"")  # the head of another request


@pytest.mark.parametrize("request_", [
    raw(LENGTH, b": 1", b"Host: i", HIDDEN),
    raw(b": 1", HIDDEN),
    raw(LENGTH, b"\0", HIDDEN),
    raw(LENGTH, b"Host: i", HIDDEN, body=b""),
    chunks(end=b"\r\n0\r\nX-A: 1\r\n: 1\r\n" + HIDDEN + BODY),
], ids=["behind a line without a name", "that says where the body begins", "behind a NUL", "behind two hosts", "in a trailer"])
def test_nothing_within_a_request_is_taken_for_another_one(shared, request_):
    """What stands behind the point from which the framing cannot be trusted is not read."""
    answer = exchange(shared, request_, answers=2)
    assert count_answers(answer) == 1 and b"connection: close" in answer.lower(), answer


# ---- Slowness ---------------------------------------------------------------------------------

SLOW = {  # name: (what comes at once, what comes byte by byte)
    "nothing": (b"", b""),
    "empty lines": (b"", b"\r\n" * 100),
    "the request line": (b"POST /v1/", b"x" * 100),
    "a header": (b"POST /v1/events HTTP/1.1\r\nHost: h\r\n", b"X-A: " + b"y" * 100),
    "a body": (head(b"Content-Length: 10000"), b"x" * 100),
    "a chunk size": (head(CHUNKED), b"0" * 100),
    "a chunk": (head(CHUNKED) + b"ff\r\n", b"x" * 100),
    "a trailer": (head(CHUNKED) + b"0\r\n", b"X-A: " + b"y" * 100),
    "a body that is refused": (head(b"Content-Length: 10000", target=b"/v1/nowhere"), b"x" * 100),
}


def seconds_until_cut(hookd, at_once, slowly):
    """After how long the connection is closed; None: it is not."""
    with socket.socket(socket.AF_UNIX) as s, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        begin = time.monotonic()
        s.connect(hookd.socket_path("submit"))
        s.sendall(at_once)
        s.settimeout(0.1)
        while time.monotonic() - begin < 10 * PATIENCE:
            with contextlib.suppress(TimeoutError):
                if slowly:
                    s.send(slowly[:1])
                    slowly = slowly[1:]
                if s.recv(65536) == b"":
                    break
        else:
            return None
    return time.monotonic() - begin


@pytest.fixture(scope="module")
def cut(impatient):
    with concurrent.futures.ThreadPoolExecutor(len(SLOW)) as pool:
        return dict(zip(SLOW, pool.map(lambda name: seconds_until_cut(impatient, *SLOW[name]), SLOW)))


@pytest.mark.parametrize("name", SLOW)
def test_what_comes_slowly_is_cut_off_at_the_absolute_deadline(cut, name):
    # What comes slowly goes on coming for ten seconds.
    assert cut[name] and LIMIT_S - 0.1 < cut[name] < LIMIT_S + SLACK_S


def test_a_client_that_does_not_read_its_answer_is_cut_off(impatient):
    answered = {"role": "manage", "http_status": "200"}
    for i in range(60):
        impatient.submit.post("/v1/events", {"type": "t", "data": "x" * 100})
    before = impatient.metric("hookd_api_requests_total", **answered)
    with socket.socket(socket.AF_UNIX) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.connect(impatient.socket_path("manage"))
        s.sendall(head(method=b"GET", target=b"/v1/events?limit=1000") * 50)
        wait_until(lambda: impatient.metric("hookd_api_requests_total", **answered) > before)
        wait_until(lambda: impatient.metric("hookd_api_connections", role="manage") == 0, LIMIT_S + SLACK_S)
        assert impatient.metric("hookd_api_requests_total", **answered) < before + 50


# ---- Floods -----------------------------------------------------------------------------------

FLOODS = {  # with which the lines begin that do not end
    "request line": b"",
    "target": b"POST /",
    "header name": b"POST /v1/events HTTP/1.1\r\n",
    "header value": b"POST /v1/events HTTP/1.1\r\nX-A: ",
    "chunk size": head(CHUNKED),
    "chunk extension": head(CHUNKED) + b"5;",
    "trailer": head(CHUNKED) + b"0\r\nX-A: ",
}
CROWD = 25  # for each of them


def memory(hookd, what):
    with open(f"/proc/{hookd.process.pid}/status") as file:
        return int(re.search(rf"{what}:\s+(\d+) kB", file.read())[1]) * 1024


def forget_peak(hookd):
    with open(f"/proc/{hookd.process.pid}/clear_refs", "w") as file:
        file.write("5")


def cpu_seconds(hookd):
    with open(f"/proc/{hookd.process.pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def flood(hookd, prefix):
    """Sends bytes without any line end until the connection is closed; returns how many were taken."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(10 * PATIENCE)
        s.connect(hookd.socket_path("submit"))
        sent = 0
        with contextlib.suppress(ConnectionError):
            s.sendall(prefix)
            while sent < 16 << 20:
                sent += s.send(b"5" * 65536)
    return sent


def test_floods_without_a_line_end_are_cut_off_in_bounded_memory_and_hold_up_nobody(make_hookd):
    """Most at once; a chunk's extension, with which the HTTP reader cannot go on, at the deadline."""
    hookd = make_hookd({"intake": {"request_timeout": f"{round(2 * PATIENCE)}s"}})
    flood(hookd, b"")
    before = memory(hookd, "VmRSS")
    forget_peak(hookd)
    prefixes = list(FLOODS.values()) * CROWD
    with concurrent.futures.ThreadPoolExecutor(len(prefixes)) as pool:
        floods = [pool.submit(flood, hookd, prefix) for prefix in prefixes]
        took = []
        while not all(f.done() for f in floods):
            begin = time.monotonic()
            assert hookd.submit.get("/v1/health").status == 200
            took.append(time.monotonic() - begin)
        taken = [f.result() for f in floods]
    # For some seconds; a busy machine makes a few of the answers slow.
    assert len(took) > 4 and sum(seconds > 0.5 * PATIENCE for seconds in took) <= 2, took
    # Beyond what hookd reads, the kernel's socket buffer takes some.
    assert max(taken) < 1 << 20
    assert memory(hookd, "VmHWM") - before < len(prefixes) * 300 * 1024 + QUARANTINE


@pytest.mark.parametrize("length", [10, 100000])
def test_lines_that_do_not_end_cost_no_time_while_they_live(make_hookd, length):
    hookd = make_hookd()
    with contextlib.ExitStack() as stack:
        for prefix in list(FLOODS.values()) * 10:
            s = stack.enter_context(socket.socket(socket.AF_UNIX))
            s.setblocking(False)
            s.connect(hookd.socket_path("submit"))
            with contextlib.suppress(OSError):
                s.send(prefix + b"5" * length)

        def rests():
            before = cpu_seconds(hookd)
            time.sleep(1)
            return cpu_seconds(hookd) - before <= 0.1

        wait_until(rests)  # what has come takes its time first


# ---- Clients that vanish ----------------------------------------------------------------------


def submit_with_key(key, body=BODY):
    return head(b"Content-Length: %d" % len(body), b"Idempotency-Key: %s" % key.encode()) + body


WAYS = {"reads no more": socket.SHUT_RD, "writes no more": socket.SHUT_WR, "neither": socket.SHUT_RDWR, "closes": None}


def open_with(stack, hookd, data):
    s = stack.enter_context(socket.socket(socket.AF_UNIX))
    s.connect(hookd.socket_path("submit"))
    s.sendall(data)
    return s


def unread(s):
    """How many bytes that were sent hookd has not read."""
    return struct.unpack("i", fcntl.ioctl(s, termios.TIOCOUTQ, bytes(4)))[0]


def vanish(clients):
    for s, how in zip(clients, itertools.cycle(WAYS.values())):
        if how is not None:
            s.shutdown(how)
    for s in clients:
        s.close()


def test_a_client_that_vanishes_before_its_request_is_whole_leaves_nothing_behind(make_hookd):
    hookd, data = make_hookd(), submit_with_key("k")
    with contextlib.ExitStack() as stack:
        for end in list(range(0, len(data), 7)) + [len(data) - 1]:
            vanish([open_with(stack, hookd, data[:end]) for _ in WAYS])
    wait_until(lambda: hookd.metric("hookd_api_connections", role="submit") == 0)
    assert hookd.manage.all("/v1/events") == []


def submitted_once(hookd, keys):
    events = hookd.manage.all("/v1/events")
    assert sorted(event["idempotency_key"] for event in events) == sorted(keys)
    for event in events:
        answer = hookd.submit.call("POST", "/v1/events", BODY, {"Content-Type": "application/json",
                                                                 "Idempotency-Key": event["idempotency_key"]})
        assert answer.status == 202 and answer.json == {"id": event["id"], "deliveries": 0, "duplicate": True}


def test_a_client_that_vanishes_during_the_commit_has_submitted_its_event_once(make_hookd):
    hookd, keys = make_hookd(), [f"k{i}" for i in range(100)]
    with contextlib.ExitStack() as stack:
        with traced(hookd, "fdatasync:delay_enter=600000000"):
            clients = [open_with(stack, hookd, submit_with_key(key)) for key in keys]
            wait_until(lambda: not any(unread(s) for s in clients))
            vanish(clients)
            assert hookd.metric("hookd_submitted_events_total", outcome="accepted") == 0  # not one is on disk yet
        wait_until(lambda: hookd.metric("hookd_submitted_events_total", outcome="accepted") == len(keys))
    wait_until(lambda: hookd.metric("hookd_api_connections", role="submit") == 0)
    submitted_once(hookd, keys)


def test_a_client_that_vanishes_with_its_answer_unread_has_submitted_its_event_once(make_hookd):
    hookd, keys = make_hookd(), [f"k{i}" for i in range(100)]
    with contextlib.ExitStack() as stack:
        clients = [open_with(stack, hookd, submit_with_key(key)) for key in keys]
        for s in clients:
            assert s.recv(1, socket.MSG_PEEK)
        vanish(clients)
    wait_until(lambda: hookd.metric("hookd_api_connections", role="submit") == 0)
    submitted_once(hookd, keys)


# ---- Addresses of clients ---------------------------------------------------------------------


def bind_raw(s, path):
    """Binds to a path as it is, with no NUL behind it: 108 bytes fill the address."""
    address = struct.pack("H", socket.AF_UNIX) + path
    assert ctypes.CDLL(None, use_errno=True).bind(s.fileno(), address, len(address)) == 0, os.strerror(ctypes.get_errno())


def path_of(length):
    return lambda directory: (directory + b"/").ljust(length, b"p")


ADDRESSES = {
    "unnamed": None,
    "abstract, chosen by the kernel": b"",
    "abstract of one byte": b"\0x",
    "abstract of NULs": bytes(108),
    "abstract of 108 bytes": b"\0" + b"n" * 107,
    "a path": path_of(40),
    "a path that is no text": lambda directory: directory + b"/\xff\x1b[31m%s%n",
    "a path of 107 bytes": path_of(107),
    "a path of 108 bytes": path_of(108),
}


@pytest.mark.parametrize("name", ADDRESSES)
def test_clients_of_every_form_of_address_are_served(shared, directory, name):
    """The accepting side could be told the client's address; nothing may depend on it."""
    path = ADDRESSES[name]
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(5 * PATIENCE)
        if path is not None:
            bind_raw(s, path(directory.encode()) if callable(path) else path)
        s.connect(shared.socket_path("submit"))
        s.sendall(head(LENGTH) + BODY)
        assert status(s.recv(65536)) == 202


# ---- Pipelining -------------------------------------------------------------------------------


def pipeline(hookd, data, answers, role="submit"):
    """Sends everything without waiting for answers; returns them all."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(30 * PATIENCE)
        s.connect(hookd.socket_path(role))
        sending = threading.Thread(target=lambda: s.sendall(data))
        sending.start()
        received = bytearray()
        while received.count(b"HTTP/1.1 ") < answers or count_answers(bytes(received)) < answers:
            piece = s.recv(65536)
            assert piece, received[-500:]
            received += piece
        sending.join()
        return bytes(received)


def test_a_thousand_requests_at_once_are_answered_in_their_order_within_their_limits(make_hookd):
    """Every third is a submit, every tenth of those too large; the others ask for something else."""
    hookd = make_hookd({"intake": {"max_payload": "1K"}})
    requests, expected = [], []
    for i in range(1000):
        if i % 30 == 0:
            requests.append(raw(b"Content-Length: 2000", body=b"x" * 2000))
            expected.append(413)
        elif i % 3 == 0:
            requests.append(raw(b"Content-Length: 4", body=b"%04d" % i))
            expected.append(202)
        elif i % 3 == 1:
            requests.append(head(method=b"GET", target=b"/v1/health"))
            expected.append(200)
        else:
            requests.append(head(method=b"GET", target=b"/v1/events/evt_nothing"))
            expected.append(404)
    before = memory(hookd, "VmRSS")
    forget_peak(hookd)
    received = pipeline(hookd, b"".join(requests), len(requests))
    assert [int(code) for code in re.findall(rb"HTTP/1\.1 (\d+) ", received)] == expected
    payloads = [hookd.manage.get(f"/v1/events/{event['id']}/payload").body
                for event in hookd.manage.all("/v1/events", order="oldest")]
    assert payloads == [b"%04d" % i for i in range(1000) if i % 3 == 0 and i % 30]
    assert memory(hookd, "VmHWM") - before < (4 << 20) + QUARANTINE
