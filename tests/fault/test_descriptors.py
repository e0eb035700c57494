"""Descriptors run out (fault 17): 64 of them, 200 clients and 200 receivers."""

import os
import resource
import socket
import time

import pytest

from harness import wait_until
from ledger import Ledger, assert_holds


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.fixture
def few(make_hookd):
    """hookd with 64 descriptors, and senders with as many."""
    hookd = make_hookd({"senders": {"count": "1"}}, start=False)
    hookd.start(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)))
    return hookd


def test_without_descriptors_clients_wait_and_nothing_spins(few):
    """200 clients hold their connections. hookd accepts what it can, and then rests; the store goes on, a client that
    is served gets its answers, and when the others go all is as before."""
    with Ledger(few) as ledger:
        ledger.add_endpoint("ok", types=["t"], path="/ok", retry_schedule_s=[1] * 20)
        assert ledger.submit(ledger.make(type="t", key=True)) == "stored"
        ledger.settle()
        admin = socket.socket(socket.AF_UNIX)
        admin.connect(few.socket_path("admin"))
        idle = []
        for i in range(200):
            client = socket.socket(socket.AF_UNIX)
            client.connect(few.socket_path("submit"))
            idle.append(client)
        wait_until(lambda: "cannot accept connections" in few.log(), 10)
        lines, cpu, began = few.log().count("\n"), cpu_seconds(few.process.pid), time.monotonic()
        time.sleep(3)
        took = time.monotonic() - began
        assert (cpu_seconds(few.process.pid) - cpu) / took < 0.05
        assert (few.log().count("\n") - lines) / took < 10
        # Whoever is connected is answered, down to the disk and a look at the whole.
        for request in (b"GET /v1/status HTTP/1.1\r\nHost: h\r\n\r\n",
                        b"POST /v1/pause HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
                        b"POST /v1/resume HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"):
            admin.sendall(request)
            assert admin.recv(65536).startswith(b"HTTP/1.1 200 ")
        for client in idle:
            client.close()
        wait_until(lambda: few.submit.get("/v1/health").status == 200, 5)
        assert ledger.submit(ledger.make(type="t", key=True)) == "stored"
        ledger.settle()
        assert few.manage.get("/v1/status").json["problems"] == []
        assert_holds(ledger.books())


def test_a_sender_without_descriptors_puts_attempts_off_at_no_cost(few):
    """200 receivers that take their time, each an endpoint of its own: more than one sender has descriptors for."""
    with Ledger(few) as ledger:
        for i in range(200):
            ledger.add_endpoint(f"e{i}", types=["t"], manner={"delay_s": 0.5}, retry_schedule_s=[1])
        for _ in range(3):
            assert ledger.submit(ledger.make(type="t", key=True)) == "stored"
        cpu, began = cpu_seconds(few.process.pid), time.monotonic()
        ledger.settle(120)
        assert (cpu_seconds(few.process.pid) - cpu) / (time.monotonic() - began) < 0.5
        assert "attempts cannot be made: " in few.log()
        books = ledger.books()
        assert all(delivery["state"] == "delivered" and delivery["attempts"] == 1 for delivery in books.deliveries)
        assert_holds(books)
