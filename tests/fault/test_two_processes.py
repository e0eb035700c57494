"""Two processes on one data directory (fault 15): a second hookd, hookctl beside hookd, hookd killed in mid-backup."""

import contextlib
import http.client
import os
import shutil
import subprocess
import threading
import time

import pytest

from harness import PATIENCE, Hookd, check_data, hookctl, wait_until
from ledger import Ledger, assert_holds


def second(hookd, sockets):
    """A second hookd on the data of the first; returns how it ended."""
    command = hookd.command()
    command[command.index("--sockets") + 1] = sockets
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, timeout=20 * PATIENCE)
    return done, time.monotonic() - started


def test_a_second_hookd_is_refused_at_once_and_disturbs_nothing(hookd, directory):
    with Ledger(hookd) as ledger:
        ledger.add_endpoint("ok", max_in_flight=64)
        with ledger.producers(5):
            for i in range(10):
                done, took_s = second(hookd, f"{directory}/second{i}")
                assert done.returncode == 1 and took_s < 2 * PATIENCE
                assert f"another hookd uses the data directory {hookd.data}" in done.stderr
                assert not os.path.exists(f"{directory}/second{i}/submit.sock")
        assert {told.word for submission in ledger.submissions for told in submission.answers} == {"stored"}
        ledger.settle()
        assert_holds(ledger.books())


def test_of_two_that_start_together_on_an_empty_directory_one_works_and_its_key_is_kept(make_hookd):
    for i in range(10):
        pair = one, other = make_hookd(start=False), make_hookd(start=False)
        other.data = one.data
        for hookd in pair:
            hookd.start(wait=False)
        wait_until(lambda: any(hookd.process.poll() is not None for hookd in pair))
        loser = next(hookd for hookd in pair if hookd.process.poll() is not None)
        winner = one if loser is other else other
        assert loser.process.wait() == 1 and "another hookd uses the data directory" in loser.log(), loser.log()
        loser.process = None
        winner.wait_ready()
        winner.submit.submit("t", 1)
        winner.restart()  # with the key that it was made with
        assert winner.stop() == 0
        assert check_data(winner).returncode == 0


def test_a_check_of_the_data_of_a_hookd_that_runs_is_refused_or_right(hookd):
    """hookd --check-data is for a hookd that is stopped; beside one that runs it may do no harm."""
    with Ledger(hookd) as ledger:
        ledger.add_endpoint("ok", max_in_flight=64)
        with ledger.producers(5):
            for _ in range(5):
                check_data(hookd)
        ledger.settle()
        assert_holds(ledger.books())
        assert hookd.stop() == 0
        assert check_data(hookd).returncode == 0
        hookd.start()


def test_hookctl_works_beside_a_busy_hookd(hookd):
    with Ledger(hookd) as ledger:
        ledger.add_endpoint("ok", max_in_flight=64)
        with ledger.producers(5):
            for command in [["status"], ["list"], ["endpoint", "list"], ["backup"], ["submit", "by.hookctl", "-"]]:
                done = hookctl(hookd, *command, input="1")
                assert done.returncode == 0, (command, done.stderr)
        ledger.settle()
        events = hookd.manage.all("/v1/events", type="by.hookctl")
        assert [event["states"]["delivered"] for event in events] == [1]


def backups(hookd):
    directory = os.path.join(hookd.data, "backup")
    return sorted(os.listdir(directory)) if os.path.isdir(directory) else []


def checked_copy(hookd, name, directory):
    """Is a backup one that hookd can start on? Returns what it holds."""
    path = os.path.join(directory, name)
    os.makedirs(os.path.join(path, "data"))
    restored = Hookd(path)
    shutil.copy(os.path.join(hookd.data, "backup", name), os.path.join(restored.data, "hookd.mdb"))
    shutil.copy(os.path.join(hookd.data, "master.key"), restored.data)
    assert check_data(restored).returncode == 0
    restored.start()
    events = {event["id"] for event in restored.manage.all("/v1/events", limit=1000)}
    assert restored.stop() == 0
    return events


@pytest.mark.parametrize("moment", range(8))
def test_hookd_killed_in_mid_backup_leaves_no_half_one_under_a_valid_name(hookd, directory, moment):
    with Ledger(hookd) as ledger:
        ledger.add_endpoint("ok", max_in_flight=64)
        for _ in range(40):
            assert ledger.submit(*[ledger.make(key=True, form="envelope", size=5000) for _ in range(20)]) == "stored"
        ledger.settle()
        before = {id for submission in ledger.submissions for id in submission.ids}

        def back_up():
            with contextlib.suppress(OSError, http.client.HTTPException):
                hookd.admin.post("/v1/backup")

        thread = threading.Thread(target=back_up)
        thread.start()
        wait_until(lambda: backups(hookd))
        time.sleep(0.003 * moment)
        ledger.kill()
        thread.join()
        hookd.start()
        assert ledger.submit(ledger.make(key=True)) == "stored"
        ledger.settle()
        assert_holds(ledger.books())
        assert hookd.admin.post("/v1/backup").status == 200
        whole = [name for name in backups(hookd) if name.endswith(".mdb")]
        assert whole
        for name in whole:
            assert before <= checked_copy(hookd, name, directory)


def test_backups_within_one_second_are_as_many_files(hookd, directory):
    names = []
    for i in range(4):
        hookd.submit.submit("t", i)
        answer = hookd.admin.post("/v1/backup")
        assert answer.status == 200, answer
        names.append(os.path.basename(answer.json["file"]))
    assert len(set(names)) == 4 and sorted(names) == backups(hookd)
    assert [len(checked_copy(hookd, name, directory)) for name in names] == [1, 2, 3, 4]
