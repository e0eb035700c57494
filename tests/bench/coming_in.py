"""Submits, against the disk (raw LMDB), the reader (bare libmicrohttpd), and what people use today."""

from measure import Row, bare_http, beanstalkd, hookd, load, node, program, redis


def raw_commits(n):
    def measure(bench, directory):
        rate, commit_us = program("roof_lmdb", directory, "hookd", n, bench.seconds)
        return {"rate": rate, "us": commit_us}
    return measure


def bare_reader(connections):
    def measure(bench, directory):
        with bare_http(directory) as path:
            result = load("http", path, c=connections, s=bench.seconds)
        return {"rate": result["rate"], "us": result["p50_us"]}
    return measure


def synced_redis(connections):
    def measure(bench, directory):
        with redis(directory) as port:
            return {"rate": load("redis", port, c=connections, s=bench.seconds)["rate"]}
    return measure


def synced_beanstalkd(connections):
    def measure(bench, directory):
        with beanstalkd(directory) as port:
            return {"rate": load("beanstalkd", port, c=connections, s=bench.seconds)["rate"]}
    return measure


def bullmq(how, events):
    def measure(bench, directory):
        with redis(directory) as port:
            result = node("add.mjs", port, how, bench.size(events, events // 5))
        return {"rate": result["events"] / result["seconds"]}
    return measure


def submits(**options):
    def measure(bench, directory):
        with hookd(directory) as daemon:
            daemon.admin.add_endpoint("waits", "https://hooks.example.com/")
            daemon.admin.post("/v1/pause")
            daemon.load(n=2000, b=100)  # a tree with a few levels
            result = daemon.load(s=bench.seconds, **options)
        return {"rate": result["rate"], "p50_us": result["p50_us"], "p99_us": result["p99_us"]}
    return measure


MEASUREMENTS = {
    "raw LMDB, commits of 1": raw_commits(1),
    "bare libmicrohttpd, 1 connection": bare_reader(1),
    "hookd, 1 producer": submits(c=1),
    "Redis LPUSH, 64 clients": synced_redis(64),
    "beanstalkd, 64 clients": synced_beanstalkd(64),
    "BullMQ add, 64 at a time": bullmq("one", 30_000),
    "hookd, 64 producers": submits(c=64),
    "raw LMDB, commits of 1024": raw_commits(1024),
    "BullMQ addBulk of 500": bullmq("bulk", 50_000),
    "hookd, NDJSON of 500, 4 producers": submits(c=4, b=500),
    "hookd, NDJSON of 500, ordered keys": submits(c=4, b=500, k="ordered"),
    "hookd, NDJSON of 500, random keys": submits(c=4, b=500, k="random"),
}


def rows(get):
    alone = 1e6 / (get("raw LMDB, commits of 1", "us") + get("bare libmicrohttpd, 1 connection", "us"))
    one, many = get("hookd, 1 producer"), get("hookd, 64 producers")
    batches = get("hookd, NDJSON of 500, 4 producers")
    raw = get("raw LMDB, commits of 1024")
    yield Row("one producer, one event at a time", one, "events/s", 0.7 * alone, "0.7 × 1 / (raw commit + bare round trip)")
    yield Row("64 producers, one event at a time", many, "events/s", 0.7 * get("Redis LPUSH, 64 clients"),
              "0.7 × Redis, synced, LPUSH from 64")
    yield Row("", many, "events/s", 3 * get("BullMQ add, 64 at a time"), "3 × BullMQ add, 64 at a time")
    yield Row("", many, "events/s", 5 * get("beanstalkd, 64 clients"), "5 × beanstalkd -f 0")
    yield Row("NDJSON of 500, four producers", batches, "events/s", 0.4 * raw, "0.4 × raw LMDB, commits of 1024")
    yield Row("", batches, "events/s", 5 * get("BullMQ addBulk of 500"), "5 × BullMQ addBulk")
    for kind in ("ordered", "random"):
        yield Row(f"the same with {kind} idempotency keys", get(f"hookd, NDJSON of 500, {kind} keys"), "events/s",
                  note=f"{get(f'hookd, NDJSON of 500, {kind} keys') / batches:.2f} × without")
