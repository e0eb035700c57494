"""Intake: the three forms of a submit, idempotency keys, and what is refused."""

import json
import random
import time

import pytest

from harness import seconds, traced, wait_until


def payload(hookd, event):
    return hookd.manage.get(f"/v1/events/{event}/payload").body


@pytest.mark.parametrize("data", [
    b'1.10', b'12345678901234567890', b'-0.0', b'1e400', b'"\\u0041\\ud83d\\ude00"', '"ä€😀"'.encode(), b'null', b'[]',
    b'{"b":1,"a":2,"b":3}', b'{ "spaced" :\t[ 1 ,2 ] }', b'"\\u0000"', b'"\\/"',
])
def test_data_is_kept_byte_for_byte(hookd, data):
    body = b'{"type":"t","timestamp":"2026-11-22T01:58:12Z", "data": ' + data + b' }'
    answer = hookd.submit.call("POST", "/v1/events", body, {"Content-Type": "application/json"})
    assert answer.status == 202, answer
    assert payload(hookd, answer.json["id"]) == (
        b'{"type":"t","timestamp":"2026-11-22T01:58:12.000Z","data":' + data + b'}')
    body = b'{"type":"t","data":' + data + b',"timestamp":"2026-11-22T01:58:12Z"}\n'
    answer = hookd.submit.call("POST", "/v1/events", body * 2, {"Content-Type": "application/x-ndjson"})
    assert answer.status == 202, answer
    for item in answer.json["items"]:
        assert payload(hookd, item["id"]).endswith(b'"data":' + data + b'}')


def test_an_event_says_what_it_is(hookd):
    before = time.time()
    receipt = hookd.submit.submit("order.paid", {"a": 1}, tenant="acme", idempotency_key="k-1",
                                  timestamp="2026-11-22T02:58:12.5+01:00", deliver_at="2026-11-22T00:00:00Z")
    event = hookd.submit.get(f"/v1/events/{receipt['id']}").json
    accepted = event.pop("accepted_at")
    assert event == {
        "id": receipt["id"], "tenant": "acme", "type": "order.paid", "uid": event["uid"],
        "timestamp": "2026-11-22T01:58:12.500Z", "deliver_at": "2026-11-22T00:00:00.000Z", "idempotency_key": "k-1",
        "content_type": "application/json", "payload_bytes": len(payload(hookd, receipt["id"])), "deliveries": 0,
        "states": {"pending": 0, "held": 0, "delivered": 0, "dead": 0}}
    assert before - 0.1 < seconds(accepted) < time.time() + 0.1


def test_without_a_timestamp_the_time_of_acceptance_is_the_events(hookd):
    receipt = hookd.submit.submit("t", 1)
    event = hookd.submit.get(f"/v1/events/{receipt['id']}").json
    assert event["timestamp"] == event["accepted_at"]
    assert json.loads(payload(hookd, receipt["id"]))["timestamp"] == event["accepted_at"]


def test_the_raw_form_takes_everything_from_the_query(hookd):
    answer = hookd.submit.call("POST", "/v1/events", b"<x/>", {"Content-Type": "text/xml", "Idempotency-Key": "k"},
                               type="a/b:c", tenant="acme", timestamp="2026-11-22T01:58:12Z",
                               deliver_at="2020-01-01T00:00:00Z")
    assert answer.status == 202
    event = hookd.submit.get(f"/v1/events/{answer.json['id']}").json
    assert (event["type"], event["tenant"], event["idempotency_key"], event["content_type"]) == (
        "a/b:c", "acme", "k", "text/xml")
    assert event["timestamp"] == "2026-11-22T01:58:12.000Z"
    answer = hookd.submit.call("POST", "/v1/events", b"x", {}, type="t")
    assert hookd.submit.get(f"/v1/events/{answer.json['id']}").json["content_type"] == "application/octet-stream"


def test_a_repeated_key_is_the_same_event_and_is_delivered_once(hookd, receive):
    receiver = receive()
    hookd.admin.add_endpoint("one", receiver.url)
    first = hookd.submit.submit("t", {"n": 1}, idempotency_key="order-1")
    assert first["duplicate"] is False
    # Another deliver_at or timestamp is the same event: "in five minutes", computed anew, is a repeat.
    again = hookd.submit.submit("t", {"n": 1}, idempotency_key="order-1", timestamp="2020-01-01T00:00:00Z",
                                deliver_at="2020-01-01T00:00:00Z")
    assert again == {"id": first["id"], "deliveries": 1, "duplicate": True}
    receiver.wait_for(1)
    time.sleep(0.3)
    assert len(receiver.requests) == 1
    assert hookd.metric("hookd_submitted_events_total", outcome="duplicate") == 1


@pytest.mark.parametrize("changed", [{"type": "other"}, {"data": {"n": 2}}])
def test_a_key_with_another_content_is_refused_and_names_the_event(hookd, changed):
    first = hookd.submit.submit("t", {"n": 1}, idempotency_key="k")
    answer = hookd.submit.post("/v1/events", {"type": "t", "data": {"n": 1}, "idempotency_key": "k", **changed})
    assert answer.status == 422
    assert answer.json["code"] == "key_reused" and answer.json["field"] == "idempotency_key"
    assert first["id"] in answer.json["detail"]
    assert len(hookd.manage.all("/v1/events")) == 1


def test_each_tenant_has_keys_of_its_own(hookd):
    first = hookd.submit.submit("t", 1, idempotency_key="k", tenant="a")
    second = hookd.submit.submit("t", 2, idempotency_key="k", tenant="b")
    assert first["id"] != second["id"] and not second["duplicate"]


def test_a_key_is_forgotten_after_its_lifetime(make_hookd):
    hookd = make_hookd({"retention": {"idempotency_keys": "1s"}})
    first = hookd.submit.submit("t", 1, idempotency_key="k")
    time.sleep(1.1)
    second = hookd.submit.submit("t", 2, idempotency_key="k")
    assert not second["duplicate"] and second["id"] != first["id"]


def test_keys_survive_a_restart(hookd):
    first = hookd.submit.submit("t", 1, idempotency_key="k" * 255)
    hookd.restart()
    assert hookd.submit.submit("t", 1, idempotency_key="k" * 255) == {
        "id": first["id"], "deliveries": 0, "duplicate": True}


def test_what_became_of_a_key_is_told_while_its_event_is_there(make_hookd):
    hookd = make_hookd({"retention": {"idempotency_keys": "1s"}})
    receipt = hookd.submit.submit("t", 1, idempotency_key="order-4711", tenant="acme")
    time.sleep(1.2)
    found = hookd.manage.all("/v1/events", idempotency_key="order-4711", tenant="acme")
    assert [e["id"] for e in found] == [receipt["id"]]
    assert hookd.manage.all("/v1/events", idempotency_key="order-4711") == []


def batch(hookd, *lines):
    body = b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines)
    return hookd.submit.call("POST", "/v1/events", body, {"Content-Type": "application/x-ndjson"})


def test_a_batch_is_answered_in_the_order_of_its_lines(hookd):
    answer = batch(hookd, *({"type": "t", "data": i, "tenant": "acme"} for i in range(1000)))
    assert answer.status == 202
    ids = [item["id"] for item in answer.json["items"]]
    assert len(ids) == 1000 and ids == sorted(ids)
    assert json.loads(payload(hookd, ids[500]))["data"] == 500


def test_a_batch_is_stored_wholly_or_not_at_all(hookd):
    answer = batch(hookd, {"type": "t", "data": 1}, {"type": "t", "data": 2}, {"type": "t"})
    assert answer.status == 400
    assert answer.json["line"] == 3 and answer.json["field"] == "data"
    assert hookd.manage.all("/v1/events") == []


def test_known_and_new_lines_mix(hookd):
    known = hookd.submit.submit("t", 1, idempotency_key="a")
    answer = batch(hookd, {"type": "t", "data": 1, "idempotency_key": "a"}, {"type": "t", "data": 2, "idempotency_key": "b"})
    items = answer.json["items"]
    assert [i["duplicate"] for i in items] == [True, False] and items[0]["id"] == known["id"]


def test_the_same_line_twice_in_a_batch_is_one_event(hookd):
    line = {"type": "t", "data": 1, "idempotency_key": "a"}
    items = batch(hookd, line, line, {"type": "t", "data": 1}).json["items"]
    assert items[0]["id"] == items[1]["id"] != items[2]["id"]
    assert [i["duplicate"] for i in items] == [False, True, False]
    assert len(hookd.manage.all("/v1/events")) == 2


def test_one_key_for_two_contents_in_a_batch_names_both_lines(hookd):
    answer = batch(hookd, {"type": "t", "data": 1, "idempotency_key": "a"}, {"type": "t", "data": 9},
                   {"type": "t", "data": 2, "idempotency_key": "a"})
    assert answer.status == 422 and answer.json["line"] == 3
    assert "lines 1 and 3" in answer.json["detail"]
    assert hookd.manage.all("/v1/events") == []


def test_lines_may_end_as_on_windows_and_be_empty(hookd):
    answer = batch(hookd, b'{"type":"t","data":1}\r\n', b'\n', b'{"type":"t","data":2}')
    assert answer.status == 202 and len(answer.json["items"]) == 2


def test_two_values_on_one_line_point_to_data_binary(hookd):
    answer = batch(hookd, b'{"type":"t","data":1}{"type":"t","data":2}')
    assert answer.status == 400 and "--data-binary" in answer.json["detail"]


def test_json_labelled_as_a_form_points_to_json(hookd):
    answer = hookd.submit.call("POST", "/v1/events", b'{"a":1}',
                               {"Content-Type": "application/x-www-form-urlencoded"}, type="t")
    assert answer.status == 415 and "--json" in answer.json["detail"]
    answer = hookd.submit.call("POST", "/v1/events", b'a=1', {"Content-Type": "application/x-www-form-urlencoded"},
                               type="t")
    assert answer.status == 202


def test_a_payload_over_the_limit_is_refused_whether_its_length_is_told_or_not(make_hookd):
    hookd = make_hookd({"intake": {"max_payload": "10K", "max_batch": "20K"}})
    assert hookd.submit.call("POST", "/v1/events", b"x" * 10240, {}, type="t").status == 202
    answer = hookd.submit.call("POST", "/v1/events", b"x" * 10241, {}, type="t")
    assert answer.status == 413 and answer.json["code"] == "too_large"
    answer = hookd.submit.call("POST", "/v1/events", b"x" * 30000, {}, type="t")
    assert answer.status == 413
    answer = hookd.submit.call("POST", "/v1/events", iter([b"x" * 9000] * 4), {}, type="t")
    assert answer.status == 413
    assert len(hookd.manage.all("/v1/events")) == 1


def test_a_batch_that_grows_beyond_what_may_wait_is_taken_when_nothing_else_waits(make_hookd):
    """Receivers get a timestamp that the producer left out, so that 1000 payloads have more bytes than came."""
    hookd = make_hookd({"intake": {"max_batch": "64M"}, "store": {"budget": "1G"}})
    frame = len(b'{"type":"t","data":""}\n')
    line = b'{"type":"t","data":"%s"}\n' % (b"y" * ((64 << 20) // 1000 - frame))
    answer = batch(hookd, *[line] * 1000)
    assert answer.status == 202, answer
    assert len(answer.json["items"]) == 1000


def test_a_large_batch_is_not_kept_waiting_by_deliveries(make_hookd, receive):
    """One that is larger than what is committed at once; on a slow disk outcomes come in during every commit."""
    hookd = make_hookd({"intake": {"max_batch": "16M"}})
    receiver = receive(lambda r: time.sleep(random.uniform(0.02, 0.12)) or 204)
    hookd.admin.add_endpoint("e", receiver.url, types=["small"], max_in_flight=60)
    with traced(hookd, "fdatasync:delay_enter=50000"):
        for _ in range(5):
            assert batch(hookd, *[{"type": "small", "data": 1}] * 1000).status == 202
        receiver.wait_for(40)
        large = b'{"type":"large","data":"%s"}\n' % (b"y" * 900000)
        assert batch(hookd, *[large] * 12).status == 202
        assert hookd.manage.get("/v1/endpoints/e").json["queue"]["pending"] > 500


def test_an_event_for_nobody_is_kept_and_counted(hookd):
    assert hookd.submit.submit("nobody.wants", 1)["deliveries"] == 0
    assert hookd.metric("hookd_unmatched_events_total") == 1


def test_events_are_listed_filtered_and_paged(hookd):
    ids = {}
    for tenant, type in [("a", "order.paid"), ("a", "order.sent"), ("b", "order.paid"), ("", "user.new")] * 5:
        ids.setdefault((tenant, type), []).append(hookd.submit.submit(type, 1, tenant=tenant)["id"])
    everything = [e["id"] for e in hookd.manage.all("/v1/events", limit=3)]
    assert everything == sorted(everything, reverse=True) and len(everything) == 20
    assert [e["id"] for e in hookd.manage.all("/v1/events", limit=7, order="oldest")] == everything[::-1]
    assert [e["id"] for e in hookd.manage.all("/v1/events", tenant="a", type="order.sent", order="oldest")] == (
        ids["a", "order.sent"])
    assert len(hookd.manage.all("/v1/events", type="order.*")) == 15
    assert len(hookd.manage.all("/v1/events", tenant="")) == 5
    middle = hookd.manage.get(f"/v1/events/{everything[10]}").json["accepted_at"]
    since = [e["id"] for e in hookd.manage.all("/v1/events", since=middle)]
    until = [e["id"] for e in hookd.manage.all("/v1/events", until=middle)]
    assert set(since) | set(until) == set(everything) and everything[10] in since and everything[10] in until


def test_a_cursor_fits_only_its_own_list(hookd):
    for i in range(4):
        hookd.submit.submit("t", i)
    cursor = hookd.manage.get("/v1/events", limit=2).json["next"]
    for other in [{"type": "t"}, {"idempotency_key": "k", "tenant": ""}, {"order": "oldest"}]:
        answer = hookd.manage.get("/v1/events", limit=2, cursor=cursor, **other)
        assert answer.status == 400 and answer.json["field"] == "cursor", other
    cursor = hookd.manage.get("/v1/events", limit=2, tenant="").json["next"]
    answer = hookd.manage.get("/v1/events", limit=2, cursor=cursor, tenant="", idempotency_key="k")
    assert answer.status == 400 and answer.json["field"] == "cursor"


def test_an_old_event_is_forgotten_after_its_retention(make_hookd, receive):
    hookd = make_hookd({"retention": {"delivered": "1s", "dead": "1h"}})
    good, bad = receive(), receive(500)
    hookd.admin.add_endpoint("good", good.url, types=["good"])
    hookd.admin.add_endpoint("bad", bad.url, types=["bad"], retry_schedule_s=[])
    delivered = hookd.submit.submit("good", 1)["id"]
    dead = hookd.submit.submit("bad", 1)["id"]
    good.wait_for(1)
    hookd.manage.wait_for(dead, "bad", "dead")
    wait_until(lambda: hookd.manage.get(f"/v1/events/{delivered}").status == 404)
    assert hookd.manage.get(f"/v1/events/{dead}").status == 200
    hookd.configure({"retention": {"delivered": "1s", "dead": "1s"}})
    hookd.reload()
    wait_until(lambda: hookd.manage.get(f"/v1/events/{dead}").status == 404)
    assert hookd.manage.get("/v1/endpoints/bad").json["queue"]["dead"] == 0
