"""Real input: GitHub's own webhook bodies, to receivers that verify with the official Standard Webhooks library,
while everything that can be killed is killed. A ledger keeps what was acknowledged and what arrived."""

import base64
import hashlib
import http.client
import json
import os
import random
import subprocess
import threading
import time

import pytest

from harness import PATIENCE, closed_port, wait_until

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "octokit")
TENANTS = ["acme", "globex", "initech"]
BEHAVIOURS = ["healthy", "flaky", "slow"]
KILLS = int(os.environ.get("HOOKD_KILLS", "100"))


@pytest.fixture(scope="session")
def payloads():
    if not os.path.isdir(os.path.join(HERE, "node_modules")):
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=HERE, check=True, capture_output=True)
    lines = subprocess.run(["node", "payloads.mjs"], cwd=HERE, check=True, capture_output=True, text=True).stdout
    found = [(entry["type"], entry["payload"].encode()) for entry in map(json.loads, lines.splitlines())]
    assert len(found) > 250
    return found


class Ledger:
    """What was acknowledged, and what the receivers saw."""

    def __init__(self, hookd):
        self.hookd = hookd
        self.acknowledged = {}  # (tenant, key) -> id, type, hash of the payload
        self.arrived = []
        self.lock = threading.Lock()
        secrets = {f"/{tenant}/{behaviour}": "whsec_" + base64.b64encode(os.urandom(32)).decode()
                   for tenant in TENANTS for behaviour in BEHAVIOURS}
        self.receivers = subprocess.Popen(
            ["node", "receivers.mjs", json.dumps({path: {"secret": secret, "behaviour": path.split("/")[2]}
                                                  for path, secret in secrets.items()})],
            cwd=HERE, stdout=subprocess.PIPE, text=True)
        port = int(self.receivers.stdout.readline())
        threading.Thread(target=self.listen, daemon=True).start()
        for path, secret in secrets.items():
            _, tenant, behaviour = path.split("/")
            hookd.admin.add_endpoint(behaviour, f"http://127.0.0.1:{port}{path}", tenant=tenant, secret=secret,
                                     max_in_flight=64, retry_schedule_s=[1] * 50)
        for tenant in TENANTS:
            hookd.admin.add_endpoint("closed", f"http://127.0.0.1:{closed_port()}/", tenant=tenant, retry_schedule_s=[1])

    def listen(self):
        for line in self.receivers.stdout:
            self.arrived.append(json.loads(line))

    def submit(self, tenant, key, type, payload):
        """Submits until there is an answer that says stored, as a careful producer does."""
        while True:
            try:
                answer = self.hookd.submit.call(
                    "POST", "/v1/events", payload, {"Content-Type": "application/json", "Idempotency-Key": key},
                    type=type, tenant=tenant)
            except (OSError, http.client.HTTPException):
                time.sleep(0.02)
                continue
            if answer.status == 202:
                break
            assert answer.status == 503, answer
            time.sleep(0.02)
        with self.lock:
            receipt = answer.json
            known = self.acknowledged.setdefault(
                (tenant, key), (receipt["id"], type, hashlib.sha256(payload).hexdigest()))
            assert known[0] == receipt["id"], "one key, two events"

    def settle(self, timeout):
        """Waits until nothing is owed any more."""
        wait_until(lambda: self.hookd.manage.get("/v1/status").json["queue"]["pending"] == 0, timeout, "queue empty")

    def audit(self, crashes):
        """Every acknowledged event ended as it should, and nothing else arrived."""
        time.sleep(0.3)
        events = {id: (tenant, type, digest) for (tenant, _), (id, type, digest) in self.acknowledged.items()}
        assert len(events) == len(self.acknowledged), "two keys, one event"
        expected = {(f"/{tenant}/{behaviour}", id) for id, (tenant, _, _) in events.items() for behaviour in BEHAVIOURS}
        received = {}
        for entry in self.arrived:
            assert entry["verified"], entry
            tenant, type, digest = events[entry["id"]]
            assert (entry["type"], entry["sha256"]) == (type, digest), entry
            assert entry["path"].startswith(f"/{tenant}/")
            received.setdefault((entry["path"], entry["id"]), []).append(entry["status"])
        assert {at for at, statuses in received.items() if 200 in statuses} == expected
        repeats = sum(statuses.count(200) - 1 for statuses in received.values() if 200 in statuses)
        if crashes == 0:
            assert repeats == 0
        states = {}
        for delivery in self.hookd.manage.all("/v1/deliveries", limit=1000):
            if delivery["endpoint"] == "healthy":
                assert delivery["attempts"] == 1, delivery  # what was cut off by a crash cost nothing
            states.setdefault((delivery["endpoint"], delivery["state"], delivery["dead_reason"]), set()).add(delivery["event"])
        assert states == {**{(behaviour, "delivered", None): set(events) for behaviour in BEHAVIOURS},
                          ("closed", "dead", "exhausted"): set(events)}
        print(f"{len(events)} events, {len(self.arrived)} requests, {crashes} crashes, {repeats} repeats")

    def close(self):
        self.receivers.kill()
        self.receivers.wait()
        self.receivers.stdout.close()


@pytest.fixture
def ledger(make_hookd):
    hookd = make_hookd({"store": {"budget": "2G"}, "senders": {"count": "2"}})
    ledger = Ledger(hookd)
    yield ledger
    ledger.close()


def produce(ledger, work, pace=0):
    """Producers at work; returns when all is acknowledged."""
    work = iter(work)
    lock = threading.Lock()
    errors = []

    def run():
        while True:
            with lock:
                item = next(work, None)
            if item is None:
                return
            try:
                ledger.submit(*item)
            except BaseException as error:
                errors.append(error)
                raise
            time.sleep(pace)

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_every_github_payload_reaches_every_tenant_verified_and_unchanged(ledger, payloads):
    produce(ledger, ((tenant, f"{i}", type, payload) for i, (type, payload) in enumerate(payloads) for tenant in TENANTS))
    assert len(ledger.acknowledged) == 3 * len(payloads)
    ledger.settle(120)
    ledger.audit(crashes=0)


def endless(payloads, stop):
    i = 0
    while not stop.is_set():
        type, payload = payloads[i % len(payloads)]
        yield TENANTS[i % 3], f"{i}", type, payload
        i += 1


def under_load(ledger, payloads, damage):
    stop = threading.Event()
    producer = threading.Thread(target=produce, args=(ledger, endless(payloads, stop), 0.1))
    producer.start()
    try:
        for _ in range(KILLS):
            damage()
    finally:
        stop.set()
        producer.join()
    ledger.settle(180)
    ledger.audit(crashes=KILLS)


def test_killing_hookd_loses_nothing_that_was_acknowledged(ledger, payloads):
    chance = random.Random(4711)

    def kill():
        time.sleep(chance.uniform(0.01, 0.6) * PATIENCE)
        ledger.hookd.kill()
        ledger.hookd.start()

    under_load(ledger, payloads, kill)


def test_killing_senders_loses_nothing_and_costs_no_attempt(ledger, payloads):
    chance = random.Random(815)

    def kill():
        time.sleep(chance.uniform(0.01, 0.4) * PATIENCE)
        senders = wait_until(ledger.hookd.senders)
        try:
            os.kill(chance.choice(senders), 9)
        except ProcessLookupError:
            pass

    under_load(ledger, payloads, kill)
