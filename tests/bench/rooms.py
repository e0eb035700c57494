"""Where the CPU of an event goes: which room of the house asked for it, and whether its own code, a library or the kernel took it."""

import os
import re
import subprocess
import time

from harness import BUILD, wait_until
from measure import Row, hookd, nginx, since

ROOMS = ["api", "store", "schedule", "dispatch", "channel", "sender", "main"]
# Modules that stand alone, by the room that they serve.
MODULES = {"schedule.c": "schedule", "senders.c": "channel", "channel.c": "channel", "attempt_frame.c": "channel", "main.c": "main",
           "service.c": "main", "log.c": "main", "metrics.c": "main"}
HZ = 499


def room_of(source):
    """Of the path of a source file below daemon/; what only helps others belongs to who called it."""
    folder, _, name = source.partition("/")
    if name:
        return folder
    return MODULES.get(source, "dispatch" if source in ("dispatch.c", "outgoing.c", "delivery.c", "retry.c", "reports.c", "gone.c",
                                                        "suspects.c") else None)


def rooms_by_symbol():
    """Functions of the objects that hookd and hookd-sender are linked from; not those whose name two rooms use."""
    rooms = {"hookd": {}, "hookd-sender": {}}
    for folder, _, files in os.walk(os.path.join(BUILD, "daemon")):
        of = rooms["hookd-sender" if "hookd-sender" in folder else "hookd"]
        for name in files:
            if not name.endswith(".c.o"):
                continue
            room = room_of(name[:-2].replace("_", "/", 1) if name.split("_")[0] in ("api", "store", "sender") else name[:-2])
            symbols = subprocess.run(["nm", "--defined-only", os.path.join(folder, name)], capture_output=True, text=True)
            for line in symbols.stdout.splitlines():
                _, kind, symbol = line.split()
                if kind in "tT" and room:
                    symbol = symbol.split(".")[0]
                    of[symbol] = room if of.get(symbol, room) == room else None
    return rooms


def attribute(stack, rooms):
    """A stack, innermost frame first: (room, own | library | kernel)."""
    where = None
    for symbol, dso in stack:
        ours = rooms.get(os.path.basename(dso))
        where = where or ("kernel" if dso.startswith("[") else "own" if ours is not None else "library")
        room = ours.get(symbol.split(".")[0]) if ours else None
        if room:
            return room, where
    return "main", where or "own"


def samples(path):
    """Stacks, innermost frame first, of (symbol, file)."""
    script = subprocess.run(["perf", "script", "-i", path, "-F", "ip,sym,dso"], capture_output=True, text=True).stdout
    for block in script.split("\n\n"):
        stack = re.findall(r"^\s+[0-9a-f]+ (\S+).* \((\S+)\)$", block, re.MULTILINE)
        if stack:
            yield stack


def rooms(bench, directory):
    symbols = rooms_by_symbol()
    path = os.path.join(directory, "perf.data")
    with nginx(directory) as url, hookd(directory, senders={"max_in_flight": 256}) as daemon:
        daemon.admin.add_endpoint("e", url, types=["t0"], max_in_flight=64)
        daemon.load(n=1000, t="t", e=1)
        wait_until(lambda: daemon.waiting() == 0, 60)
        before = daemon.cpu()
        recorder = subprocess.Popen(["perf", "record", "-q", "-F", str(HZ), "-e", "cpu-clock", "--call-graph", "dwarf,8192", "-o", path,
                                     "-p", ",".join(map(str, daemon.pids()))], stderr=subprocess.DEVNULL)
        time.sleep(0.5)
        n = daemon.load(s=2 * bench.seconds, c=64, t="t", e=1)["events"]
        wait_until(lambda: daemon.waiting() == 0, 60)
        recorder.terminate()
        recorder.wait()
        us = sum(since(before, daemon.cpu()).values()) / n * 1e6
    counts = {}
    for stack in samples(path):
        key = attribute(stack, symbols)
        counts[key] = counts.get(key, 0) + 1
    total = sum(counts.values())
    return {"us": us, **{f"{room}, {where}": counts.get((room, where), 0) / total * us
                         for room in ROOMS for where in ("own", "library", "kernel")}}


MEASUREMENTS = {"64 producers": rooms}


def rows(get):
    def figure(name):
        return get("64 producers", name)
    for room in ROOMS:
        parts = {where: figure(f"{room}, {where}") for where in ("own", "library", "kernel")}
        yield Row(room, sum(parts.values()), "us", note=", ".join(f"{where} {us:.1f}" for where, us in parts.items()))
    yield Row("all", figure("us"), "us", note="with the profiler's own cost")
