"""Fault 22: the wall clock jumps, while hookd runs and while it is stopped.

Queue time goes on by itself, so that no step of the wall clock brings all retries at once, postpones one, or makes
anything expire; what people and receivers are shown is the wall clock. A preloaded library (wall_clock.c) gives hookd
the wall clock of a file, and leaves the clocks alone that only count (senders have an empty environment, and the real
time).

What a jump of CLOCK_BOOTTIME does, as after a suspend, cannot be had without suspending the machine: tests/unit/test_clock.c
and the simulation see to it.
"""

import datetime
import os
import time

import pytest

from harness import BUILD, PATIENCE, seconds, wait_until

LIBRARY = os.path.join(BUILD, "tests", "fault", "wall_clock.so")
DAY = 86400
WAIT = 2  # seconds between attempts, give or take a fifth
RETRIES = {"retry_schedule_s": [WAIT] * 2}
EVENTS = 6


def seconds_until(*date):
    return int(datetime.datetime(*date, tzinfo=datetime.timezone.utc).timestamp() - time.time())


STEPS = {
    "a day ahead": DAY,
    "a day back": -DAY,
    "to 1970": seconds_until(1970, 1, 2),
    "beyond 2038": seconds_until(2040, 3, 1),
    "a leap second": -1,
}


class WallClock:
    """The wall clock of a hookd, so many seconds off the real one."""

    def __init__(self, directory):
        self.path = os.path.join(directory, "wall-clock")
        self.offset = 0
        self.step(0)

    def step(self, seconds):
        self.offset += seconds
        with open(self.path + ".new", "w") as file:
            file.write(f"{self.offset:+d}")
        os.rename(self.path + ".new", self.path)

    def now(self):
        return time.time() + self.offset

    def text(self, ahead_s):
        moment = datetime.datetime.fromtimestamp(self.now() + ahead_s, datetime.timezone.utc)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def environment(self):
        return {**os.environ, "LD_PRELOAD": LIBRARY, "WALL_CLOCK": self.path,
                "ASAN_OPTIONS": "verify_asan_link_order=0:" + os.environ.get("ASAN_OPTIONS", "")}


@pytest.fixture
def clock(directory):
    return WallClock(directory)


@pytest.fixture
def start(make_hookd, clock):
    """Starts hookd, again and again, under the clock."""
    hookd = make_hookd(start=False)

    def start():
        hookd.start(env=clock.environment())
        assert "cannot be preloaded" not in hookd.log()
        return hookd

    return start


def gaps(requests, id):
    times = [request.monotonic for request in requests if request.id == id]
    return [after - before for before, after in zip(times, times[1:])]


def assert_waited(gaps):
    """Each retry came after its wait: none at once with the step, none postponed by it."""
    assert all(WAIT / 2 < gap < WAIT * 1.2 + 2 * PATIENCE for gap in gaps), gaps


def assert_signed_now(requests, clock):
    """webhook-timestamp is the wall clock of the attempt."""
    for request in requests:
        assert abs(int(request.headers["webhook-timestamp"]) - (request.time + clock.offset)) < 1 + 2 * PATIENCE


def add_history(hookd, receive):
    """A delivered event with a key, and a dead letter."""
    fine, broken = receive(), receive(500)
    hookd.admin.add_endpoint("fine", fine.url, types=["history"])
    hookd.admin.add_endpoint("broken", broken.url, types=["history"], retry_schedule_s=[])
    id = hookd.submit.submit("history", idempotency_key="history-1")["id"]
    hookd.manage.wait_for(id, "fine", "delivered")
    hookd.manage.wait_for(id, "broken", "dead")
    return id


def assert_history(hookd, id):
    """Nothing of it expired."""
    assert hookd.manage.delivery(id, "fine")["state"] == "delivered"
    assert hookd.manage.delivery(id, "broken")["state"] == "dead"


def assert_key_known(hookd, id):
    assert hookd.submit.submit("history", idempotency_key="history-1") == {"id": id, "deliveries": 2, "duplicate": True}


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_step_while_running_moves_no_retry(start, clock, receive, step):
    hookd, receiver = start(), receive(500)
    history = add_history(hookd, receive)
    hookd.admin.add_endpoint("failing", receiver.url, types=["retried"], max_in_flight=64, **RETRIES)
    ids = [hookd.submit.submit("retried", i)["id"] for i in range(EVENTS)]
    receiver.wait_for(EVENTS)
    assert_signed_now(receiver.requests, clock)
    clock.step(step)
    for id in ids:
        hookd.manage.wait_for(id, "failing", "dead", timeout=5 * WAIT)
    for id in ids:
        found = gaps(receiver.requests, id)
        assert len(found) == 2
        assert_waited(found)
    assert_signed_now(receiver.requests[-EVENTS:], clock)
    assert_history(hookd, history)
    assert_key_known(hookd, history)


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_step_while_stopped_postpones_no_retry_and_expires_nothing(start, clock, receive, step):
    hookd, receiver = start(), receive(500)
    history = add_history(hookd, receive)
    hookd.admin.add_endpoint("failing", receiver.url, types=["retried"], max_in_flight=64, **RETRIES)
    ids = [hookd.submit.submit("retried", i)["id"] for i in range(EVENTS)]
    receiver.wait_for(EVENTS)
    assert hookd.stop() == 0
    clock.step(step)
    start()
    newer = hookd.submit.submit("newer")["id"]
    assert newer > max(ids)
    for id in ids:
        assert hookd.manage.wait_for(id, "failing", "dead", timeout=5 * WAIT)["attempts"] == 3
    for id in ids:  # the first retry may have become due in the time that passed
        assert_waited(gaps(receiver.requests, id)[1:])
    assert_signed_now(receiver.requests[-EVENTS:], clock)
    assert_history(hookd, history)
    if step < DAY:  # the lifetime of a key is a day, and a stop may be as long as the clock says
        assert_key_known(hookd, history)


def test_ten_years_of_stop_expire_nothing_at_once(start, clock, receive):
    """Retention counts at most a day for a stop, so that a wrong clock at a start forgets nothing."""
    hookd = start()
    history = add_history(hookd, receive)
    assert hookd.stop() == 0
    clock.step(3650 * DAY)
    start()
    time.sleep(2)  # in which retention would have run
    assert_history(hookd, history)


def test_wall_clock_that_went_back_delivers_nothing_before_its_deliver_at(start, clock, receive):
    hookd, receiver = start(), receive()
    hookd.admin.add_endpoint("fine", receiver.url)
    due = clock.now() + 4
    id = hookd.submit.submit("later", deliver_at=clock.text(4))["id"]
    clock.step(-2)
    assert hookd.manage.wait_for(id, "fine", "delivered", timeout=20)
    assert clock.now() >= due and receiver.requests[0].time + clock.offset >= due - 0.05


def test_wall_clock_that_was_wrong_does_not_postpone_for_years(start, clock, receive):
    """A machine without a clock of its own wakes up in 1970, and learns the time a minute later."""
    hookd = start()
    receiver = receive()
    hookd.admin.add_endpoint("e", receiver.url)
    receipt = hookd.submit.submit("t", 1, deliver_at=clock.text(ahead_s=4))
    clock.step(STEPS["to 1970"])
    time.sleep(5)  # by now it was looked at, and is early by that clock
    delivery = hookd.manage.delivery(receipt["id"], "e")
    assert delivery["state"] == "pending" and not receiver.requests
    ahead = seconds(delivery["next_attempt_at"]) - clock.now()
    assert 0 < ahead <= 600


def test_times_shown_to_people_follow_the_wall_clock(start, clock, receive):
    hookd, receiver = start(), receive()
    hookd.admin.add_endpoint("fine", receiver.url)
    for step in STEPS.values():
        clock.step(step)
        before = clock.now()
        id = hookd.submit.submit("now")["id"]
        after = clock.now()
        hookd.manage.wait_for(id, "fine", "delivered")
        shown = hookd.manage.get(f"/v1/events/{id}").json["accepted_at"]
        assert before - 1 < seconds(shown) < after + 1, shown


def test_status_answers_through_a_storm_of_steps(start, clock, receive):
    """Twenty jumps to and fro under load: everything arrives once."""
    hookd, receiver = start(), receive()
    hookd.admin.add_endpoint("fine", receiver.url)
    ids = []
    for i in range(20):
        clock.step(DAY if i % 2 else -DAY)
        ids += [hookd.submit.submit("storm", i)["id"] for _ in range(5)]
        assert hookd.manage.get("/v1/status").status == 200
    wait_until(lambda: len(receiver.requests) >= len(ids), what="all of it")
    assert sorted(request.id for request in receiver.requests) == sorted(ids) == ids
