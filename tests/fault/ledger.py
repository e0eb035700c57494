"""The ledger: what was promised, what arrived, and whether the two agree.

A fault test puts hookd under load, does its worst to it, and then asks the ledger:

    with Ledger(hookd, seed=1) as ledger:
        ledger.add_endpoint("ok")
        ledger.add_endpoint("flaky", manner={"fail": 0.3, "statuses": [500, [503, 1]]}, retry_schedule_s=[1] * 50)
        with ledger.producers(10):
            ...                         # the fault; ledger.kill() or kill_process() for each kill -9
        ledger.settle()                 # nothing is owed any more
        assert_holds(ledger.books())

Producers record every answer as one of three words:

    stored      202: from now on hookd owes it
    refused     any other answer but 503 "unknown", or nobody there to be asked: it is not stored
    unknown     503 "unknown", or a connection that ended without an answer: perhaps stored

What a producer does about "unknown" is its reaction (see Ledger.produce); the default repeats with the same key.
Receivers live in a process of their own (receivers.py) and record every request with its bytes. A test that has
receivers of its own gives add_endpoint() a url, and tells of their requests with note().

Books are all of that at one moment, with hookd's own list of events and deliveries. Each invariant of the fault
tests is one function over them that returns violations in plain words:

    I1  lost        every stored event ends in a receiver's 2xx, in the queue, or with the dead letters
    I2  altered     bytes, headers and signature are exact
    I3  invented    nothing arrives that was not submitted, was refused, or is another's
    I4  doubled     one key, one event; one event, one id
    I5  overdone    no attempts beyond the policy, and none after a success, but one for each crash
    I6  grown       no descriptor, memory or thread more than before (two Footprints)
    I7  leaked      no payload and no secret in a log, a core, a list
    I8  hung        hookd answers its status in time, or ended (a Watch)

assert_holds() asks them all. test_ledger.py plants each fault and sees that it is found.
"""

import base64
import contextlib
import dataclasses
import hashlib
import hmac
import http.client
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time

from harness import PATIENCE, closed_port, wait_until

HERE = os.path.dirname(os.path.abspath(__file__))
EVENT_ID = re.compile(r"evt_[0-9A-HJKMNP-TV-Z]{26}")
CLOCK_SLACK_S = 300  # what the signature's specification lets a receiver tolerate
ARRIVAL_SLACK_S = 5 * PATIENCE  # what was sent before a crash a busy receiver may read so much later
TYPES = ["order.paid", "order.refunded", "user.added"]


# ---- What is written down ------------------------------------------------------------------------


@dataclasses.dataclass
class Endpoint:
    """Where events are owed to."""

    name: str
    tenant: str
    path: str  # of its receiver; what requests are recognized by
    types: list
    secrets: list  # that sign, any number of them; a rotation puts the new one first
    headers: dict
    attempts_max: int
    may_die: bool  # may its deliveries be dead letters without anybody having asked for that?

    @property
    def key(self):
        return self.tenant, self.name

    def wants(self, type):
        return any(pattern in ("*", type) or pattern.endswith(".*") and type.startswith(pattern[:-1])
                   for pattern in self.types)


@dataclasses.dataclass
class Told:
    """What a producer was told about a submission."""

    word: str = "unknown"  # as long as there is no answer
    id: str = None
    why: str = "under way"  # the code of the problem, or the error

    def __str__(self):
        return f"{self.word} ({self.why})"


@dataclasses.dataclass
class Submission:
    """An event as its producer means it, and what the producer was told."""

    tenant: str
    type: str
    key: str  # or None
    content_type: str
    form: str  # "envelope" or "raw"
    sent: bytes  # the raw body, or the line of a batch
    body: bytes  # what receivers are to get
    answers: list = dataclasses.field(default_factory=list)  # Told, one for each time that it was sent
    owed: frozenset = frozenset()  # keys of endpoints, when it was first sent

    @property
    def ids(self):
        return {told.id for told in self.answers if told.word == "stored"}

    @property
    def is_stored(self):
        return any(told.word == "stored" for told in self.answers)

    @property
    def is_refused(self):
        """Is it certain that it is not stored?"""
        return all(told.word == "refused" for told in self.answers)

    def __str__(self):
        return (f"{'/'.join(sorted(self.ids)) or 'an event'} ({self.tenant or 'default tenant'}, {self.type}, key {self.key}, "
                f"{len(self.body)} bytes, {', '.join(map(str, self.answers))})")


@dataclasses.dataclass
class Request:
    """A request as a receiver got it; status is its answer."""

    path: str
    headers: list  # of (name, value)
    body: bytes
    at: float  # monotonic
    answered: float
    wall: float
    status: int

    @classmethod
    def from_line(cls, line):
        fields = json.loads(line)
        fields["body"] = base64.b64decode(fields["body"])
        return cls(**fields)

    def values(self, name):
        return [value for given, value in self.headers if given.lower() == name]

    def header(self, name):
        values = self.values(name)
        return values[0] if len(values) == 1 else None

    @property
    def id(self):
        return self.header("webhook-id")

    @property
    def is_success(self):
        return 200 <= self.status < 300


@dataclasses.dataclass
class Books:
    """Everything that is known at one moment."""

    endpoints: dict  # (tenant, name) -> Endpoint
    submissions: list
    requests: list
    crashes: list  # monotonic times, in order; what was under way then, may be sent once more
    deliveries: list  # hookd's own, as GET /v1/deliveries shows them
    events: list  # as GET /v1/events shows them
    replays: dict  # (event, endpoint's name) -> how often it was started over, at most
    cancelled: set  # (event, endpoint's name)
    purged: set  # (event, endpoint's name): perhaps gone
    settled: bool = False  # nothing is to be pending any more

    def by_id(self):
        return {id: submission for submission in self.submissions for id in submission.ids}

    def by_body(self):
        found = {}
        for submission in self.submissions:
            found.setdefault(submission.body, []).append(submission)
        return found

    def by_path(self):
        return {endpoint.path: endpoint for endpoint in self.endpoints.values()}

    def arrivals(self):
        """(endpoint's key, event) -> requests in the order of their coming"""
        paths, found = self.by_path(), {}
        for request in sorted(self.requests, key=lambda r: r.at):
            if request.path in paths:
                found.setdefault((paths[request.path].key, request.id), []).append(request)
        return found


# ---- The invariants ------------------------------------------------------------------------------


def say(key):
    return "/".join(part for part in key if part)


def lost(books):
    """I1: every stored event ends in a receiver's 2xx, in the queue, or with the dead letters."""
    states = {((d["tenant"], d["endpoint"]), d["event"]): d for d in books.deliveries}
    listed = {event["id"] for event in books.events}
    arrivals = books.arrivals()
    found = []
    for submission in books.submissions:
        for id in submission.ids:
            gone = {endpoint for event, endpoint in books.purged if event == id}
            if id not in listed and not gone:
                found.append(f"lost: {submission} was stored, and hookd does not know the event")
                continue
            for key in submission.owed:
                delivery = states.get((key, id))
                fault = None
                if delivery:
                    fault = fate(books, delivery, arrivals.get((key, id), []))
                elif key[1] not in gone:
                    fault = "is owed, and hookd has no such delivery"
                if fault:
                    found.append(f"lost: {submission} to {say(key)} {fault}")
    return found


def fate(books, delivery, requests):
    """What is wrong with how a delivery ended; None: nothing."""
    endpoint = books.endpoints[delivery["tenant"], delivery["endpoint"]]
    state, reason = delivery["state"], delivery["dead_reason"]
    asked_for = (delivery["event"], endpoint.name) in books.cancelled
    if state == "delivered" and not any(request.is_success for request in requests):
        return f"is called delivered, and its receiver never answered 2xx ({len(requests)} requests)"
    if state == "pending" and books.settled:
        return f"is pending still, after {delivery['attempts']} attempts"
    if state == "dead" and reason == "exhausted" and delivery["attempts"] < endpoint.attempts_max:
        return f"died after {delivery['attempts']} of {endpoint.attempts_max} attempts"
    if state == "dead" and not asked_for and (reason != "exhausted" or not endpoint.may_die):
        return f"died ({reason}), though nobody asked for that"
    return None


def altered(books):
    """I2: what arrives has the bytes, the headers and the signature that it has to have."""
    by_id, by_body, by_path = books.by_id(), books.by_body(), books.by_path()
    found = []
    for request in books.requests:
        endpoint = by_path.get(request.path)
        if not endpoint:
            continue  # invented
        submission = by_id.get(request.id) or next(iter(by_body.get(request.body, [])), None)
        where = f"altered: {request.id} to {say(endpoint.key)}"
        expected = {"webhook-id": None, "idempotency-key": request.id, "content-length": str(len(request.body)),
                    **{name.lower(): value for name, value in endpoint.headers.items()}}
        if submission:
            expected |= {"webhook-event": submission.type, "content-type": submission.content_type}
            if request.body != submission.body:
                found.append(f"{where}: {difference(submission.body, request.body)}")
        for name, value in expected.items():
            given = request.values(name)
            if len(given) != 1 or value is not None and given[0] != value:
                found.append(f"{where}: expected one {name}{': ' + value if value else ''}, got {given}")
        if not EVENT_ID.fullmatch(request.id or ""):
            found.append(f"{where}: the webhook-id is no event's id")
        if not (request.header("user-agent") or "").startswith("hookd/"):
            found.append(f"{where}: User-Agent is {request.values('user-agent')}")
        fault = signature_fault(request, endpoint.secrets)
        if fault:
            found.append(f"{where}: {fault}")
    return found


def difference(expected, got):
    at = next((i for i, (a, b) in enumerate(zip(expected, got)) if a != b), min(len(expected), len(got)))
    return (f"the body differs from byte {at} on ({len(expected)} bytes expected, {len(got)} got): "
            f"expected {expected[at:at + 20]!r}, got {got[at:at + 20]!r}")


def signature_fault(request, secrets):
    """Standard Webhooks, v1, from the specification: a signature of each secret, nothing beside them."""
    timestamp = request.header("webhook-timestamp") or ""
    if not timestamp.isdecimal():
        return f"webhook-timestamp is {request.values('webhook-timestamp')}"
    if abs(int(timestamp) - request.wall) > CLOCK_SLACK_S:
        return f"webhook-timestamp is {int(timestamp) - request.wall:+.0f} s off"
    content = f"{request.id}.{timestamp}.".encode() + request.body
    given = (request.header("webhook-signature") or "").split(" ")
    expected = ["v1," + base64.b64encode(hmac.new(base64.b64decode(secret.removeprefix("whsec_")), content,
                                                  hashlib.sha256).digest()).decode() for secret in secrets]
    return None if given == expected else f"the signature is {given}, expected {expected}"


def invented(books):
    """I3: nothing arrives, and nothing is known to hookd, that was not submitted, or was refused, or is another's."""
    by_id, by_body, by_path = books.by_id(), books.by_body(), books.by_path()
    found = []
    for request in books.requests:
        endpoint = by_path.get(request.path)
        candidates = [by_id[request.id]] if request.id in by_id else by_body.get(request.body, [])
        possible = [submission for submission in candidates if not submission.is_refused]
        what = f"invented: {request.id} came to {request.path}"
        if not endpoint:
            found.append(f"{what}, where no endpoint is")
        elif not candidates:
            found.append(f"{what}, and nobody submitted it: {request.body[:80]!r}")
        elif not possible:
            found.append(f"{what}, and it was refused: {candidates[0]}")
        elif not any(endpoint.key in submission.owed for submission in possible):
            found.append(f"{what}, and is owed to {sorted(say(key) for key in possible[0].owed)} only")
    keys = {(submission.tenant, submission.key): submission for submission in books.submissions if submission.key}
    for event in books.events:
        submission = by_id.get(event["id"]) or keys.get((event["tenant"], event["idempotency_key"]))
        if event["id"] in by_id:
            continue
        if submission and submission.is_refused:
            found.append(f"invented: hookd keeps {event['id']}, which was refused: {submission}")
        elif not submission and (event["idempotency_key"] or not unanswered(books, event)):
            found.append(f"invented: hookd keeps {event['id']}, which nobody submitted")
    return found


def unanswered(books, event):
    """Could an event without a key be one whose producer got no answer?"""
    return any(not s.key and not s.is_stored and not s.is_refused and len(s.body) == event["payload_bytes"] and
               (s.tenant, s.type) == (event["tenant"], event["type"]) for s in books.submissions)


def doubled(books):
    """I4: one key refers to one event, and one event to one submission."""
    found, owners, arrived, keys = [], {}, {}, {}
    for submission in books.submissions:
        if len(submission.ids) > (1 if submission.key else len(submission.answers)):
            found.append(f"doubled: {submission}: one key, events {sorted(submission.ids)}")
        for id in submission.ids:
            if owners.setdefault(id, submission) is not submission:
                found.append(f"doubled: {id} was the answer to {submission} and to {owners[id]}")
    by_body = books.by_body()
    for request in books.requests:
        arrived.setdefault(request.body, set()).add(request.id)
    for body, ids in arrived.items():
        submission, *others = by_body.get(body, [None])
        if submission and not others and submission.key and len(ids | submission.ids) > 1:
            found.append(f"doubled: {submission} arrived as {sorted(str(id) for id in ids)}")
    for event in books.events:
        if event["idempotency_key"]:
            keys.setdefault((event["tenant"], event["idempotency_key"]), set()).add(event["id"])
    found += [f"doubled: hookd keeps {sorted(ids)} under the key {key[1]} of {key[0] or 'the default tenant'}"
              for key, ids in keys.items() if len(ids) > 1]
    return found


def overdone(books):
    """I5: attempts never exceed the policy by more than one per crash; after a success there is none, unless a crash
    lies between."""
    found = []
    for (key, id), requests in books.arrivals().items():
        endpoint = books.endpoints[key]
        replays = books.replays.get((id, endpoint.name), 0)
        crashes = crashes_between(books.crashes, requests[0], requests[-1])
        allowed = endpoint.attempts_max * (1 + replays) + len(crashes)
        if len(requests) > allowed:
            found.append(f"overdone: {id} to {say(key)}: {len(requests)} requests, {allowed} allowed "
                         f"({endpoint.attempts_max} attempts, {replays} replays, {len(crashes)} crashes)")
        again = unexcused_repeats(books.crashes, requests)
        if again > replays:
            found.append(f"overdone: {id} to {say(key)} came again {again} times after its receiver's 2xx, with no crash "
                         f"between and {replays} replays")
    for delivery in books.deliveries:
        endpoint = books.endpoints[delivery["tenant"], delivery["endpoint"]]
        if delivery["attempts"] > endpoint.attempts_max:
            found.append(f"overdone: hookd counts {delivery['attempts']} attempts for {delivery['id']}, "
                         f"{endpoint.attempts_max} are allowed")
    return found


def crashes_between(crashes, before, after):
    return [crash for crash in crashes if before.at <= crash + ARRIVAL_SLACK_S and crash <= after.at]


def unexcused_repeats(crashes, requests):
    """How many requests follow a success without a crash of their own between."""
    again, used = 0, set()
    for before, after in zip(requests, requests[1:]):
        if before.is_success:
            free = [crash for crash in crashes_between(crashes, before, after) if crash not in used]
            used.update(free[:1])
            again += not free
    return again


def grown(before, after, memory=32 << 20, descriptors=0, threads=0):
    """I6: two Footprints; how much more is allowed."""
    found = []
    for what, was, now, more in [("descriptors", before.descriptors, after.descriptors, descriptors),
                                 ("threads", before.threads, after.threads, threads),
                                 ("processes", before.processes, after.processes, 0),
                                 ("bytes of memory", before.memory, after.memory, memory)]:
        if now > was + more:
            extra = f": {after.names - before.names}" if what == "descriptors" else ""
            found.append(f"grown: {was} {what} before, {now} after{extra}")
    return found


def leaked(needles, places):
    """I7: needles is {name: bytes that must be nowhere}, places is {name: bytes to be searched}."""
    return [f"leaked: {what} is in {where}" for where, content in places.items()
            for what, needle in needles.items() if needle in content]


def hung(watch):
    """I8: a Watch; hookd answered its status within the bound, or ended."""
    return [f"hung: {what}" for what in watch.late] + ([] if watch.n else ["hung: GET /v1/status was never answered"])


def violations(books):
    """I1 to I5."""
    return [text for check in (lost, altered, invented, doubled, overdone) for text in check(books)]


def assert_holds(books, footprints=None, secrets=None, watch=None):
    """I1 to I5, and what else is given: (before, after) for I6, (needles, places) for I7, a Watch for I8."""
    found = violations(books)
    if footprints:
        found += grown(*footprints)
    if secrets:
        found += leaked(*secrets)
    if watch:
        found += hung(watch)
    assert not found, f"{len(found)} violations:\n" + "\n".join(found[:20])
    assert any(submission.is_stored for submission in books.submissions), "nothing was stored: this proves nothing"


# ---- I6 and I8: looking at processes ---------------------------------------------------------------


class Footprint:
    """What a process and its children hold. Connections of a sender to receivers, which it keeps for a while, are
    not counted."""

    def __init__(self, pid):
        self.descriptors = self.threads = self.memory = self.processes = 0
        self.names = set()
        for process in [pid, *children(pid)]:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                self.add(process, is_sender=process != pid)

    @classmethod
    def of(cls, hookd):
        """That of a hookd that has started: its senders have opened what they hold all the time."""
        hookd.confined_senders()
        return cls(hookd.process.pid)

    def add(self, pid, is_sender):
        names = []
        tcp = tcp_sockets(pid) if is_sender else set()
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                names.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
        names = [name for name in names if name not in tcp]
        with open(f"/proc/{pid}/status") as file:
            status = dict(line.split(":", 1) for line in file)
        self.processes += 1
        self.descriptors += len(names)
        self.names |= {f"{name} of {'a sender' if is_sender else 'hookd'}" for name in names}
        self.threads += int(status["Threads"])
        self.memory += 1024 * (int(status["RssAnon"].split()[0]))


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(child) for child in file.read().split()]


def tcp_sockets(pid):
    found = set()
    for table in ["tcp", "tcp6"]:
        with contextlib.suppress(FileNotFoundError), open(f"/proc/{pid}/net/{table}") as file:
            found |= {f"socket:[{line.split()[9]}]" for line in list(file)[1:]}
    return found


def wait_for_footprint(hookd, before, timeout=10, **allowed):
    """The footprint once it is no larger than before, else the last one; for I6, after a fault has ended."""
    with contextlib.suppress(AssertionError):
        wait_until(lambda: not grown(before, Footprint(hookd.process.pid), **allowed), timeout)
    return Footprint(hookd.process.pid)


class Watch:
    """Asks for hookd's status all the time. An answer that does not come is excused only by a process that has ended."""

    def __init__(self, hookd, bound_s=1.0, interval_s=0.05):
        self.hookd, self.bound_s, self.interval_s = hookd, bound_s * PATIENCE, interval_s
        self.late = []
        self.slowest_s = 0
        self.n = 0  # answers that counted
        self.ready = None  # the process that has answered before
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join()

    def run(self):
        while not self.stopping.wait(self.interval_s):
            self.ask()

    def ask(self):
        process = self.hookd.process
        started, fault = time.monotonic(), None
        try:
            answer = self.hookd.manage.get("/v1/status")
            if answer.status == 200:
                self.ready = process
            else:
                fault = f"was answered {answer}"
        except (OSError, http.client.HTTPException) as error:
            fault = f"had no answer: {error!r}"
        took_s = time.monotonic() - started
        if took_s > self.bound_s:
            fault = f"took {took_s:.2f} s, {self.bound_s:g} s allowed"
        if process is None or process is not self.ready:
            return  # not there yet; whoever started it waits for that
        self.n += 1
        self.slowest_s = max(self.slowest_s, took_s)
        if fault and not self.ends(process):
            self.late.append(f"GET /v1/status {fault}")

    def ends(self, process):
        """Has it ended, or does it within the bound?"""
        deadline = time.monotonic() + self.bound_s
        while process is self.hookd.process and process is not None and process.poll() is None:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True


# ---- Keeping the ledger ----------------------------------------------------------------------------


class Receivers:
    """A process of receivers, see receivers.py; several ledgers may use it one after another."""

    def __init__(self, path):
        self.path, self.begin = path, 0
        self.process = subprocess.Popen([sys.executable, os.path.join(HERE, "receivers.py"), path],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}"

    def set_manner(self, path, **manner):
        """How a receiver answers from now on."""
        self.process.stdin.write(json.dumps({"path": path, **manner}) + "\n")
        self.process.stdin.flush()
        self.process.stdout.readline()

    def forget(self):
        """What came until now is no longer shown."""
        self.begin = os.path.getsize(self.path)

    def requests(self):
        with open(self.path, "rb") as file:
            file.seek(self.begin)
            return [Request.from_line(line) for line in file if line.endswith(b"\n")]

    def close(self):
        self.process.kill()
        self.process.communicate()


class Ledger:
    """Books that are being kept, on a hookd. Its methods may be called from any thread. Without receivers it starts
    some of its own."""

    def __init__(self, hookd, seed=1, receivers=None):
        self.hookd = hookd
        self.chance = random.Random(seed)
        self.lock = threading.Lock()
        self.canary = f"Zaunkoenig{random.getrandbits(48):012x}"  # begins every payload
        self.n = 0
        self.endpoints, self.submissions, self.noted = {}, [], []
        self.crashes, self.replays, self.cancelled, self.purged = [], {}, set(), set()
        self.own = None if receivers else Receivers(os.path.join(hookd.directory, f"requests-{seed}"))
        self.receivers = receivers or self.own

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self.own:
            self.own.close()

    # ---- Endpoints and receivers

    def set_manner(self, endpoint, **manner):
        self.receivers.set_manner(endpoint.path, **manner)

    def add_endpoint(self, name, tenant="", types=("*",), manner=None, closed=False, url=None, path=None,
                     may_die=False, headers=None, **members):
        """An endpoint with a receiver of the ledger's; closed: nobody listens; url and path: elsewhere, and its
        requests come by note(). It has as long as can be: a receiver that says 2xx when hookd waits no longer, because
        the machine is busy, gets the event again, and nothing is wrong with that."""
        path = path or f"/{tenant or 'default'}/{name}"
        if closed:
            url = f"http://127.0.0.1:{closed_port()}{path}"
        elif not url:
            self.receivers.set_manner(path, **(manner or {}))
            url = self.receivers.url + path
        members.setdefault("timeout_s", 60)
        members.setdefault("secret", "whsec_" + base64.b64encode(self.chance.randbytes(32)).decode())
        shown = self.hookd.admin.add_endpoint(name, url, tenant=tenant, types=list(types), headers=headers or {}, **members)
        endpoint = Endpoint(name, tenant, path, list(types), [members["secret"]], headers or {},
                            len(shown["retry_schedule_s"]) + 1, may_die or closed)
        self.endpoints[endpoint.key] = endpoint
        return endpoint

    def note(self, request):
        """A request that came to a receiver which is not the ledger's."""
        with self.lock:
            self.noted.append(request)

    def requests(self):
        with self.lock:
            return self.receivers.requests() + self.noted

    # ---- Producers

    def make(self, tenant="", type="order.paid", key=None, size=100, form="raw", content_type="text/plain", payload=None):
        """A submission; without a payload it gets one that nobody else has. key: True makes one."""
        with self.lock:
            self.n += 1
            text = f"{self.canary}-{self.n}-"
            key = f"k-{self.n}" if key is True else key
            filling = self.chance.randbytes(max(0, size - len(text)))
        if payload:
            return Submission(tenant, type, key, content_type, "raw", payload, payload)
        if form == "envelope":
            data = f'{{"text": "{text}{filling.hex()[:len(filling)]}", "total":1.10, "\\u00e9":"é"}}'
            timestamp = "2026-11-22T01:58:12.402Z"
            sent = {"type": type, "tenant": tenant, "timestamp": timestamp, **({"idempotency_key": key} if key else {})}
            return Submission(tenant, type, key, "application/json", form,
                              f'{json.dumps(sent)[:-1]}, "data": {data}}}'.encode(),
                              f'{{"type":"{type}","timestamp":"{timestamp}","data":{data}}}'.encode())
        return Submission(tenant, type, key, content_type, form, text.encode() + filling, text.encode() + filling)

    def invent(self, chance):
        """A submission as they come in life: of any tenant, type and size, most with a key."""
        tenants = sorted({endpoint.tenant for endpoint in self.endpoints.values()})
        low, high = chance.choices([(60, 500), (4000, 9000), (64 << 10, 80 << 10)], [80, 15, 5])[0]
        return self.make(chance.choice(tenants), chance.choice(TYPES), chance.random() < 0.8 or None,
                         chance.randint(low, high), chance.choice(["raw", "envelope"]))

    def submit(self, *submissions):
        """Sends one submission, or several envelopes as a batch, and writes down the answer; returns its word."""
        told = [Told() for _ in submissions]
        with self.lock:
            for submission, answer in zip(submissions, told):
                if not submission.answers:
                    submission.owed = frozenset(key for key, endpoint in self.endpoints.items()
                                                if endpoint.tenant == submission.tenant and endpoint.wants(submission.type))
                    self.submissions.append(submission)
                submission.answers.append(answer)
        word, ids, why = self.send(submissions)
        with self.lock:
            for i, answer in enumerate(told):
                answer.word, answer.id, answer.why = word, ids[i] if ids else None, why
        return word

    def send(self, submissions):
        first = submissions[0]
        headers = {"Content-Type": first.content_type}
        query = {}
        if len(submissions) > 1:
            headers["Content-Type"] = "application/x-ndjson"
        elif first.form == "raw":
            query = {"type": first.type, "tenant": first.tenant}
            if first.key:
                headers["Idempotency-Key"] = first.key
        body = b"\n".join(submission.sent for submission in submissions)
        try:
            answer = self.hookd.submit.call("POST", "/v1/events", body, headers, **query)
        except (ConnectionRefusedError, FileNotFoundError) as error:
            return "refused", None, repr(error)  # nobody was there
        except (OSError, http.client.HTTPException) as error:
            return "unknown", None, repr(error)
        if answer.status == 202:
            receipts = answer.json["items"] if len(submissions) > 1 else [answer.json]
            assert len(receipts) == len(submissions), answer
            return "stored", [receipt["id"] for receipt in receipts], "202"
        is_unknown = answer.status == 503 and answer.json["code"] == "unknown"
        return ("unknown" if is_unknown else "refused"), None, answer.json["code"]

    def insist(self, submissions, stop=lambda: False):
        """The reaction of a careful producer: with a key it repeats, whatever the reason, until it is stored; without
        one it does not dare to."""
        while any(submission.key for submission in submissions) and not stop():
            time.sleep(0.02)
            if self.submit(*[submission for submission in submissions if submission.key]) == "stored":
                return

    def produce(self, chance, stop, pace_s, react):
        """What one producer does until it is told to stop; react(submissions, stop) is called unless all is stored."""
        while not stop():
            submissions = [self.invent(chance)]
            if chance.random() < 0.2:
                more = [self.invent(chance) for _ in range(chance.randint(2, 8))]
                submissions = [s for s in [*submissions, *more] if s.form == "envelope"] or submissions
            word = self.submit(*submissions)
            if word != "stored" and (word == "unknown" or chance.random() < 0.5):
                react(submissions, stop)
            time.sleep(chance.uniform(0, 2 * pace_s))

    @contextlib.contextmanager
    def producers(self, n=10, pace_s=0.02, react=None):
        """So many producers at work."""
        stopping, errors = threading.Event(), []

        def run(chance):
            try:
                self.produce(chance, stopping.is_set, pace_s, react or self.insist)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=run, args=(random.Random(self.chance.random()),), daemon=True) for _ in range(n)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stopping.set()
            for thread in threads:
                thread.join(60 * PATIENCE)
        assert not errors, errors
        assert not any(thread.is_alive() for thread in threads), "a producer never got an answer"

    # ---- What a test does to hookd

    def crash(self):
        """Just now hookd or a sender went down hard, and what it had under way has not been made again yet."""
        with self.lock:
            self.crashes.append(time.monotonic())

    def kill(self):
        """kill -9, written down."""
        self.hookd.kill()
        self.crash()

    def kill_process(self, pid, number=signal.SIGKILL):
        """The same for one that is replaced by itself, perhaps before there is time to write anything down."""
        self.crash()
        os.kill(pid, number)

    def verb(self, verb, pairs, **members):
        """A replay, cancel or purge of (event, endpoint's name); written down before, for its answer may be lost."""
        with self.lock:
            for pair in pairs:
                if verb == "replay":
                    self.replays[pair] = self.replays.get(pair, 0) + 1
                elif verb == "cancel":
                    self.cancelled.add(pair)
                elif verb == "purge":
                    self.purged.add(pair)
        return self.hookd.admin.post(f"/v1/deliveries/{verb}",
                                     {"ids": [f"{event}/{endpoint}" for event, endpoint in pairs], **members})

    # ---- Reckoning

    def settle(self, timeout=60):
        """Waits until nothing is owed and nothing under way."""
        def is_idle():
            status = self.hookd.manage.get("/v1/status").json
            return status["queue"]["pending"] == 0 and status["sending"]["in_flight"] == 0
        wait_until(is_idle, timeout, "nothing is owed any more")

    def books(self, settled=True):
        deliveries = self.hookd.manage.all("/v1/deliveries", limit=1000)
        events = self.hookd.manage.all("/v1/events", limit=1000)
        requests = self.requests()
        with self.lock:
            return Books(dict(self.endpoints), list(self.submissions), requests, list(self.crashes), deliveries, events,
                         dict(self.replays), set(self.cancelled), set(self.purged), settled)

    def needles(self):
        """I7: what must be nowhere."""
        found = {"a payload": self.canary.encode()}
        for endpoint in self.endpoints.values():
            for secret in endpoint.secrets:
                found[f"the secret of {say(endpoint.key)}"] = secret.removeprefix("whsec_").encode()
                found[f"the key bytes of {say(endpoint.key)}"] = base64.b64decode(secret.removeprefix("whsec_"))
            for name, value in endpoint.headers.items():
                found[f"the header {name} of {say(endpoint.key)}"] = value.encode()
        return found

    def places(self):
        """I7: where to look: log, cores, lists, arguments and environment of every process."""
        places = {"the log": self.hookd.log().encode()}
        for target in ["/v1/deliveries", "/v1/events", "/v1/endpoints", "/v1/status", "/v1/backlog", "/metrics"]:
            places[target] = self.hookd.admin.get(target).body
        pid = self.hookd.process.pid
        for process in [pid, *children(pid)]:
            for file in ["cmdline", "environ"]:
                with open(f"/proc/{process}/{file}", "rb") as content:
                    places[f"{file} of {process}"] = content.read()
        for name in os.listdir(self.hookd.directory):
            if name.startswith("core"):
                with open(os.path.join(self.hookd.directory, name), "rb") as content:
                    places[name] = content.read()
        return places
