"""Ten million deliveries that wait: memory, start, lists, bulk verbs, and what an event costs beside them."""

import threading
import time

from harness import wait_until
from measure import Row, hookd, nginx, since

FEW, MANY = "few", "many"  # how many is in the report: --quick has fewer


def cost_of_an_event(daemon, n):
    """CPU microseconds, whole life, of events to a receiver that works: of all threads, and of each."""
    before = daemon.cpu()
    delivered = daemon.metric("hookd_queue_deliveries", state="delivered")
    daemon.load(n=n, c=4, b=500, t="busy", e=1)
    wait_until(lambda: daemon.metric("hookd_queue_deliveries", state="delivered") >= delivered + n, 120)
    used = {thread: s / n * 1e6 for thread, s in since(before, daemon.cpu()).items()}
    return {"cpu_us": sum(used.values()), **{f"{thread} us": us for thread, us in used.items()}}


def fill(daemon, up_to):
    missing = up_to - daemon.waiting()
    if missing > 0:
        daemon.load(n=missing, c=4, b=1000, z=64, t="waits", e=1)


def answer_ms(client, target, **query):
    start = time.monotonic()
    answer = client.get(target, **query)
    assert answer.status == 200, answer
    return (time.monotonic() - start) * 1000


def restart(daemon):
    """Seconds until hookd answers, and until a delivery that waited for the start is made."""
    daemon.admin.post("/v1/endpoints/busy/pause")
    daemon.load(n=1, t="busy", e=1)
    daemon.stop()
    start = time.monotonic()
    daemon.start()
    ready = time.monotonic() - start
    delivered = daemon.metric("hookd_queue_deliveries", state="delivered")
    daemon.admin.post("/v1/endpoints/busy/resume")
    wait_until(lambda: daemon.metric("hookd_queue_deliveries", state="delivered") > delivered, 60)
    return ready, time.monotonic() - start - ready


class Others:
    """A producer beside a bulk verb: how long its submits take."""

    def __init__(self, daemon):
        self.daemon = daemon

    def __enter__(self):
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.results = []
        self.thread.start()
        return self

    def run(self):
        while not self.stop.is_set():
            self.results.append(self.daemon.load(s=0.5, t="other"))

    def __exit__(self, *failure):
        self.stop.set()
        self.thread.join()

    def p99_ms(self):
        return max(result["p99_us"] for result in self.results) / 1000


def bulk(daemon, verb, n, **filter):
    """Deliveries a second of a verb, and the 99th percentile of submits beside it."""
    with Others(daemon) as others:
        start, done, cursor = time.monotonic(), 0, None
        while done < n:
            body = {**filter, "limit": 10_000, **({"cursor": cursor} if cursor else {})}
            answer = daemon.admin.post(f"/v1/deliveries/{verb}", body)
            assert answer.status == 200, answer
            done += answer.json["changed"]
            cursor = answer.json["next"]
            if not cursor:
                break
        took = time.monotonic() - start
    return done / took, others.p99_ms()


def at_size(daemon):
    return {"memory MiB": daemon.memory() / 2**20, **cost_of_an_event(daemon, 20_000)}


def everything(bench, directory):
    large = bench.size(10_000_000, 200_000)
    figures = {"waiting": large}
    with nginx(directory) as url, hookd(directory, retention={"idempotency_keys": "1s"}) as daemon:
        daemon.admin.add_endpoint("busy", url, types=["busy0"], max_in_flight=64)
        daemon.admin.add_endpoint("waits", "https://hooks.example.com/", types=["waits0"])
        daemon.admin.add_endpoint("dead", "https://hooks.example.com/", types=["dead0"])
        for name in ("waits", "dead"):
            daemon.admin.post(f"/v1/endpoints/{name}/pause")
        for n, label in ((10_000, FEW), (large, MANY)):
            fill(daemon, n)
            cost_of_an_event(daemon, 5_000)
            for figure, value in at_size(daemon).items():
                figures[f"{figure} at {label}"] = value
        figures["ready s"], figures["first delivery s"] = restart(daemon)
        lists = {
            "events": ("/v1/events", {}),
            "deliveries": ("/v1/deliveries", {}),
            "pending": ("/v1/deliveries", {"state": "pending"}),
            "dead": ("/v1/deliveries", {"state": "dead"}),
            "of an endpoint": ("/v1/deliveries", {"endpoint": "waits"}),
            "by type": ("/v1/deliveries", {"type": "waits0"}),
            "status": ("/v1/status", {}),
            "backlog": ("/v1/backlog", {}),
            "metrics": ("/metrics", {}),
        }
        for what, (target, query) in lists.items():
            times = sorted(answer_ms(daemon.admin, target, **query) for _ in range(5))
            figures[f"{what} ms"] = times[2]
        n = bench.size(1_000_000, 20_000)
        figures["cancel a second"], figures["cancel p99 ms"] = bulk(daemon, "cancel", n, state="pending", endpoint="waits")
        figures["replay a second"], figures["replay p99 ms"] = bulk(daemon, "replay", n, state="dead", endpoint="waits")
        bulk(daemon, "cancel", n, state="pending", endpoint="waits")
        figures["purge a second"], figures["purge p99 ms"] = bulk(daemon, "purge", n, state="dead", endpoint="waits")
    return figures


MEASUREMENTS = {"hookd": everything}


def rows(get):
    def figure(name):
        return get("hookd", name)
    waiting = f"{int(figure('waiting')):,}".replace(",", " ")
    for label, words in ((FEW, "10 000"), (MANY, waiting)):
        yield Row(f"own memory with {words} waiting", figure(f"memory MiB at {label}"), "MiB", 64, "64 MiB", below=True)
    yield Row("CPU an event, whole life, beside as many", figure(f"cpu_us at {MANY}"), "us",
              1.3 * figure(f"cpu_us at {FEW}"), "1.3 × beside 10 000", below=True)
    yield Row("restart: ready", figure("ready s"), "s", 1, "1 s", below=True)
    yield Row("restart: first delivery after that", figure("first delivery s"), "s", 1, "1 s", below=True)
    for what in ("events", "deliveries", "pending", "dead", "of an endpoint", "by type", "status", "backlog", "metrics"):
        yield Row(f"first page: {what}", figure(f"{what} ms"), "ms", 100, "100 ms", below=True)
    for verb in ("cancel", "replay", "purge"):
        yield Row(f"{verb}", figure(f"{verb} a second"), "deliveries/s")
        yield Row("submits beside it, p99", figure(f"{verb} p99 ms"), "ms", 50, "50 ms", below=True)
