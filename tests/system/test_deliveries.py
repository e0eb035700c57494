"""Deliveries: lists, filters, and the verbs of people."""

import concurrent.futures
import json
import time

import pytest

from harness import UnixConnection, closed_port, wait_until


@pytest.fixture
def world(hookd, receive):
    """Deliveries in all states: tenant acme has good (delivered), bad (dead after two attempts), later (pending)."""
    good, bad = receive(), receive(lambda r: (503, {}, b"down"))
    hookd.admin.add_endpoint("good", good.url, tenant="acme")
    hookd.admin.add_endpoint("bad", bad.url, tenant="acme", retry_schedule_s=[1])
    hookd.admin.add_endpoint("closed", f"http://127.0.0.1:{closed_port()}/", tenant="acme", retry_schedule_s=[3600])
    hookd.admin.add_endpoint("other", good.url, tenant="globex", types=["user.*"])
    ids = [hookd.submit.submit(f"order.{n}", n, tenant="acme")["id"] for n in range(6)]
    user = hookd.submit.submit("user.new", 1, tenant="globex")["id"]
    hookd.manage.wait_for(user, "other", "delivered")
    for event in ids:
        hookd.manage.wait_for(event, "bad", "dead")
        hookd.manage.wait_for(event, "good", "delivered")
    wait_until(lambda: all(d["attempts"] for d in hookd.manage.all("/v1/deliveries", endpoint="closed", tenant="acme")))
    hookd.ids = ids
    hookd.good, hookd.bad = good, bad
    return hookd


def ids_of(items):
    return [item["id"] for item in items]


def bulk(hookd, verb, **body):
    answer = hookd.admin.post(f"/v1/deliveries/{verb}", body)
    assert answer.status == 200, answer
    return answer.json


def states(hookd, **filters):
    counts = {}
    for item in hookd.manage.all("/v1/deliveries", **filters):
        counts[item["state"]] = counts.get(item["state"], 0) + 1
    return counts


def test_lists_filter_and_page(world):
    listed = lambda **filters: hookd_list(world, **filters)
    everything = listed()
    assert len(everything) == 19
    assert ids_of(everything) == sorted(ids_of(everything), key=lambda id: id.split("/")[0], reverse=True)
    assert states(world) == {"delivered": 7, "dead": 6, "pending": 6}
    assert ids_of(listed(limit=4)) == ids_of(everything)
    assert ids_of(listed(order="oldest", limit=5)) == ids_of(everything)[::-1]
    assert len(listed(state="dead")) == 6
    assert len(listed(state="dead,pending")) == 12
    assert len(listed(endpoint="bad", tenant="acme")) == 6
    assert len(listed(tenant="globex")) == 1
    assert len(listed(tenant="nobody")) == 0
    assert len(listed(type="order.3")) == 3
    assert len(listed(type="user.*")) == 1
    assert len(listed(event=world.ids[0])) == 3
    assert len(listed(http_status="503")) == 6
    assert len(listed(http_status="5xx")) == 6
    assert len(listed(http_status="2xx")) == 7
    assert len(listed(http_status="none")) == 6
    assert len(listed(error="connect")) == 6
    assert len(listed(error="status", state="pending")) == 0


def hookd_list(hookd, **filters):
    return hookd.manage.all("/v1/deliveries", **filters)


def test_since_and_until_look_at_when_the_state_began(world):
    dead = hookd_list(world, state="dead", order="oldest")
    middle = dead[3]["since"]  # others may have died in the same millisecond, and both ends are included
    assert ids_of(hookd_list(world, state="dead", since=middle, order="oldest")) == (
        [d["id"] for d in dead if d["since"] >= middle])
    assert ids_of(hookd_list(world, state="dead", until=middle, order="oldest")) == (
        [d["id"] for d in dead if d["since"] <= middle])


def test_dead_letters_alone_come_in_the_order_of_death(world):
    dead = hookd_list(world, state="dead")
    assert [d["since"] for d in dead] == sorted((d["since"] for d in dead), reverse=True)
    assert ids_of(hookd_list(world, state="dead", limit=1)) == ids_of(dead)


def test_replaying_dead_letters_starts_them_over_and_keeps_the_history(world):
    world.bad.answer = 200
    result = bulk(world, "replay", state="dead", endpoint="bad", tenant="acme")
    assert (result["matched"], result["changed"], result["next"]) == (6, 6, None)
    for event in world.ids:
        delivery = world.manage.wait_for(event, "bad", "delivered")
        assert delivery["attempts"] == 1 and len(delivery["history"]) == 3
        assert [a["number"] for a in delivery["history"]] == [1, 2, 3]


def test_replay_without_states_takes_dead_and_pending_only(world):
    result = bulk(world, "replay", event=world.ids[0], dry_run=True)
    assert (result["matched"], result["changed"]) == (2, 2)
    result = bulk(world, "replay", event=world.ids[0], state="delivered")
    assert result["changed"] == 1
    wait_until(lambda: len([r for r in world.good.requests if r.id == world.ids[0]]) == 2)


def test_hold_and_release(hookd, receive):
    receiver = receive()
    hookd.admin.add_endpoint("e", receiver.url)
    hookd.manage.post("/v1/endpoints/e/pause")
    event = hookd.submit.submit("t", 1)["id"]
    assert bulk(hookd, "hold", ids=[event])["changed"] == 1
    assert hookd.manage.delivery(event, "e")["state"] == "held"
    hookd.manage.post("/v1/endpoints/e/resume")
    time.sleep(0.3)
    assert receiver.requests == []
    assert bulk(hookd, "hold", ids=[event])["changed"] == 0
    assert bulk(hookd, "release", ids=[f"{event}/e"])["changed"] == 1
    hookd.manage.wait_for(event, "e", "delivered")


def test_cancel_makes_a_dead_letter_that_can_be_replayed(world):
    result = bulk(world, "cancel", endpoint="closed", tenant="acme")
    assert result["changed"] == 6
    delivery = world.manage.delivery(world.ids[0], "closed")
    assert (delivery["state"], delivery["dead_reason"]) == ("dead", "cancelled")
    assert bulk(world, "replay", ids=[delivery["id"]])["changed"] == 1
    assert world.manage.delivery(world.ids[0], "closed")["state"] == "pending"


def test_purge_takes_delivered_and_dead_and_events_go_with_their_last_delivery(world):
    assert world.manage.post("/v1/deliveries/purge", {"all": True}).status == 403
    result = bulk(world, "purge", event=world.ids[0])
    assert result["changed"] == 2  # the pending one stays, and with it the event
    assert world.manage.get(f"/v1/events/{world.ids[0]}").status == 200
    assert bulk(world, "purge", event=world.ids[0], state="pending")["changed"] == 1
    assert world.manage.get(f"/v1/events/{world.ids[0]}").status == 404
    assert bulk(world, "purge", all=True)["changed"] == 11
    assert states(world) == {"pending": 5}


def test_an_event_without_deliveries_is_purged_by_its_id(hookd):
    event = hookd.submit.submit("t", 1)["id"]
    assert bulk(hookd, "replay", ids=[event]) == {"matched": 0, "changed": 0, "not_found": [], "next": None}
    assert bulk(hookd, "purge", ids=[event], dry_run=True)["changed"] == 1
    assert bulk(hookd, "purge", ids=[event])["changed"] == 1
    assert bulk(hookd, "purge", ids=[event])["not_found"] == [event]


def add_many_endpoints(hookd, n, workers=16):
    def add(worker):
        connection = UnixConnection(hookd.socket_path("admin"))
        for i in range(worker, n, workers):
            body = json.dumps({"name": f"e{i}", "url": "http://127.0.0.1:8080/", "tenant": "acme"})
            connection.request("POST", "/v1/endpoints", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            assert answer.status == 201, answer.read()
            answer.read()
        connection.close()

    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        list(pool.map(add, range(workers)))


def test_an_event_of_more_deliveries_than_a_page_is_reached_to_the_last(make_hookd):
    n = 10005
    hookd = make_hookd({"intake": {"max_endpoints_per_tenant": str(n)}})
    hookd.admin.post("/v1/pause")
    add_many_endpoints(hookd, n)
    event = hookd.submit.submit("t", 1, tenant="acme")
    assert event["deliveries"] == n
    event = event["id"]
    for verb, state in [("hold", "held"), ("release", "pending"), ("cancel", "dead"), ("replay", "pending")]:
        assert bulk(hookd, verb, ids=[event], dry_run=True) == {
            "matched": n, "changed": n, "not_found": [], "next": None}
        assert bulk(hookd, verb, ids=[event]) == {"matched": n, "changed": n, "not_found": [], "next": None}
        states = hookd.manage.get(f"/v1/events/{event}").json["states"]
        assert states.pop(state) == n and not any(states.values())
    assert hookd.log().count(f"held {n} deliveries: 1 ids") == 1
    # One by one, and that of a removed endpoint, too: whichever way they are listed, some come last.
    for i in [0, 1, n // 2, n - 2, n - 1]:
        if i in (0, n - 1):
            assert hookd.manage.delete(f"/v1/endpoints/e{i}", tenant="acme").status == 204
            hookd.manage.wait_for(event, f"e{i}", "dead")
        id = f"{event}/e{i}"
        assert hookd.manage.delivery(event, f"e{i}")["id"] == id
        assert bulk(hookd, "replay", ids=[id, id + "x"], dry_run=True) == {
            "matched": 1, "changed": 0 if i in (0, n - 1) else 1, "not_found": [id + "x"], "next": None}
    assert hookd.manage.get(f"/v1/deliveries/{event}/nobody").status == 404
    assert bulk(hookd, "cancel", ids=[event])["changed"] == n - 2
    assert bulk(hookd, "purge", ids=[event])["changed"] == n
    assert hookd.manage.get(f"/v1/events/{event}").status == 404


def test_ids_that_are_not_there_are_told(world):
    nowhere = "evt_00000000000000000000000000"
    ids = [world.ids[0], nowhere, f"{world.ids[1]}/nobody", "garbage", f"{world.ids[1]}/bad"]
    result = bulk(world, "replay", ids=ids, dry_run=True)
    assert result["not_found"] == [nowhere, f"{world.ids[1]}/nobody", "garbage"]
    assert (result["matched"], result["changed"]) == (4, 3)


def test_a_dry_run_changes_nothing(world):
    before = hookd_list(world)
    for verb, states in [("replay", "dead,pending,delivered"), ("hold", "pending"), ("cancel", "pending"),
                         ("purge", "dead,delivered,pending")]:
        result = bulk(world, verb, all=True, state=states, dry_run=True)
        assert result["changed"] == result["matched"] > 0
    assert hookd_list(world) == before


def test_bulk_actions_go_on_from_their_cursor_and_catch_nothing_twice(hookd):
    hookd.admin.add_endpoint("e", f"http://127.0.0.1:{closed_port()}/", retry_schedule_s=[3600] * 3)
    hookd.manage.post("/v1/endpoints/e/pause")
    for i in range(25):
        hookd.submit.submit("t", i)
    bulk(hookd, "cancel", all=True)
    changed, cursor, calls = 0, None, 0
    time.sleep(0.01)
    while True:
        result = bulk(hookd, "replay", all=True, limit=10, **({"cursor": cursor} if cursor else {}))
        changed += result["changed"]
        calls += 1
        cursor = result["next"]
        if not cursor:
            break
    assert changed == 25 and calls >= 3
    assert states(hookd) == {"pending": 25}


def test_a_success_after_cancel_is_a_fact(hookd, receive):
    release = []
    receiver = receive(lambda r: wait_until(lambda: release, 20) and 200)
    hookd.admin.add_endpoint("slow", receiver.url)
    event = hookd.submit.submit("t", 1)["id"]
    receiver.wait_for(1)
    assert hookd.manage.delivery(event, "slow")["waiting_for"] == "answer"
    assert bulk(hookd, "cancel", ids=[event])["changed"] == 1
    assert hookd.manage.delivery(event, "slow")["state"] == "dead"
    release.append(1)
    assert hookd.manage.wait_for(event, "slow", "delivered")["dead_reason"] is None


def test_a_failure_after_hold_only_joins_the_history(hookd, receive):
    release = []
    receiver = receive(lambda r: wait_until(lambda: release, 20) and 500)
    hookd.admin.add_endpoint("slow", receiver.url)
    event = hookd.submit.submit("t", 1)["id"]
    receiver.wait_for(1)
    bulk(hookd, "hold", ids=[event])
    release.append(1)
    delivery = wait_until(lambda: (lambda d: d if d["history"] else None)(hookd.manage.delivery(event, "slow")))
    assert delivery["state"] == "held" and delivery["attempts"] == 0 and delivery["last_attempt"]["http_status"] == 500


def test_replay_under_way_starts_over_once_the_attempt_has_ended(hookd, receive):
    release = []
    receiver = receive(lambda r: wait_until(lambda: release, 20) and (500 if len(receiver.requests) == 1 else 200))
    hookd.admin.add_endpoint("slow", receiver.url, retry_schedule_s=[3600])
    event = hookd.submit.submit("t", 1)["id"]
    receiver.wait_for(1)
    assert bulk(hookd, "replay", ids=[event])["changed"] == 1
    time.sleep(0.3)
    assert len(receiver.requests) == 1
    release.append(1)
    assert hookd.manage.wait_for(event, "slow", "delivered")["attempts"] == 1


def test_a_purged_delivery_under_way_stays_gone(hookd, receive):
    release = []
    receiver = receive(lambda r: wait_until(lambda: release, 20) and 200)
    hookd.admin.add_endpoint("slow", receiver.url)
    event = hookd.submit.submit("t", 1)["id"]
    receiver.wait_for(1)
    assert bulk(hookd, "purge", ids=[event], state="pending")["changed"] == 1
    release.append(1)
    time.sleep(0.3)
    assert hookd.manage.get(f"/v1/events/{event}").status == 404
    assert hookd.manage.get("/v1/endpoints/slow").json["queue"]["pending"] == 0


def test_since_when_all_sending_is_paused(hookd):
    """Also if nobody asked between two pauses."""
    for _ in range(2):
        hookd.admin.post("/v1/pause")
        status = hookd.manage.get("/v1/status").json
        assert status["problems"][0]["since"] == status["sending"]["since"]
        hookd.admin.post("/v1/resume")


def test_the_journal_has_a_status_that_was_given_as_a_number(hookd, receive):
    hookd.admin.add_endpoint("e", receive(503).url, retry_schedule_s=[3600])
    event = hookd.submit.submit("t", 1)["id"]
    wait_until(lambda: hookd.manage.delivery(event, "e")["attempts"] == 1)
    assert bulk(hookd, "hold", http_status=503)["changed"] == 1
    assert hookd.log().count("held 1 deliveries: http_status 503") == 1


def test_an_event_that_was_owed_to_nobody_is_in_no_state(hookd):
    event = hookd.submit.submit("nobody.cares", 1)["id"]
    for state in ["dead", "delivered", "pending"]:
        assert bulk(hookd, "purge", ids=[event], state=state)["changed"] == 0
    assert hookd.manage.get(f"/v1/events/{event}").status == 200
    assert bulk(hookd, "purge", ids=[event])["changed"] == 1
    assert hookd.manage.get(f"/v1/events/{event}").status == 404


def test_all_sending_is_paused_over_a_restart_while_intake_goes_on(hookd, receive):
    receiver = receive()
    hookd.admin.add_endpoint("e", receiver.url)
    assert hookd.manage.post("/v1/pause", {"reason": "rubbish"}).status == 403
    assert hookd.admin.post("/v1/pause", {"reason": "rubbish"}).json["state"] == "paused"
    event = hookd.submit.submit("t", 1)["id"]
    hookd.restart()
    status = hookd.manage.get("/v1/status").json
    assert status["sending"]["state"] == "paused" and status["sending"]["reason"] == "rubbish"
    assert [p["code"] for p in status["problems"]] == ["sending_paused"]
    assert hookd.manage.delivery(event, "e")["waiting_for"] == "resume"
    time.sleep(0.3)
    assert receiver.requests == []
    assert hookd.admin.post("/v1/resume").json["state"] == "on"
    hookd.manage.wait_for(event, "e", "delivered")


def test_the_backlog_is_counted_by_age_and_endpoint(world):
    items = world.manage.all("/v1/backlog")
    assert [(i["tenant"], i["endpoint"], i["pending"]) for i in items] == [("acme", "closed", 6)]
    assert items[0]["ages"] == {"1m": 6, "5m": 0, "30m": 0, "2h": 0, "8h": 0, "1d": 0, "older": 0}
    assert items[0]["next_attempt_at"]
    assert world.manage.all("/v1/backlog", tenant="globex") == []
