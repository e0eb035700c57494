"""Signals (fault 19): stops in the middle of things, reloads in a storm, hookd frozen for a while."""

import contextlib
import os
import random
import signal
import threading
import time

import pytest

from harness import LONG, PATIENCE, raw_receiver, read_request, wait_until
from ledger import Footprint, Ledger, Watch, assert_holds, wait_for_footprint

STOP_S = 90  # TimeoutStopSec= of hookd.service
FROZEN_S = 60 if LONG else 4


def add_endpoints(ledger):
    ledger.add_endpoint("ok", max_in_flight=64)
    ledger.add_endpoint("slow", types=["order.*"], manner={"delay_s": 0.5}, max_in_flight=64, retry_schedule_s=[1] * 20)
    ledger.add_endpoint("failing", manner={"fail": 0.3}, max_in_flight=64, retry_schedule_s=[1] * 20)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_orderly_stop_in_the_midst_of_batches_and_deliveries_repeats_nothing(make_hookd, number):
    hookd = make_hookd()
    chance = random.Random(number)
    with Ledger(hookd, seed=int(number)) as ledger:
        add_endpoints(ledger)
        with ledger.producers(10):
            for _ in range(30 if LONG else 5):
                time.sleep(chance.uniform(0.1, 0.6))
                started = time.monotonic()
                hookd.process.send_signal(number)
                assert hookd.process.wait(STOP_S) == 0, hookd.log()
                assert time.monotonic() - started < 10 * PATIENCE
                hookd.start()
        told = {answer.why for submission in ledger.submissions for answer in submission.answers}
        ledger.settle()
        # No crash is written down: an attempt that a stop cut off and repeated is one too many.
        assert_holds(ledger.books())
    assert told <= {"202", "stopping", *(why for why in told if "Error" in why)}, told


def test_a_second_signal_cuts_short_and_loses_nothing(make_hookd):
    hookd = make_hookd()
    with Ledger(hookd) as ledger:
        add_endpoints(ledger)
        ledger.set_manner(ledger.endpoints["", "slow"], delay_s=20)
        for i in range(5):
            assert ledger.submit(ledger.make(key=True)) == "stored"
        wait_until(lambda: hookd.manage.get("/v1/status").json["sending"]["in_flight"])
        hookd.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert hookd.process.poll() is None
        started = time.monotonic()
        hookd.process.send_signal(signal.SIGTERM)
        assert hookd.process.wait(5 * PATIENCE) == 0 and time.monotonic() - started < 2 * PATIENCE
        ledger.crash()  # "attempts in flight are made again"
        ledger.set_manner(ledger.endpoints["", "slow"])
        hookd.start()
        ledger.settle()
        assert_holds(ledger.books())


def test_a_stop_waits_for_a_receiver_that_never_answers_no_longer_than_systemd_does(hookd):
    got = threading.Event()

    def serve(connection):
        read_request(connection)
        got.set()
        time.sleep(STOP_S)

    with raw_receiver(serve) as url:
        hookd.admin.add_endpoint("hangs", url, timeout_s=5, retry_schedule_s=[60])
        event = hookd.submit.submit("t", 1)["id"]
        assert got.wait(10 * PATIENCE)
        started = time.monotonic()
        assert hookd.stop(STOP_S) == 0
        assert time.monotonic() - started < 10 * PATIENCE
        hookd.start()
        assert hookd.manage.delivery(event, "hangs")["attempts"] == 1


def test_a_storm_of_reloads_disturbs_nobody(make_hookd):
    hookd = make_hookd()
    with Ledger(hookd) as ledger, Watch(hookd) as watch:
        add_endpoints(ledger)
        before = Footprint.of(hookd)
        most, started = 0, time.monotonic()
        with ledger.producers(10):
            for _ in range(5000 if LONG else 500):
                hookd.process.send_signal(signal.SIGHUP)
                time.sleep(0.005)
                most = max(most, len(hookd.senders()))
        hookd.reload()
        # Each reload brings new senders; what comes within a second is one reload.
        assert hookd.log().count("configuration read again") <= time.monotonic() - started + 2
        assert most <= 24, f"{most} senders at a time"  # two of each reload, for as long as their attempts take
        assert {answer.word for submission in ledger.submissions for answer in submission.answers} == {"stored"}
        ledger.settle()
        assert_holds(ledger.books(), (before, wait_for_footprint(hookd, before, 30)), watch=watch)


@pytest.mark.parametrize("number", [signal.SIGPIPE, signal.SIGCHLD, signal.SIGWINCH, signal.SIGURG])
def test_signals_that_mean_nothing_do_nothing(hookd, number):
    with Ledger(hookd) as ledger:
        add_endpoints(ledger)
        senders = hookd.confined_senders()  # before, a signal that they ignore would end them
        with ledger.producers(4):
            for _ in range(100):
                for pid in [hookd.process.pid, *senders]:
                    os.kill(pid, number)
                time.sleep(0.005)
        assert hookd.senders() == senders
        ledger.settle()
        assert_holds(ledger.books())


@pytest.mark.parametrize("who", ["hookd", "senders", "all"])
def test_who_is_frozen_for_a_while_goes_on_where_he_was(hookd, who):
    with Ledger(hookd) as ledger:
        add_endpoints(ledger)
        pids = {"hookd": [hookd.process.pid], "senders": hookd.senders(), "all": [hookd.process.pid, *hookd.senders()]}[who]
        with ledger.producers(10):
            time.sleep(0.5)
            ledger.crash()  # senders that are frozen are replaced after a while
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            time.sleep(FROZEN_S)
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
            ledger.crash()  # attempts may have run out of their time meanwhile
            time.sleep(0.5)
        ledger.settle()
        assert_holds(ledger.books())
