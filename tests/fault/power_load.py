"""A hookd whose doings with its disk are recorded, and a load that promises it much.

A Recording is a real hookd with power_recorder.c preloaded, and the two files from which power_replay.c
works: the log, into which the load writes its marks, and the ledger of what was submitted. What the marks
mean is told in power_facts.h.
"""

import contextlib
import hashlib
import http.client
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time

from harness import BUILD, PATIENCE, Hookd, Receiver, wait_until
from secrets_of import wait_for_change

RECORDER = os.path.join(BUILD, "tests", "fault", "power_recorder.so")
REPLAY = os.path.join(BUILD, "tests", "fault", "power_replay")
ROT = os.path.join(BUILD, "tests", "fault", "rot")

# The numbers of power_log.h.
KINDS = {name: number for number, name in enumerate(
    "START CREATE MAKE_DIRECTORY WRITE WRITTEN TRUNCATE ALLOCATE RENAME LINK UNLINK SYNC_BEGIN SYNC_END ANSWER MARK".split(), 1)}
HEAD = struct.Struct("<IIIIQQ")

# Small steps of the file's growth, and retries within seconds.
CONFIG = {"store": {"budget": "8M"}, "intake": {"max_payload": "200K"}, "delivery": {"max_in_flight": "4"}}
TIMESTAMP = "2026-11-22T08:08:36.008Z"

# Which endpoints an event of a type is owed to.
TARGETS = {"ok": ["ok"], "flaky": ["flaky"], "dying": ["dying"], "still": ["still"], "both": ["ok", "still"],
           "leaving": ["leaving"], "nobody": []}


@contextlib.contextmanager
def quick_directory():
    """Images are many, and need not last: in memory if there is room."""
    room = shutil.disk_usage("/dev/shm").free if os.path.isdir("/dev/shm") else 0
    path = tempfile.mkdtemp(prefix="hookd-power-", dir="/dev/shm" if room > 512 << 20 else "/tmp")
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


class Event:
    def __init__(self, type, payload, key, content_type, digest):
        self.type, self.payload, self.key, self.content_type, self.digest = type, payload, key, content_type, digest


def digest_of(type, content_type, form, payload):
    """As doc/format.md says, in the default tenant."""
    return hashlib.sha256(b"\0" + type.encode() + b"\0" + content_type.encode() + b"\0" + bytes([form]) + payload).hexdigest()


def raw_event(type, payload, key=None):
    content_type = "application/octet-stream"
    return Event(type, payload, key, content_type, digest_of(type, content_type, 0, payload))


class Envelope(Event):
    """One line of a batch."""

    def __init__(self, type, data, key):
        text = json.dumps(data)
        content = f'{{"type":"{type}","timestamp":"{TIMESTAMP}","data":{text}}}'.encode()
        super().__init__(type, content, key, "application/json", digest_of(type, "application/json", 1, text.encode()))
        self.line = json.dumps({"type": type, "timestamp": TIMESTAMP, "data": data, "idempotency_key": key}).encode()


class Replayed:
    """What became of the images: how many there were, failed, and had nothing to be torn; a line for each that failed."""

    def __init__(self, text):
        *self.failures, last = text.splitlines()
        words = last.split()
        self.images, self.failed, self.untorn = int(words[0]), int(words[2]), int(words[4])

    def __repr__(self):
        return "\n".join([*self.failures[:20], f"{self.failed} of {self.images} images failed"])


class Recording:
    """Put it into a directory that does not exist yet."""

    def __init__(self, directory, config=None):
        os.mkdir(directory)
        self.directory = directory
        self.hookd = Hookd(directory, {**CONFIG, **(config or {})})
        self.log, self.ledger = directory + "/power.log", directory + "/ledger"
        self.log_fd = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.events = {}
        self.lock = threading.Lock()
        self.work = 0
        self.is_cut_off = False  # whether hookd died before it had done what it was started for

    def environment(self, **variables):
        return {**os.environ, "LD_PRELOAD": RECORDER, "HOOKD_POWER_LOG": self.log, "HOOKD_POWER_ROOT": self.directory,
                **{f"HOOKD_POWER_{name}": str(value) for name, value in variables.items()}}

    def start(self, **variables):
        return self.hookd.start(env=self.environment(**variables))

    def start_and_kill(self, kill_at, work=lambda: None, **variables):
        """hookd starts, works, and dies when it has done so much, perhaps before it is ready; at the latest when the work is
        done, for no two runs write the same."""
        try:
            self.start(KILL=kill_at, **variables)
            work()
        except (AssertionError, OSError, http.client.HTTPException):
            self.is_cut_off = True
        self.hookd.kill()

    def copy(self, **files):
        """What a person does to restore: makes the data directory, copies files into it, and syncs nothing."""
        subprocess.run([sys.executable, "-c", "import os, sys; os.mkdir(sys.argv[1])", self.hookd.data],
                       env=self.environment(), check=True)
        self.write_files(**files)

    def write_files(self, **files):
        program = ("import os, sys\n"
                   "for source, target in zip(sys.argv[1::2], sys.argv[2::2]):\n"
                   "    file = os.open(target, os.O_WRONLY | os.O_CREAT, 0o600)\n"
                   "    os.write(file, open(source, 'rb').read())\n")
        names = [word for target, source in files.items() for word in (source, f"{self.hookd.data}/{target}")]
        subprocess.run([sys.executable, "-c", program, *names], env=self.environment(), check=True)

    def damage(self):
        """A bit of a record that is made again from others, behind hookd's back; and the note that hookd leaves when it sees
        what cannot go on like that. For either the next start makes the file anew, and nothing is lost."""
        self.mark("damaged")
        subprocess.run([ROT, f"{self.hookd.data}/hookd.mdb", "flip", "tally", "0", "value", "4", "0x01"],
                       env=self.environment(), check=True)
        self.write_files(rebuild="/dev/null")

    def mark(self, *words):
        body = " ".join(words).encode()
        record = HEAD.pack(len(body), KINDS["MARK"], 0, 0, 0, 0) + body
        assert os.write(self.log_fd, record) == len(record)

    @property
    def n_records(self):
        return len(list(self.records()))

    def records(self):
        """Kind and body of each record."""
        with open(self.log, "rb") as file:
            while head := file.read(HEAD.size):
                length, kind, *_ = HEAD.unpack(head)
                yield kind, file.read(length)

    # ---- The ledger

    def remember(self, id, event):
        with self.lock:
            self.events[id] = event

    def write_ledger(self):
        at = 0
        with open(self.ledger, "w") as ledger, open(self.ledger + ".payloads", "wb") as payloads:
            for id, e in self.events.items():
                print(id, e.key or "-", e.digest, e.type, e.content_type, ",".join(TARGETS[e.type]) or "-", at,
                      len(e.payload), file=ledger)
                at += payloads.write(e.payload)

    def submit(self, event):
        answer = self.hookd.submit.call("POST", "/v1/events", event.payload,
                                        {"Content-Type": event.content_type,
                                         **({"Idempotency-Key": event.key} if event.key else {})}, type=event.type)
        assert answer.status == 202, answer
        self.remember(answer.json["id"], event)
        return answer.json["id"]

    def submit_batch(self, events):
        answer = self.hookd.submit.call("POST", "/v1/events", b"\n".join(e.line for e in events),
                                        {"Content-Type": "application/x-ndjson"})
        assert answer.status == 202, answer
        for receipt, event in zip(answer.json["items"], events):
            self.remember(receipt["id"], event)

    # ---- The replay

    def replay_command(self, *options):
        self.write_ledger()
        return [REPLAY, "--log", self.log, "--ledger", self.ledger, *map(str, options)]

    def replay(self, *options):
        """Makes images and checks them."""
        self.work += 1
        work = f"{self.directory}/work{self.work}"
        os.mkdir(work)
        done = subprocess.run(self.replay_command("--work", work, *options), capture_output=True, text=True)
        assert done.returncode in (0, 1), done.stdout[-3000:] + done.stderr
        return Replayed(done.stdout)

    def make_image(self, directory, *options):
        """Makes one image; returns the ids of the events that surely and that perhaps are in it."""
        os.mkdir(directory)
        done = subprocess.run(self.replay_command("--make", directory, *options), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        promised = [line.split() for line in done.stdout.splitlines()]
        return [id for id, how in promised if how == "surely"], [id for id, how in promised if how == "perhaps"]

    def close(self):
        if self.hookd.process:
            self.hookd.kill()
        os.close(self.log_fd)


class Load:
    """Everything that hookd can be asked, from several threads at once, under one seed."""

    def __init__(self, recording, seed):
        self.recording, self.seed = recording, seed
        self.hookd = recording.hookd
        self.phase = 0
        self.unanswered = []
        self.revisions = {}
        self.failed_once = set()
        self.seen = set()
        self.receiver = Receiver(self.receive)

    def receive(self, request):
        endpoint = request.path[1:]
        if endpoint == "dying":
            self.recording.mark("may", request.id, endpoint, "dead")
            return 500
        if endpoint == "flaky" and request.id not in self.failed_once:
            self.failed_once.add(request.id)
            return 503
        self.recording.mark("may", request.id, endpoint, "delivered")
        return 204

    # ---- Endpoints

    def changed(self, name):
        self.revisions[name] = self.revisions.get(name, 0) + 1
        self.recording.mark("endpoint", name, str(self.revisions[name]))

    def add_endpoint(self, name, types, **members):
        self.hookd.admin.add_endpoint(name, self.receiver.url + name, types=types, **members)
        self.changed(name)

    def change(self, name, verb=None, **members):
        target = f"/v1/endpoints/{name}"
        answer = self.hookd.admin.post(f"{target}/{verb}") if verb else self.hookd.admin.patch(target, members)
        assert answer.status == 200, answer
        self.changed(name)

    def add_endpoints(self):
        self.add_endpoint("ok", ["ok", "both"])
        self.add_endpoint("flaky", ["flaky"], retry_schedule_s=[1, 1, 1])
        self.add_endpoint("dying", ["dying"], retry_schedule_s=[1])
        self.add_endpoint("still", ["still", "both"])
        self.change("still", "pause")

    # ---- What the threads do

    def some_event(self, rng, name, types=("ok", "flaky", "dying", "still", "both", "nobody")):
        size = rng.choice([0, 10, 200, 1500, 3900, 4072, 4081] if rng.random() < 0.95 else [9000, 40000])
        text = f"{name}:{rng.random()}:".encode()
        return raw_event(rng.choice(types), (text * (size // len(text) + 1))[:max(size, len(text))],
                         name if rng.random() < 0.7 else None)

    def submit_singly(self, rng, name, n):
        for i in range(n):
            event = self.some_event(rng, f"{name}-{i}")
            self.unanswered.append(event)
            self.recording.submit(event)
            self.unanswered.remove(event)
            if event.key and rng.random() < 0.1:
                self.recording.submit(event)  # a repeat is confirmed only by what is on disk

    def submit_batches(self, rng, name, n):
        for i in range(n):
            types = ["ok", "still", "nobody"]
            self.recording.submit_batch(
                [Envelope(rng.choice(types), f"{name}-{i}-{j}" * rng.choice([1, 30, 300]), f"{name}-{i}-{j}")
                 for j in range(rng.randint(1, 20))])

    def verb(self, name, id, states):
        """One named delivery; nothing else happens to it, because its endpoint is paused."""
        self.recording.mark("may", id, "still", states)
        client = self.hookd.admin if name == "purge" else self.hookd.manage
        body = {"ids": [f"{id}/still"]}
        if name == "purge":
            body["state"] = "pending,held,dead"
        answer = client.post(f"/v1/deliveries/{name}", body)
        assert answer.status == 200 and answer.json["changed"] == 1, (name, answer)
        self.recording.mark("must", id, "still", states)

    def use_verbs(self, rng, name, n):
        after = {"pending": [("hold", "held"), ("cancel", "dead"), ("purge", "gone")],
                 "held": [("release", "pending"), ("cancel", "dead"), ("purge", "gone")],
                 "dead": [("replay", "pending"), ("purge", "gone")], "gone": []}
        for i in range(n):
            id = self.recording.submit(self.some_event(rng, f"{name}-{i}", ["still"]))
            state = "pending"
            for _ in range(rng.randint(1, 6)):
                if after[state]:
                    verb, state = rng.choice(after[state])
                    self.verb(verb, id, state)

    def administer(self, rng, name, n):
        for i in range(n):
            time.sleep(0.02)
            self.change(rng.choice(["ok", "flaky", "still"]), description=f"{name}-{i}")
            if i % 10 == 3:
                self.add_endpoint(f"{name}-{i}", [f"none-{i}"])
            if i % 10 == 5:
                self.hookd.manage.post("/v1/deliveries/replay", {"endpoint": "dying", "state": "dead"})
            if i % 10 == 7:
                for verb, state in ("pause", "paused"), ("resume", "active"):
                    self.recording.mark("sending any")
                    assert self.hookd.admin.post(f"/v1/{verb}").status == 200
                    self.recording.mark("sending", state)

    def watch(self, rng, name, n):
        """Whoever is told that something was delivered may rely on it."""
        for _ in range(n):
            time.sleep(0.05)
            for delivery in self.hookd.manage.all("/v1/deliveries", endpoint="ok", state="delivered", limit=1000):
                if delivery["event"] not in self.seen:
                    self.seen.add(delivery["event"])
                    self.recording.mark("must", delivery["event"], "ok", "delivered")

    def let_leave(self, rng, name, n):
        """An endpoint that is removed with what it is owed."""
        self.add_endpoint("leaving", ["leaving"])
        self.change("leaving", "pause")
        ids = [self.recording.submit(raw_event("leaving", b"x" * 50)) for _ in range(n)]
        self.recording.mark("endpoint leaving 0")
        for id in ids:
            self.recording.mark("may", id, "leaving", "dead")
        assert self.hookd.manage.delete("/v1/endpoints/leaving").status == 204

    # ---- As a whole

    def run(self, *jobs, until_killed=False):
        """Runs jobs, (method, how much), each in a thread, to their end or to hookd's."""
        self.phase += 1
        errors = []

        def work(method, n, name):
            try:
                method(random.Random(f"{self.seed}-{name}"), name, n)
            except (OSError, http.client.HTTPException) as error:
                if not until_killed:
                    errors.append(error)
            except Exception as error:  # told by whoever waits for all of them
                errors.append(error)

        threads = [threading.Thread(target=work, args=(method, n, f"{self.phase}-{method.__name__}-{i}"))
                   for i, (method, n) in enumerate(jobs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        if until_killed:
            assert self.hookd.process.wait(20 * PATIENCE) == -signal.SIGKILL, self.hookd.log()
            self.hookd.process = None

    def submit_again(self):
        """What a producer does that got no answer. What has no key is not tried again."""
        for event in self.unanswered:
            if event.key:
                self.recording.submit(event)
        self.unanswered = []

    def back_up(self):
        """On a busy machine a copy may take so long that hookd gives it up."""
        for _ in range(20):
            self.recording.mark("backup-begin")
            answer = self.hookd.admin.post("/v1/backup")
            if answer.status != 507 or "the copy took so long" not in answer.json["detail"]:
                break
        assert answer.status == 200, answer
        self.recording.mark("backup", os.path.relpath(answer.json["file"], self.recording.directory))

    def backing_up(self, rng, name, n):
        self.back_up()

    def change_key(self, rng, name, n):
        for _ in range(n):
            self.recording.mark("keys 2")
            answer = self.hookd.admin.post("/v1/rekey")
            assert answer.status == 200, answer
            self.recording.mark("keys 1")

    def all_delivered(self):
        status = self.hookd.manage.get("/v1/deliveries", endpoint="ok", state="pending").json
        return status["items"] == [] and status["next"] is None

    def close(self):
        self.receiver.close()


def record_first_start(directory, kill_at=None):
    """A fresh data directory and one event. kill_at: hookd is killed when it has done so much, and started again."""
    recording = Recording(directory)
    event = raw_event("nobody", b"the first event", "first")
    if kill_at:
        recording.start_and_kill(kill_at, lambda: recording.submit(event))
    recording.start()
    recording.submit(event)
    recording.hookd.kill()
    return recording


def record_load(directory, seed, **variables):
    """A first start, work, a restart, a crash in the midst of work, more work, retention, an orderly stop."""
    recording = Recording(directory)
    load = Load(recording, seed)
    try:
        recording.start(**variables)
        load.add_endpoints()
        load.run((load.submit_singly, 25), (load.submit_singly, 25), (load.submit_batches, 4), (load.use_verbs, 10),
                 (load.administer, 12), (load.backing_up, 1))
        assert load.hookd.stop() == 0, load.hookd.log()
        recording.start(KILL=800, **variables)
        load.run((load.submit_singly, 10000), (load.submit_batches, 10000), (load.use_verbs, 10000), (load.watch, 10000),
                 until_killed=True)
        recording.start(**variables)
        load.submit_again()
        load.run((load.submit_singly, 20), (load.use_verbs, 6), (load.administer, 10), (load.watch, 8), (load.let_leave, 10),
                 (load.backing_up, 1))
        assert load.hookd.stop() == 0, load.hookd.log()
        recording.mark("retention")
        load.hookd.configure({**CONFIG, "retention": {"delivered": "1s", "dead": "2s"}})
        recording.start(**variables)
        load.run((load.submit_singly, 20), (load.use_verbs, 6), (load.watch, 30))
        wait_until(load.all_delivered, what="all is delivered")
        assert load.hookd.stop() == 0, load.hookd.log()
    finally:
        load.close()
    return recording


def record_rebuild(directory, kill_at=None):
    """Work; then the data file is damaged, and the next start makes it anew. Returns the recording, and how long it was before
    the damage. kill_at: the start is killed when it has done so much, and another one follows."""
    recording = Recording(directory)
    load = Load(recording, 1)
    try:
        recording.start()
        load.add_endpoints()
        load.run((load.submit_singly, 15), (load.submit_batches, 2), (load.use_verbs, 5))
        assert load.hookd.stop() == 0, load.hookd.log()
        before = recording.n_records
        recording.damage()
        if kill_at:
            recording.start_and_kill(kill_at)
        recording.start()
        recording.mark("mended")
        assert "the data file was made anew" in load.hookd.log()
        load.run((load.submit_singly, 1))
        load.hookd.kill()
    finally:
        load.close()
    return recording, before


def record_rekey(directory, kill_at=None, **variables):
    """hookd starts on what it knows, and its master key is changed; then again and again, under load. Returns the recording,
    and how long it was before that start. kill_at: hookd is killed when it has done so much, and goes on when started again."""
    recording = Recording(directory)
    load = Load(recording, 1)
    try:
        recording.start()
        load.add_endpoints()
        assert load.hookd.stop() == 0, load.hookd.log()
        before = recording.n_records
        if kill_at:
            recording.start_and_kill(kill_at, lambda: load.run((load.change_key, 1)), **variables)
            recording.start(**variables)
            wait_for_change(load.hookd)
            recording.mark("keys 1")
            load.run((load.submit_singly, 1))
        else:
            recording.start(**variables)
            load.run((load.change_key, 1))
            load.run((load.change_key, 3), (load.submit_singly, 5), (load.administer, 4))
        load.hookd.kill()
    finally:
        load.close()
    return recording, before
