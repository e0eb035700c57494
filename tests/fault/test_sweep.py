"""The sweep: every system call of hookd fails, is cut short, or is the last one, at each of its occurrences, once and
for good (faults 2, 6, 7, 8); while a handful of events passes through everything that hookd does.

    fresh     a first start on an empty directory
    used      a start on a store that holds delivered, dead and waiting deliveries

After each step: did hookd go on, or end as it should; then it is started without a fault, and the ledger is checked.
faulty.c, loaded into hookd, makes the faults and counts; a build with a sanitizer cannot be swept. Of all steps a
part is taken, by a stride with a seed, the same each time, so that a change is judged by what it changes;
HOOKD_SEED=N takes others, HOOKD_LONG all of them, until a run is clean.

    HOOKD_STEP="used pwrite:7+:5" pytest ...    repeats one step: a store that is used, the 7th pwrite on, EIO
"""

import collections
import concurrent.futures
import contextlib
import copy
import dataclasses
import errno
import http.client
import os
import queue
import re
import shutil
import signal
import struct
import subprocess
import tempfile
import time

import pytest

from harness import BUILD, LONG, PATIENCE, Hookd, check_data, wait_until
from ledger import Ledger, Receivers, violations

LIBRARY = os.path.join(BUILD, "tests", "fault", "faulty.so")
WORKERS = 3
SEED = int(os.environ.get("HOOKD_SEED", "1"))
ONE_STEP = os.environ.get("HOOKD_STEP")
ANSWER_S = 5  # no answer takes longer
AWAY_S = 0.5  # how long to wait for one that a fault for good keeps away
CONFIG = {"senders": {"count": "1"}, "store": {"budget": "16M", "min_free_disk": "1M"}}

KILL = ["before", "after"]
IO = [errno.EIO, errno.ENOSPC, errno.EINTR]

# What is done to which call; (how often in a plain run of the tests, hows). Only what the kernel can do: it gives less
# than what was asked of a socket only where there is no more, for example, and edges tell when there is.
CALLS = {
    "pwrite": (8, [*IO, "short", *KILL]),
    "writev": (8, [*IO, "short", *KILL]),
    "fdatasync": (8, [errno.EIO, errno.ENOSPC, *KILL]),
    "fsync": (4, [errno.EIO, *KILL]),
    "fallocate": (3, [*IO, errno.EOPNOTSUPP, *KILL]),
    "ftruncate": (3, [errno.EIO, errno.ENOSPC, *KILL]),
    "rename": (3, [errno.EIO, errno.ENOSPC, *KILL]),
    "write": (3, [*IO, "short", *KILL]),
    "read": (3, [errno.EIO, errno.EINTR, "short"]),
    "pread": (2, [errno.EIO]),
    "lseek": (2, [errno.EIO]),
    "unlink": (2, [errno.EIO, "after"]),
    "mkdir": (2, [errno.ENOSPC, "after"]),
    "open": (3, [errno.EIO, errno.EMFILE, errno.ENOMEM]),
    "mmap": (3, [errno.ENOMEM]),
    "flock": (1, [errno.ENOLCK]),
    "fcntl": (2, [errno.ENOMEM]),
    "socket": (2, [errno.EMFILE]),
    "bind": (1, [errno.EADDRINUSE]),
    "listen": (1, [errno.EADDRINUSE]),
    "accept": (3, [errno.EMFILE, errno.ENOMEM, errno.ECONNABORTED, errno.EINTR, *KILL]),
    "sendmsg": (4, [errno.EINTR, errno.ENOBUFS, errno.EPIPE, "short", *KILL]),
    "recv": (3, [errno.EINTR, errno.ECONNRESET, errno.ENOMEM]),
    "recvmsg": (3, [errno.EINTR, errno.ECONNRESET, errno.ENOMEM, *KILL]),
    "epoll_create": (1, [errno.EMFILE]),
    "epoll_ctl": (3, [errno.ENOMEM, errno.ENOSPC]),
    "epoll_wait": (3, [errno.EINTR, errno.EIO]),
    "eventfd": (1, [errno.EMFILE]),
    "inotify_init": (1, [errno.EMFILE]),
    "inotify_add": (2, [errno.ENOSPC, errno.ENOMEM]),
    "pipe": (1, [errno.EMFILE]),
    "memfd_create": (2, [errno.EMFILE, errno.ENOMEM, "after"]),
    "socketpair": (2, [errno.EMFILE, errno.ENOMEM]),
    "thread": (2, [errno.EAGAIN]),
    "spawn": (2, [errno.EAGAIN, errno.ENOMEM, "after"]),
}
# For good these would be no interruption, and a loop without its epoll is none.
ONCE = [("epoll_wait", errno.EIO), *[(call, errno.EINTR) for call in CALLS]]
WRITES = ["pwrite", "writev", "fdatasync"]


# ---- Faults ----------------------------------------------------------------------------------------


@dataclasses.dataclass
class Step:
    scenario: str
    call: str
    n: int
    how: object  # errno, "short", "before", "after"
    for_good: bool

    @property
    def order(self):
        return f"{self.call}:{self.n}{'+' * self.for_good}:{self.how}"

    @property
    def kills(self):
        return self.how in KILL

    def __str__(self):
        how = errno.errorcode.get(self.how, self.how)
        return f'HOOKD_STEP="{self.scenario} {self.order}" ({how}{" for good" * self.for_good})'


class Book:
    """What faulty.so wrote down."""

    ROW, REST = struct.Struct("16sQQ"), struct.Struct("Q32d16s224s")

    def __init__(self, path):
        with open(path, "rb") as file:
            content = file.read()
        self.n, self.after = {}, {}
        for name, n, after in self.ROW.iter_unpack(content[:self.ROW.size * len(CALLS)]):
            name = text_of(name)
            self.n[name], self.after[name] = n, after
        self.faults, *times, thread, file = self.REST.unpack_from(content, self.ROW.size * len(CALLS))
        self.times = [at for at in times if at]
        self.thread, self.file = text_of(thread), os.path.basename(text_of(file))

    @classmethod
    def begin(cls, path):
        with open(path, "wb") as file:
            file.write(bytes(cls.ROW.size * len(CALLS) + cls.REST.size))


def text_of(field):
    return field.split(b"\0")[0].decode()


class FaultyHookd(Hookd):
    """A hookd with faulty.so in it, as long as there is an order."""

    order = None

    @property
    def book_path(self):
        return os.path.join(self.directory, "book")

    def start(self, wait=True):
        environment = dict(os.environ)
        if self.order is not None:
            Book.begin(self.book_path)
            environment |= {"LD_PRELOAD": LIBRARY, "FAULTY_BOOK": self.book_path}
            if self.order:
                environment["FAULTY"] = self.order
        return super().start(wait, env=environment)

    def is_up(self):
        """Waits until it answers; False: it ended, or cannot be asked."""
        deadline = time.monotonic() + ANSWER_S * PATIENCE
        while self.process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.ask("submit", "GET", "/v1/health").status:
                    return True
            time.sleep(0.01)
        return False

    def ask(self, role, method, target, body=None, headers=None, **query):
        return getattr(self, role).call(method, target, body, headers, **query)


# ---- One step --------------------------------------------------------------------------------------


class Worker:
    """Takes one step after another, with receivers and a used store of its own."""

    def __init__(self, directory):
        self.directory = directory
        os.mkdir(directory)
        self.receivers = Receivers(os.path.join(directory, "requests"))
        self.n = 0
        self.make_used()

    def new_hookd(self):
        self.n += 1
        path = os.path.join(self.directory, str(self.n))
        os.mkdir(path)
        return FaultyHookd(path, CONFIG)

    def add_endpoints(self, ledger):
        return (self.add_endpoint(ledger, "ok") and
                self.add_endpoint(ledger, "dying", types=["order.*"], manner={"fail": 1}, retry_schedule_s=[], may_die=True) and
                self.add_endpoint(ledger, "late", types=["user.added"]))

    def add_endpoint(self, ledger, name, **members):
        """The fault itself may meet the first request, or only its answer: then the endpoint is there."""
        for is_second in (False, True):
            with contextlib.suppress(AssertionError, OSError, http.client.HTTPException):
                if is_second:
                    ledger.hookd.admin.delete(f"/v1/endpoints/{name}")
                ledger.add_endpoint(name, **members)
                return True
        return False

    def make_used(self):
        """A store as a hookd leaves it that has worked: delivered, dead, and waiting for a paused endpoint."""
        hookd = self.new_hookd().start()
        self.used = Ledger(hookd, 1, self.receivers)
        assert self.add_endpoints(self.used)
        hookd.manage.post("/v1/endpoints/late/pause")
        for type in ["order.paid", "order.refunded", "user.added", "user.added"]:
            self.used.submit(self.used.make(type=type, key=True))
        wait_until(lambda: hookd.manage.get("/v1/status").json["queue"] | {"pending": 2} ==
                   hookd.manage.get("/v1/status").json["queue"] and not hookd.manage.get("/v1/status").json["sending"]["in_flight"])
        assert hookd.stop() == 0
        self.used_data = hookd.data
        self.used_requests = self.receivers.requests()

    def take(self, step):
        """Returns what is wrong, and what faulty.so wrote down; nothing wrong is an empty list."""
        hookd = self.new_hookd()
        ledger = Ledger(hookd, self.n, self.receivers)
        ledger.canary += f"-{self.n}"
        self.receivers.forget()
        if step.scenario == "used":
            shutil.copytree(self.used_data, hookd.data)
            ledger.endpoints = dict(self.used.endpoints)
            ledger.submissions = copy.deepcopy(self.used.submissions)
            ledger.n = self.used.n
            ledger.noted = list(self.used_requests)
        self.receivers.set_manner("/default/dying", fail=1)
        try:
            return Run(step, hookd, ledger, self).take()
        finally:
            if hookd.process:
                hookd.kill()
            shutil.rmtree(hookd.directory, ignore_errors=True)

    def close(self):
        self.receivers.close()


class Run:
    """What happens in one step."""

    def __init__(self, step, hookd, ledger, worker):
        self.step, self.hookd, self.ledger, self.worker = step, hookd, ledger, worker
        self.answers = []  # (what was asked, status or None)
        self.faults = []  # in hookd
        self.book = self.probe = None
        self.up = True

    def take(self):
        self.hookd.order = self.step.order if self.step.n else ""
        self.hookd.timeout = AWAY_S if self.step.for_good else ANSWER_S
        self.hookd.start(wait=False)
        self.up = self.hookd.is_up()
        if self.up:
            self.work()
        self.end()
        self.judge_end()
        self.go_on()
        return self.faults, self.book

    def wrong(self, text):
        self.faults.append(text)

    # ---- The load

    def ask(self, what, call, *arguments, **members):
        """One question; False once hookd is gone or does not answer."""
        started = time.monotonic()
        try:
            answer = call(*arguments, **members)
            status = answer.status
        except (OSError, http.client.HTTPException):
            answer, status = None, None
        self.answers.append((what, status))
        self.judge_time(what, started)
        return answer

    def submit(self, *submissions):
        started = time.monotonic()
        self.answers.append(("submit", self.ledger.submit(*submissions)))
        self.judge_time("submit", started)

    def judge_time(self, what, started):
        took_s = time.monotonic() - started
        if took_s > ANSWER_S * PATIENCE and not self.step.for_good:
            self.wrong(f"{what} was not answered in {took_s:.1f} s")

    def work(self):
        """A little of everything that hookd does."""
        hookd, ledger = self.hookd, self.ledger
        make = ledger.make
        if self.step.scenario == "fresh" and not self.worker.add_endpoints(ledger):
            return
        first = make(type="order.paid", key=True)
        self.submit(first)
        self.submit(*[make(type=type, key=True, form="envelope", size=size)
                      for type, size in [("order.paid", 50), ("user.added", 9000), ("user.removed", 500)]])
        self.submit(make(type="user.added", size=70000))
        self.ask("resume", hookd.admin.post, "/v1/endpoints/late/resume")
        self.wait_idle()
        self.worker.receivers.set_manner("/default/dying")
        dead = self.ask("list", hookd.manage.get, "/v1/deliveries", state="dead")
        if dead and dead.status == 200:
            for delivery in dead.json["items"][:1]:
                self.ask("replay", ledger.verb, "replay", [(delivery["event"], "dying")])
        done = self.ask("list", hookd.manage.get, "/v1/deliveries", state="delivered", order="oldest")
        if done and done.status == 200:
            for delivery in done.json["items"][:1]:
                self.ask("purge", ledger.verb, "purge", [(delivery["event"], delivery["endpoint"])])
        self.ask("edit", hookd.admin.patch, "/v1/endpoints/ok", {"description": "changed"})
        self.ask("backup", hookd.admin.post, "/v1/backup")
        self.submit(first)
        self.ask("metrics", hookd.admin.get, "/metrics")
        self.wait_idle()
        for _ in range(2):  # the fault itself may meet the first
            if not self.probe or not self.probe.is_stored:
                self.probe = make(type="order.paid", key=True)
                self.submit(self.probe)

    def wait_idle(self):
        """A moment for deliveries; what takes longer than that goes on later."""
        deadline = time.monotonic() + 1.5
        while time.monotonic() < deadline and self.hookd.process.poll() is None:
            answer = self.ask("status", self.hookd.manage.get, "/v1/status")
            if not answer or answer.status != 200:
                return
            if answer.json["queue"]["pending"] == 0:
                return
            time.sleep(0.02)

    # ---- The end

    def end(self):
        """An orderly stop, unless it has ended. A stop that the fault prevents is cut short by a second signal."""
        process = self.hookd.process
        self.ended_alone = self.ends_alone(0.05 if self.probe and self.probe.is_stored else 3)
        if not self.ended_alone:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(ANSWER_S * PATIENCE if not self.step.for_good else 3)
            except subprocess.TimeoutExpired:
                if not self.step.for_good:
                    self.wrong("the stop takes too long")
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(ANSWER_S * PATIENCE)
                except subprocess.TimeoutExpired:
                    self.wrong("does not even stop at a second signal")
                    process.kill()
                    process.wait()
        self.status = process.returncode
        self.hookd.process = None
        self.ledger.crash()
        self.book = Book(self.hookd.book_path)
        if self.step.call in ("sendmsg", "recvmsg"):  # a sender whose channel is broken is replaced
            self.ledger.crashes = sorted([*self.ledger.crashes, *self.book.times])

    def ends_alone(self, timeout):
        try:
            self.hookd.process.wait(timeout)
            return True
        except subprocess.TimeoutExpired:
            return False

    def judge_end(self):
        book, step, log = self.book, self.step, self.hookd.log()
        if not book.faults:
            if self.status != 0 or self.ended_alone:
                self.wrong(f"ended with {self.status} without a fault")
            return
        if step.kills:
            if self.status != -signal.SIGKILL:
                self.wrong(f"was to be killed, and ended with {self.status}")
            return
        if self.status not in (0, 1):
            self.wrong(f"ended with {self.status}: {log[-200:]!r}")
        elif self.ended_alone and self.status == 0:
            self.wrong("ended by itself and calls that a success")
        if self.status == 1 and not re.search(r"the store failed|the event loop failed|cannot|out of memory", log):
            self.wrong("ended and did not say why")
        expected = self.expected_end()
        is_end = "stops" if self.status == 1 else "works"
        if expected and is_end != expected:
            self.wrong(f"{is_end} after a fault in {book.thread or '?'} at {book.file or '?'}, expected: {expected}")
        if is_end == "stops" and book.thread == "hookd-store" and step.call in WRITES:
            self.judge_commit(log)
        if is_end == "works" and self.up and not step.for_good and not (self.probe and self.probe.is_stored):
            self.wrong("lives, and does not take events any more")

    def expected_end(self):
        """stops: by itself, in failure; works: goes on, and stops when told to; None: either is right."""
        call, how, thread, file = self.step.call, self.step.how, self.book.thread, self.book.file
        is_data = file.startswith("hookd.mdb") and not file.endswith("-lock")
        if how == errno.EINTR and call != "fdatasync":
            return "works" if self.up and call != "fallocate" else None
        if call in WRITES and is_data and (thread == "hookd-store" or not self.up):
            return "stops"
        if call in ("fsync", "rename", "ftruncate", "flock", "mmap") and not self.up:
            return "stops"
        if call.startswith("inotify_"):
            return "works"  # without notice of changed files, and says so
        if thread in ("hookd-backup", "hookd-copy") and not self.step.for_good or self.up and call in (
                "accept", "recv", "recvmsg", "sendmsg", "memfd_create", "spawn", "socketpair", "fallocate"):
            return "works"
        return None

    def judge_commit(self, log):
        """A commit that failed: its producers are told so, and nothing more is written."""
        more = {call: self.book.after[call] for call in WRITES if self.book.after[call]}
        # LMDB puts the old head of the file back where writing the new one failed.
        if more and more != {"pwrite": 1}:
            self.wrong(f"wrote on after a failed commit: {more}")
        if "the store failed" not in log:
            self.wrong("the log does not say that the store failed")

    # ---- Afterwards

    def go_on(self):
        """Without the fault everything that was promised is kept."""
        hookd, ledger = self.hookd, self.ledger
        hookd.order, hookd.timeout = None, Hookd.timeout
        with contextlib.suppress(OSError):
            os.remove(hookd.log_path)
        try:
            hookd.start()
            if ("", "late") in ledger.endpoints:
                hookd.admin.post("/v1/endpoints/late/resume")
            ledger.settle(20)
            books = ledger.books()
        except AssertionError as error:
            self.wrong(f"afterwards: {error}")
            return
        self.faults += violations(books)
        if hookd.stop() != 0:
            self.wrong(f"afterwards, a stop that fails: {hookd.log()}")
        checked = check_data(hookd)
        if checked.returncode != 0:
            self.wrong(f"the data are damaged: {checked.stdout}{checked.stderr}")
        self.check_backups()

    def check_backups(self):
        directory = os.path.join(self.hookd.data, "backup")
        for name in os.listdir(directory) if os.path.isdir(directory) else []:
            if name.endswith(".mdb"):
                copied = Hookd(tempfile.mkdtemp(dir=self.hookd.directory), CONFIG)
                os.mkdir(copied.data)
                shutil.copy(os.path.join(directory, name), os.path.join(copied.data, "hookd.mdb"))
                if check_data(copied).returncode != 0:
                    self.wrong(f"backup {name} has a valid name and is damaged")


# ---- The sweep -------------------------------------------------------------------------------------


class Sweep:
    """Some workers, and how often each call comes in a run without a fault."""

    def __init__(self, directory):
        self.workers = queue.Queue()
        with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
            self.all = list(pool.map(lambda i: Worker(os.path.join(directory, str(i))), range(WORKERS)))
        for worker in self.all:
            self.workers.put(worker)
        self.n = {}
        for scenario in ["fresh", "used"]:
            faults, book = self.take(Step(scenario, "pwrite", 0, 0, False))
            assert not faults, faults
            self.n[scenario] = book.n

    def take(self, step):
        worker = self.workers.get()
        try:
            return worker.take(step)
        finally:
            self.workers.put(worker)

    def places(self, call, scenario):
        """At which occurrences: all in the long run, and some beyond the plain run's last; else a few by a stride."""
        last = self.n[scenario][call]
        n, _ = CALLS[call]
        if LONG:
            return range(1, last + 3)
        stride = max(1, last // n)
        return range(1 + SEED % stride, last + 1, stride) if last else []

    def close(self):
        for worker in self.all:
            worker.close()


@pytest.fixture(scope="module")
def sweep():
    with tempfile.TemporaryDirectory(prefix="hookd-", dir="/tmp") as directory:
        made = Sweep(directory)
        yield made
        made.close()


def steps_of(sweep, call):
    if ONE_STEP:
        scenario, order = ONE_STEP.split(" ")
        name, n, how = order.split(":")
        how = int(how) if how.isdecimal() else how
        return [Step(scenario, name, int(n.rstrip("+")), how, n.endswith("+"))] if name == call else []
    _, hows = CALLS[call]
    steps = []
    for scenario in ["fresh", "used"]:
        for turn, n in enumerate(sweep.places(call, scenario)):
            for i, how in enumerate(hows):
                once = how in KILL or (call, how) in ONCE
                for for_good in [False] if once else [False, True]:
                    # In the plain run each place has some of the hows, once or for good, in turn.
                    mine = len(hows) == 1 or (i + turn + SEED) % 2 == 0
                    if LONG or mine and (once or for_good == ((turn + SEED // 2) % 2 == 1)):
                        steps.append(Step(scenario, call, n, how, for_good))
    return steps


@pytest.mark.parametrize("call", CALLS)
def test_whatever_a_system_call_does_hookd_keeps_its_promises(sweep, call):
    steps = steps_of(sweep, call)
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        results = list(pool.map(sweep.take, steps))
    wrong = [f"{step}: {fault}" for step, (faults, _) in zip(steps, results) for fault in faults]
    fired = sum(book.faults > 0 for _, book in results)
    print(f"{call}: {len(steps)} steps with seed {SEED}, {fired} faults, "
          f"{collections.Counter(type(step.how).__name__ for step in steps)}")
    assert fired or ONE_STEP, "no fault came: this proves nothing"
    assert not wrong, f"{len(wrong)} of {len(steps)} steps (HOOKD_SEED={SEED}):\n" + "\n".join(wrong[:30])


# ---- Is that all? ----------------------------------------------------------------------------------

KERNEL_NAMES = {"pread64": "pread", "pwrite64": "pwrite", "openat": "open", "accept4": "accept", "sendto": "send",
                "recvfrom": "recv", "epoll_create1": "epoll_create", "eventfd2": "eventfd", "pipe2": "pipe",
                "inotify_init1": "inotify_init", "inotify_add_watch": "inotify_add", "clone": "thread", "clone3": "thread",
                "vfork": "spawn", "execve": "spawn"}

# What cannot fail, or whose failure only says "no" to a question.
NOT_SWEPT = set("""
    close munmap mprotect madvise brk futex sched_yield sched_getaffinity exit exit_group restart_syscall
    rt_sigaction rt_sigprocmask rt_sigreturn set_robust_list set_tid_address rseq arch_prctl prctl kill tgkill
    getpid gettid getuid geteuid getgid getegid uname getrandom prlimit64 umask getcwd sysinfo
    newfstatat fstat stat access readlink statfs fstatfs getsockopt setsockopt getsockname shutdown connect
    clock_nanosleep poll wait4 pidfd_open timerfd_create timerfd_settime dup2 close_range
    getdents64 getrusage mlock2""".split())


def test_every_system_call_that_hookd_makes_is_swept_or_cannot_fail(sweep):
    worker = sweep.workers.get()
    try:
        hookd = worker.new_hookd()
        trace = os.path.join(hookd.directory, "trace")
        command = hookd.command()
        hookd.command = lambda: ["strace", "-f", "-qq", "-o", trace, *command]
        hookd.start()
        ledger = Ledger(hookd, worker.n, worker.receivers)
        try:
            Run(Step("fresh", "pwrite", 0, 0, False), hookd, ledger, worker).work()
        finally:
            with open(f"/proc/{hookd.process.pid}/task/{hookd.process.pid}/children") as file:
                os.kill(int(file.read().split()[0]), signal.SIGTERM)  # hookd, under strace
            status = hookd.process.wait(20 * PATIENCE)
        assert status == 0
        senders, made = set(), collections.Counter()
        with open(trace) as file:
            for line in file:
                task, name = re.match(r"(\d+) +(?:<\.\.\. )?(\w*)", line).groups()
                if name == "execve" and "hookd-sender" in line:
                    senders.add(task)
                if name and task not in senders:
                    made[KERNEL_NAMES.get(name, name)] += 1
        assert made["fdatasync"] > 5 and made["pwrite"] > 5, made
        assert set(made) <= set(CALLS) | NOT_SWEPT, set(made) - set(CALLS) - NOT_SWEPT
    finally:
        sweep.workers.put(worker)


# ---- Damage that a library finds by itself ---------------------------------------------------------


@pytest.mark.parametrize("how", ["abort", "bus"])
@pytest.mark.parametrize("place, threads", [("pwrite:9", ["hookd-store"]),
                                            *[(f"write:{n}", ["hookd-copy", "hookd-backup"]) for n in range(9, 13)]])
def test_damage_that_ends_a_thread_of_the_store_says_what_to_do_and_is_not_restarted(sweep, place, threads, how):
    """65 is what RestartPreventExitStatus= of hookd.service names."""
    worker = sweep.workers.get()
    try:
        hookd = worker.new_hookd()
        hookd.order = f"{place}:{how}"
        hookd.start()
        worker.receivers.forget()
        ledger = Ledger(hookd, worker.n, worker.receivers)
        ledger.add_endpoint("e", path=f"/{worker.n}/e")
        for _ in range(20):
            if ledger.submit(ledger.make(key=True)) == "refused":
                break
            if "hookd-copy" in threads:
                with contextlib.suppress(OSError, http.client.HTTPException):
                    hookd.admin.post("/v1/backup")
        assert hookd.process.wait(ANSWER_S * PATIENCE) == 65, hookd.log()
        assert Book(hookd.book_path).thread in threads
        assert hookd.log().endswith("store damaged: check or restore (hookd --check-data)\n")
        ledger.crash()
        hookd.order = None
        hookd.start()
        ledger.settle()
        assert violations(ledger.books()) == []
        assert hookd.stop() == 0
    finally:
        sweep.workers.put(worker)
