"""Large events after a backlog of small ones was purged in random order, when free pages are scattered everywhere."""

import json
import os
import random

from measure import Row, hookd

PURGED = 0.9


def submit_small(daemon, n):
    """Events of a kilobyte; returns their ids."""
    ids = []
    lines = b'{"type":"bench.small","data":"%s"}\n' % (b"x" * 950) * 1000
    while len(ids) < n:
        answer = daemon.submit.call("POST", "/v1/events", lines, {"Content-Type": "application/x-ndjson"})
        ids += [item["id"] for item in json.loads(answer.body)["items"]]
    return ids


def drained(bench, directory):
    n = bench.size(300_000, 20_000)
    with hookd(directory) as daemon:
        daemon.admin.add_endpoint("kept", "https://hooks.example.com/")
        daemon.admin.post("/v1/pause")
        before = daemon.load(s=bench.seconds, z=256 << 10)
        ids = submit_small(daemon, n)
        random.Random(1).shuffle(ids)
        size = os.stat(f"{daemon.data}/hookd.mdb").st_size
        for at in range(0, int(n * PURGED), 1000):
            refs = [f"{event}/kept" for event in ids[at:at + 1000]]
            daemon.admin.post("/v1/deliveries/purge", {"ids": refs, "state": "pending"})
        after = daemon.load(s=bench.seconds, z=256 << 10)
        growth = os.stat(f"{daemon.data}/hookd.mdb").st_size - size
    return {"before p50_us": before["p50_us"], "before p99_us": before["p99_us"],
            "after p50_us": after["p50_us"], "after p99_us": after["p99_us"], "growth MiB": growth / 2**20}


MEASUREMENTS = {"hookd": drained}


def rows(get):
    for part in ("p50", "p99"):
        yield Row(f"an event of 256 KiB after the purge, {part}", get("hookd", f"after {part}_us"), "us",
                  note=f"{get('hookd', f'after {part}_us') / get('hookd', f'before {part}_us'):.2f} × as before")
    yield Row("growth of the file meanwhile", get("hookd", "growth MiB"), "MiB")
