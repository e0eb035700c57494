"""A full disk (fault 9), a full map and readers that stay (10, 11), a drained backlog (12).

New events are refused with 507 before a commit can fail; what was accepted goes on being delivered; room that comes
back is used without a restart; and the data file does not grow beyond its bounds.
"""

import collections
import contextlib
import glob
import os
import random
import re
import subprocess
import threading
import time

import pytest

from harness import BUILD, LONG, Hookd, strace, wait_until
from ledger import Ledger, assert_holds


@contextlib.contextmanager
def mounted(path, *arguments):
    os.makedirs(path, exist_ok=True)
    subprocess.run(["mount", *arguments, path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", path], check=True)


@contextlib.contextmanager
def small_ext4(directory):
    image = f"{directory}/disk"
    with open(image, "wb") as file:
        file.truncate(32 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True)
    with mounted(f"{directory}/mnt", "-o", "loop", image) as path:
        yield path


@contextlib.contextmanager
def small_tmpfs(directory):
    with mounted(f"{directory}/mnt", "-t", "tmpfs", "-o", "size=16M", "tmpfs") as path:
        yield path


DISKS = {"ext4": small_ext4, "tmpfs": small_tmpfs}


@pytest.fixture(params=DISKS)
def disk(request, directory):
    with DISKS[request.param](directory) as path:
        yield path


class Elsewhere(Hookd):
    """Its data on another disk."""

    def __init__(self, directory, data, config):
        super().__init__(directory, config)
        self.data = data


CONFIG = {"store": {"budget": "48M", "min_free_disk": "1M"}, "intake": {"max_payload": "256K"}, "senders": {"count": "1"}}


@pytest.fixture
def hookd_on(directory):
    made = []

    def make(path, config=CONFIG):
        os.mkdir(f"{directory}/{len(made)}")
        hookd = Elsewhere(f"{directory}/{len(made)}", f"{path}/data", config)
        made.append(hookd)
        return hookd.start()
    yield make
    for hookd in made:
        assert hookd.stop() in (0, None), hookd.log()


def free_bytes(path):
    disk = os.statvfs(path)
    return disk.f_bavail * disk.f_frsize


def fill_up(path, leave=0):
    """Another process takes what the disk has left."""
    with contextlib.suppress(OSError), open(f"{path}/other", "ab", buffering=0) as file:
        while (room := free_bytes(path) - leave) > 0:
            file.write(os.urandom(min(room, 1 << 20)))


def add_endpoints(ledger):
    """Two, for one may be owed a quarter of the budget only."""
    for type in "tu":
        ledger.add_endpoint(f"ok-{type}", types=[type], path=f"/{type}", max_in_flight=64)


def submit_until_refused(ledger):
    """Large ones, until not even a small one is taken."""
    for size in (20000, 100):
        for i in range(3000):
            submission = ledger.make(type="tu"[i % 2], key=True, size=size)
            if ledger.submit(submission) != "stored":
                break
    told = submission.answers[-1]
    assert (told.word, told.why) == ("refused", "full"), told


def assert_nothing_lost(ledger):
    """On a full disk what was delivered is forgotten early: an event that all its receivers took may be gone."""
    books = ledger.books()
    taken = {arrival for arrival, requests in books.arrivals().items() if any(r.is_success for r in requests)}
    listed = {event["id"] for event in books.events}
    for submission in books.submissions:
        for id in submission.ids - listed:
            if all((key, id) in taken for key in submission.owed):
                books.purged |= {(id, name) for _, name in submission.owed} or {(id, None)}
    assert_holds(books)


def test_a_full_disk_refuses_and_goes_on_delivering(disk, hookd_on):
    with open(f"{disk}/ballast", "wb") as file:
        file.write(os.urandom(4 << 20))
    hookd = hookd_on(disk)
    with Ledger(hookd) as ledger:
        add_endpoints(ledger)
        ledger.add_endpoint("dies", types=["d"], closed=True, retry_schedule_s=[1])
        hookd.admin.post("/v1/pause")
        for _ in range(20):
            assert ledger.submit(ledger.make(type="d", key=True)) == "stored"
        submit_until_refused(ledger)
        health = hookd.submit.get("/v1/health")
        assert health.status == 507 and "disk" in health.json["detail"] and "min_free_disk" in health.json["detail"]
        assert free_bytes(disk) > 0
        # Another process takes the rest, while hookd runs: not one byte is left.
        fill_up(disk)
        assert free_bytes(disk) == 0
        held = [(s.answers[-1].id, "ok-t") for s in ledger.submissions if s.type == "t" and s.is_stored][:50]
        for verb in ("hold", "release"):
            answer = hookd.manage.post(f"/v1/deliveries/{verb}", {"ids": [f"{event}/{name}" for event, name in held]})
            assert answer.status == 200 and answer.json["changed"] == len(held), answer
        assert ledger.verb("cancel", held[:10]).json["changed"] == 10
        assert ledger.submit(ledger.make(type="t", key=True)) == "refused"
        hookd.admin.post("/v1/resume")
        ledger.settle()  # all delivered or, refused by a closed port twice, dead
        # Room comes back, and is used without a restart.
        assert ledger.submit(ledger.make(type="t", key=True)) == "refused"
        os.remove(f"{disk}/other")
        os.remove(f"{disk}/ballast")
        wait_until(lambda: ledger.submit(ledger.make(type="t", key=True)) == "stored", 10)
        assert hookd.submit.get("/v1/health").status == 200
        ledger.settle()
        assert "the store failed" not in hookd.log()
        assert_nothing_lost(ledger)


def test_purging_makes_room_on_a_full_disk(disk, hookd_on):
    hookd = hookd_on(disk)
    with Ledger(hookd) as ledger:
        add_endpoints(ledger)
        hookd.admin.post("/v1/pause")
        submit_until_refused(ledger)
        fill_up(disk, leave=1500 << 10)  # above the floor: what the file has is enough
        pairs = [(s.answers[-1].id, f"ok-{s.type}") for s in ledger.submissions if s.is_stored]
        purged = pairs[:len(pairs) // 2]
        for at in range(0, len(purged), 500):
            assert ledger.verb("purge", purged[at:at + 500], state="pending").status == 200
        wait_until(lambda: ledger.submit(ledger.make(type="t", key=True, size=20000)) == "stored", 10)
        hookd.admin.post("/v1/resume")
        ledger.settle()
        assert_nothing_lost(ledger)


def test_a_disk_that_fills_up_under_load_fails_no_commit(disk, hookd_on):
    """Producers, deliveries, and another process that takes and gives room, all at once."""
    hookd = hookd_on(disk)
    with Ledger(hookd) as ledger:
        ledger.add_endpoint("ok", types=["order.*"], path="/ok")
        ledger.add_endpoint("flaky", types=["order.*"], manner={"fail": 0.3}, retry_schedule_s=[1] * 20)
        with ledger.producers(6, pace_s=0.01):
            for round in range(20 if LONG else 4):
                time.sleep(0.4)
                fill_up(disk, leave=[0, 3 << 20][round % 2])
                time.sleep(0.4)
                os.remove(f"{disk}/other")
        ledger.settle()
        assert "the store failed" not in hookd.log()
        assert_nothing_lost(ledger)


def test_delivered_history_gives_way_on_a_full_disk(disk, hookd_on):
    """All that came was delivered: the disk is full of history, and that does not keep new events out."""
    hookd = hookd_on(disk)
    with Ledger(hookd) as ledger:
        add_endpoints(ledger)
        refused = 0
        for i in range(1100):
            submission = ledger.make(type="tu"[i % 2], key=True, size=20000)
            if ledger.submit(submission) != "stored":  # once: what is asked for is made room for
                refused += 1
                wait_until(lambda: ledger.submit(submission) == "stored", 5)
            if i % 50 == 0:
                ledger.settle()
        ledger.settle()
        assert "forgotten before their time" in hookd.log() and refused < 100
        assert_nothing_lost(ledger)


def test_a_start_on_a_full_disk_goes_on_delivering(disk, hookd_on):
    hookd = hookd_on(disk)
    with Ledger(hookd) as ledger:
        add_endpoints(ledger)
        hookd.admin.post("/v1/pause")
        submit_until_refused(ledger)
        fill_up(disk)
        hookd.kill()
        ledger.crash()
        hookd.start()
        assert ledger.submit(ledger.make(type="t", key=True)) == "refused"
        hookd.admin.post("/v1/resume")
        ledger.settle()
        assert_nothing_lost(ledger)


def test_a_file_that_was_copied_with_holes_fails_no_commit(disk, hookd_on):
    """Its end was set aside for what is under way; cp and tar can make a hole of that, and then others fill the disk."""
    hookd = hookd_on(disk)
    with Ledger(hookd) as ledger:
        add_endpoints(ledger)
        hookd.admin.post("/v1/pause")
        for i in range(300):
            assert ledger.submit(ledger.make(type="tu"[i % 2], key=True, size=2000)) == "stored"
        assert hookd.stop() == 0
        path = f"{hookd.data}/hookd.mdb"
        subprocess.run(["cp", "--sparse=always", path, path + ".copy"], check=True)
        assert os.stat(path + ".copy").st_blocks < os.stat(path).st_blocks
        os.rename(path + ".copy", path)
        hookd.start()
        fill_up(disk)
        hookd.admin.post("/v1/resume")
        ledger.settle()
        assert "the store failed" not in hookd.log()
        assert_nothing_lost(ledger)


# ---- Readers that stay ----------------------------------------------------------------------------------


@contextlib.contextmanager
def stuck_reader(hookd):
    """Another process that goes on reading the state of now."""
    process = subprocess.Popen([os.path.join(BUILD, "tests", "fault", "reader"), f"{hookd.data}/hookd.mdb"],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "reading\n"
    try:
        yield process
    finally:
        process.stdin.close()
        process.wait()


def slow_copies(hookd, seconds):
    """Each write to a copy, of which backups are made, takes so long, but no longer than the block."""
    # They are named by the second.
    names = [time.strftime("hookd-%Y%m%dT%H%M%SZ.mdb.part", time.gmtime(time.time() + i)) for i in range(30)]
    places = [word for name in names for word in ("-P", f"{hookd.data}/backup/{name}")]
    return strace(hookd.process.pid, *places, "-e", "trace=write", "-e", f"inject=write:delay_enter={seconds}s")


def grow_file(hookd, size):
    """To that many bytes, by changes while somebody reads an old state: what each frees cannot be used again."""
    while os.stat(f"{hookd.data}/hookd.mdb").st_size < size:
        assert hookd.manage.patch("/v1/endpoints/e", {"description": os.urandom(8).hex()}).status == 200


SMALL = {**CONFIG, "store": {"budget": "8M", "min_free_disk": "1M"}, "retention": {"delivered": "1s"}}
MAP_BYTES = 64 << 20  # the least that there is, for budgets up to 16M


def test_a_reader_that_stays_bounds_the_file_and_is_named(make_hookd):
    """At full rate, with what was delivered forgotten at once: without the reader the file stays small. With it new
    events stop before the map is used up, no attempt is begun that could not be written down, deletions still fit, and
    when the reader goes all goes on, without a restart."""
    hookd = make_hookd(SMALL)
    with Ledger(hookd) as ledger:
        add_endpoints(ledger)
        with stuck_reader(hookd) as reader:
            for i in range(6000):
                submission = ledger.make(type="tu"[i % 2], key=True, size=16000)
                if ledger.submit(submission) != "stored":
                    break
                if i % 20 == 0:
                    ledger.settle()
            assert submission.answers[-1].why == "full"
            assert os.stat(f"{hookd.data}/hookd.mdb").st_size <= MAP_BYTES
            problems = {p["code"]: p["message"] for p in hookd.manage.get("/v1/status").json["problems"]}
            assert f"process {reader.pid} reads an old state" in problems["old_reader"]
            assert hookd.metric("hookd_store_held_bytes") > 1 << 20
            # Changes of deliveries fit into what was kept back for them; each is a commit that frees nothing.
            hookd.admin.post("/v1/pause")
            for i in range(100):
                assert hookd.manage.patch("/v1/endpoints/ok-t", {"description": str(i)}).status == 200
            assert hookd.admin.post("/v1/deliveries/purge", {"all": True, "limit": 1000}).status == 200
            hookd.admin.post("/v1/resume")
            assert "the store failed" not in hookd.log()
        wait_until(lambda: ledger.submit(ledger.make(type="t", key=True)) == "stored", 10)
        ledger.settle()
        assert "old_reader" not in {p["code"] for p in hookd.manage.get("/v1/status").json["problems"]}
        assert os.stat(f"{hookd.data}/hookd.mdb").st_size <= MAP_BYTES


def test_what_was_taken_below_the_floor_is_forgotten_when_the_disk_has_room_again(disk, hookd_on):
    """Outcomes may take of the disk what new events may not, and that is not held against new events. Once the disk had
    room again, it is another who took it."""
    hookd = hookd_on(disk, {**SMALL, "store": {"budget": "8M", "min_free_disk": "4M"}})
    hookd.admin.add_endpoint("e", "https://hooks.example.com/")
    submit = lambda: hookd.submit.post("/v1/events", {"type": "t", "data": 1}).status
    change = lambda: hookd.manage.patch("/v1/endpoints/e", {"description": os.urandom(8).hex()}).status
    assert submit() == 202
    with open(f"{disk}/ballast", "wb") as file:
        file.write(os.urandom(64 << 10))
    fill_up(disk, leave=(4 << 20) + (200 << 10))
    with stuck_reader(hookd):
        while free_bytes(disk) > 3 << 20:
            assert change() == 200
    os.remove(f"{disk}/ballast")  # free and taken, that is the floor and no more, and file systems are not that exact
    wait_until(lambda: submit() == 202, 10)
    os.remove(f"{disk}/other")
    assert change() == 200
    fill_up(disk, leave=(4 << 20) - (200 << 10))
    assert submit() == 507
    os.remove(f"{disk}/other")
    assert submit() == 202


def test_a_refusal_for_a_reader_names_it_though_little_of_the_disk_is_free(directory, hookd_on):
    """What hookd itself took of it is not held against new events: nothing but the reader is in their way."""
    with mounted(f"{directory}/mnt", "-t", "tmpfs", "-o", "size=64M", "tmpfs") as disk:
        hookd = hookd_on(disk, {**SMALL, "store": {"budget": "8M", "min_free_disk": "4M"}})
        hookd.admin.add_endpoint("e", "https://hooks.example.com/")
        submit = lambda: hookd.submit.post("/v1/events", {"type": "t", "data": 1})
        with stuck_reader(hookd) as reader:
            grow_file(hookd, MAP_BYTES // 2 + (1 << 20))
            fill_up(disk, leave=(4 << 20) + (200 << 10))
            grow_file(hookd, os.stat(f"{hookd.data}/hookd.mdb").st_size + (1 << 20))
            assert free_bytes(disk) < 4 << 20
            answer = submit()
            assert answer.status == 507 and f"process {reader.pid} reads an old state" in answer.json["detail"], answer
        wait_until(lambda: submit().status == 202, 10)  # on the same disk
        assert free_bytes(disk) < 4 << 20
        assert hookd.stop() == 0


def last_transaction(hookd):
    stat = subprocess.run(["mdb_stat", "-n", "-e", f"{hookd.data}/hookd.mdb"], check=True, capture_output=True, text=True)
    return int(re.search(r"Last transaction ID: (\d+)", stat.stdout)[1])


def test_a_refusal_for_a_reader_that_stays_does_not_blame_the_disk(make_hookd):
    """Room on the disk would not help; who reads has to be told."""
    hookd = make_hookd(SMALL)
    hookd.admin.add_endpoint("e", "https://hooks.example.com/")
    with stuck_reader(hookd) as reader:
        # Commits until the file has grown as far as new events may let it.
        for i in range(20000):
            assert hookd.manage.patch("/v1/endpoints/e", {"description": str(i)}).status == 200
            if i % 50 == 0:
                answer = hookd.submit.post("/v1/events", {"type": "t", "data": i})
                if answer.status != 202:
                    break
        problems = {p["code"]: p["message"] for p in hookd.manage.get("/v1/status").json["problems"]}
        assert answer.status == 507
        for text in [answer.json["detail"], problems["refusing"]]:
            assert f"process {reader.pid} reads an old state" in text and "the disk has" not in text
        # For what is refused nothing is committed: the pages could not be taken again, and would be missing in the end.
        before = last_transaction(hookd)
        answers = [hookd.submit.post("/v1/events", {"type": "t", "data": i}) for i in range(300)]
        refused = sum(answer.status == 507 for answer in answers)
        assert refused > 100 and last_transaction(hookd) - before < 300 - refused + 50
    wait_until(lambda: hookd.submit.post("/v1/events", {"type": "t", "data": 1}).status == 202, 10)


def test_events_leave_outcomes_their_half_of_the_map(make_hookd):
    """While nothing can be used again, the file is made longer in steps for what was accepted before: new events take
    nothing of what a step has over."""
    hookd = make_hookd(SMALL)
    hookd.admin.add_endpoint("e", "https://hooks.example.com/")
    with stuck_reader(hookd):
        grow_file(hookd, MAP_BYTES // 2 + (4 << 20))
        answers = []
        while (size := os.stat(f"{hookd.data}/hookd.mdb").st_size) < MAP_BYTES // 4 * 3:
            grow_file(hookd, size + 1)
            answers += [hookd.submit.post("/v1/events", {"type": "t", "data": 1}).status for _ in range(5)]
        assert len(answers) > 30 and set(answers) == {507}, collections.Counter(answers)
    wait_until(lambda: hookd.submit.post("/v1/events", {"type": "t", "data": 1}).status == 202, 10)


def test_hookds_own_views_refuse_no_event_in_a_file_that_grew_beyond_half_of_the_map(make_hookd):
    """It does not shrink when the reader is gone; backups and lists then read old states, but not for long."""
    hookd = make_hookd(SMALL)
    hookd.admin.add_endpoint("e", "https://hooks.example.com/")
    with stuck_reader(hookd):
        grow_file(hookd, MAP_BYTES // 2 + (4 << 20))
    wait_until(lambda: hookd.submit.post("/v1/events", {"type": "t", "data": 1}).status == 202, 10)
    with slow_copies(hookd, 60):
        backup = threading.Thread(target=hookd.admin.post, args=["/v1/backup"])
        backup.start()
        wait_until(lambda: glob.glob(f"{hookd.data}/backup/*.part"), 10)
        answers = [hookd.submit.post("/v1/events", {"type": "t", "data": i}).status for i in range(50)]
        assert backup.is_alive()
    backup.join(60)
    assert set(answers) == {202}, collections.Counter(answers)


def test_a_reader_that_was_killed_keeps_nothing_back(make_hookd):
    """It could not give back its place in the table of readers; that is taken from it, without a restart."""
    hookd = make_hookd(SMALL)
    hookd.admin.add_endpoint("e", "https://hooks.example.com/")
    with stuck_reader(hookd) as reader:
        for i in range(300):
            assert hookd.manage.patch("/v1/endpoints/e", {"description": str(i)}).status == 200
        assert "old_reader" in {p["code"] for p in hookd.manage.get("/v1/status").json["problems"]}
        reader.kill()
        reader.wait()
        wait_until(lambda: not hookd.manage.get("/v1/status").json["problems"], 10)
        assert hookd.metric("hookd_store_held_bytes") == 0
        # What each commit frees is used again. While it was kept back the file grew by 6 MiB for as many.
        size = os.stat(f"{hookd.data}/hookd.mdb").st_size
        for i in range(300):
            assert hookd.manage.patch("/v1/endpoints/e", {"description": str(i)}).status == 200
        assert os.stat(f"{hookd.data}/hookd.mdb").st_size <= size + (2 << 20)


def test_attempts_wait_when_a_reader_leaves_no_pages_for_their_outcomes(make_hookd, receive):
    """An endpoint that fails on and on writes on and on: hookd does not run into the end of the map."""
    hookd = make_hookd(SMALL)
    receiver = receive(500)
    hookd.admin.add_endpoint("fails", receiver.url, types=["t"], retry_schedule_s=[1] * 30, max_in_flight=64)
    for i in range(300):
        hookd.submit.submit("t", i)
    with stuck_reader(hookd):
        # Commits until nothing is left but the reserve: each a few pages that cannot be used again.
        for i in range(20000):
            if hookd.manage.patch("/v1/endpoints/fails", {"description": str(i)}).status != 200:
                break
            if i % 100 == 0 and os.stat(f"{hookd.data}/hookd.mdb").st_size >= MAP_BYTES // 8 * 7:
                break
        def attempts_stop():
            before = len(receiver.requests)
            time.sleep(2.5)
            return len(receiver.requests) == before
        wait_until(attempts_stop, 60)
        assert hookd.process.poll() is None, hookd.log()
    receiver.answer = 204
    wait_until(lambda: hookd.manage.get("/v1/status").json["queue"]["pending"] == 0, 60)
    assert "the store failed" not in hookd.log()


def test_a_backup_that_takes_too_long_is_given_up(make_hookd):
    """Its disk writes nothing for a while; meanwhile hookd is busy."""
    hookd = make_hookd({**SMALL, "intake": {"max_payload": "256K"}})
    with Ledger(hookd) as ledger:
        add_endpoints(ledger)
        for i in range(60):
            assert ledger.submit(ledger.make(type="tu"[i % 2], key=True, size=16000)) == "stored"
        ledger.settle()
        answers = []
        with slow_copies(hookd, 1):
            backup = threading.Thread(target=lambda: answers.append(hookd.admin.post("/v1/backup")))
            backup.start()
            deadline = time.monotonic() + 60
            while backup.is_alive() and time.monotonic() < deadline:
                ledger.submit(ledger.make(type="tu"[time.monotonic_ns() % 2], key=True, size=16000))
            backup.join(10)
        assert answers[0].status == 507 and "the copy took so long" in answers[0].json["detail"], answers
        assert os.listdir(f"{hookd.data}/backup") == []
        assert hookd.admin.post("/v1/backup").status == 200
        ledger.settle()


# ---- A drained backlog ---------------------------------------------------------------------------------


def test_what_a_drained_backlog_leaves_is_used_again(make_hookd):
    """Many small events, nine of ten purged in random order: large ones after that take the pages that became free."""
    n = 100000 if LONG else 10000
    hookd = make_hookd({"store": {"budget": f"{n // 100}M"}, "senders": {"count": "1"}})  # a quarter of it for one endpoint
    hookd.admin.add_endpoint("e", "https://hooks.example.com/")
    hookd.admin.post("/v1/pause")
    ids = []
    for _ in range(n // 1000):
        lines = b"\n".join(b'{"type":"t","data":"%s"}' % os.urandom(450).hex().encode() for _ in range(1000))
        answer = hookd.submit.call("POST", "/v1/events", lines, {"Content-Type": "application/x-ndjson"})
        ids += [item["id"] for item in answer.json["items"]]
    random.Random(1).shuffle(ids)
    used_before = hookd.metric("hookd_store_used_bytes")
    for at in range(0, n // 10 * 9, 1000):
        answer = hookd.admin.post("/v1/deliveries/purge", {"ids": [f"{event}/e" for event in ids[at:at + 1000]], "state": "pending"})
        assert answer.status == 200 and answer.json["changed"] == 1000
    size = os.stat(f"{hookd.data}/hookd.mdb").st_size
    freed = used_before - hookd.metric("hookd_store_used_bytes")
    stored = 0
    while stored < freed * 0.6:
        assert hookd.submit.call("POST", "/v1/events", os.urandom(256 << 10), {}, type="t").status == 202
        stored += 256 << 10
    assert stored > 2 << 20
    assert os.stat(f"{hookd.data}/hookd.mdb").st_size == size
