"""Delivery: what receivers get, and what follows from what they answer."""

import re
import threading
import time

import pytest

from harness import PATIENCE, closed_port, end_of, is_signed, seconds, wait_until


def wait_for_attempts(hookd, event, endpoint, n):
    """Waits for a delivery to have had at least so many attempts, and returns it."""
    return wait_until(lambda: (lambda d: d if d["attempts"] >= n else None)(hookd.manage.delivery(event, endpoint)),
                      what=f"{n} attempts of {event}/{endpoint}")


def test_a_receiver_gets_the_envelope_signed_with_its_secret(hookd, receive):
    receiver = receive()
    endpoint = hookd.admin.add_endpoint("billing", receiver.url, tenant="acme", types=["order.*"])
    receipt = hookd.submit.submit("order.paid", {"order": 4711}, tenant="acme",
                                  timestamp="2026-11-22T01:58:12.402Z")
    request = receiver.wait_for(1)[0]
    assert request.body == b'{"type":"order.paid","timestamp":"2026-11-22T01:58:12.402Z","data":{"order": 4711}}'
    assert is_signed(request, endpoint["secret"])
    assert request.id == receipt["id"]
    assert request.headers["Idempotency-Key"] == receipt["id"]
    assert request.headers["webhook-event"] == "order.paid"
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["User-Agent"].startswith("hookd/")
    assert abs(int(request.headers["webhook-timestamp"]) - time.time()) < 5 * PATIENCE
    assert set(name.lower() for name in request.headers) == {
        "host", "user-agent", "content-type", "content-length", "webhook-id", "webhook-timestamp",
        "webhook-signature", "webhook-event", "idempotency-key"}
    delivery = hookd.manage.wait_for(receipt["id"], "billing", "delivered")
    assert delivery["attempts"] == 1
    assert delivery["last_attempt"]["http_status"] == 204
    assert delivery["last_attempt"]["address"] == f"127.0.0.1:{receiver.port}"
    assert delivery["history"] == [delivery["last_attempt"]]


def test_events_reach_only_endpoints_of_their_tenant_and_type(hookd, receive):
    receiver = receive()
    for tenant, name, types in [("acme", "orders", ["order.*"]), ("acme", "all", ["*"]), ("acme", "users", ["user.*"]),
                                ("globex", "all", ["*"]), ("", "all", ["*"])]:
        hookd.admin.add_endpoint(name, receiver.url + f"{tenant}/{name}", tenant=tenant, types=types)
    receipt = hookd.submit.submit("order.paid.eu", 1, tenant="acme")
    assert receipt["deliveries"] == 2
    receiver.wait_for(2)
    time.sleep(0.3)
    assert sorted(r.path for r in receiver.requests) == ["/acme/all", "/acme/orders"]


def test_a_raw_payload_arrives_byte_for_byte_with_its_content_type(hookd, receive):
    receiver = receive()
    hookd.admin.add_endpoint("raw", receiver.url)
    payload = bytes(range(256)) * 5
    answer = hookd.submit.call("POST", "/v1/events", payload, {"Content-Type": "application/x-own; v=1"}, type="blob")
    assert answer.status == 202
    request = receiver.wait_for(1)[0]
    assert request.body == payload
    assert request.headers["Content-Type"] == "application/x-own; v=1"


@pytest.mark.parametrize("size", [0, 1, 4071, 4072, 4073, 65535, 65536, 65537, 1048576])
def test_payloads_of_any_size_arrive_whole(hookd, receive, size):
    receiver = receive()
    hookd.admin.add_endpoint("raw", receiver.url)
    payload = bytes(i * 7 % 251 for i in range(size))
    assert hookd.submit.call("POST", "/v1/events", payload, {}, type="blob").status == 202
    assert receiver.wait_for(1)[0].body == payload


def test_a_failure_is_retried_with_the_same_id_and_a_new_timestamp(hookd, receive):
    receiver = receive(lambda r: 500 if len(receiver.requests) < 3 else 200)
    endpoint = hookd.admin.add_endpoint("flaky", receiver.url, retry_schedule_s=[1, 1, 1])
    receipt = hookd.submit.submit("order.paid", {})
    hookd.manage.wait_for(receipt["id"], "flaky", "delivered")
    assert len(receiver.requests) == 3
    assert len({r.id for r in receiver.requests}) == 1
    assert len({r.headers["webhook-timestamp"] for r in receiver.requests}) > 1
    assert all(is_signed(r, endpoint["secret"]) for r in receiver.requests)
    delivery = hookd.manage.delivery(receipt["id"], "flaky")
    assert [a["http_status"] for a in delivery["history"]] == [500, 500, 200]
    assert [a["number"] for a in delivery["history"]] == [1, 2, 3]


def test_waits_follow_the_schedule_with_at_most_a_fifth_of_jitter(hookd, receive):
    receiver = receive(503)
    hookd.admin.add_endpoint("first", receiver.url, retry_schedule_s=[3600, 1])
    hookd.admin.add_endpoint("second", receiver.url, retry_schedule_s=[1, 3600])
    event = hookd.submit.submit("order.paid", {})["id"]
    for endpoint, attempts in [("first", 1), ("second", 2)]:
        delivery = wait_for_attempts(hookd, event, endpoint, attempts)
        wait = seconds(delivery["next_attempt_at"]) - end_of(delivery["last_attempt"])
        assert 0.8 * 3600 - 0.01 < wait < 1.2 * 3600 + 30 * PATIENCE  # counted from when hookd heard of the failure
    failed, retried = delivery["history"]
    assert 0.79 < seconds(retried["started_at"]) - end_of(failed) < 1.2 + 3 * PATIENCE


def test_when_the_schedule_is_used_up_the_delivery_is_a_dead_letter(hookd, receive):
    receiver = receive((500, {}, b"sorry, out of order"))
    hookd.admin.add_endpoint("down", receiver.url, retry_schedule_s=[1])
    receipt = hookd.submit.submit("order.paid", {"order": 1})
    delivery = hookd.manage.wait_for(receipt["id"], "down", "dead")
    assert delivery["dead_reason"] == "exhausted"
    assert delivery["attempts"] == delivery["attempts_max"] == 2
    assert delivery["last_attempt"]["message"] == "500 Internal Server Error"
    assert delivery["last_attempt"]["response"] == "sorry, out of order"
    assert delivery["next_attempt_at"] is None and delivery["waiting_for"] is None
    # It keeps its payload.
    assert hookd.manage.get(f"/v1/events/{receipt['id']}/payload").json["data"] == {"order": 1}


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_every_2xx_is_a_success(hookd, receive, status):
    receiver = receive(status)
    hookd.admin.add_endpoint("ok", receiver.url)
    receipt = hookd.submit.submit("t", {})
    assert hookd.manage.wait_for(receipt["id"], "ok", "delivered")["last_attempt"]["http_status"] == status


@pytest.mark.parametrize("status", [300, 301, 302, 307, 400, 401, 404, 408, 413, 422, 425, 429, 500, 502, 503, 504])
def test_every_other_status_is_tried_again(hookd, receive, status):
    receiver = receive((status, {"Location": "http://127.0.0.1:1/"}, b""))
    hookd.admin.add_endpoint("no", receiver.url, retry_schedule_s=[3600])
    receipt = hookd.submit.submit("t", {})
    receiver.wait_for(1)
    delivery = wait_for_attempts(hookd, receipt["id"], "no", 1)
    assert delivery["state"] == "pending" and delivery["waiting_for"] == "time"
    assert delivery["last_attempt"]["result"] == "status"
    assert delivery["last_attempt"]["http_status"] == status
    time.sleep(0.1)
    assert len(receiver.requests) == 1  # no redirect was followed either


def test_retry_after_in_seconds_puts_the_whole_endpoint_off(hookd, receive):
    soon = receive(lambda r: (429, {"Retry-After": "2"}, b"") if len(soon.requests) == 1 else 200)
    later = receive((429, {"Retry-After": "3600"}, b""))
    hookd.admin.add_endpoint("soon", soon.url, retry_schedule_s=[1, 1, 1])
    hookd.admin.add_endpoint("later", later.url, retry_schedule_s=[1, 1, 1])
    first = hookd.submit.submit("t", 1)["id"]
    wait_for_attempts(hookd, first, "soon", 1)
    answered = wait_for_attempts(hookd, first, "later", 1)["last_attempt"]
    second = hookd.submit.submit("t", 2)["id"]
    delivery = hookd.manage.delivery(second, "later")
    assert delivery["state"] == "pending" and delivery["attempts"] == 0
    assert delivery["waiting_for"] == "time"
    assert 3599.9 < seconds(delivery["next_attempt_at"]) - end_of(answered) < 3600 + 30 * PATIENCE
    backlog = {item["endpoint"]: item for item in hookd.manage.get("/v1/backlog").json["items"]}
    assert backlog["later"]["next_attempt_at"] == delivery["next_attempt_at"]
    soon.wait_for(3)
    assert all(r.monotonic - soon.requests[0].monotonic > 1.9 for r in soon.requests[1:])
    assert len(later.requests) == 1


def test_retry_after_holds_over_a_restart(hookd, receive):
    receiver = receive(lambda r: (429, {"Retry-After": "5"}, b"") if len(receiver.requests) == 1 else 200)
    hookd.admin.add_endpoint("busy", receiver.url, retry_schedule_s=[1, 1])
    events = [hookd.submit.submit("t", 1)["id"]]
    answered = wait_for_attempts(hookd, events[0], "busy", 1)["history"][0]
    events.append(hookd.submit.submit("t", 2)["id"])
    hookd.restart()
    events.append(hookd.submit.submit("t", 3)["id"])
    for event in events:
        attempt = hookd.manage.wait_for(event, "busy", "delivered")["last_attempt"]
        assert seconds(attempt["started_at"]) - end_of(answered) > 4.9
    assert len(receiver.requests) == 4


def test_retry_after_of_a_url_that_was_left_is_not_for_the_new_one(hookd, receive):
    """Neither what was answered before, nor what is under way."""
    answering = threading.Event()
    def busy(request):
        if len(old.requests) == 2:
            answering.wait(20 * PATIENCE)
        return (429, {"Retry-After": "3600"}, b"")
    old, new = receive(busy), receive()
    hookd.admin.add_endpoint("e", old.url, retry_schedule_s=[3600])
    first = hookd.submit.submit("t", 1)["id"]
    wait_for_attempts(hookd, first, "e", 1)
    second = hookd.submit.submit("t", 2)["id"]
    assert hookd.manage.delivery(second, "e")["waiting_for"] == "time"
    assert hookd.admin.patch("/v1/endpoints/e", {"description": "the same URL"}).status == 200
    assert hookd.manage.delivery(second, "e")["waiting_for"] == "time"
    assert hookd.admin.patch("/v1/endpoints/e", {"url": new.url}).status == 200
    hookd.manage.wait_for(second, "e", "delivered")
    assert hookd.admin.patch("/v1/endpoints/e", {"url": old.url}).status == 200
    third = hookd.submit.submit("t", 3)["id"]
    old.wait_for(2)
    assert hookd.admin.patch("/v1/endpoints/e", {"url": new.url}).status == 200
    answering.set()
    wait_for_attempts(hookd, third, "e", 1)
    hookd.manage.wait_for(hookd.submit.submit("t", 4)["id"], "e", "delivered")


def test_retry_after_as_a_date_is_understood_and_capped(make_hookd, receive):
    hookd = make_hookd({"delivery": {"retry_after_max": "2s"}})
    receiver = receive(lambda r: (503, {"Retry-After": "Fri, 31 Dec 2099 23:59:59 GMT"}, b"")
                       if len(receiver.requests) == 1 else 200)
    hookd.admin.add_endpoint("busy", receiver.url, retry_schedule_s=[1, 1])
    receipt = hookd.submit.submit("t", 1)
    delivery = hookd.manage.wait_for(receipt["id"], "busy", "delivered")
    asked, retried = delivery["history"]
    assert asked["retry_after_s"] > 86400
    assert 1.9 < seconds(retried["started_at"]) - end_of(asked) < 2 + 5 * PATIENCE


def test_410_pauses_the_endpoint_and_keeps_the_delivery(hookd, receive):
    receiver = receive(410)
    hookd.admin.add_endpoint("gone", receiver.url, retry_schedule_s=[1, 1])
    receipt = hookd.submit.submit("t", 1)
    endpoint = wait_until(lambda: (lambda e: e if e["state"] == "paused" else None)(
        hookd.manage.get("/v1/endpoints/gone").json))
    assert endpoint["paused_by"] == "hookd" and "410" in endpoint["reason"]
    delivery = hookd.manage.delivery(receipt["id"], "gone")
    assert delivery["state"] == "pending" and delivery["attempts"] == 1 and delivery["waiting_for"] == "resume"
    time.sleep(1.5)
    assert len(receiver.requests) == 1
    assert "gone paused: the receiver answered 410 Gone" in hookd.log()
    receiver.answer = 200
    assert hookd.manage.post("/v1/endpoints/gone/resume").status == 200
    hookd.manage.wait_for(receipt["id"], "gone", "delivered")


def test_no_answer_within_the_timeout_is_a_timeout(hookd, receive):
    receiver = receive(lambda r: time.sleep(5 * PATIENCE) or 200)
    hookd.admin.add_endpoint("slow", receiver.url, timeout_s=1, retry_schedule_s=[])
    receipt = hookd.submit.submit("t", 1)
    delivery = hookd.manage.wait_for(receipt["id"], "slow", "dead")
    assert delivery["last_attempt"]["result"] == "timeout"
    assert delivery["last_attempt"]["message"] == "timeout: no answer within 1 s"
    assert delivery["last_attempt"]["http_status"] is None
    assert 950 < delivery["last_attempt"]["duration_ms"] < 1000 + 1000 * PATIENCE


def test_a_refused_connection_is_said_so_and_where(hookd):
    port = closed_port()
    hookd.admin.add_endpoint("closed", f"http://127.0.0.1:{port}/", retry_schedule_s=[])
    receipt = hookd.submit.submit("t", 1)
    delivery = hookd.manage.wait_for(receipt["id"], "closed", "dead")
    assert delivery["last_attempt"]["result"] == "connect"
    assert delivery["last_attempt"]["message"] == f"connection refused by 127.0.0.1:{port}"


def test_a_connection_is_used_again(make_hookd, receive):
    hookd = make_hookd({"senders": {"count": "1"}})
    receiver = receive()
    hookd.admin.add_endpoint("same", receiver.url, max_in_flight=1)
    for i in range(5):
        receipt = hookd.submit.submit("t", i)
        hookd.manage.wait_for(receipt["id"], "same", "delivered")
    assert len({r.peer for r in receiver.requests}) == 1


def test_what_an_endpoint_sets_applies_to_its_next_attempt(hookd, receive):
    patched = threading.Event()
    first, second = receive(lambda r: patched.wait() and 500), receive()
    hookd.admin.add_endpoint("moved", first.url, retry_schedule_s=[1, 1, 1])
    receipt = hookd.submit.submit("t", 1)
    first.wait_for(1)
    assert hookd.admin.patch("/v1/endpoints/moved", {"url": second.url, "headers": {"X-Mine": "1"}}).status == 200
    patched.set()
    hookd.manage.wait_for(receipt["id"], "moved", "delivered")
    assert len(first.requests) == 1
    assert second.requests[0].headers["X-Mine"] == "1"


def test_max_age_gives_up_instead_of_sending_what_is_old(hookd, receive):
    receiver = receive(500)
    hookd.admin.add_endpoint("code", receiver.url, retry_schedule_s=[1, 60], max_age_s=10)
    receipt = hookd.submit.submit("t", 1)
    delivery = hookd.manage.wait_for(receipt["id"], "code", "dead")
    assert delivery["dead_reason"] == "too_old"
    assert len(receiver.requests) == 2


def test_what_grew_too_old_meanwhile_is_not_sent_at_all(hookd, receive):
    receiver = receive()
    hookd.admin.add_endpoint("code", receiver.url, max_age_s=4)  # long enough for all that is fresh below
    hookd.manage.post("/v1/endpoints/code/pause")
    old = hookd.submit.submit("t", 1)["id"]
    time.sleep(4.2)
    hookd.manage.post("/v1/endpoints/code/resume")
    delivery = hookd.manage.wait_for(old, "code", "dead")
    assert delivery["dead_reason"] == "too_old" and delivery["attempts"] == 0 and delivery["last_attempt"] is None
    words = f"dead letter {old}/code (t): too old to be sent, after 0 attempts in "
    wait_until(lambda: re.search(re.escape(words) + r"\d+s", hookd.log()))
    fresh = hookd.submit.submit("t", 2)["id"]
    hookd.manage.wait_for(fresh, "code", "delivered")
    # A replay begins its life anew.
    hookd.manage.post("/v1/deliveries/replay", {"event": old})
    hookd.manage.wait_for(old, "code", "delivered")
    assert len(receiver.requests) == 2


def test_what_grew_too_old_takes_nothing_of_the_rate(hookd, receive):
    """At one a second, thirty would take half a minute, and what is fresh would be too old by then."""
    receiver = receive()
    hookd.admin.add_endpoint("code", receiver.url, max_age_s=4, rate_per_s=1)
    hookd.manage.post("/v1/endpoints/code/pause")
    old = [hookd.submit.submit("t", i)["id"] for i in range(30)]
    time.sleep(4.2)
    hookd.manage.post("/v1/endpoints/code/resume")
    fresh = hookd.submit.submit("t", "fresh")["id"]
    hookd.manage.wait_for(fresh, "code", "delivered")
    for event in old:
        hookd.manage.wait_for(event, "code", "dead")
    assert [r.id for r in receiver.requests] == [fresh]


def test_deliver_at_is_waited_for(hookd, receive):
    def submit_for(at):
        text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + f".{int(at % 1 * 1000):03d}Z"
        return hookd.submit.submit("t", 1, deliver_at=text)["id"]

    receiver = receive()
    hookd.admin.add_endpoint("later", receiver.url)
    hour = time.time() + 3600
    much_later = submit_for(hour)
    at = time.time() + 1.5
    event = submit_for(at)
    delivery = hookd.manage.delivery(much_later, "later")
    assert delivery["waiting_for"] == "time"
    # From the wall clock to queue time and back: to the millisecond.
    assert abs(seconds(delivery["next_attempt_at"]) - hour) < 0.0025
    assert at - 0.002 <= receiver.wait_for(1)[0].time < at + 3 * PATIENCE
    assert [r.id for r in receiver.requests] == [event]


def test_secrets_in_overlap_sign_both_and_then_one(hookd, receive):
    def rotate(name, overlap_s):
        answer = hookd.manage.post(f"/v1/endpoints/{name}/rotate-secret", {"overlap_s": overlap_s})
        assert answer.status == 200
        return answer.json["secret"]

    def n_secrets(name):
        return len(hookd.manage.get(f"/v1/endpoints/{name}").json["secrets"])

    long, short = receive(), receive()
    old = {name: hookd.admin.add_endpoint(name, receiver.url)["secret"]
           for name, receiver in [("long", long), ("short", short)]}
    new = {name: rotate(name, overlap_s) for name, overlap_s in [("long", 60), ("short", 1)]}
    time.sleep(1.1)
    hookd.submit.submit("t", 1)
    assert is_signed(long.wait_for(1)[0], new["long"], old["long"])
    assert is_signed(short.wait_for(1)[0], new["short"])
    assert (n_secrets("long"), n_secrets("short")) == (2, 1)


def test_a_leaked_secret_is_gone_at_once_with_overlap_0(hookd, receive):
    receiver = receive()
    hookd.admin.add_endpoint("leaked", receiver.url)
    new = hookd.manage.post("/v1/endpoints/leaked/rotate-secret", {"overlap_s": 0}).json["secret"]
    hookd.submit.submit("t", 1)
    assert is_signed(receiver.wait_for(1)[0], new)


def test_trying_an_endpoint_makes_one_attempt_even_while_it_is_paused(hookd, receive):
    receiver = receive((200, {}, b"hi"))
    endpoint = hookd.admin.add_endpoint("tried", receiver.url)
    hookd.manage.post("/v1/endpoints/tried/pause", {"reason": "maintenance"})
    answer = hookd.manage.post("/v1/endpoints/tried/test")
    assert answer.status == 200
    assert answer.json["http_status"] == 200 and answer.json["response"] == "hi" and answer.json["number"] == 1
    assert receiver.requests[0].type == "hookd.test" and is_signed(receiver.requests[0], endpoint["secret"])
    assert hookd.manage.get("/v1/events").json["items"] == []
