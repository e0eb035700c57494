"""Payloads of all sizes: speed of a byte, memory meanwhile, and bytes on disk."""

import time

from measure import Row, hookd, nginx

LARGE, SMALL = 1 << 20, 64 << 10


def on_disk(bytes):
    """Pages in use for each event that waits, as a multiple of its payload."""
    def measure(bench, directory):
        with hookd(directory, intake={"max_payload": "8M"}) as daemon:
            daemon.admin.add_endpoint("waits", "https://hooks.example.com/")
            daemon.admin.post("/v1/pause")
            before = daemon.metric("hookd_store_used_bytes")
            n = daemon.load(n=bench.size(64 << 20, 8 << 20) // bytes, z=bytes, c=4, b=max(1, min(500, (1 << 20) // bytes)))["events"]
            return {"times": (daemon.metric("hookd_store_used_bytes") - before) / n / bytes}
    return measure


def in_and_out(bytes):
    """A gigabyte submitted and then delivered; sixteen megabytes with --quick."""
    def measure(bench, directory):
        events = bench.size(1000 << 20, 16 << 20) // bytes
        with nginx(directory) as url, hookd(directory, intake={"max_payload": "2M"}) as daemon:
            daemon.admin.add_endpoint("e", url, max_in_flight=64)
            daemon.admin.post("/v1/pause")
            before = daemon.memory()
            submit = daemon.load(n=events, z=bytes, c=16)
            most, start = daemon.memory(), time.monotonic()
            daemon.admin.post("/v1/resume")
            while daemon.waiting():
                most = max(most, daemon.memory())
                time.sleep(0.02)
            took = time.monotonic() - start
        return {"submit MB/s": submit["rate"] * bytes / 1e6, "deliver MB/s": events * bytes / took / 1e6,
                "memory MiB": (most - before) / 2**20}
    return measure


MEASUREMENTS = {
    "on disk, 1 KiB": on_disk(1 << 10),
    "on disk, 16 KiB": on_disk(16 << 10),
    "on disk, 64 KiB": on_disk(64 << 10),
    "on disk, 1 MiB": on_disk(1 << 20),
    "1 MiB in and out": in_and_out(LARGE),
    "64 KiB in and out": in_and_out(SMALL),
}


def rows(get):
    for size, limit in (("1 KiB", 1.6), ("16 KiB", 1.3), ("64 KiB", 1.3), ("1 MiB", 1.3)):
        yield Row(f"bytes on disk of a pending event of {size}", get(f"on disk, {size}", "times"), "× its payload", limit,
                  f"{limit} ×", below=True)
    for what in ("submit", "deliver"):
        yield Row(f"1 MiB payloads, {what}", get("1 MiB in and out", f"{what} MB/s"), "MB/s",
                  get("64 KiB in and out", f"{what} MB/s"), "64 KiB payloads")
    yield Row("own memory more than idle, payloads of 1 MiB", get("1 MiB in and out", "memory MiB"), "MiB",
              note=f"64 KiB: {get('64 KiB in and out', 'memory MiB'):.1f}")
