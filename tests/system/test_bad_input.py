"""Bad input: each mistake gets a message of its own that names the field and what was expected, and
changes nothing. The table is the test: (request, status, code, field, words of the detail)."""

import os
import subprocess

import pytest

from harness import BUILD, DEFAULTS, LOCAL, write_config

JSON = {"Content-Type": "application/json"}
NDJSON = {"Content-Type": "application/x-ndjson"}
NOWHERE = "evt_01M80FKB5JV3RS3DTR98H6BCFN"
GOOD = {"type": "t", "data": 1}


def envelope(**members):
    return ("submit", "POST", "/v1/events", {**GOOD, **members}, None)


def envelope_text(text):
    return ("submit", "POST", "/v1/events", text, JSON)


def lines(text):
    return ("submit", "POST", "/v1/events", text, NDJSON)


def raw(query, body=b"x", headers=None):
    return ("submit", "POST", "/v1/events?" + query, body, headers or {})


def get(target, role="manage"):
    return (role, "GET", target, None, None)


def post(target, body, role="manage", headers=None):
    return (role, "POST", target, body, headers)


def add(**members):
    return post("/v1/endpoints", {"url": "https://hooks.example.com/", **members}, "admin")


def patch(body):
    return ("admin", "PATCH", "/v1/endpoints/there", body, None)


def bulk(body, verb="replay"):
    return post(f"/v1/deliveries/{verb}", body, "admin")


REQUESTS = [
    # Envelopes
    (envelope(type=None), 400, "invalid", "type", "missing"),
    (envelope(type=""), 400, "invalid", "type", "1 to 128 of"),
    (envelope(type="a b"), 400, "invalid", "type", "1 to 128 of"),
    (envelope(type="x" * 129), 400, "invalid", "type", "1 to 128 of"),
    (envelope(type="ä"), 400, "invalid", "type", "1 to 128 of"),
    (envelope(type=7), 400, "invalid", "type", "a string"),
    (envelope(type=["t"]), 400, "invalid", "type", "a string"),
    (envelope_text(b'{"data":1}'), 400, "invalid", "type", "missing"),
    (envelope_text(b'{"type":"t"}'), 400, "invalid", "data", "any JSON value"),
    (envelope(tenant="-x"), 400, "invalid", "tenant", "beginning with a letter or digit"),
    (envelope(tenant="a/b"), 400, "invalid", "tenant", "1 to 64 of"),
    (envelope(tenant="x" * 65), 400, "invalid", "tenant", "1 to 64 of"),
    (envelope(tenant=1), 400, "invalid", "tenant", "a string"),
    (envelope(idempotency_key=""), 400, "invalid", "idempotency_key", "1 to 255 visible ASCII"),
    (envelope(idempotency_key="a b"), 400, "invalid", "idempotency_key", "without spaces"),
    (envelope(idempotency_key="ä"), 400, "invalid", "idempotency_key", "1 to 255 visible ASCII"),
    (envelope(idempotency_key="k" * 256), 400, "invalid", "idempotency_key", "1 to 255 visible ASCII"),
    (envelope(timestamp="yesterday"), 400, "invalid", "timestamp", "RFC 3339"),
    (envelope(timestamp="2026-11-22"), 400, "invalid", "timestamp", "RFC 3339"),
    (envelope(timestamp="2026-02-30T00:00:00Z"), 400, "invalid", "timestamp", "RFC 3339"),
    (envelope(timestamp=1795330484), 400, "invalid", "timestamp", "a string"),
    (envelope(deliver_at="soon"), 400, "invalid", "deliver_at", "RFC 3339"),
    (envelope(deliver_at="2099-01-01T00:00:00Z"), 400, "invalid", "deliver_at", "at most 366 days ahead"),
    (envelope(surprise=1), 400, "invalid", "surprise", 'unknown member "surprise"'),
    (envelope_text(b'{"type":"a","type":"b","data":1}'), 400, "malformed", "type", "given twice"),
    (envelope_text(b'{"type":"a","data":1,"d\\u0061ta":2}'), 400, "malformed", "data", "given twice"),
    (envelope_text(b'[1]'), 400, "invalid", None, "expected an object"),
    (envelope_text(b'"text"'), 400, "invalid", None, "expected an object"),
    (envelope_text(b''), 400, "malformed", None, "expected a value at byte 0"),
    (envelope_text(b'{'), 400, "malformed", None, "expected a member name in quotes at byte 1"),
    (envelope_text(b'{"type":"t","data":1'), 400, "malformed", None, "',' or '}'"),
    (envelope_text(b'{"type":"t","data":01}'), 400, "malformed", None, "',' or '}'"),
    (envelope_text(b'{"type":"t","data":nul}'), 400, "malformed", None, "a value"),
    (envelope_text(b'{"type":"t","data":"\x01"}'), 400, "malformed", None, "control characters"),
    (envelope_text(b'{"type":"t","data":"\xff"}'), 400, "malformed", None, "UTF-8"),
    (envelope_text(b'{"type":"t","data":"\\x"}'), 400, "malformed", None, "after the backslash"),
    (envelope_text(b'{"type":"t","data":' + b"[" * 512 + b"]" * 512 + b"}"), 400, "malformed", None, "at most 512 levels"),
    (envelope_text(b'{"type":"t","data":1} x'), 400, "malformed", None, "nothing behind the value"),
    (("submit", "POST", "/v1/events", GOOD, {"Idempotency-Key": "a b"}), 400, "invalid", "idempotency_key", "visible ASCII"),
    (("submit", "POST", "/v1/events", {**GOOD, "idempotency_key": "a"}, {"Idempotency-Key": "b"}), 400, "invalid",
     "idempotency_key", "another key than the envelope"),
    (("submit", "POST", "/v1/events?tenant=a", GOOD, None), 400, "invalid", "tenant", "the query is for payloads"),
    (("submit", "POST", "/v1/events", b"x", {"Content-Type": "text/plain"}), 415, "media_type", "Content-Type", "?type="),
    (("submit", "POST", "/v1/events", b"x", {}), 415, "media_type", "Content-Type", "application/json"),
    # Batches
    (lines(b""), 400, "invalid", None, "1 to 1000 lines"),
    (lines(b"\n\n"), 400, "invalid", None, "1 to 1000 lines"),
    (lines(b'{"type":"t","data":1}\n{"type":"t"}\n'), 400, "invalid", "data", "any JSON value"),
    (lines(b'{"type":"t","data":1}\nnot json\n'), 400, "malformed", None, "a value at byte 0"),
    (lines(b'{"type":"t","data":\n1}\n'), 400, "malformed", None, "a value"),
    (lines(b'{"type":"t","data":1}\n' * 1001), 413, "too_large", None, "more than 1000 events"),
    (("submit", "POST", "/v1/events", b'{"type":"t","data":1}\n', {**NDJSON, "Idempotency-Key": "k"}), 400, "invalid",
     "Idempotency-Key", "in the lines"),
    (("submit", "POST", "/v1/events?tenant=a", b'{"type":"t","data":1}\n', NDJSON), 400, "invalid", "tenant", "no query parameters"),
    # Raw payloads
    (raw("type="), 400, "invalid", "type", "1 to 128 of"),
    (raw("type=a%20b"), 400, "invalid", "type", "1 to 128 of"),
    (raw("type=t&tenant=%2Fx"), 400, "invalid", "tenant", "1 to 64 of"),
    (raw("type=t&timestamp=now"), 400, "invalid", "timestamp", "RFC 3339"),
    (raw("type=t&deliver_at=now"), 400, "invalid", "deliver_at", "RFC 3339"),
    (raw("type=t&type=u"), 400, "malformed", "type", "given twice"),
    (raw("type=t&colour=red"), 400, "invalid", "colour", "one of type tenant timestamp deliver_at"),
    (raw("type=t&data=1"), 400, "invalid", "data", "unknown query parameter"),
    (raw("type=%zz"), 400, "malformed", None, "percent-encoded"),
    (raw("type=%00"), 400, "malformed", None, "percent-encoded"),
    (raw("type"), 400, "malformed", None, "has no value"),
    (raw("type=t", b"x", {"Content-Type": "a/b\u00e4".encode("latin-1").decode("latin-1")}), 400, "invalid", "Content-Type", "visible ASCII"),
    (raw("type=t", b'{"a":1}', {"Content-Type": "application/x-www-form-urlencoded"}), 415, "media_type", "Content-Type", "--json"),
    # Routes and roles
    (get("/"), 404, "not_found", None, "there is no route /"),
    (get("/v2/events"), 404, "not_found", None, "/v2/events"),
    (get("/v1/events/"), 404, "not_found", None, "there is no route"),
    (("submit", "PUT", "/v1/events", GOOD, None), 405, "method", None, "expected POST, GET"),
    (("manage", "DELETE", "/v1/status", None, None), 405, "method", None, "expected GET"),
    (get("/v1/events", "submit"), 403, "forbidden", None, "needs the socket manage.sock"),
    (get("/v1/status", "submit"), 403, "forbidden", None, "this is submit.sock"),
    (post("/v1/pause", {}, "manage"), 403, "forbidden", None, "admin.sock"),
    (post("/v1/deliveries/purge", {"all": True}, "manage"), 403, "forbidden", None, "admin.sock"),
    (get("/v1/status", "metrics"), 403, "forbidden", None, "this is metrics.sock"),
    (post("/v1/events", GOOD, "metrics"), 403, "forbidden", None, "submit.sock"),
    (get("/metrics", "manage"), 403, "forbidden", None, "metrics.sock"),
    # Events
    (get("/v1/events/evt_short"), 404, "not_found", None, "there is no event"),
    (get(f"/v1/events/{NOWHERE}"), 404, "not_found", None, NOWHERE),
    (get(f"/v1/events/{NOWHERE.lower()}"), 404, "not_found", None, "there is no event"),
    (get(f"/v1/events/{NOWHERE}/payload"), 404, "not_found", None, NOWHERE),
    (get("/v1/events?limit=0"), 400, "invalid", "limit", "1 to 1000"),
    (get("/v1/events?limit=1001"), 400, "invalid", "limit", "1 to 1000"),
    (get("/v1/events?limit=ten"), 400, "invalid", "limit", "whole number"),
    (get("/v1/events?order=up"), 400, "invalid", "order", "newest or oldest"),
    (get("/v1/events?since=2h"), 400, "invalid", "since", "RFC 3339"),
    (get("/v1/events?until=x"), 400, "invalid", "until", "RFC 3339"),
    (get("/v1/events?type=order.*.x"), 400, "invalid", "type", "a pattern"),
    (get("/v1/events?tenant=%20"), 400, "invalid", "tenant", "1 to 64 of"),
    (get("/v1/events?cursor=zz"), 400, "invalid", "cursor", 'the "next" of an earlier answer'),
    (get("/v1/events?state=dead"), 400, "invalid", "state", "unknown query parameter"),
    (get("/v1/events?idempotency_key="), 400, "invalid", "idempotency_key", "1 to 255"),
    # Deliveries
    (get("/v1/deliveries?state=gone"), 400, "invalid", "state", "pending, held, delivered, dead"),
    (get("/v1/deliveries?state="), 400, "invalid", "state", "pending, held, delivered, dead"),
    (get("/v1/deliveries?event=evt_1"), 400, "invalid", "event", "evt_ and 26 characters"),
    (get("/v1/deliveries?endpoint=a/b"), 400, "invalid", "endpoint", "1 to 64 of"),
    (get("/v1/deliveries?http_status=5x"), 400, "invalid", "http_status", "a class such as 5xx"),
    (get("/v1/deliveries?http_status=0xx"), 400, "invalid", "http_status", "a status such as 503"),
    (get("/v1/deliveries?error=boom"), 400, "invalid", "error", "one of ok, status, dns"),
    (get("/v1/deliveries?cursor=00"), 400, "invalid", "cursor", "earlier answer"),
    (get(f"/v1/deliveries/{NOWHERE}/there"), 404, "not_found", None, f"{NOWHERE}/there"),
    (get("/v1/deliveries/x/y"), 404, "not_found", None, "x/y"),
    (bulk({}), 400, "invalid", None, '"all": true'),
    (bulk({"all": False}), 400, "invalid", None, '"all": true'),
    (bulk({"all": 1}), 400, "invalid", "all", "true or false"),
    (bulk({"all": True, "dry_run": "yes"}), 400, "invalid", "dry_run", "true or false"),
    (bulk({"all": True, "limit": 0}), 400, "invalid", "limit", "1 to 10000"),
    (bulk({"all": True, "limit": 10001}), 400, "invalid", "limit", "1 to 10000"),
    (bulk({"all": True, "colour": 1}), 400, "invalid", "colour", "unknown member"),
    (bulk({"ids": []}), 400, "invalid", "ids", "1 to 1000 ids"),
    (bulk({"ids": [1]}), 400, "invalid", "ids", "1 to 1000 ids"),
    (bulk({"ids": "x"}), 400, "invalid", "ids", "1 to 1000 ids"),
    (bulk({"ids": None}), 400, "invalid", None, '"all": true'),
    (bulk({"ids": ["x"] * 1001}), 400, "invalid", "ids", "1 to 1000 ids"),
    (bulk({"ids": [NOWHERE], "endpoint": "there"}), 400, "invalid", "ids", "alone"),
    (bulk({"state": ["dead"]}), 400, "invalid", "state", "a string"),
    (bulk({"state": "dead"}, "hold"), 400, "invalid", "state", "hold works on pending only"),
    (bulk({"state": "pending"}, "release"), 400, "invalid", "state", "release works on held only"),
    (bulk({"state": "delivered"}, "cancel"), 400, "invalid", "state", "pending, held only"),
    (bulk({"since": "1h"}), 400, "invalid", "since", "RFC 3339"),
    (bulk(b"{", "purge"), 400, "malformed", None, "the body is not JSON"),
    (post("/v1/deliveries/replay", b"all=true", headers={"Content-Type": "application/x-www-form-urlencoded"}), 415,
     "media_type", "Content-Type", "--json"),
    (post("/v1/deliveries/replay", b'{"all":tru}', headers=JSON), 400, "malformed", None, "not JSON"),
    (post("/v1/deliveries/replay", b'[true]', headers=JSON), 400, "malformed", None, "a JSON object"),
    (post("/v1/deliveries/replay", b'{"all":true,"all":true}', headers=JSON), 400, "malformed", None, "not JSON"),
    # Endpoints
    (post("/v1/endpoints", {}), 400, "invalid", "url", "missing"),
    (add(url=1), 400, "invalid", "url", "a string"),
    (add(url="hooks.example.com"), 400, "invalid", "url", "https://HOST/"),
    (add(url="https://" + "x" * 2050), 400, "invalid", "url", "at most 2048"),
    (add(url="http://hooks.example.com/"), 400, "invalid", "url", "allow_http"),
    (add(url="https://hooks.example.com:25/"), 400, "invalid", "url", "port 25 is not one of"),
    (add(name="a/b"), 400, "invalid", "name", "1 to 64 of"),
    (add(name=""), 400, "invalid", "name", "1 to 64 of"),
    (add(tenant="."), 400, "invalid", "tenant", "1 to 64 of"),
    (add(types=[]), 400, "invalid", "types", "1 to 64 patterns"),
    (add(types="*"), 400, "invalid", "types", "1 to 64 patterns"),
    (add(types=["order*"]), 400, "invalid", "types", "1 to 64 patterns"),
    (add(types=["t"] * 65), 400, "invalid", "types", "1 to 64 patterns"),
    (add(description="x" * 257), 400, "invalid", "description", "at most 256 bytes"),
    (add(headers=[]), 400, "invalid", "headers", "an object"),
    (add(headers={"Content-Type": "x"}), 400, "invalid", "headers", "set by hookd itself"),
    (add(headers={"webhook-id": "x"}), 400, "invalid", "headers", "set by hookd itself"),
    (add(headers={"Host": "x"}), 400, "invalid", "headers", "set by hookd itself"),
    (add(headers={"Connection": "x"}), 400, "invalid", "headers", "set by hookd itself"),
    (add(headers={"a b": "x"}), 400, "invalid", "headers", "not a header's name"),
    (add(headers={"A": "x\ny"}), 400, "invalid", "headers", "visible ASCII"),
    (add(headers={"A": 1}), 400, "invalid", "headers", "visible ASCII"),
    (add(headers={"A": "***"}), 400, "invalid", "headers", "keeps a value"),
    (add(headers={f"H{i}": "v" for i in range(21)}), 400, "invalid", "headers", "at most 20"),
    (add(headers={"A": "x" * 8200}), 400, "invalid", "headers", "8 KiB"),
    (add(headers={"A": "1", "a": "2"}), 400, "invalid", "headers", "given twice"),
    (add(retry_schedule_s="5s"), 400, "invalid", "retry_schedule_s", "a list of 0 to 50"),
    (add(retry_schedule_s=[0]), 400, "invalid", "retry_schedule_s", "1 to 604800"),
    (add(retry_schedule_s=[1] * 51), 400, "invalid", "retry_schedule_s", "0 to 50"),
    (add(max_age_s=-1), 400, "invalid", "max_age_s", "from 1 to"),
    (add(timeout_s=61), 400, "invalid", "timeout_s", "from 1 to 60"),
    (add(timeout_s=1.5), 400, "invalid", "timeout_s", "whole number"),
    (add(max_in_flight=257), 400, "invalid", "max_in_flight", "from 1 to 256"),
    (add(rate_per_s=0.001), 400, "invalid", "rate_per_s", "0.01 to 10000"),
    (add(burst=1001), 400, "invalid", "burst", "from 1 to 1000"),
    (add(allow_http="yes"), 400, "invalid", "allow_http", "true or false"),
    (add(allow_private=["10.0.0.1/8"]), 400, "invalid", "allow_private", "bits beyond the prefix zero"),
    (add(allow_private="10.0.0.0/8"), 400, "invalid", "allow_private", "a list"),
    (add(ca="../x"), 400, "invalid", "ca", "the name of a file"),
    (add(secret="hunter2"), 400, "invalid", "secret", "whsec_"),
    (add(secret="whsec_" + "A" * 28), 400, "invalid", "secret", "24 to 64 bytes"),
    (add(colour="red"), 400, "invalid", "colour", "unknown member"),
    (add(name="there"), 409, "exists", "name", "already"),
    (patch({"name": "other"}), 400, "invalid", "name", "cannot be changed"),
    (patch({"tenant": "other"}), 400, "invalid", "tenant", "cannot be changed"),
    (patch({"secret": "whsec_" + "A" * 32}), 400, "invalid", "secret", "rotate-secret"),
    (patch({"url": None}), 400, "invalid", "url", "a string"),
    (get("/v1/endpoints/nobody"), 404, "not_found", None, "there is no endpoint nobody"),
    (("manage", "DELETE", "/v1/endpoints/nobody", None, None), 404, "not_found", None, "nobody in the default tenant"),
    (get("/v1/endpoints/there?tenant=acme"), 404, "not_found", None, "in tenant acme"),
    (get("/v1/endpoints?state=dead"), 400, "invalid", "state", "active or paused"),
    (get("/v1/endpoints?health=bad"), 400, "invalid", "health", "untried, ok or failing"),
    (post("/v1/endpoints/there/pause", {"why": "x"}), 400, "invalid", "why", "unknown member"),
    (post("/v1/endpoints/there/pause", {"reason": "x" * 257}), 400, "invalid", "reason", "at most 256 bytes"),
    (post("/v1/endpoints/there/resume", {"reason": "x"}), 400, "invalid", "reason", "unknown member"),
    (post("/v1/endpoints/there/rotate-secret", {"overlap_s": -1}), 400, "invalid", "overlap_s", "from 0 to"),
    (post("/v1/endpoints/there/rotate-secret", {"secret": 1}), 400, "invalid", "secret", "a string"),
    (post("/v1/endpoints/nobody/test", {}), 404, "not_found", None, "nobody"),
    (get("/v1/backlog?tenant=%2F"), 400, "invalid", "tenant", "1 to 64 of"),
]


def state_of(hookd):
    return (hookd.manage.all("/v1/events"), hookd.manage.all("/v1/deliveries"), hookd.manage.all("/v1/endpoints"),
            hookd.manage.get("/v1/status").json["sending"]["state"])


def test_every_wrong_request_gets_its_own_message_and_changes_nothing(make_hookd):
    hookd = make_hookd(local=False)
    hookd.manage.post("/v1/endpoints", {"name": "there", "url": "https://hooks.example.com/"})
    before = state_of(hookd)
    wrong = []
    for (role, method, target, body, headers), status, code, field, words in REQUESTS:
        if isinstance(body, dict) and body.get("type", 0) is None:
            body = {k: v for k, v in body.items() if v is not None}
        client = {"submit": hookd.submit, "manage": hookd.manage, "admin": hookd.admin, "metrics": hookd.metrics}[role]
        answer = client.call(method, target, body, headers)
        problem = answer.json
        said = f"{method} {target} {str(body)[:80]}: {answer}"
        if (answer.status, problem["code"], problem["field"]) != (status, code, field) or words not in problem["detail"]:
            wrong.append(said)
        if answer.headers["Content-Type"] != "application/problem+json" or problem["status"] != status:
            wrong.append("not a problem: " + said)
        if status == 405 and answer.headers["Allow"] != problem["detail"].split("expected ")[1]:
            wrong.append("Allow: " + said)
        if set(problem) != {"title", "status", "detail", "code", "field", "line"} or not problem["title"]:
            wrong.append("members: " + said)
    assert wrong == []
    assert state_of(hookd) == before
    assert len(REQUESTS) >= 120


def test_the_line_of_a_batch_is_named(hookd):
    answer = hookd.submit.call("POST", "/v1/events", b'{"type":"t","data":1}\n\n{"type":"t","data":1,"x":1}\n', NDJSON)
    assert answer.json["line"] == 3


CONFIGURATIONS = [
    ("[store]\nbudgte = 1G\n", "line 2: store.budgte: there is no key \"budgte\" in [store]; the nearest is \"budget\" in [store]"),
    ("[stroe]\nbudget = 1G\n", "line 2: stroe.budget: there is no key \"budget\" in [stroe]; the nearest is \"budget\" in [store]"),
    ("[store]\n\nbudget = lots\n", "line 3: store.budget: expected a size from 4M"),
    ("[store]\nbudget = 1\n", "store.budget: expected a size"),
    ("[store]\nbudget = 1G\nbudget = 2G\n", "line 3: store.budget: given twice"),
    ("[retention]\ndelivered = 3\n", "retention.delivered: expected a duration"),
    ("[retention]\ndelivered = 5m3h\n", "retention.delivered: expected a duration"),
    ("[intake]\nmax_connections = 0\n", "intake.max_connections: expected a whole number from 1"),
    ("[intake]\nmax_payload = 9M\n", "intake.max_batch: expected at least intake.max_payload"),
    ("[delivery]\nretry_schedule = 5s 30x\n", "delivery.retry_schedule: expected up to 50 waits"),
    ("[delivery]\nretry_schedule = exponential 5s\n", "delivery.retry_schedule: expected \"exponential BASE"),
    ("[delivery]\ntimeout = 2m\n", "delivery.timeout: expected a duration from 1s to 1m"),
    ("[delivery]\nrate = fast\n", "delivery.rate: expected requests per second"),
    ("[network]\nallow_http = maybe\n", "network.allow_http: expected yes or no"),
    ("[network]\nallow_private = 10.0.0.1/8\n", "network.allow_private: expected up to 64 networks"),
    ("[network]\nports = 80,99999\n", "network.ports: expected up to 64 ports and ranges"),
    ("[network]\nports = 90-80\n", "network.ports: expected up to 64 ports and ranges"),
    ("[senders]\ncount = 65\n", "senders.count: expected a whole number from 1 to 64, or auto"),
    ("[log]\nlevel = loud\n", "log.level: expected one of error warning notice info debug"),
    ("budget = 1G\n", "line 1"),
    ("[store\nbudget = 1G\n", "line 1: expected \"[section]\""),
    ("[store]\nbudget\n", "line 2: expected \"[section]\""),
    ("[store]\n# " + "x" * 300 + "\n", "line 2: expected lines of at most 198 characters"),
]


@pytest.mark.parametrize("text, words", CONFIGURATIONS, ids=lambda v: v[:30].replace("\n", " ") if isinstance(v, str) else None)
def test_a_wrong_configuration_names_line_key_and_what_was_expected(directory, text, words):
    path = os.path.join(directory, "hookd.conf")
    with open(path, "w") as file:
        file.write(text)
    hookd = os.path.join(BUILD, "daemon", "hookd")
    for action in ["--check-config", "--print-config"]:
        done = subprocess.run([hookd, action, "--config", path], capture_output=True, text=True)
        assert done.returncode == 1 and words in done.stderr and path in done.stderr
    done = subprocess.run([hookd, "--config", path, "--data", directory + "/data", "--sockets", directory + "/run"],
                          capture_output=True, text=True, timeout=20)
    assert done.returncode == 1 and words in done.stderr
    assert not os.path.exists(directory + "/data")


def test_a_wrong_configuration_does_not_touch_a_running_hookd(hookd, receive):
    receiver = receive()
    hookd.admin.add_endpoint("e", receiver.url)
    with open(hookd.config, "a") as file:
        file.write("[delivery]\ntimeout = never\n")
    import signal
    from harness import wait_until
    hookd.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "the old configuration stays in force" in hookd.log())
    assert "delivery.timeout" in hookd.log()
    event = hookd.submit.submit("t", 1)["id"]
    hookd.manage.wait_for(event, "e", "delivered")


@pytest.mark.parametrize("arguments, words", [
    (["--colour"], "unrecognized option"),
    (["--data"], "requires an argument"),
    (["surplus"], "unexpected argument \"surplus\""),
])
def test_a_wrong_command_line_points_to_help(arguments, words):
    done = subprocess.run([os.path.join(BUILD, "daemon", "hookd"), *arguments], capture_output=True, text=True)
    assert done.returncode == 2 and words in done.stderr and "--help" in done.stderr


def test_a_socket_path_that_is_too_long_is_said_so(directory):
    done = subprocess.run([os.path.join(BUILD, "daemon", "hookd"), "--data", directory + "/d", "--config", directory + "/none",
                           "--sockets", directory + "/" + "x" * 100], capture_output=True, text=True, timeout=20)
    assert done.returncode == 1 and "too long for the path of a socket" in done.stderr


def test_the_printed_configuration_reads_back_the_same(directory):
    hookd = os.path.join(BUILD, "daemon", "hookd")
    path = os.path.join(directory, "hookd.conf")
    write_config(path, DEFAULTS, LOCAL, {"delivery": {"retry_schedule": "exponential 5s 4 12h 12", "rate": "0.5"},
                                         "network": {"ports": "80,443 8000-9000", "dns_servers": "10.0.0.53"}})
    first = subprocess.run([hookd, "--print-config", "--config", path], capture_output=True, text=True, check=True).stdout
    with open(path, "w") as file:
        file.write(first)
    second = subprocess.run([hookd, "--print-config", "--config", path], capture_output=True, text=True, check=True).stdout
    assert first == second and "ports = 80 443 8000-9000" in first
