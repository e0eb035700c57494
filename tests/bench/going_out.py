"""Deliveries, against bare libcurl and what people use today; and the CPU of an event's whole life."""

import time

from harness import wait_until
from measure import Row, hookd, load, nginx, node, program, redis, since

ROOM = {"delivery": {"max_in_flight": 256}, "senders": {"max_in_flight": 256}}


def bare_curl(in_flight):
    def measure(bench, directory):
        with nginx(directory) as url:
            rate, cpu_us, p50_us, _ = program("roof_curl", url, in_flight, bench.seconds, 1024)
        return {"rate": rate, "cpu_us": cpu_us, "p50_us": p50_us}
    return measure


def bullmq(concurrency):
    def measure(bench, directory):
        events = bench.size(40_000, 8_000)
        with nginx(directory) as url, redis(directory) as port:
            node("add.mjs", port, "bulk", events)
            result = node("deliver.mjs", port, url, concurrency, events)
        return {"rate": result["events"] / result["seconds"]}
    return measure


def add_endpoints(daemon, url, n, in_flight):
    for i in range(n):
        daemon.admin.add_endpoint(f"e{i}", f"{url}{i}", types=[f"t{i}"], max_in_flight=in_flight)


def backlog(endpoints, in_flight):
    def measure(bench, directory):
        with nginx(directory) as url, hookd(directory, **ROOM) as daemon:
            add_endpoints(daemon, url, endpoints, in_flight)
            daemon.admin.post("/v1/pause")
            n = daemon.load(n=bench.size(200_000, 20_000), c=4, b=500, t="t", e=endpoints)["events"]
            before = daemon.cpu()
            rate = daemon.drain()
            used = since(before, daemon.cpu())
        return {"rate": rate, **{f"{name} us": s / n * 1e6 for name, s in used.items()}}
    return measure


def whole_life(**options):
    """Events submitted and delivered at once; what is left at the end is part of the time."""
    def measure(bench, directory):
        with nginx(directory) as url, hookd(directory, **ROOM) as daemon:
            add_endpoints(daemon, url, 1, 64)
            load("hookd", daemon.socket_path("submit"), n=1000, t="t", e=1)
            wait_until(lambda: daemon.waiting() == 0, 60)
            before, start = daemon.cpu(), time.monotonic()
            result = daemon.load(s=2 * bench.seconds, t="t", e=1, **options)
            left = daemon.waiting()
            wait_until(lambda: daemon.waiting() == 0, 60)
            took, used = time.monotonic() - start, since(before, daemon.cpu())
        n = result["events"]
        return {"rate": n / took, "left": left, "cpu_us": sum(used.values()) / n * 1e6,
                **{f"{name} us": s / n * 1e6 for name, s in used.items()}}
    return measure


def steady(bench, directory):
    """Producers at half of what bare libcurl sends just before: how much waits half way, and at the end."""
    with nginx(directory) as url, hookd(directory, **ROOM) as daemon:
        rate = 0.5 * program("roof_curl", url, 64, bench.seconds, 1024)[0]
        add_endpoints(daemon, url, 1, 64)
        waiting = []
        for _ in range(2):
            result = daemon.load(s=bench.seconds, c=64, r=rate, t="t", e=1)
            waiting.append(daemon.waiting())
        wait_until(lambda: daemon.waiting() == 0, 60)
    return {"rate": result["rate"], "wanted": rate, "half way": waiting[0], "at the end": waiting[1]}


MEASUREMENTS = {
    "bare libcurl, 64 in flight": bare_curl(64),
    "hookd, backlog to one receiver, 64 in flight": backlog(1, 64),
    "bare libcurl, 256 in flight": bare_curl(256),
    "hookd, backlog to one receiver, 256 in flight": backlog(1, 256),
    "hookd, backlog to 100 endpoints": backlog(100, 8),
    "BullMQ and undici, 64 in flight": bullmq(64),
    "hookd, submit and deliver, 64 producers": whole_life(c=64),
    "hookd, submit and deliver, NDJSON of 500": whole_life(c=1, b=500),
    "hookd, steady": steady,
}


def rows(get):
    bare, bare256 = get("bare libcurl, 64 in flight"), get("bare libcurl, 256 in flight")
    peer = get("BullMQ and undici, 64 in flight")
    for in_flight, roof in ((64, bare), (256, bare256)):
        rate = get(f"hookd, backlog to one receiver, {in_flight} in flight")
        yield Row(f"backlog to one receiver, {in_flight} in flight", rate, "deliveries/s", 0.7 * roof,
                  f"0.7 × bare libcurl, {in_flight} in flight")
        yield Row("", rate, "deliveries/s", 5 * peer, "5 × BullMQ and undici")
    rate = get("hookd, backlog to 100 endpoints")
    yield Row("backlog to 100 endpoints", rate, "deliveries/s", 0.7 * bare256, "0.7 × bare libcurl, 256 in flight")
    yield Row("", rate, "deliveries/s", 5 * peer, "5 × BullMQ and undici")
    full = "hookd, submit and deliver, 64 producers"
    yield Row("submit and delivery at once, 64 producers", get(full), "events/s", 0.5 * bare,
              "0.5 × bare libcurl, 64 in flight", note=f"{get(full, 'left'):.0f} were left at the end of the submits")
    rate, wanted = get("hookd, steady"), get("hookd, steady", "wanted")
    yield Row("the same at half of bare libcurl's rate", rate, "events/s", 0.98 * wanted, "that rate, to 2 %")
    yield Row("what waits at the end of it", get("hookd, steady", "at the end"), "events", rate / 10,
              "what comes in a tenth of a second", below=True, note=f"{get('hookd, steady', 'half way'):.0f} half way")
    roof = get("bare libcurl, 64 in flight", "cpu_us")
    for what in ("64 producers", "NDJSON of 500"):
        name = f"hookd, submit and deliver, {what}"
        rooms = ", ".join(f"{thread} {get(name, thread + ' us'):.1f}" for thread in ("hookd", "hookd-store", "hookd-sender"))
        yield Row(f"CPU an event, whole life, {what}", get(name, "cpu_us"), "us", 2.5 * roof,
                  "2.5 × bare libcurl's a request, 64 in flight", below=True, note=rooms)
