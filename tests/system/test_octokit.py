"""Real input: GitHub's own webhook bodies, to receivers that verify with the official Standard Webhooks library,
while everything that can be killed is killed. The ledger (tests/fault/ledger.py) keeps what was promised and what
arrived."""

import base64
import concurrent.futures
import contextlib
import json
import os
import random
import subprocess
import threading
import time

import pytest

from harness import PATIENCE, wait_until
from ledger import Ledger, Request, assert_holds

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


class OfficialReceivers:
    """Node's http server and the official library; to a ledger they are receivers as its own are."""

    def __init__(self, directory):
        self.secrets = {f"/{tenant}/{behaviour}": "whsec_" + base64.b64encode(os.urandom(32)).decode()
                        for tenant in TENANTS for behaviour in BEHAVIOURS}
        settings = {path: {"secret": secret, "behaviour": path.split("/")[2]} for path, secret in self.secrets.items()}
        self.path = os.path.join(directory, "official")
        with open(self.path, "w") as output:
            self.process = subprocess.Popen(["node", "receivers.mjs", json.dumps(settings)], cwd=HERE, stdout=output)
        self.url = f"http://127.0.0.1:{int(wait_until(lambda: open(self.path).readline()))}"

    def requests(self):
        with open(self.path) as file:
            return [Request.from_line(line) for line in list(file)[1:] if line.endswith("\n")]

    def close(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture
def ledger(make_hookd):
    hookd = make_hookd({"store": {"budget": "2G"}, "senders": {"count": "2"}})
    receivers = OfficialReceivers(hookd.directory)
    ledger = Ledger(hookd, receivers=receivers)
    for path, secret in receivers.secrets.items():
        _, tenant, behaviour = path.split("/")
        ledger.add_endpoint(behaviour, tenant, url=receivers.url + path, path=path, secret=secret, max_in_flight=64,
                            retry_schedule_s=[1] * 50)
    for tenant in TENANTS:
        ledger.add_endpoint("closed", tenant, closed=True, retry_schedule_s=[1])
    yield ledger
    receivers.close()


def assert_charged_for_deaths_alone(ledger, delivery):
    """An attempt that was all alone in a sender when that died, after two senders had died with it: that is its fault."""
    history = ledger.hookd.manage.delivery(delivery["event"], "healthy")["history"]
    failed = [attempt for attempt in history if attempt["result"] != "ok"]
    assert failed and all("the sender process died" in attempt["message"] for attempt in failed), history
    assert len(ledger.crashes) >= 3 * len(failed)


def audit(ledger):
    """Everything was stored, verified by the official library, and ended as it should."""
    books = ledger.books()
    assert_holds(books)
    assert all(submission.is_stored for submission in books.submissions)
    assert 400 not in {request.status for request in books.requests}
    for delivery in books.deliveries:
        if delivery["endpoint"] == "healthy" and delivery["attempts"] > 1:
            assert_charged_for_deaths_alone(ledger, delivery)  # what else a crash cut off cost nothing
    ends = {(delivery["endpoint"], delivery["state"], delivery["dead_reason"]) for delivery in books.deliveries}
    assert ends == {*((behaviour, "delivered", None) for behaviour in BEHAVIOURS), ("closed", "dead", "exhausted")}
    print(f"{len(books.events)} events, {len(books.requests)} requests, {len(books.crashes)} crashes")


def produce(ledger, submissions, pace=0, is_in_vain=lambda: False):
    """Producers at work; returns when all is stored, or that is in vain."""
    submissions = iter(submissions)
    lock, over = threading.Lock(), threading.Event()

    def run():
        while not over.is_set():
            with lock:
                submission = next(submissions, None)
            if submission is None:
                return
            if ledger.submit(submission) != "stored":
                ledger.insist([submission], lambda: over.is_set() or is_in_vain())
            time.sleep(pace)

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        try:
            for worker in [pool.submit(run) for _ in range(6)]:
                worker.result()
        finally:
            over.set()


def test_every_github_payload_reaches_every_tenant_verified_and_unchanged(ledger, payloads):
    produce(ledger, (ledger.make(tenant, type, True, content_type="application/json", payload=payload)
                     for type, payload in payloads for tenant in TENANTS))
    assert len(ledger.submissions) == 3 * len(payloads)
    ledger.settle(120)
    audit(ledger)


def endless(ledger, payloads, stop):
    i = 0
    while not stop.is_set():
        type, payload = payloads[i % len(payloads)]
        yield ledger.make(TENANTS[i % 3], type, True, content_type="application/json", payload=payload)
        i += 1


def under_load(ledger, payloads, damage):
    stop, failed = threading.Event(), threading.Event()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        producing = pool.submit(produce, ledger, endless(ledger, payloads, stop), 0.1, failed.is_set)
        try:
            for _ in range(KILLS):
                damage()
            stop.set()
            producing.result()
        finally:
            stop.set()
            failed.set()
    ledger.settle(180)
    audit(ledger)


def test_killing_hookd_loses_nothing_that_was_acknowledged(ledger, payloads):
    chance = random.Random(4711)

    def kill():
        time.sleep(chance.uniform(0.01, 0.6) * PATIENCE)
        ledger.kill()
        ledger.hookd.start()

    under_load(ledger, payloads, kill)


def test_killing_senders_loses_nothing_and_costs_no_attempt(ledger, payloads):
    chance = random.Random(815)

    def kill():
        time.sleep(chance.uniform(0.01, 0.4) * PATIENCE)
        with contextlib.suppress(ProcessLookupError):
            ledger.kill_process(chance.choice(ledger.hookd.some_senders()))

    under_load(ledger, payloads, kill)
