"""Endpoints: their settings, who may set what, and their life."""

import concurrent.futures
import time

import pytest

from harness import closed_port, traced, wait_until
from secrets_of import edit_data

PUBLIC = "https://hooks.example.com/in"


def test_an_endpoint_has_every_member_and_its_defaults(make_hookd):
    hookd = make_hookd(local=False)
    answer = hookd.manage.post("/v1/endpoints", {"url": PUBLIC})
    assert answer.status == 201
    made = answer.json
    secret = made.pop("secret")
    assert secret.startswith("whsec_") and len(secret) == 50
    assert made["name"].startswith("ep_")
    assert {k: v for k, v in made.items() if k not in ("name", "state_since", "created_at", "updated_at", "health", "secrets")} == {
        "tenant": "", "url": PUBLIC, "types": ["*"], "description": "", "headers": {},
        "retry_schedule_s": [5, 30, 120, 600, 1800, 7200, 18000, 36000, 50400, 64800, 79200], "max_age_s": None,
        "timeout_s": 15, "max_in_flight": 8, "rate_per_s": None, "burst": 1, "allow_http": False, "allow_private": [],
        "ca": None, "state": "active", "paused_by": None, "reason": None,
        "queue": {"pending": 0, "held": 0, "dead": 0, "oldest_pending_at": None}}
    assert made["health"]["state"] == "untried" and made["health"]["last_attempt"] is None
    assert len(made["secrets"]) == 1 and made["secrets"][0]["expires_at"] is None
    # The secret is told once.
    assert hookd.manage.get(f"/v1/endpoints/{made['name']}").json == made
    assert secret not in hookd.log()


def test_settings_survive_a_restart(make_hookd):
    hookd = make_hookd(local=False)
    settings = {"name": "all", "tenant": "acme", "url": "http://10.1.2.3:8080/x?y=1", "types": ["a.*", "b"], "description": "ä",
                "headers": {"X-One": "1", "X-Two": ""}, "retry_schedule_s": [1, 604800], "max_age_s": 60, "timeout_s": 60,
                "max_in_flight": 256, "rate_per_s": 0.5, "burst": 1000, "allow_http": True,
                "allow_private": ["10.1.0.0/16", "fd00::/8"], "ca": "partner.pem"}
    answer = hookd.admin.post("/v1/endpoints", settings)
    assert answer.status == 201, answer
    before = hookd.manage.get("/v1/endpoints/all", tenant="acme").json
    for name, value in settings.items():
        assert before[name] == ({"X-One": "***", "X-Two": "***"} if name == "headers" else value)
    hookd.restart()
    assert hookd.manage.get("/v1/endpoints/all", tenant="acme").json == before


def test_a_given_secret_is_taken(hookd):
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    assert hookd.admin.add_endpoint("a", "http://127.0.0.1:8080/", secret=secret)["secret"] == secret


def test_a_patch_changes_what_it_names_and_null_brings_the_default_back(make_hookd):
    hookd = make_hookd(local=False)
    hookd.manage.post("/v1/endpoints", {"name": "e", "url": PUBLIC, "timeout_s": 5, "headers": {"A": "1", "B": "2"}})
    answer = hookd.manage.patch("/v1/endpoints/e", {"timeout_s": None, "max_in_flight": 3, "headers": {"A": None, "C": "3", "b": "***"}})
    assert answer.status == 200
    assert (answer.json["timeout_s"], answer.json["max_in_flight"]) == (15, 3)
    assert sorted(answer.json["headers"]) == ["C", "b"]
    whole = answer.json
    answer = hookd.manage.patch("/v1/endpoints/e", {k: whole[k] for k in (
        "name", "tenant", "url", "types", "description", "headers", "retry_schedule_s", "max_age_s", "timeout_s",
        "max_in_flight", "rate_per_s", "burst", "allow_http", "allow_private", "ca")})
    assert answer.status == 200
    again = answer.json
    again["updated_at"] = whole["updated_at"] = None
    assert again == whole


def test_defaults_follow_the_configuration(make_hookd):
    hookd = make_hookd()
    hookd.admin.add_endpoint("e", "http://127.0.0.1:8080/")
    hookd.configure({"delivery": {"timeout": "7s", "retry_schedule": "1m 2m", "max_age": "1h", "rate": "5"}})
    hookd.reload()
    endpoint = hookd.manage.get("/v1/endpoints/e").json
    assert (endpoint["timeout_s"], endpoint["retry_schedule_s"], endpoint["max_age_s"], endpoint["rate_per_s"]) == (
        7, [60, 120], 3600, 5)


def test_none_is_a_setting_of_its_own_beside_the_default(make_hookd):
    hookd = make_hookd({"delivery": {"max_age": "1h", "rate": "5"}})
    hookd.admin.add_endpoint("e", "http://127.0.0.1:8080/", max_age_s=0, rate_per_s=0)

    def limits():
        endpoint = hookd.manage.get("/v1/endpoints/e").json
        return endpoint["max_age_s"], endpoint["rate_per_s"]

    assert limits() == (0, 0)
    hookd.restart()
    assert limits() == (0, 0)
    assert hookd.manage.patch("/v1/endpoints/e", {"max_age_s": None, "rate_per_s": None}).status == 200
    assert limits() == (3600, 5)


def test_only_admin_opens_the_inner_network(make_hookd):
    hookd = make_hookd(local=False)
    for member, value in [("allow_http", True), ("allow_private", ["10.0.0.0/8"]), ("ca", "x.pem")]:
        answer = hookd.manage.post("/v1/endpoints", {"name": "e", "url": PUBLIC, member: value})
        assert answer.status == 403 and answer.json["field"] == member
    assert hookd.admin.post("/v1/endpoints", {"name": "e", "url": PUBLIC, "ca": "x.pem", "allow_private": ["10.0.0.0/8"]}).status == 201
    # A manager may change the rest, sending back what was set by an administrator.
    answer = hookd.manage.patch("/v1/endpoints/e", {"ca": "x.pem", "allow_private": ["10.0.0.0/8"], "description": "d"})
    assert answer.status == 200
    assert hookd.manage.patch("/v1/endpoints/e", {"allow_private": ["0.0.0.0/0"]}).status == 403
    # What is allowed is a network: another URL does not inherit more than that.
    answer = hookd.manage.patch("/v1/endpoints/e", {"url": "https://192.168.1.1/"})
    assert answer.status == 400 and answer.json["field"] == "url"
    assert hookd.manage.patch("/v1/endpoints/e", {"url": "https://10.2.3.4/"}).status == 200


@pytest.mark.parametrize("url", [
    "https://127.0.0.1/", "https://10.0.0.1/", "https://192.168.0.1/", "https://169.254.169.254/latest/meta-data",
    "https://[::1]/", "https://[::ffff:127.0.0.1]/", "https://[fd00:ec2::254]/", "https://localhost/",
    "https://intranet/", "https://db.internal/", "https://x.local/", "https://0x7f000001/", "https://2130706433/",
    "https://127.1/", "https://0177.0.0.1/", "https://1%32%37.0.0.1/", "https://user@example.com/",
    "https://example.com:22/", "https://example.com:0/", "https://exa_mple.com/", "ftp://example.com/",
    "https://example.com/#frag", "https://[fe80::1%25eth0]/", "https://ex ample.com/", "http://example.com/",
    "https://168.63.129.16/", "https://100.64.0.1/", "https://0.0.0.0/", "https://example.com\\@127.0.0.1/",
])
def test_urls_that_lead_astray_are_refused_at_registration(make_hookd, url):
    hookd = make_hookd(local=False)
    answer = hookd.manage.post("/v1/endpoints", {"url": url})
    assert answer.status == 400 and answer.json["field"] == "url", answer
    assert hookd.manage.all("/v1/endpoints") == []


def test_a_name_is_taken_once_per_tenant(hookd):
    hookd.admin.add_endpoint("e", "http://127.0.0.1:8080/")
    answer = hookd.admin.post("/v1/endpoints", {"name": "e", "url": "http://127.0.0.1:8080/"})
    assert answer.status == 409 and answer.json["code"] == "exists"
    assert hookd.admin.add_endpoint("e", "http://127.0.0.1:8080/", tenant="acme")["tenant"] == "acme"


def test_a_tenant_has_at_most_so_many_endpoints(make_hookd):
    hookd = make_hookd({"intake": {"max_endpoints_per_tenant": "2"}})
    for name in "ab":
        hookd.admin.add_endpoint(name, "http://127.0.0.1:8080/")
    answer = hookd.admin.post("/v1/endpoints", {"url": "http://127.0.0.1:8080/"})
    assert answer.status == 507 and answer.json["field"] == "tenant"
    hookd.admin.add_endpoint("c", "http://127.0.0.1:8080/", tenant="other")


def test_a_tenant_has_no_more_endpoints_though_they_are_registered_at_once(make_hookd):
    hookd = make_hookd({"intake": {"max_endpoints_per_tenant": "2"}})
    # The first commit takes so long that the others come meanwhile.
    with traced(hookd, "fdatasync:delay_enter=1000000:when=1"), concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda i: hookd.admin.post("/v1/endpoints", {"url": PUBLIC}), range(8)))
    assert sorted(answer.status for answer in answers) == [201] * 2 + [507] * 6
    assert len(hookd.admin.all("/v1/endpoints")) == 2


def test_a_registration_that_is_refused_uses_no_number_up(make_hookd):
    """Numbers are never given twice, and tables in memory go up to the highest."""
    hookd = make_hookd({"intake": {"max_endpoints_per_tenant": "1"}})
    hookd.admin.add_endpoint("first", "http://127.0.0.1:8080/")
    for client, members, status in [(hookd.admin, {"url": "ftp://127.0.0.1/"}, 400),
                                    (hookd.admin, {"url": "http://127.0.0.1/", "secret": "s"}, 400),
                                    (hookd.manage, {"url": PUBLIC, "allow_http": True}, 403),
                                    (hookd.admin, {"url": PUBLIC, "name": "first"}, 409),
                                    (hookd.admin, {"url": PUBLIC, "name": "second"}, 507)]:
        assert client.post("/v1/endpoints", members).status == status
    hookd.admin.add_endpoint("second", "http://127.0.0.1:8080/", tenant="other")
    assert hookd.stop() == 0
    edit_data(hookd, "show", 2, 0)  # fails where there is no endpoint of that number


def test_endpoints_are_listed_filtered_and_paged(hookd, receive):
    bad = receive(500)
    for i in range(5):
        hookd.admin.add_endpoint(f"e{i}", bad.url, tenant="acme" if i < 3 else "globex", types=[f"t{i}"],
                                 retry_schedule_s=[3600])
    hookd.manage.post("/v1/endpoints/e4/pause", tenant="globex")
    hookd.submit.submit("t0", 1, tenant="acme")
    wait_until(lambda: hookd.manage.all("/v1/endpoints", health="failing"))
    names = lambda **filters: [e["name"] for e in hookd.manage.all("/v1/endpoints", **filters)]
    assert names() == ["e4", "e3", "e2", "e1", "e0"]
    assert names(order="oldest", limit=2) == ["e0", "e1", "e2", "e3", "e4"]
    assert names(tenant="acme", limit=1) == ["e2", "e1", "e0"]
    assert names(state="paused") == ["e4"]
    assert names(health="failing") == ["e0"]
    assert names(health="untried", state="active") == ["e3", "e2", "e1"]
    cursor = hookd.manage.get("/v1/endpoints", limit=2).json["next"]
    for cut in [2, 4, 6, 8]:
        answer = hookd.manage.get("/v1/endpoints", cursor=cursor[:-cut])
        assert answer.status == 400 and answer.json["field"] == "cursor"


def test_pausing_stops_one_endpoint_and_resuming_goes_on(hookd, receive):
    receiver = receive()
    hookd.admin.add_endpoint("e", receiver.url)
    answer = hookd.manage.post("/v1/endpoints/e/pause", {"reason": "maintenance"})
    assert (answer.json["state"], answer.json["paused_by"], answer.json["reason"]) == ("paused", "request", "maintenance")
    event = hookd.submit.submit("t", 1)["id"]
    time.sleep(0.3)
    assert receiver.requests == []
    assert hookd.manage.delivery(event, "e")["waiting_for"] == "resume"
    hookd.restart()
    time.sleep(0.3)
    assert receiver.requests == []
    answer = hookd.manage.post("/v1/endpoints/e/resume")
    assert (answer.json["state"], answer.json["reason"]) == ("active", None)
    hookd.manage.wait_for(event, "e", "delivered")


def test_a_removed_endpoint_is_gone_and_what_it_was_owed_dies(hookd):
    url = f"http://127.0.0.1:{closed_port()}/"
    hookd.admin.add_endpoint("e", url, retry_schedule_s=[3600])
    events = [hookd.submit.submit("t", i)["id"] for i in range(20)]
    assert hookd.manage.delete("/v1/endpoints/e").status == 204
    assert hookd.manage.get("/v1/endpoints/e").status == 404
    for event in events:
        assert hookd.manage.wait_for(event, "e", "dead")["dead_reason"] == "endpoint_removed"
    # Its dead letters cannot be replayed, and are not inherited by another one of that name.
    hookd.admin.add_endpoint("e", url, retry_schedule_s=[3600])
    result = hookd.manage.post("/v1/deliveries/replay", {"endpoint": "e", "tenant": "", "state": "dead"}).json
    assert (result["matched"], result["changed"]) == (20, 0)
    assert hookd.manage.get("/v1/endpoints/e").json["queue"]["dead"] == 0
    # When the last of them is purged, nothing is left of it.
    assert hookd.admin.post("/v1/deliveries/purge", {"all": True}).json["changed"] == 20
    assert hookd.manage.all("/v1/deliveries", endpoint="e", tenant="") == []


def test_removing_goes_on_after_a_crash(hookd):
    hookd.admin.add_endpoint("e", f"http://127.0.0.1:{closed_port()}/", retry_schedule_s=[3600])
    hookd.manage.post("/v1/endpoints/e/pause")
    body = b"".join(b'{"type":"t","data":%d}\n' % i for i in range(1000))
    for _ in range(5):
        assert hookd.submit.call("POST", "/v1/events", body, {"Content-Type": "application/x-ndjson"}).status == 202
    assert hookd.manage.delete("/v1/endpoints/e").status == 204
    hookd.kill()
    hookd.start()
    wait_until(lambda: not hookd.manage.get("/v1/deliveries", state="pending", limit=1).json["items"])
    assert len(hookd.manage.all("/v1/deliveries", state="dead", limit=1000)) == 5000


def test_changes_at_the_same_time_all_count(hookd):
    import threading
    hookd.admin.add_endpoint("e", "http://127.0.0.1:8080/")
    answers = []

    def change(i):
        answers.append(hookd.admin.patch("/v1/endpoints/e", {"headers": {f"X-{i}": "v"}}).status)

    threads = [threading.Thread(target=change, args=(i,)) for i in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 20
    assert len(hookd.manage.get("/v1/endpoints/e").json["headers"]) == 20


def test_health_follows_the_last_attempt(hookd, receive):
    receiver = receive(503)
    hookd.admin.add_endpoint("e", receiver.url, retry_schedule_s=[1] * 40)
    hookd.submit.submit("t", 1)
    health = wait_until(lambda: (lambda h: h if h["failures"] >= 2 else None)(
        hookd.manage.get("/v1/endpoints/e").json["health"]))
    assert health["state"] == "failing" and health["last_attempt"]["http_status"] == 503
    hookd.manage.post("/v1/endpoints/e/pause")  # another failure after the restart would be told once more
    hookd.restart()
    assert hookd.manage.get("/v1/endpoints/e").json["health"]["state"] == "failing"
    receiver.answer = 200
    hookd.manage.post("/v1/endpoints/e/resume")
    wait_until(lambda: hookd.manage.get("/v1/endpoints/e").json["health"]["state"] == "ok")
    wait_until(lambda: "e works again" in hookd.log())  # what is asked may be answered sooner than it is told
    log = hookd.log()
    assert log.count("e is failing: 503 Service Unavailable") == 1
    assert log.count("e works again") == 1
