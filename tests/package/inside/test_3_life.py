"""systemd starts, stops, watches and restarts hookd, and nothing is lost by it."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from harness import PATIENCE, injected, wait_until
from ledger import assert_holds
from machine import (METRICS, RELOADED, SOCKETS, STARTED, STORE, TEST, UNITS, Cursor, drop_in, is_active, metrics,
                     metrics_enabled, refused, run, show, systemctl)

QUICK_WATCHDOG = "[Service]\nWatchdogSec=2\nTimeoutAbortSec=2\n"


# ---- Start and stop ----------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["submit", "manage", "admin"])
def test_the_first_connection_starts_hookd(hookd, role):
    systemctl("stop", "hookd.service")
    assert all(is_active(unit) for unit in SOCKETS) and not is_active("hookd.service")
    assert getattr(hookd, role).get("/v1/health").json["accepting"] is True
    assert is_active("hookd.service")


def test_a_stop_of_everything_refuses_producers_and_a_start_of_the_service_brings_everything_back(hookd):
    id = hookd.submit.submit("t", 1)["id"]
    hookd.stop()
    with pytest.raises(ConnectionRefusedError):
        hookd.submit.get("/v1/health")
    assert not any(is_active(unit) for unit in UNITS)
    systemctl("start", "hookd.service")
    assert all(is_active(unit) for unit in UNITS)
    assert hookd.submit.get(f"/v1/events/{id}").status == 200


def test_who_reads_metrics_starts_nothing_that_was_stopped_and_reads_again_after_a_start(hookd):
    """Prometheus comes every few seconds."""
    with metrics_enabled():
        assert metrics()[0] == 200
        hookd.stop()
        with pytest.raises(ConnectionRefusedError):
            metrics()
        assert not any(is_active(unit) for unit in [*UNITS, METRICS])
        systemctl("start", "hookd.service")
        assert metrics()[0] == 200


def test_a_stop_is_an_orderly_one(hookd):
    cursor = Cursor()
    systemctl("stop", "hookd.service")
    assert show("hookd.service", "Result") == "success" and show("hookd.service", "ExecMainStatus") == "0"
    assert any("hookd stopped" in text for text in cursor.messages("_SYSTEMD_UNIT=hookd.service"))
    assert run("hookd", "--check-data", hookd.data).stdout.endswith(": no faults\n")


def test_a_restart_refuses_no_producer_and_loses_nothing(hookd):
    with hookd.ledger(seed=31) as ledger:
        ledger.add_endpoint("e", max_in_flight=64)
        with ledger.producers(8, pace_s=0):
            for _ in range(3):
                time.sleep(0.5)
                before = hookd.pid
                hookd.restart()
                assert hookd.pid != before
            time.sleep(0.5)
            wait_until(lambda: sum(submission.is_stored for submission in list(ledger.submissions)) > 100)
        assert refused(ledger) == []
        ledger.settle()
        assert_holds(ledger.books())


def test_a_start_waits_until_hookd_is_ready(hookd):
    """A producer that systemd starts after hookd.service finds it answering, not merely waiting."""
    hookd.restart()
    started = time.monotonic()
    assert hookd.submit.get("/v1/health").status == 200
    assert time.monotonic() - started < 0.5 * PATIENCE
    assert "senders" in wait_until(lambda: show("hookd.service", "StatusText"), 20, "hookd tells how it is")


# ---- Reload ------------------------------------------------------------------------------------


def test_a_reload_brings_the_new_configuration_into_force(hookd):
    pid = hookd.pid
    assert hookd.submit.post("/v1/events", {"type": "t", "data": "x" * 3000}).status == 202
    hookd.configure({"intake": {"max_payload": "2K"}})
    hookd.reload()
    assert hookd.submit.post("/v1/events", {"type": "t", "data": "x" * 3000}).status == 413
    assert hookd.pid == pid and is_active("hookd.service")


def test_a_reload_of_a_mistake_fails_says_which_and_changes_nothing(hookd):
    pid, cursor = hookd.pid, Cursor()
    hookd.configure({"intake": {"max_payload": "2K", "max_playload": "1K"}})
    done = systemctl("reload", "hookd.service", check=False)
    assert done.returncode != 0
    cursor.wait_for("max_playload", "_SYSTEMD_UNIT=hookd.service")
    assert hookd.submit.post("/v1/events", {"type": "t", "data": "x" * 3000}).status == 202
    assert hookd.pid == pid and is_active("hookd.service")
    assert cursor.read(f"MESSAGE_ID={RELOADED}") == []


def test_a_mistake_at_a_start_is_told_and_its_repair_is_enough(hookd):
    cursor = Cursor()
    hookd.configure({"intake": {"max_playload": "1K"}})
    assert systemctl("restart", "hookd.service", check=False).returncode != 0
    cursor.wait_for("max_playload", "_SYSTEMD_UNIT=hookd.service")
    hookd.configure()
    systemctl("start", "hookd.service")
    assert hookd.submit.get("/v1/health").status == 200


# ---- Watchdog ----------------------------------------------------------------------------------


@contextlib.contextmanager
def standing_still(thread):
    """One thread stopped, as a thread that hangs; SIGSTOP would stop all of the process."""
    with subprocess.Popen([sys.executable, os.path.join(TEST, "inside", "stop_thread.py"), str(thread)],
                          stdout=subprocess.PIPE, text=True) as helper:
        assert helper.stdout.readline() == "stopped\n"
        try:
            yield
        finally:
            helper.terminate()


@pytest.mark.parametrize("thread", ["hookd", "hookd-store"])
def test_the_watchdog_replaces_a_hookd_of_which_a_thread_hangs(hookd, thread):
    with drop_in(QUICK_WATCHDOG):
        hookd.restart()
        id = hookd.submit.submit("t", 1)["id"]
        pid, cursor, started = hookd.pid, Cursor(), time.monotonic()
        with standing_still(hookd.thread(thread)):
            hookd.wait_for_another(pid)
        assert time.monotonic() - started > 1.5
        assert any("Watchdog timeout" in text for text in cursor.messages("UNIT=hookd.service"))
        assert hookd.submit.get(f"/v1/events/{id}").status == 200


def test_the_watchdog_replaces_a_hookd_that_hangs_as_a_whole(hookd):
    with drop_in(QUICK_WATCHDOG):
        hookd.restart()
        pid, cursor = hookd.pid, Cursor()
        os.kill(pid, signal.SIGSTOP)
        hookd.wait_for_another(pid)
        assert any("Watchdog timeout" in text for text in cursor.messages("UNIT=hookd.service"))


def test_a_slow_disk_is_no_reason_for_the_watchdog(hookd):
    # Twice as long as the watchdog waits, which itself is no matter of a moment in which this machine is busy.
    with drop_in("[Service]\nWatchdogSec=6\n"):
        hookd.restart()
        pid, started = hookd.pid, time.monotonic()
        with injected(hookd.thread("hookd-store"), "fdatasync:delay_enter=15000000", follow=False):
            assert hookd.submit.submit("t", 1)["id"]
        assert time.monotonic() - started > 14
        assert hookd.pid == pid and show("hookd.service", "NRestarts") == "0"


# ---- Crashes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_hookd_that_crashed_is_started_again_and_nothing_is_lost(hookd, number):
    with hookd.ledger(seed=number) as ledger:
        ledger.add_endpoint("e", manner={"delay_s": 0.05}, retry_schedule_s=[1] * 20)
        with ledger.producers(4, pace_s=0.005):
            time.sleep(0.5)
            pid, senders = hookd.pid, hookd.senders()
            ledger.kill_process(pid, number)
            wait_until(lambda: not any(os.path.exists(f"/proc/{process}") for process in [pid, *senders]))
            hookd.wait_for_another(pid)
            time.sleep(0.5)
        assert show("hookd.service", "NRestarts") == "1"
        assert refused(ledger) == []
        ledger.settle()
        assert_holds(ledger.books())


def test_senders_go_with_their_hookd(hookd):
    senders = hookd.senders()
    pid = hookd.pid
    assert len(senders) == 2
    os.kill(pid, signal.SIGKILL)
    hookd.wait_for_another(pid)
    assert [sender for sender in senders if os.path.exists(f"/proc/{sender}")] == []


def test_a_commit_that_failed_ends_hookd_and_a_new_one_goes_on(hookd):
    with hookd.ledger(seed=41) as ledger:
        ledger.add_endpoint("e", retry_schedule_s=[1] * 20)
        with ledger.producers(4, pace_s=0.005):
            time.sleep(0.5)
            pid, cursor = hookd.pid, Cursor()
            ledger.crash()
            # Meanwhile all producers wait for an answer.
            with injected(hookd.thread("hookd-store"), "fdatasync:error=EIO:delay_enter=300000:when=1", follow=False):
                cursor.wait_for("the store failed", f"MESSAGE_ID={STORE}")
                hookd.wait_for_another(pid)
            time.sleep(0.5)
        exits = [line for line in cursor.read("UNIT=hookd.service") if "EXIT_STATUS" in line]
        assert [line["EXIT_STATUS"] for line in exits] == ["1"]
        words = {told.why for submission in ledger.submissions for told in submission.answers}
        assert "unknown" in words and refused(ledger) == [], words
        ledger.settle()
        assert_holds(ledger.books())


def damage(hookd):
    """Cuts the data file short, as a failing disk may, and has hookd look at it."""
    os.truncate(hookd.data_file, 3 * 4096)
    with contextlib.suppress(Exception):
        hookd.submit.submit("t", 2)


@pytest.fixture
def metrics_wanted(hookd):
    with metrics_enabled():
        yield


@pytest.mark.usefixtures("metrics_wanted")
def test_a_damaged_store_is_not_tried_again_and_a_restored_one_is_served(hookd, tmp_path):
    id = hookd.submit.submit("t", 1)["id"]
    systemctl("stop", "hookd.service")
    shutil.copy2(hookd.data_file, tmp_path / "good")
    systemctl("start", "hookd.service")
    cursor = Cursor()
    damage(hookd)
    wait_until(lambda: show("hookd.service", "ActiveState") == "failed", what="hookd has given up")
    # Producers come all the time; the data would be opened again for each.
    deadline = time.monotonic() + 6
    while time.monotonic() < deadline:
        for ask in [lambda: hookd.submit.submit("t", 3), metrics]:
            with pytest.raises(OSError):
                ask()
        time.sleep(0.1)
    assert show("hookd.service", "ExecMainStatus") == "65" and show("hookd.service", "NRestarts") == "0"
    assert cursor.read(f"MESSAGE_ID={STARTED}") == []
    assert "store damaged: check or restore (hookd --check-data)" in cursor.messages("_SYSTEMD_UNIT=hookd.service")
    shutil.copyfile(tmp_path / "good", hookd.data_file)
    systemctl("start", "hookd.service")
    assert all(is_active(unit) for unit in [*UNITS, METRICS]) and metrics()[0] == 200
    assert hookd.submit.get(f"/v1/events/{id}").status == 200


def test_a_hookd_that_cannot_start_is_given_up_and_comes_back_as_the_manual_says(hookd):
    hookd.configure({"store": {"nonsense": "1"}})
    with drop_in("[Service]\nRestartSec=50ms\n"):
        systemctl("restart", "hookd.service", check=False)
        wait_until(lambda: show("hookd-submit.socket", "Result") == "service-start-limit-hit", 30, "systemd gave up")
        with pytest.raises(ConnectionRefusedError):
            hookd.submit.get("/v1/health")
        hookd.configure()
        systemctl("reset-failed", "hookd.service")
        systemctl("start", "hookd.service")
        assert all(is_active(unit) for unit in UNITS)
        assert hookd.submit.get("/v1/health").status == 200
