"""Scheduling: what goes when, and that nobody holds up anybody."""

import os
import statistics
import threading
import time

from harness import PATIENCE, raw_receiver, seconds, wait_until

NDJSON = {"Content-Type": "application/x-ndjson"}


def submit_many(hookd, n, type="t", tenant=""):
    """n events, in batches."""
    ids = []
    for start in range(0, n, 1000):
        body = b"".join(b'{"type":"%s","tenant":"%s","data":%d}\n' % (type.encode(), tenant.encode(), i)
                        for i in range(start, min(n, start + 1000)))
        answer = hookd.submit.call("POST", "/v1/events", body, NDJSON)
        assert answer.status == 202, answer
        ids += [item["id"] for item in answer.json["items"]]
    return ids


def test_at_most_max_in_flight_attempts_are_under_way(hookd, receive):
    receiver = receive(lambda r: time.sleep(0.02) or 200)
    hookd.admin.add_endpoint("e", receiver.url, max_in_flight=3)
    submit_many(hookd, 100)
    receiver.wait_for(100)
    assert receiver.most_open == 3


def test_a_rate_is_kept_with_its_burst(hookd, receive):
    steady, slow = receive(), receive()
    hookd.admin.add_endpoint("steady", steady.url, types=["steady"], rate_per_s=10, burst=5)
    hookd.admin.add_endpoint("slow", slow.url, types=["slow"], rate_per_s=1, burst=10)
    start = time.monotonic()
    submit_many(hookd, 25, "steady")
    submit_many(hookd, 12, "slow")
    steady.wait_for(25, 15)
    slow.wait_for(12, 15)
    times = sorted(r.monotonic - start for r in steady.requests)
    assert times[24] > 1.9  # the twenty beyond the burst
    # A machine that stands still makes some of the gaps longer, a rate that is not reached most of them.
    assert statistics.median(b - a for a, b in zip(times[4:], times[5:])) < 0.15 * PATIENCE
    times = sorted(r.monotonic - start for r in slow.requests)
    assert times[9] < 6 * PATIENCE  # the burst; without one it would be 9 s
    assert times[11] > 1.9
    wait_until(lambda: hookd.manage.all("/v1/deliveries", state="pending") == [])


def test_a_slow_endpoint_holds_up_nobody(make_hookd, receive):
    hookd = make_hookd({"senders": {"count": "1", "max_in_flight": "32"}})
    over = threading.Event()
    stuck, good = receive(lambda r: (len(stuck.requests) <= 60 or over.wait()) and 200), receive()
    for i in range(6):
        hookd.admin.add_endpoint(f"stuck{i}", stuck.url, types=["stuck"], timeout_s=60)
    hookd.admin.add_endpoint("good", good.url, types=["good"])
    submit_many(hookd, 50, "stuck")
    wait_until(lambda: stuck.open >= 20)
    submit_many(hookd, 20, "good")
    good.wait_for(20)  # while none of the others has been answered
    over.set()


def test_dead_endpoints_do_not_take_all_slots(make_hookd, receive):
    hookd = make_hookd({"senders": {"count": "1", "max_in_flight": "16"}})
    good = receive()
    timeout_s = max(1, round(PATIENCE / 2))
    with raw_receiver(lambda connection: time.sleep(30)) as url:
        for i in range(40):
            hookd.admin.add_endpoint(f"silent{i}", url, types=["silent"], timeout_s=timeout_s, retry_schedule_s=[1] * 50)
        hookd.admin.add_endpoint("good", good.url, types=["good"])
        submit_many(hookd, 30, "silent")
        wait_until(lambda: len(hookd.manage.all("/v1/endpoints", health="failing", limit=1000)) == 40, 20)
        events = []
        for i in range(10):
            events += submit_many(hookd, 1, "good")
            time.sleep(0.2)
        waits = []
        for event in events:
            delivery = hookd.manage.wait_for(event, "good", "delivered")
            accepted_at = hookd.manage.get(f"/v1/events/{event}").json["accepted_at"]
            waits.append(seconds(delivery["history"][0]["started_at"]) - seconds(accepted_at))
        # Not when one of the others ends. Two may have met a machine that stood still.
        assert sorted(waits)[-3] < timeout_s / 2, waits
        # The others have their share all the same, but for the moment in which many of them have just ended.
        wait_until(lambda: hookd.metric("hookd_attempts_in_flight") >= 3)


def test_endpoints_take_turns(make_hookd, receive):
    hookd = make_hookd({"senders": {"count": "1", "max_in_flight": "4"}})
    receiver = receive(lambda r: time.sleep(0.005) or 200)
    for i in range(4):
        hookd.admin.add_endpoint(f"e{i}", receiver.url + str(i), types=[f"t{i}"])
    hookd.admin.post("/v1/pause")
    for i in range(4):
        submit_many(hookd, 50, f"t{i}")
    hookd.admin.post("/v1/resume")
    receiver.wait_for(200, 20)
    first = [r.path for r in receiver.requests[:80]]
    assert all(first.count(f"/{i}") >= 12 for i in range(4))


def test_a_retry_comes_within_a_tenth_of_a_second_of_its_time(hookd, receive):
    def requests_for(event):
        return [r for r in receiver.requests if r.id == event]

    receiver = receive(lambda r: 500 if len(requests_for(r.id)) == 1 else 200)
    hookd.admin.add_endpoint("e", receiver.url, retry_schedule_s=[1])
    due = {}
    for i in range(10):
        event = hookd.submit.submit("t", i)["id"]
        delivery = wait_until(lambda: (lambda d: d if d["attempts"] else None)(hookd.manage.delivery(event, "e")))
        if delivery["next_attempt_at"]:  # else the retry was sooner than the question
            due[event] = seconds(delivery["next_attempt_at"])
        time.sleep(0.2)
    assert len(due) > 5
    wait_until(lambda: all(len(requests_for(event)) == 2 for event in due))
    late = [requests_for(event)[1].time - at for event, at in due.items()]
    assert min(late) > -0.002
    # From hookd's timer to the receiver's thread: a busy machine holds up some, but not most.
    assert statistics.median(late) < 0.1 * PATIENCE, late


def test_a_backlog_stays_on_disk_and_is_worked_off(make_hookd, receive):
    hookd = make_hookd({"store": {"budget": "2G"}})
    receiver = receive()
    hookd.admin.add_endpoint("e", receiver.url, max_in_flight=64)
    hookd.manage.post("/v1/endpoints/e/pause")
    submit_many(hookd, 20000)
    assert hookd.manage.get("/v1/endpoints/e").json["queue"]["pending"] == 20000
    hookd.restart()

    def anonymous():
        with open(f"/proc/{hookd.process.pid}/status") as file:
            return int(next(line for line in file if line.startswith("RssAnon")).split()[1])

    hookd.manage.post("/v1/endpoints/e/resume")
    receiver.wait_for(2000, 30)
    assert anonymous() < 200 * 1024  # of sanitizers' making, mostly
    hookd.manage.post("/v1/endpoints/e/pause")


def test_nothing_is_due_and_hookd_sleeps(hookd, receive):
    receiver = receive()
    hookd.admin.add_endpoint("e", receiver.url)
    event = hookd.submit.submit("t", 1)["id"]
    hookd.manage.wait_for(event, "e", "delivered")

    def switches():
        total = 0
        for task in os.listdir(f"/proc/{hookd.process.pid}/task"):
            with open(f"/proc/{hookd.process.pid}/task/{task}/status") as file:
                total += sum(int(line.split()[1]) for line in file if "ctxt_switches" in line)
        return total

    def switches_in(span):
        before = switches()
        time.sleep(span)
        return switches() - before

    time.sleep(1)
    # Files that are made in /etc wake hookd, too: it is enough that it sleeps in one span of three.
    assert any(switches_in(3) <= 4 for _ in range(3))


def test_an_endpoint_that_pauses_under_load_stops_and_goes_on(hookd, receive):
    paused = threading.Event()
    receiver = receive(lambda r: (len(receiver.requests) < 50 or paused.wait()) and 200)
    hookd.admin.add_endpoint("e", receiver.url)
    submit_many(hookd, 300)
    receiver.wait_for(50)
    hookd.manage.post("/v1/endpoints/e/pause")
    paused.set()
    wait_until(lambda: hookd.metric("hookd_attempts_in_flight") == 0)
    n = len(receiver.requests)
    time.sleep(0.5)
    assert len(receiver.requests) == n < 300
    hookd.manage.post("/v1/endpoints/e/resume")
    receiver.wait_for(300)
    time.sleep(0.3)
    assert len({r.id for r in receiver.requests}) == len(receiver.requests) == 300
