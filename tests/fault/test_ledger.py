"""The ledger itself: each fault is planted into the books of an honest run, and has to be found, and nothing else."""

import base64
import collections
import copy
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from harness import Hookd, temporary_directory, wait_until, wait_until_stopped
from ledger import (Footprint, Ledger, Request, Told, Watch, assert_holds, grown, hung, leaked, violations,
                    wait_for_footprint)


def has_all(ledger):
    """Are there events of all kinds? Of those that reach acme/ok two of each, for one of them is replayed."""
    stored = [submission for submission in list(ledger.submissions) if submission.is_stored]
    kinds = collections.Counter()
    for submission in stored:
        if ("acme", "ok") in submission.owed:
            kinds.update([submission.form, bool(submission.key)])
    return ({submission.tenant for submission in stored} == {"acme", "globex"} and
            any(len(submission.body) > 64 << 10 for submission in stored) and
            all(kinds[kind] >= 2 for kind in ["raw", "envelope", True, False]) and
            {500, 503} <= {request.status for request in ledger.requests()})


@pytest.fixture(scope="module")
def honest():
    """The books of a run in which nothing went wrong; with all that is owed to nobody, flaky, dead, replayed, refused."""
    with temporary_directory() as directory:
        hookd = Hookd(directory).start()
        with Ledger(hookd) as ledger, Watch(hookd) as watch:
            ledger.add_endpoint("ok", tenant="acme", headers={"X-Team": "crm-team"})
            ledger.add_endpoint("flaky", tenant="acme", types=["order.*"], manner={"fail_first": 1, "statuses": [500, 503]},
                                retry_schedule_s=[1] * 5, max_in_flight=64)
            ledger.add_endpoint("closed", tenant="globex", closed=True, retry_schedule_s=[])
            before = Footprint.of(hookd)
            with ledger.producers(4):
                time.sleep(0.7)
                wait_until(lambda: has_all(ledger), 60)
            first = next(s for s in ledger.submissions if s.is_stored and ("acme", "ok") in s.owed)
            ledger.settle()
            ledger.verb("replay", [(id, "ok") for id in first.ids], state="delivered")
            ledger.submit(ledger.make("acme", type="no type", key=True))
            ledger.settle()
            books = ledger.books()
            after = wait_for_footprint(hookd, before)
            assert_holds(books, (before, after), (ledger.needles(), ledger.places()), watch)
        assert hookd.stop() == 0
        yield books


@pytest.fixture
def books(honest):
    """A copy, for a fault to be planted in."""
    return copy.deepcopy(honest)


def acme(books, **members):
    """An event that reached acme/ok in one request: its submission, that request, its delivery."""
    replayed = {event for event, _ in books.replays}
    for submission in books.submissions:
        if submission.is_stored and submission.tenant == "acme" and not submission.ids & replayed and \
                all(getattr(submission, name) == value for name, value in members.items()):
            (id,) = submission.ids
            request = next(r for r in books.requests if r.id == id and r.path == "/acme/ok")
            delivery = next(d for d in books.deliveries if d["id"] == f"{id}/ok")
            return submission, request, delivery
    raise AssertionError(f"no such event: {members}")


def only(books, invariant, *texts):
    """All violations are of one kind, and one names all of the texts."""
    found = violations(books)
    assert found and all(line.startswith(invariant + ":") for line in found), found
    assert any(all(str(text) in line for text in texts) for line in found), found


def test_an_honest_run_is_found_to_be_honest(honest):
    assert violations(honest) == []
    words = {told.word for submission in honest.submissions for told in submission.answers}
    assert words == {"stored", "refused"}
    assert {delivery["state"] for delivery in honest.deliveries} == {"delivered", "dead"}
    assert {s.form for s in honest.submissions} == {"raw", "envelope"}
    assert max(len(s.body) for s in honest.submissions) > 64 << 10
    assert {bool(s.key) for s in honest.submissions} == {True, False}
    assert {request.status for request in honest.requests} == {204, 500, 503}


# ---- I1


def test_a_lost_event_is_seen(books):
    submission, _, delivery = acme(books)
    id = delivery["event"]
    books.events = [event for event in books.events if event["id"] != id]
    books.deliveries = [d for d in books.deliveries if d["event"] != id]
    only(books, "lost", id, "does not know the event")


def test_a_lost_delivery_is_seen(books):
    _, _, delivery = acme(books)
    books.deliveries.remove(delivery)
    only(books, "lost", delivery["event"], "acme/ok", "no such delivery")


def test_a_delivery_that_only_hookd_believes_in_is_seen(books):
    _, request, _ = acme(books)
    books.requests.remove(request)
    only(books, "lost", request.id, "never answered 2xx")


def test_a_delivery_that_waits_for_ever_is_seen(books):
    _, _, delivery = acme(books)
    delivery["state"] = "pending"
    only(books, "lost", delivery["event"], "pending still")
    books.settled = False
    assert violations(books) == []


def test_retries_that_were_lost_are_seen(books):
    dead = next(d for d in books.deliveries if d["state"] == "dead")
    books.endpoints["globex", "closed"].attempts_max = 3
    only(books, "lost", dead["event"], "died after 1 of 3 attempts")


@pytest.mark.parametrize("reason", ["exhausted", "damaged", "cancelled"])
def test_a_death_that_nobody_asked_for_is_seen(books, reason):
    _, _, delivery = acme(books)
    delivery.update(state="dead", dead_reason=reason, attempts=books.endpoints["acme", "ok"].attempts_max)
    only(books, "lost", delivery["event"], f"died ({reason})")
    books.cancelled.add((delivery["event"], "ok"))
    assert violations(books) == []


def test_what_was_purged_may_be_gone(books):
    submission, _, delivery = acme(books)
    books.deliveries = [d for d in books.deliveries if d["event"] != delivery["event"]]
    books.events = [event for event in books.events if event["id"] != delivery["event"]]
    books.purged |= {(delivery["event"], name) for _, name in submission.owed}
    assert violations(books) == []


# ---- I2


@pytest.mark.parametrize("form", ["raw", "envelope"])
def test_a_changed_byte_is_seen(books, form):
    _, request, _ = acme(books, form=form)
    middle = len(request.body) // 2
    request.body = request.body[:middle] + bytes([request.body[middle] ^ 1]) + request.body[middle + 1:]
    only(books, "altered", request.id, f"from byte {middle} on")


def test_a_body_cut_short_is_seen(books):
    _, request, _ = acme(books)
    request.body = request.body[:-1]
    only(books, "altered", request.id, "the body differs")


def test_two_bodies_that_changed_places_are_seen(books):
    _, one, _ = acme(books, form="raw")
    _, other, _ = acme(books, form="envelope")
    one.body, other.body = other.body, one.body
    found = violations(books)
    assert any(one.id in line and "body differs" in line for line in found)
    assert any(other.id in line and "body differs" in line for line in found)


def set_header(request, name, value):
    request.headers = [[n, v] for n, v in request.headers if n.lower() != name] + ([[name, value]] if value else [])


@pytest.mark.parametrize("name, value", [
    ("webhook-signature", "v1," + base64.b64encode(b"x" * 32).decode()), ("webhook-timestamp", "1"),
    ("webhook-timestamp", "soon"), ("webhook-timestamp", None), ("webhook-signature", None), ("content-type", "text/html"),
    ("webhook-event", "order.lost"), ("idempotency-key", "another"), ("user-agent", "curl/8"), ("x-team", "sales"),
    ("x-team", None), ("content-length", "1")])
def test_a_wrong_or_missing_header_is_seen(books, name, value):
    _, request, _ = acme(books)
    set_header(request, name, value)
    only(books, "altered", request.id)


def test_a_header_given_twice_is_seen(books):
    _, request, _ = acme(books)
    request.headers = [*request.headers, ["webhook-event", request.header("webhook-event")]]
    only(books, "altered", request.id, "expected one webhook-event")


def test_a_signature_too_few_or_too_many_is_seen(books):
    _, request, _ = acme(books)
    endpoint = books.endpoints["acme", "ok"]
    good = request.header("webhook-signature")
    set_header(request, "webhook-signature", f"{good} {good}")
    only(books, "altered", request.id, "the signature is")
    set_header(request, "webhook-signature", good)
    endpoint.secrets.insert(0, "whsec_" + base64.b64encode(b"n" * 32).decode())
    only(books, "altered", request.id, "the signature is")


# ---- I3


def test_an_event_that_was_never_submitted_is_seen(books):
    _, request, _ = acme(books)
    books.requests.append(Request(request.path, [["webhook-id", "evt_" + "0" * 26], *request.headers[1:]], b"never",
                                  request.at, request.answered, request.wall, 204))
    assert any(line.startswith("invented:") and "nobody submitted it" in line for line in violations(books))


def test_an_event_that_hookd_made_up_is_seen(books):
    books.events.append({**books.events[0], "id": "evt_" + "0" * 26, "idempotency_key": "made up"})
    books.events.append({**books.events[0], "id": "evt_" + "1" * 26, "idempotency_key": None})
    only(books, "invented", "evt_" + "0" * 26, "nobody submitted")
    only(books, "invented", "evt_" + "1" * 26, "nobody submitted")


def test_a_refused_event_that_arrives_is_seen(books):
    submission, request, _ = acme(books, form="raw")
    submission.answers = [Told("refused", None, "full")]
    only(books, "invented", request.id, "it was refused")


def test_a_refused_event_that_is_kept_is_seen(books):
    submission = next(s for s in books.submissions if s.is_refused)
    books.events.append({**books.events[0], "id": "evt_" + "0" * 26, "tenant": submission.tenant,
                         "idempotency_key": submission.key})
    only(books, "invented", "evt_" + "0" * 26, "was refused")


def test_an_event_without_an_answer_may_be_stored_or_not(books):
    submission, request, delivery = acme(books, key=None)
    submission.answers = [Told("unknown", None, "no answer")]
    assert violations(books) == []
    books.requests = [r for r in books.requests if r.id != request.id]
    books.deliveries = [d for d in books.deliveries if d["event"] != request.id]
    books.events = [event for event in books.events if event["id"] != request.id]
    assert violations(books) == []


def test_a_request_at_another_tenants_receiver_is_seen(books):
    _, request, _ = acme(books)
    books.requests.append(Request("/globex/closed", request.headers, request.body, request.at, request.answered,
                                  request.wall, 500))
    assert any(line.startswith("invented:") and "is owed to" in line for line in violations(books))


def test_a_request_where_no_endpoint_is_is_seen(books):
    _, request, _ = acme(books)
    books.requests.append(Request("/elsewhere", request.headers, request.body, request.at, request.answered, request.wall, 404))
    only(books, "invented", request.id, "/elsewhere", "no endpoint")


# ---- I4


def test_one_key_with_two_answers_is_seen(books):
    submission, _, delivery = acme(books)
    submission.key = "k"
    submission.answers.append(Told("stored", "evt_" + "0" * 26, "202"))
    books.events.append({**books.events[0], "id": "evt_" + "0" * 26, "idempotency_key": None})
    books.deliveries += [{**delivery, "event": "evt_" + "0" * 26, "endpoint": name, "state": "pending"} for _, name in submission.owed]
    books.settled = False
    assert any(line.startswith("doubled:") and "one key, events" in line for line in violations(books))


def test_one_key_that_arrives_under_two_ids_is_seen(books):
    submission, request, _ = acme(books)
    submission.key = "k"
    other = copy.deepcopy(request)
    set_header(other, "webhook-id", "evt_" + "0" * 26)
    books.requests.append(other)
    assert any(line.startswith("doubled:") and "arrived as" in line for line in violations(books))


def test_one_key_under_which_hookd_keeps_two_events_is_seen(books):
    event = next(event for event in books.events if event["idempotency_key"])
    twin = {**event, "id": "evt_" + "0" * 26}
    books.events.append(twin)
    assert any(line.startswith("doubled:") and twin["id"] in line for line in violations(books))


def test_one_id_for_two_submissions_is_seen(books):
    one, request, _ = acme(books, form="raw")
    other, _, _ = acme(books, form="envelope")
    other.answers = copy.deepcopy(one.answers)
    assert any(line.startswith("doubled:") and "was the answer to" in line for line in violations(books))


# ---- I5


def again(books, request, after_s):
    twin = copy.deepcopy(request)
    twin.at += after_s
    twin.answered += after_s
    books.requests.append(twin)


def test_a_second_request_after_a_success_is_seen(books):
    _, request, _ = acme(books)
    again(books, request, 0.5)
    only(books, "overdone", request.id, "after its receiver's 2xx")


def test_a_crash_between_excuses_one_repeat_and_no_more(books):
    _, request, _ = acme(books)
    again(books, request, 0.5)
    books.crashes = [request.at + 0.2]
    assert violations(books) == []
    again(books, request, 0.6)
    only(books, "overdone", request.id)


def test_too_many_attempts_are_seen(books):
    _, request, delivery = acme(books)
    delivery.update(state="pending")
    books.settled = False
    books.endpoints["acme", "ok"].attempts_max = 3
    request.status = 500
    for i in range(2):
        again(books, request, 1.0 + i)
    assert violations(books) == []
    again(books, request, 4.0)
    only(books, "overdone", request.id, "4 requests, 3 allowed")
    books.crashes = [request.at + 3.5]
    assert violations(books) == []


def test_attempts_beyond_the_policy_that_hookd_itself_counts_are_seen(books):
    _, _, delivery = acme(books)
    delivery["attempts"] = books.endpoints["acme", "ok"].attempts_max + 1
    only(books, "overdone", delivery["event"], "hookd counts")


# ---- I6, I7, I8


@pytest.fixture
def process():
    """A process that takes what it is told to take."""
    code = ("import os, sys, threading, time\n"
            "for line in sys.stdin:\n"
            "    exec(line)\n"
            "    print('done', flush=True)\n")
    started = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def tell(line):
        started.stdin.write(line + "\n")
        started.stdin.flush()
        started.stdout.readline()

    started.tell = tell
    tell("pass")
    yield started
    started.kill()
    started.communicate()


@pytest.mark.parametrize("what, leak", [
    ("descriptors", "kept = os.open('/dev/zero', 0)"),
    ("threads", "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()"),
    ("memory", "kept = b'x' * (64 << 20)"),
    ("processes", "child = os.fork() or time.sleep(60)")])
def test_what_leaks_is_seen(process, what, leak):
    before = Footprint(process.pid)
    assert grown(before, Footprint(process.pid)) == []
    process.tell(leak)
    found = grown(before, Footprint(process.pid))
    assert any(what in line for line in found), found
    if what == "descriptors":
        assert "/dev/zero" in found[0]
    if what == "processes":
        process.tell("os.kill(child, 9)")


def test_a_secret_and_a_payload_where_they_should_not_be_are_seen(hookd):
    with Ledger(hookd) as ledger:
        endpoint = ledger.add_endpoint("e", headers={"Authorization": "Bearer hidden-value"})
        assert ledger.submit(ledger.make()) == "stored"
        ledger.settle()
        needles, places = ledger.needles(), ledger.places()
        assert leaked(needles, places) == []
        assert {"the log", "/v1/endpoints", "/metrics", f"environ of {hookd.process.pid}"} <= set(places)
        secret = endpoint.secrets[0].removeprefix("whsec_")
        for needle in [secret.encode(), base64.b64decode(secret), b"Bearer hidden-value", ledger.canary.encode()]:
            with open(os.path.join(hookd.directory, "core.1"), "wb") as file:
                file.write(os.urandom(100) + needle + b"rest")
            assert len(leaked(needles, ledger.places())) == 1
            os.remove(os.path.join(hookd.directory, "core.1"))
        with open(hookd.log_path, "a") as log:
            log.write(f"payload: {ledger.canary}-1\n")
        assert leaked(needles, ledger.places()) == ["leaked: a payload is in the log"]


def test_a_hang_is_seen_and_an_end_is_none(hookd):
    with Watch(hookd) as watch:
        wait_until(lambda: watch.n > 3)
        assert hung(watch) == []
        hookd.kill()
        time.sleep(0.1)
        hookd.start()
        n = watch.n
        wait_until(lambda: watch.n > n + 3)
        assert hung(watch) == []
        hookd.process.send_signal(signal.SIGSTOP)
        time.sleep(2 * watch.bound_s + 1)
        hookd.process.send_signal(signal.SIGCONT)
        wait_until(lambda: watch.late)
    assert "allowed" in hung(watch)[0]


def test_one_that_never_answers_is_seen(make_hookd):
    with Watch(make_hookd(start=False)) as watch:
        time.sleep(0.2)
    assert hung(watch) == ["hung: GET /v1/status was never answered"]


# ---- What is written down


def connections_for_submits(hookd):
    """Those that hookd has not taken yet, too."""
    with open("/proc/net/unix") as file:
        return sum(line.endswith(" " + hookd.socket_path("submit") + "\n") for line in file)


def test_no_answer_is_unknown_and_nobody_there_is_refused(hookd):
    with Ledger(hookd) as ledger:
        ledger.add_endpoint("e")
        kept = ledger.make(key=True)
        hookd.process.send_signal(signal.SIGSTOP)
        wait_until_stopped(hookd)
        before = connections_for_submits(hookd)
        answered = []
        producer = threading.Thread(target=lambda: answered.append(ledger.submit(kept)))
        producer.start()
        wait_until(lambda: kept.answers)
        assert (kept.answers[0].word, kept.is_refused) == ("unknown", False)
        wait_until(lambda: connections_for_submits(hookd) > before)
        ledger.kill()
        producer.join()
        gone = ledger.make(key=True)
        assert (answered, ledger.submit(gone)) == (["unknown"], "refused")
        hookd.start()
        ledger.insist([kept])
        assert ledger.submit(gone) == "stored" and kept.is_stored
        ledger.settle()
        assert_holds(ledger.books())


def test_a_run_in_which_nothing_was_stored_proves_nothing(honest):
    books = copy.deepcopy(honest)
    books.submissions, books.requests, books.deliveries, books.events = [], [], [], []
    with pytest.raises(AssertionError, match="proves nothing"):
        assert_holds(books)
