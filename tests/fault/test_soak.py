"""Soak (fault 21): load of every kind for a while, and then nothing: descriptors, memory and threads are what they were."""

import contextlib
import os
import time

from harness import LONG
from ledger import Footprint, Ledger, grown, wait_for_footprint

SECONDS = 3600 if LONG else 16
CONFIG = {"store": {"budget": "64M"}, "retention": {"delivered": "2s", "dead": "2s"}, "senders": {"count": "2"}}


def stir(hookd, n):
    """What people do meanwhile."""
    name = f"comes-and-goes-{n % 3}"
    hookd.admin.post("/v1/endpoints", {"name": name, "url": "http://127.0.0.1:1/", "types": ["none"],
                                       "headers": {"X-N": str(n)}})
    hookd.manage.get("/v1/deliveries", limit=50)
    hookd.manage.get("/v1/events", limit=50)
    hookd.manage.get("/v1/backlog")
    hookd.metrics.get("/metrics")
    hookd.submit.call("POST", "/v1/events", b'{"type": nonsense', {"Content-Type": "application/json"})
    hookd.manage.post(f"/v1/endpoints/{name}/rotate-secret")
    hookd.manage.delete(f"/v1/endpoints/{name}")
    if n % 10 == 0:
        with contextlib.suppress(KeyError):
            os.remove(hookd.admin.post("/v1/backup").json["file"])
    if n % 25 == 0:
        hookd.reload()


def run_load(hookd, ledger, seconds):
    deadline = time.monotonic() + seconds
    with ledger.producers(6, pace_s=0.01):
        n = 0
        while time.monotonic() < deadline:
            stir(hookd, n)
            n += 1
    ledger.settle()
    return n


def test_after_load_nothing_has_grown(make_hookd):
    hookd = make_hookd(CONFIG)
    with Ledger(hookd) as ledger:
        ledger.add_endpoint("ok")
        ledger.add_endpoint("flaky", manner={"fail": 0.2}, retry_schedule_s=[1] * 50)
        ledger.add_endpoint("slow", manner={"delay_s": 0.3}, max_in_flight=32, timeout_s=10)
        run_load(hookd, ledger, SECONDS / 4)  # what is kept for use again is there
        before = wait_for_footprint(hookd, Footprint.of(hookd), 2)
        began = time.monotonic()
        rounds = run_load(hookd, ledger, SECONDS)
        assert rounds > 5 and time.monotonic() - began >= SECONDS
        # Senders of an earlier configuration have gone, threads of backups, connections of clients.
        after = wait_for_footprint(hookd, before, 20, memory=24 << 20)
        assert not grown(before, after, memory=24 << 20)
        requests = ledger.requests()
        assert len({request.id for request in requests}) > 100
