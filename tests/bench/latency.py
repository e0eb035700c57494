"""From submit sent to request received: when hookd is idle, and beside receivers that are dead or slow."""

import json
import os
import subprocess

from measure import PROGRAMS, Row, hookd, nginx, program

GOOD = 1000  # endpoints that answer at once, beside the others
RATE = 500  # events a second
PAUSE_MS = 20  # of a hookd that is idle, between events


def latency(daemon, rate, seconds, good, bad, subscribe):
    process = subprocess.Popen([os.path.join(PROGRAMS, "latency"), daemon.socket_path("submit"), str(rate), str(seconds),
                                str(good), str(bad)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        ports = [int(word) for word in process.stdout.readline().split()]
        subscribe(*(f"http://127.0.0.1:{port}/" for port in ports))
        answer, _ = process.communicate("go\n", timeout=600)
    finally:
        process.kill()
        process.wait()
    return json.loads(answer)


def raw_commit(*pause):
    """In a loop; or at rest in between, as the machine is beside a hookd with little to do."""
    return lambda bench, directory: {"us": program("roof_lmdb", directory, "hookd", 1, bench.seconds, *pause)[1]}


def bare_post(*pause):
    def measure(bench, directory):
        with nginx(directory) as url:
            return {"us": program("roof_curl", url, 1, bench.seconds, 1024, *pause)[2]}
    return measure


def idle(bench, directory):
    with hookd(directory) as daemon:
        def subscribe(at_once, slow, dead):
            daemon.admin.add_endpoint("good0", at_once, types=["good0"])
        result = latency(daemon, 1000 // PAUSE_MS, bench.size(20, 4), 1, 0, subscribe)
    return {"p50_us": result["p50_us"], "p99_us": result["p99_us"]}


def beside(dead=0, slow=0):
    """Many good ones, and so many others, that get a tenth of all events."""
    def measure(bench, directory):
        good = bench.size(GOOD, 100)
        with hookd(directory, intake={"max_endpoints_per_tenant": 5000}) as daemon:
            def subscribe(at_once_url, slow_url, dead_url):
                for i in range(good):
                    daemon.admin.add_endpoint(f"good{i}", at_once_url, types=[f"good{i}"])
                # Without any, what is for them goes to a good one, so that as much is submitted.
                for i in range(max(1, dead + slow)):
                    url = dead_url if i < dead else slow_url if i < dead + slow else at_once_url
                    daemon.admin.add_endpoint(f"bad{i}", url, types=[f"bad{i}"])
            result = latency(daemon, RATE, bench.size(20, 3), good, max(1, dead + slow), subscribe)
        return {"p50_us": result["p50_us"], "p99_us": result["p99_us"], "skipped": result["skipped"], "good": good}
    return measure


OTHERS = {"one dead": beside(dead=1), "one that takes 10 s": beside(slow=1), "100 dead": beside(dead=100)}
MEASUREMENTS = {"raw LMDB, commits of 1": raw_commit(), "raw LMDB, now and then": raw_commit(PAUSE_MS),
                "bare libcurl, 1 in flight": bare_post(), "bare libcurl, now and then": bare_post(PAUSE_MS), "hookd, idle": idle,
                "hookd, good endpoints": beside(),
                **{f"hookd, good endpoints beside {what}": function for what, function in OTHERS.items()}}


def rows(get):
    p50, p99 = get("hookd, idle", "p50_us"), get("hookd, idle", "p99_us")
    yield Row("idle: submit sent to request received, p50", p50, "us",
              1.5 * (get("raw LMDB, commits of 1", "us") + get("bare libcurl, 1 in flight", "us")),
              "1.5 × (raw commit + bare POST)", below=True)
    yield Row("idle: the same", p50, "us",
              1.5 * (get("raw LMDB, now and then", "us") + get("bare libcurl, now and then", "us")),
              f"1.5 × (raw commit + bare POST), each every {PAUSE_MS} ms, too", below=True)
    yield Row("idle: the same, p99", p99, "us", 5 * p50, "5 × p50", below=True)
    alone = get("hookd, good endpoints", "p99_us")
    yield Row(f"{get('hookd, good endpoints', 'good'):.0f} good endpoints alone, p99", alone, "us")
    for what in OTHERS:
        yield Row(f"beside {what}, p99", get(f"hookd, good endpoints beside {what}", "p99_us"), "us", 1.5 * alone,
                  "1.5 × alone", below=True)
