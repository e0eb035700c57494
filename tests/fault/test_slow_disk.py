"""A disk that takes two seconds for each flush (fault 14), and what its slowness shows: that a second answer for a key
comes after the flush too (27), and what becomes of an event whose producer leaves meanwhile (26)."""

import concurrent.futures
import os
import socket
import threading
import time

import pytest

from harness import PATIENCE, traced, wait_until, wait_until_held
from ledger import Ledger, Watch, assert_holds
from test_service import Manager

SLOW_S = 2
SLOW = f"fdatasync:delay_enter={SLOW_S * 1000000}"
STUCK = "fdatasync:delay_enter=600000000"  # until the trace ends


@pytest.fixture
def manager(make_hookd):
    manager = Manager(make_hookd(start=False))
    yield manager
    manager.close()


def test_on_a_slow_disk_producers_wait_and_everything_else_goes_on(manager):
    watchdog_s = 4
    manager.start(WATCHDOG_USEC=str(int(watchdog_s * 1e6)))
    hookd = manager.hookd
    with Ledger(hookd) as ledger:
        ledger.add_endpoint("ok", max_in_flight=64)
        with Watch(hookd) as watch:
            wait_until(lambda: watch.n)
            with traced(hookd, SLOW), ledger.producers(10, pace_s=0):
                manager.hear()
                manager.heard.clear()
                before = watch.n
                time.sleep(2 * watchdog_s)
                status_answers = watch.n - before
                fed = lambda: sum("WATCHDOG=1" in message for message in manager.heard)
                wait_until(lambda: manager.hear() or fed() >= 3, 2, "the watchdog is not left hungry")
        # One flush follows the other: answers that had to wait for them would be one or two for each.
        assert status_answers > 6 * (2 * watchdog_s / SLOW_S), "status waits for the disk"
        answers = [told.word for submission in ledger.submissions for told in submission.answers]
        # They waited, and nobody was put off.
        assert set(answers) == {"stored"} and len(answers) < 150, answers
        ledger.settle()
        assert_holds(ledger.books(), watch=watch)


def test_a_disk_that_stands_still_is_waited_for_behind_a_commit_as_inside_it(manager):
    """What is read of the state that was just committed comes from the same disk."""
    manager.start(WATCHDOG_USEC="1000000")
    hookd = manager.hookd
    # The room on the disk; of a change that brings no event it is asked behind the commit only.
    with concurrent.futures.ThreadPoolExecutor(1) as pool, traced(hookd, "fstatfs:delay_enter=600000000"):
        change = pool.submit(hookd.admin.post, "/v1/pause")
        wait_until_held(hookd)
        manager.hear()
        manager.heard.clear()
        wait_until(lambda: manager.hear() or sum("WATCHDOG=1" in message for message in manager.heard) >= 4, 10,
                   "the watchdog is not left hungry")
        assert not change.done()
    assert change.result().status == 200


def test_what_waits_for_a_slow_disk_is_committed_together(hookd):
    receipts = []
    with traced(hookd, SLOW):
        threads = [threading.Thread(target=lambda i=i: receipts.append(hookd.submit.submit("t", i))) for i in range(20)]
        started = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(receipts) == 20 and 1.9 < time.monotonic() - started < 4 + 3 * PATIENCE  # two commits, not twenty


def test_a_key_that_is_being_written_is_confirmed_after_the_flush_and_with_the_same_id(hookd):
    with Ledger(hookd) as ledger:
        ledger.add_endpoint("e")
        submission = ledger.make(key=True)
        answered = []

        def submit():
            ledger.submit(submission)
            answered.append(time.monotonic())

        with traced(hookd, SLOW):
            started = time.monotonic()
            threads = [threading.Thread(target=submit) for _ in range(3)]
            for thread in threads:
                thread.start()
                time.sleep(0.3)
            for thread in threads:
                thread.join()
        # The first is being flushed when the others come: they may not be told so before it is.
        assert len(answered) == 3 and min(answered) - started >= SLOW_S - 0.1, (started, answered)
        assert len(submission.ids) == 1 and len(submission.answers) == 3
        ledger.settle()
        assert_holds(ledger.books())


def test_a_key_whose_flush_was_cut_off_by_a_crash_is_never_two_events(hookd):
    """The commit is in the page cache, nobody was answered, and hookd is killed: the repeat gets the one event."""
    with Ledger(hookd) as ledger:
        ledger.add_endpoint("e")
        assert ledger.submit(ledger.make(key=True)) == "stored"
        before, cut_off = ledger.make(key=True), ledger.make(key=True)
        ledger.submit(before)
        ledger.settle()
        with traced(hookd, STUCK):
            producer = threading.Thread(target=ledger.submit, args=(cut_off,))
            producer.start()
            wait_until_held(hookd)
            hookd.process.kill()  # which strace holds up until it lets go
        ledger.kill()
        producer.join()
        assert cut_off.answers[0].word == "unknown"
        hookd.start()
        for submission in [before, cut_off]:
            ledger.insist([submission])
            ledger.insist([submission])
            assert len(submission.ids) == 1
        ledger.settle()
        assert_holds(ledger.books())


def request_of(submission):
    return (f"POST /v1/events?type={submission.type} HTTP/1.1\r\nHost: h\r\nContent-Type: {submission.content_type}\r\n"
            f"Idempotency-Key: {submission.key}\r\nContent-Length: {len(submission.sent)}\r\n\r\n").encode() + submission.sent


@pytest.fixture
def leaver(hookd):
    """A ledger, and a way to submit by hand what its producer will not stay for."""
    with Ledger(hookd) as ledger:
        ledger.add_endpoint("e")

        def connect(submission):
            submission.owed = frozenset(ledger.endpoints)
            ledger.submissions.append(submission)
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(hookd.socket_path("submit"))
            return connection

        ledger.connect = connect
        yield ledger


def test_a_client_that_vanishes_before_its_request_is_complete_leaves_nothing(leaver, hookd):
    before = len(os.listdir(f"/proc/{hookd.process.pid}/fd"))
    for cut in range(1, 400, 13):
        submission = leaver.make(key=True, size=200)
        whole = request_of(submission)
        with leaver.connect(submission) as connection:
            connection.sendall(whole[:min(cut, len(whole) - 1)])
    wait_until(lambda: len(os.listdir(f"/proc/{hookd.process.pid}/fd")) <= before)
    assert leaver.submit(leaver.make(key=True)) == "stored"
    leaver.settle()
    books = leaver.books()
    assert len(books.events) == 1
    assert_holds(books)


@pytest.mark.parametrize("how", ["closes", "half closes", "closes unread"])
def test_a_client_that_vanishes_during_the_commit_has_its_event_kept(leaver, hookd, how):
    submissions = [leaver.make(key=True, size=size) for size in [50, 5000, 70000]]
    connections = []
    with traced(hookd, SLOW):
        # Behind its flush the others wait.
        first = threading.Thread(target=leaver.submit, args=(leaver.make(key=True),))
        first.start()
        time.sleep(0.3)
        for submission in submissions:
            connection = leaver.connect(submission)
            connection.sendall(request_of(submission))
            connections.append(connection)
        time.sleep(0.3)
        for connection in connections:
            if how == "half closes":
                connection.shutdown(socket.SHUT_WR)
            elif how == "closes unread":
                connection.send(b"GET /v1/health HTTP/1.1\r\nHost: h\r\n\r\n")  # and what follows is not read
                connection.close()
            else:
                connection.close()
        first.join()
        wait_until(lambda: len(hookd.manage.get("/v1/events", order="oldest").json["items"]) == 4)
    for connection in connections if how == "half closes" else []:
        connection.settimeout(10 * PATIENCE)
        answer = connection.recv(65536)  # who has stopped talking is answered, or is taken for gone: "perhaps"
        assert answer == b"" or answer.startswith(b"HTTP/1.1 202 "), answer
        connection.close()
    events = {event["idempotency_key"]: event["id"] for event in hookd.manage.all("/v1/events")}
    for submission in submissions:
        leaver.insist([submission])
        assert submission.ids == {events[submission.key]}
    leaver.settle()
    assert_holds(leaver.books())
