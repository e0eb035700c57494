"""kill -9, again and again, under load (faults 1 and 27)."""

import contextlib
import random
import time

import pytest

from harness import LONG, check_data
from ledger import Footprint, Ledger, assert_holds, wait_for_footprint

ROUNDS = 40  # of one season; in LONG there are as many seasons as make a thousand
SEASONS = 25 if LONG else 1

# What receivers do: the name, its manner, and how long they are tried.
MANNERS = {
    "ok": {},
    "slow": {"delay_s": 1.0},
    "failing": {"fail": 0.3, "statuses": [500, 502]},
    "throttling": {"fail": 0.1, "statuses": [[503, 1], [429, 1], 429]},
}


def add_endpoints(ledger):
    for tenant in ["acme", "globex"]:
        for name, manner in MANNERS.items():
            types = ["order.*"] if name == "slow" else ["*"]
            ledger.add_endpoint(name, tenant, types, manner, retry_schedule_s=[1] * 50, max_in_flight=64)
        ledger.add_endpoint("closed", tenant, ["order.refunded"], closed=True, retry_schedule_s=[1])


def heal(ledger):
    """From now on every receiver takes what it gets."""
    for endpoint in ledger.endpoints.values():
        ledger.set_manner(endpoint)


def reckon(ledger, hookd, before):
    heal(ledger)
    ledger.settle(120)
    assert_holds(ledger.books(), (before, wait_for_footprint(hookd, before)), (ledger.needles(), ledger.places()))
    assert hookd.stop() == 0
    checked = check_data(hookd)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("seed", range(1, 1 + SEASONS))
def test_kill_9_of_hookd_again_and_again_loses_doubles_and_spoils_nothing(make_hookd, seed):
    hookd = make_hookd({"store": {"budget": "2G"}})
    chance = random.Random(seed)
    with Ledger(hookd, seed) as ledger:
        add_endpoints(ledger)
        before = Footprint.of(hookd)
        with ledger.producers(10):
            for _ in range(ROUNDS):
                time.sleep(chance.uniform(0, 0.5))
                ledger.kill()
                hookd.start()
        words = [told.word for submission in ledger.submissions for told in submission.answers]
        assert words.count("stored") > 10 * ROUNDS and words.count("unknown") > ROUNDS // 4, words
        reckon(ledger, hookd, before)


@pytest.mark.parametrize("seed", range(1, 1 + SEASONS))
def test_kill_9_of_senders_again_and_again_loses_doubles_and_spoils_nothing(make_hookd, seed):
    hookd = make_hookd({"store": {"budget": "2G"}})
    chance = random.Random(seed)
    with Ledger(hookd, seed) as ledger:
        add_endpoints(ledger)
        before = Footprint.of(hookd)
        with ledger.producers(10, pace_s=0.1):
            for _ in range(ROUNDS // 2):
                time.sleep(chance.uniform(0, 0.4))
                with contextlib.suppress(ProcessLookupError):
                    ledger.kill_process(chance.choice(hookd.some_senders()))
        assert {told.word for submission in ledger.submissions for told in submission.answers} == {"stored"}
        reckon(ledger, hookd, before)
