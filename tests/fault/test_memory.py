"""Memory that runs out (fault 16): one allocation fails, or all from some moment on, at every place that a sweep reaches.

What cannot be done is refused, or hookd stops in order: it says so, exits with 1, and goes on from the disk. It never
crashes, and nothing that was answered is lost. The same for senders, hookctl and libhookd.

The preloaded library is for builds without sanitizers, which bring their own allocation.
"""

import contextlib
import datetime
import mmap
import os
import re
import resource
import shutil
import struct
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness import BUILD, LONG, PATIENCE, Hookd, wait_until
from ledger import Ledger, assert_holds

LIBRARY = os.path.join(BUILD, "tests", "fault", "libstarve.so")
CONFIG = {"senders": {"count": "1"}}
SAID = re.compile(r"out of memory|[Cc]annot allocate memory|no memory")


class Plan:
    """Which allocations fail: shared with the process that starve.c is loaded into."""

    def __init__(self, directory):
        self.path = os.path.join(directory, "plan")
        with open(self.path, "wb") as file:
            file.truncate(4096)
        self.file = open(self.path, "r+b")
        self.map = mmap.mmap(self.file.fileno(), 4096)
        self.env = {**os.environ, "LD_PRELOAD": LIBRARY, "STARVE": self.path}

    def get(self, field):
        return struct.unpack_from("Q", self.map, 8 * field)[0]

    def set(self, field, value):
        struct.pack_into("Q", self.map, 8 * field, value)

    @property
    def count(self):
        return self.get(0)

    @property
    def failed(self):
        return self.get(3)

    def reset(self, fail_at=0, for_good=False):
        """For a process that is about to start."""
        self.set(1, 0)
        self.set(0, 0)
        self.arm(fail_at, for_good)

    def arm(self, n, for_good=False):
        """The n-th allocation from now fails, and perhaps all that follow."""
        self.set(3, 0)
        self.set(2, int(for_good))
        self.set(1, self.count + n if n else 0)

    def disarm(self):
        self.set(1, 0)


@pytest.fixture
def plan(directory):
    return Plan(directory)


def points(total, short, seed):
    """Where in so many allocations to fail: everywhere when there is time, else at some that differ by seed."""
    stride = 1 if LONG else max(1, total // short)
    return range(1 + seed % stride, total + 1, stride)


def assert_orderly(hookd, said_before):
    """It has ended, and said why."""
    status = hookd.process.wait(20)
    hookd.process = None
    assert status == 1, f"status {status}: {hookd.log()[-3000:]}"
    assert SAID.search(hookd.log()[said_before:]), f"nothing said of memory: {hookd.log()[said_before:]}"


def is_up(hookd):
    with contextlib.suppress(OSError):
        return hookd.manage.get("/v1/status").status == 200
    return False


# ---- hookd ---------------------------------------------------------------------------------------------


def start_at(hookd, plan, n, for_good):
    """A start whose n-th allocation fails; returns what it said."""
    before = len(hookd.log())
    plan.reset(n, for_good)
    hookd.start(wait=False, env=plan.env)
    # It has started when it says so, or ends.
    wait_until(lambda: hookd.process.poll() is not None or " started: " in hookd.log()[before:], 20, hookd.log()[before:])
    plan.disarm()
    status = hookd.stop()
    # One that has said that it started may still have asked for some before the want was over.
    said = hookd.log()[before:]
    assert (status == 0 and " started: " in said) or (status == 1 and SAID.search(said)), f"{n}: {status}: {said}"
    assert "damaged" not in said, f"{n}: {said}"
    return said


@pytest.fixture
def used(make_hookd, plan):
    """A hookd that was used and has stopped, what it was given, and how many allocations a start takes."""
    hookd = make_hookd(CONFIG)
    hookd.admin.add_endpoint("e", "https://hooks.example.com/", headers={"X-Key": "v"})
    stored = hookd.submit.submit("t", 1, idempotency_key="k")
    hookd.admin.post("/v1/pause")
    assert hookd.stop() == 0
    plan.reset()
    hookd.start(env=plan.env)
    total = plan.count
    assert hookd.stop() == 0
    assert total > 1000
    return hookd, stored, total


@pytest.mark.parametrize("for_good", [False, True])
def test_hookd_that_starts_without_memory_runs_or_says_why_not(used, plan, for_good):
    hookd, stored, total = used
    # What runs from then on is set up at the end: signals, sockets, timers, threads.
    ends = range(total - 100, total + 1)
    said = [start_at(hookd, plan, n, for_good) for n in sorted({*points(total, 60, 7), *ends})]
    assert any(" started: " not in text for text in said)
    hookd.start()
    assert hookd.submit.submit("t", 1, idempotency_key="k") == {**stored, "duplicate": True}


def test_a_start_without_memory_does_not_take_a_sound_file_for_a_damaged_one(used, plan):
    hookd, _, _ = used
    path = f"{hookd.data}/hookd.mdb"
    os.rename(path, path + ".away")
    open(path, "w").close()  # at which a start ends where it would open the file
    plan.reset()
    hookd.start(wait=False, env=plan.env)
    assert hookd.process.wait(20 * PATIENCE) == 65
    hookd.process = None
    os.rename(path + ".away", path)
    first = plan.count
    said = [start_at(hookd, plan, n, False) for n in range(first, first + 60)]
    assert f"cannot open {path}" in said[0] and any("cannot read the endpoints" in text for text in said)
    assert not os.path.exists(path + ".damaged")


def note_lost_senders(ledger):
    """A channel that finds no memory ends its sender, and what that had under way is made again: as in a crash."""
    to_monotonic = time.monotonic() - time.time()
    for line in re.findall(r"^(\S+ \S+) warning: sender \d+ ended", ledger.hookd.log(), re.MULTILINE):
        lost = datetime.datetime.fromisoformat(line).timestamp() + to_monotonic
        ledger.crashes += [lost, lost + 0.05, lost + 0.2]  # receivers may read what it had sent a little later


def work(hookd, ledger, n):
    """A little of everything that hookd does; what is refused or breaks is fine."""
    calls = [
        lambda: ledger.submit(ledger.make(type="t", key=True, size=[100, 5000, 70000][n % 3])),
        lambda: ledger.submit(*[ledger.make(type="t", key=True, form="envelope") for _ in range(3)]),
        lambda: hookd.manage.get("/v1/status"),
        lambda: hookd.manage.get("/v1/deliveries", limit=10, type="t"),
        lambda: hookd.manage.get("/v1/events", limit=5),
        lambda: hookd.manage.patch("/v1/endpoints/ok", {"description": str(n)}),
        lambda: hookd.manage.get("/v1/endpoints/ok"),
        lambda: hookd.metrics.get("/metrics"),
        lambda: hookd.manage.post("/v1/deliveries/hold", {"endpoint": "nobody", "all": True}),
        lambda: hookd.admin.post("/v1/backup") if n % 20 == 0 else None,
    ]
    for call in calls:
        with contextlib.suppress(OSError, AttributeError):
            call()


@pytest.mark.parametrize("for_good", [False, True])
def test_hookd_refuses_or_stops_in_order_when_memory_runs_out(make_hookd, plan, for_good):
    hookd = make_hookd(CONFIG, start=False)
    plan.reset()
    hookd.start(env=plan.env)
    with Ledger(hookd) as ledger:
        ledger.add_endpoint("ok", types=["t"], path="/ok", retry_schedule_s=[1] * 20)
        work(hookd, ledger, 0)
        before = plan.count
        work(hookd, ledger, 1)
        ledger.settle()
        total = plan.count - before
        stops = failed = 0
        said = len(hookd.log())
        for n in points(total, 40 if for_good else 120, 3):
            plan.arm(n, for_good)
            work(hookd, ledger, n)
            plan.disarm()
            failed += plan.failed
            if not is_up(hookd):
                stops += 1
                assert_orderly(hookd, said)
                time.sleep(0.1)  # until receivers have read what was sent
                ledger.crash()
                plan.reset()
                said = len(hookd.log())
                hookd.start(env=plan.env)
        assert failed > 0 and stops > 0
        ledger.settle()
        note_lost_senders(ledger)
        assert_holds(ledger.books())


def memory_cgroup():
    """A group of processes with a memory limit of its own, and the names of its files; None where the test may not
    make one."""
    for parent, limit in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        group = f"{parent}/hookd-test-{os.getpid()}"
        with contextlib.suppress(OSError):
            os.mkdir(group)
            if os.path.exists(f"{group}/{limit}"):
                return group, f"{group}/{limit}"
            os.rmdir(group)
    return None


def test_hookd_killed_for_its_memory_loses_nothing(make_hookd):
    """By the kernel, as MemoryMax= does; where no group can be made, by a limit of its address space that it runs
    into. Sent many large bodies at once, it takes as much memory as it ever does."""
    hookd = make_hookd({**CONFIG, "store": {"budget": "256M"}, "intake": {"max_payload": "8M", "max_batch": "8M"}})
    with Ledger(hookd) as ledger:
        ledger.add_endpoint("ok", types=["t"], path="/ok", retry_schedule_s=[1] * 20)
        deaths = 0
        for _ in range(3):
            for _ in range(20):
                ledger.submit(ledger.make(type="t", key=True))
            group = memory_cgroup()
            if group:
                with open(f"{group[0]}/cgroup.procs", "w") as file:
                    file.write(str(hookd.process.pid))
                with open(group[1], "w") as file:
                    file.write("8M")
            else:
                limit = (hookd_address_space(hookd) + (24 << 20),) * 2
                resource.prlimit(hookd.process.pid, resource.RLIMIT_AS, limit)
            with ThreadPoolExecutor(16) as pool:
                for i in range(48):
                    pool.submit(ledger.submit, ledger.make(type="t", key=True, size=4 << 20))
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = hookd.process.wait(0.5)
                deaths += 1
                assert status in ((-9,) if group else (1,)), f"{status}: {hookd.log()}"
            if hookd.process.poll() is None:
                hookd.process.kill()
                hookd.process.wait()
            hookd.process = None
            ledger.crash()
            if group:
                wait_until(lambda: is_removed(group[0]), 10, "the group is empty")
            hookd.start()
        assert deaths > 0 or not group, "the kernel never killed it"
        ledger.settle()
        note_lost_senders(ledger)
        assert_holds(ledger.books())


def is_removed(group):
    with contextlib.suppress(OSError):
        os.rmdir(group)
    return not os.path.exists(group)


def hookd_address_space(hookd):
    with open(f"/proc/{hookd.process.pid}/statm") as file:
        return int(file.read().split()[0]) * mmap.PAGESIZE


# ---- hookd-sender --------------------------------------------------------------------------------------


class WithStarvedSender(Hookd):
    """hookd finds its sender beside itself: there is one that starve.c is loaded into. hookd starts senders with an
    empty environment."""

    def __init__(self, directory, plan):
        super().__init__(directory, {**CONFIG, "log": {"level": "debug"}})  # which has a line for each fault
        self.program = os.path.join(directory, "hookd")
        shutil.copy(os.path.join(BUILD, "daemon", "hookd"), self.program)
        with open(os.path.join(directory, "hookd-sender"), "w") as file:
            file.write(f"#!/bin/sh\nLD_PRELOAD={LIBRARY} STARVE={plan.path} exec {BUILD}/daemon/hookd-sender\n")
            os.fchmod(file.fileno(), 0o755)

    def command(self):
        return [self.program, *super().command()[1:]]


def note_unread_answers(ledger):
    """An attempt is made again, too, when there was no memory to read its answer."""
    for name in re.findall(r"an attempt for (\S+) could not be made: no memory left", ledger.hookd.log()):
        for submission in ledger.submissions:
            if submission.type == name:
                for id in submission.ids:
                    ledger.replays[id, name] = ledger.replays.get((id, name), 0) + 1


@pytest.mark.parametrize("for_good", [False, True])
def test_a_sender_without_memory_puts_attempts_off_or_is_replaced(directory, plan, for_good):
    os.mkdir(f"{directory}/0")
    hookd = WithStarvedSender(f"{directory}/0", plan)
    plan.reset()
    hookd.start()
    try:
        with Ledger(hookd) as ledger:
            def submit(name):
                """Each point has an endpoint of its own: others wait after a fault."""
                ledger.add_endpoint(name, types=[name], retry_schedule_s=[1] * 20)
                for size in (100, 5000, 70000):
                    assert ledger.submit(ledger.make(type=name, key=True, size=size)) == "stored"

            submit("first")
            ledger.settle()
            before = plan.count
            submit("second")
            ledger.settle()
            total = plan.count - before
            assert total > 50
            failed = 0
            for n in points(total, 8 if for_good else 200, 5):
                plan.arm(n, for_good)
                submit(f"point-{n}")
                time.sleep(0.05)
                failed += plan.failed
                plan.disarm()
            assert failed > 0
            ledger.settle(200)
            note_lost_senders(ledger)
            note_unread_answers(ledger)
            assert_holds(ledger.books())
        assert "is failing" not in hookd.log(), f"a receiver was blamed: {hookd.log()}"
        assert not re.search(r"Segmentation|Abort|Bus error", hookd.log()), hookd.log()
    finally:
        assert hookd.stop() == 0


# ---- hookctl, libhookd ---------------------------------------------------------------------------------


COMMANDS = {
    "status": (["status"], None),
    "list": (["list"], None),
    "show": (["show", "EVENT"], None),
    "endpoint show": (["endpoint", "show", "e"], None),
    "submit": (["submit", "t", "-"], '{"a": 1}'),
    "submit a batch": (["submit", "--batch", "-"], '{"type": "t", "data": 1}\n{"type": "t", "data": 2}\n'),
    "replay": (["replay", "--all", "--dry-run"], None),
    "verify": (["sign", "--secret-file", "SECRET", "--id", "m", "--timestamp", "1"], "body"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_hookctl_without_memory_says_so(hookd, plan, name):
    hookd.admin.add_endpoint("e", "https://hooks.example.com/")
    hookd.admin.post("/v1/pause")
    event = hookd.submit.submit("t", 1)["id"]
    with open(f"{hookd.directory}/secret", "w") as file:
        file.write("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")
    arguments, input = COMMANDS[name]
    arguments = [{"EVENT": event, "SECRET": f"{hookd.directory}/secret"}.get(word, word) for word in arguments]
    command = [os.path.join(BUILD, "ctl", "hookctl"), "--sockets", hookd.sockets, *arguments]

    def run(fail_at, for_good):
        plan.reset(fail_at, for_good)
        return subprocess.run(command, input=input, capture_output=True, text=True, env=plan.env, timeout=60)

    expected = run(0, False)
    total = plan.count
    assert expected.returncode in (0, 1) and total > 5, expected
    for for_good in (False, True):
        for n in points(total, 16, 3):
            done = run(n, for_good)
            assert done.returncode in (0, 1, 3), f"{n}: {done}"
            # A failure has a reason; a success has done all of it.
            assert done.stderr if done.returncode != expected.returncode else done.stdout or done.stderr, f"{n}: {done}"
