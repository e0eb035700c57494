"""The store: full, damaged, copied, locked, and what a crash leaves."""

import json
import os
import re
import shutil
import subprocess
import threading
import time

import pytest

from harness import check_data, closed_port, traced, wait_until

NDJSON = {"Content-Type": "application/x-ndjson"}


def test_checking_the_data_as_root_leaves_them_to_their_owner(hookd):
    hookd.submit.submit("t", 1)
    assert hookd.stop() == 0
    for name in os.listdir(hookd.data):
        os.chown(os.path.join(hookd.data, name), 65534, 65534)
    os.remove(os.path.join(hookd.data, "lock"))
    assert check_data(hookd).returncode == 0
    assert {os.stat(os.path.join(hookd.data, name)).st_uid for name in os.listdir(hookd.data)} == {65534}
    os.remove(os.path.join(hookd.data, "hookd.mdb"))
    assert "hookd.mdb: No such file" in check_data(hookd).stderr


def fill(hookd, type="t", size=20000, limit=5000):
    """Submits until one is refused; returns the refusal."""
    for i in range(limit):
        answer = hookd.submit.call("POST", "/v1/events", b"x" * size, {}, type=type)
        if answer.status != 202:
            return answer
    raise AssertionError("never full")


def resident(hookd):
    """What hookd has in memory of its own and of its files, in bytes."""
    with open(f"/proc/{hookd.process.pid}/status") as file:
        return sum(int(line.split()[1]) << 10 for line in file if line.startswith(("RssAnon:", "RssFile:")))


def test_neither_memory_nor_what_a_start_reads_grows_with_the_backlog(make_hookd, receive):
    hookd = make_hookd({"store": {"budget": "1G"}})
    receiver = receive(lambda request: time.sleep(1) or 204)
    hookd.admin.add_endpoint("e", receiver.url, max_in_flight=1)

    def start_with(n_thousands):
        for _ in range(n_thousands):
            lines = b"\n".join(b'{"type":"t","data":"%s"}' % os.urandom(500).hex().encode() for _ in range(1000))
            assert hookd.submit.call("POST", "/v1/events", lines, NDJSON).status == 202
        hookd.restart()
        n = len(receiver.requests)
        wait_until(lambda: len(receiver.requests) >= n + 2)  # it has claimed as much as it ever does
        return resident(hookd), hookd.metric("hookd_store_used_bytes")

    small, small_used = start_with(6)
    large, large_used = start_with(60)
    assert large_used - small_used > 60 << 20
    assert large - small < 8 << 20, f"{small} bytes with a short backlog, {large} with a long one"


def test_a_used_up_budget_refuses_new_events_and_says_so_everywhere(make_hookd, receive):
    hookd = make_hookd({"store": {"budget": "4M"}, "intake": {"max_payload": "100K"}})
    receiver = receive()
    hookd.admin.add_endpoint("e", receiver.url, types=["wanted"])
    hookd.manage.post("/v1/endpoints/e/pause")
    owed = hookd.submit.submit("wanted", 1)["id"]
    # Events for nobody end at once, and would give way; pending ones of many endpoints do not.
    for i in range(5):
        hookd.admin.add_endpoint(f"p{i}", receiver.url, types=[f"p{i}"])
        hookd.manage.post(f"/v1/endpoints/p{i}/pause")
    refusals = [fill(hookd, f"p{i}") for i in range(5)]
    last = refusals[-1]
    assert last.status == 507 and last.json["code"] == "full"
    assert any("budget of 4M" in r.json["detail"] for r in refusals)
    health = hookd.submit.get("/v1/health")
    assert health.status == 507 and "budget" in health.json["detail"]
    status = hookd.manage.get("/v1/status").json
    assert status["intake"]["accepting"] is False and status["intake"]["code"] == "full"
    assert [p["code"] for p in status["problems"]] == ["refusing"]
    assert status["store"]["used_bytes"] <= status["store"]["budget_bytes"]
    # What was accepted goes on being delivered, and purging makes room.
    hookd.manage.post("/v1/endpoints/e/resume")
    assert receiver.wait_for(1)[0].id == owed
    assert hookd.admin.post("/v1/deliveries/purge", {"state": "pending", "limit": 10000}).json["changed"] > 10
    wait_until(lambda: hookd.submit.get("/v1/health").status == 200)
    hookd.submit.submit("wanted", 2)


@pytest.mark.parametrize("size, most", [(1024, 1.6), (1800, 1.6), (16384, 1.3), (65536, 1.3)])
def test_a_pending_event_takes_little_more_room_than_its_payload(make_hookd, size, most):
    hookd = make_hookd({"store": {"budget": "256M"}})
    hookd.admin.add_endpoint("e", f"http://127.0.0.1:{closed_port()}/")
    hookd.manage.post("/v1/endpoints/e/pause")
    line = json.dumps({"type": "t", "data": "x" * (size - 2)}) + "\n"
    n = (2 << 20) // size // 4 * 4
    for i in range(4):
        answer = hookd.submit.post("/v1/events", line * (n // 4), NDJSON)
        assert answer.status == 202
    assert hookd.metric("hookd_queue_deliveries", state="pending") == n
    assert hookd.metric("hookd_store_used_bytes") <= most * size * n


def test_an_endpoint_that_is_owed_a_quarter_takes_nothing_more_while_others_do(make_hookd, receive):
    hookd = make_hookd({"store": {"budget": "8M"}, "intake": {"max_payload": "100K"}})
    hookd.admin.add_endpoint("stuck", receive().url, types=["stuck"], tenant="acme")
    hookd.manage.post("/v1/endpoints/stuck/pause", tenant="acme")
    for i in range(1000):
        answer = hookd.submit.call("POST", "/v1/events", b"x" * 50000, {}, type="stuck", tenant="acme")
        if answer.status != 202:
            break
    assert answer.status == 507 and answer.json["field"] == "endpoint" and "acme/stuck" in answer.json["detail"]
    assert 35 <= i <= 45
    assert hookd.submit.submit("other", 1, tenant="acme")["id"]
    assert hookd.submit.get("/v1/health").status == 200


@pytest.mark.parametrize("full", ["budget", "share"])
def test_a_batch_that_is_refused_for_its_key_is_not_told_so_for_space(make_hookd, receive, full):
    hookd = make_hookd({"store": {"budget": "4M"}, "intake": {"max_payload": "100K"}})
    for i in range(5 if full == "budget" else 1):
        hookd.admin.add_endpoint(f"p{i}", receive().url, types=[f"p{i}"])
        hookd.manage.post(f"/v1/endpoints/p{i}/pause")
    hookd.submit.submit("other", 1, idempotency_key="taken")
    answer = fill(hookd, "p0")
    if full == "share":
        wait_until(lambda: fill(hookd, "p0").json["field"] == "endpoint")
    for i in range(1, 5 if full == "budget" else 1):
        answer = fill(hookd, f"p{i}")
    assert answer.status == 507

    def batch(*lines):
        return hookd.submit.call("POST", "/v1/events", "\n".join(lines).encode(), NDJSON)

    new = '{"type":"p0","data":"' + "x" * 20000 + '"}'
    known = '{"type":"other","data":1,"idempotency_key":"taken"}'
    reused = '{"type":"other","data":2,"idempotency_key":"taken"}'
    assert batch(new).status == batch(known, new).status == 507
    for lines in [(new, reused), (reused, new), (known, new, reused)]:
        answer = batch(*lines)
        assert (answer.status, answer.json["code"], answer.json["line"]) == (422, "key_reused", lines.index(reused) + 1)
    assert batch(known).status == 202  # a repeat takes no room


def test_delivered_history_gives_way_before_new_events_are_refused(make_hookd, receive):
    hookd = make_hookd({"store": {"budget": "4M"}, "intake": {"max_payload": "100K"}})
    receiver = receive()
    hookd.admin.add_endpoint("e", receiver.url)
    started = time.monotonic()
    for i in range(600):
        answer = hookd.submit.call("POST", "/v1/events", b"x" * 20000, {}, type="t")
        assert answer.status == 202, answer
        receiver.wait_for(i + 1)
    told = hookd.log().count("forgotten before their time")
    assert 1 <= told <= 1 + (time.monotonic() - started) // 60  # more of it is told once a minute
    assert hookd.manage.get("/v1/status").json["store"]["used_bytes"] < 4 << 20


def test_the_free_disk_floor_refuses_new_events(make_hookd):
    hookd = make_hookd({"store": {"min_free_disk": "1000T"}})
    answer = hookd.submit.post("/v1/events", {"type": "t", "data": 1})
    assert answer.status == 507 and "disk" in answer.json["detail"] and "min_free_disk" in answer.json["detail"]
    assert hookd.submit.get("/v1/health").status == 507
    hookd.configure()
    hookd.reload()
    hookd.submit.submit("t", 1)


def test_a_second_hookd_on_the_same_directory_does_not_start(hookd, directory):
    done = subprocess.run([*hookd.command()[:-1], directory + "/other"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 1 and "another hookd uses the data directory" in done.stderr
    assert hookd.submit.submit("t", 1)


def test_sockets_in_use_are_not_taken_over(make_hookd, directory):
    hookd = make_hookd()
    command = hookd.command()
    command[command.index("--data") + 1] = directory + "/other-data"
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert done.returncode == 1 and "another process serves" in done.stderr
    assert hookd.submit.submit("t", 1)


def test_a_backup_is_restored_with_sending_paused(hookd, receive):
    receiver = receive()
    hookd.admin.add_endpoint("e", receiver.url)
    hookd.manage.post("/v1/endpoints/e/pause")
    ids = [hookd.submit.submit("t", i, idempotency_key=str(i))["id"] for i in range(200)]
    assert hookd.manage.post("/v1/backup").status == 403
    stop, trouble = threading.Event(), []

    def load():
        try:
            while not stop.is_set():
                hookd.submit.submit("t", "x")
        except Exception as error:
            trouble.append(error)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        answer = hookd.admin.post("/v1/backup")
    finally:
        stop.set()
        thread.join()
    assert trouble == []
    assert answer.status == 200, answer
    copy = answer.json["file"]
    assert copy.startswith(hookd.data + "/backup/hookd-") and os.stat(copy).st_mode & 0o777 == 0o600
    assert abs(os.path.getsize(copy) - answer.json["bytes"]) < 65536
    assert hookd.stop() == 0
    shutil.copy(copy, hookd.data + "/hookd.mdb")
    checked = check_data(hookd)
    assert checked.returncode == 0 and "no faults" in checked.stdout, checked.stdout
    hookd.start()
    assert hookd.manage.get("/v1/status").json["sending"]["state"] == "paused"
    hookd.manage.post("/v1/endpoints/e/resume")
    time.sleep(0.5)
    assert receiver.requests == []  # a restored copy must not call customers
    for i, event in enumerate(ids):
        assert hookd.submit.submit("t", i, idempotency_key=str(i)) == {"id": event, "deliveries": 1, "duplicate": True}
    hookd.admin.post("/v1/resume")
    wait_until(lambda: set(ids) <= {r.id for r in receiver.requests})


def test_what_was_acknowledged_survives_kill_and_the_data_has_no_faults(hookd, receive):
    receiver = receive(lambda r: 500 if len(receiver.requests) % 3 == 0 else 200)
    hookd.admin.add_endpoint("e", receiver.url, retry_schedule_s=[1] * 10)
    hookd.admin.add_endpoint("closed", f"http://127.0.0.1:{closed_port()}/", retry_schedule_s=[1])
    acknowledged = []
    for round in range(10):
        stop = threading.Event()

        def load():
            i = 0
            while not stop.is_set():
                key = f"{round}-{i}"
                try:
                    receipt = hookd.submit.submit("t", key, idempotency_key=key)
                except Exception:
                    return
                acknowledged.append((key, receipt["id"]))
                i += 1

        thread = threading.Thread(target=load)
        thread.start()
        wait_until(lambda: len(acknowledged) > 6 * (round + 1))
        time.sleep(round % 5 / 100)  # not always in the same moment
        hookd.kill()
        stop.set()
        thread.join()
        checked = check_data(hookd)
        assert checked.returncode == 0, checked.stdout
        hookd.start()
    assert len(acknowledged) > 50
    for key, event in acknowledged:
        assert hookd.submit.submit("t", key, idempotency_key=key)["id"] == event


def spoil(path, text):
    """Changes a byte wherever text stands in a file."""
    with open(path, "r+b") as file:
        data = file.read()
        places = [m.start() for m in re.finditer(re.escape(text), data)]
        for at in places:
            file.seek(at)
            file.write(b"#")
    return len(places)


def test_a_damaged_event_is_never_sent_and_everybody_is_told(hookd, receive):
    receiver = receive()
    hookd.admin.add_endpoint("e", receiver.url)
    hookd.manage.post("/v1/endpoints/e/pause")
    bad = hookd.submit.submit("t", "a tell-tale payload")["id"]
    good = hookd.submit.submit("t", "fine")["id"]
    assert hookd.stop() == 0
    assert spoil(hookd.data + "/hookd.mdb", b"tell-tale") > 0
    checked = check_data(hookd)
    assert checked.returncode == 1 and bad in checked.stdout and "1 faults" in checked.stdout
    hookd.start()
    hookd.manage.post("/v1/endpoints/e/resume")
    hookd.manage.wait_for(good, "e", "delivered")
    delivery = wait_until(lambda: (lambda d: d if d["state"] == "dead" else None)(hookd.manage.delivery(bad, "e")))
    assert delivery["dead_reason"] == "damaged"
    assert [r.id for r in receiver.requests] == [good]
    wait_until(lambda: f"event {bad} is damaged on disk" in hookd.log())
    assert [p["code"] for p in hookd.manage.get("/v1/status").json["problems"]] == ["damaged"]


def test_a_data_file_cut_short_is_refused_with_its_reason(hookd):
    for i in range(200):
        hookd.submit.submit("t", "x" * 3000)
    assert hookd.stop() == 0
    os.truncate(hookd.data + "/hookd.mdb", 64 * 4096)
    hookd.start(wait=False)
    assert hookd.process.wait(20) == 65
    hookd.process = None
    assert "is cut short" in hookd.log()


@pytest.mark.parametrize("call, error", [("fdatasync", "EIO"), ("pwrite64", "EIO"), ("writev", "ENOSPC")])
def test_a_failed_commit_stops_hookd_and_nothing_is_called_stored(make_hookd, call, error):
    hookd = make_hookd()
    before = hookd.submit.submit("t", 1, idempotency_key="before")["id"]
    # In one write when there are several pages; whichever call comes first fails.
    answers = []
    with traced(hookd, f"{call}:error={error}"):
        for i in range(3):
            try:
                answers.append(hookd.submit.call("POST", "/v1/events", b"x" * 100000, {"Idempotency-Key": f"k{i}"}, type="t"))
            except OSError:
                break
        status = hookd.process.wait(20)
    hookd.process = None
    assert status == 1
    assert answers and all(a.status == 503 and a.json["code"] in ("unknown", "stopping") for a in answers)
    assert answers[0].json["code"] == "unknown"
    assert "the store failed" in hookd.log()
    hookd.start()
    assert hookd.submit.submit("t", 1, idempotency_key="before") == {"id": before, "deliveries": 0, "duplicate": True}


def test_secrets_are_nowhere_in_clear(hookd, receive):
    receiver = receive()
    secret = "whsec_" + "Q2FuYXJ5U2VjcmV0Rm9yVGVzdHNPbmx5MTIzNDU2Nzg="
    hookd.admin.add_endpoint("e", receiver.url, secret=secret, headers={"Authorization": "Bearer canary-header-value"})
    hookd.manage.wait_for(hookd.submit.submit("t", 1)["id"], "e", "delivered")
    copy = hookd.admin.post("/v1/backup").json["file"]
    listed = hookd.manage.get("/v1/endpoints").body + hookd.manage.get("/v1/endpoints/e").body
    command = open(f"/proc/{hookd.process.pid}/cmdline", "rb").read()
    assert hookd.stop() == 0
    for content in [open(hookd.data + "/hookd.mdb", "rb").read(), open(copy, "rb").read(), listed, command,
                    hookd.log().encode()]:
        for canary in [b"Q2FuYXJ5U2", b"CanarySecretForTests", b"canary-header-value"]:
            assert canary not in content
    assert os.stat(hookd.data + "/master.key").st_mode & 0o777 == 0o600
