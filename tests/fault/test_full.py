"""A full disk (fault 9), a full map and readers that stay (10, 11), a drained backlog (12).

New events are refused with 507 before a commit can fail; what was accepted goes on being delivered; room that comes
back is used without a restart; and the data file does not grow beyond its bounds.
"""

import contextlib
import os
import subprocess
import threading
import time

import pytest

from harness import BUILD, LONG, Hookd, hookctl, wait_until
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
