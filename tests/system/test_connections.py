"""Connections: how many there may be, how long they live, and what room their bodies have. How requests are framed
is looked at in fault/test_ingress.py."""

import socket
import threading
import time

from harness import PATIENCE, wait_until
from rawhttp import BODY, LENGTH, exchange, head, status


def resident(hookd):
    """The memory hookd has, in bytes."""
    with open(f"/proc/{hookd.process.pid}/statm") as file:
        return int(file.read().split()[1]) * 4096


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
    hookd = make_hookd({"intake": {"max_batch": "8M", "request_timeout": "5s"}})
    begin = time.monotonic()
    held = [announce(hookd, 8 << 20) for _ in range(12)]
    assert [status(answer) for _, answer in held] == [100] * 11 + [503]

    def fits():
        s, answer = announce(hookd, 8 << 20)
        s.close()
        return status(answer) == 100

    wait_until(fits)
    assert time.monotonic() - begin > 4.5
    for s, _ in held:
        s.close()


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
