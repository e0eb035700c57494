"""Bit rot (fault 13): what hookd makes of a data file whose bits have changed while it was stopped, or under it.

Whatever was accepted ends delivered with its exact bytes, or dead, or hookd refuses to start with status 65 and
says why. No other request is ever made, and nothing waits unseen.
"""

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness import BUILD, LONG, Hookd, Receiver, check_data, temporary_directory, wait_until

EXIT_DAMAGED = 65
CONFIG = {"store": {"budget": "16M"}, "senders": {"count": "1"}, "delivery": {"max_in_flight": "64"}}
LARGE = 10000  # bytes, in pieces


def rot(hookd, *arguments):
    return subprocess.run([os.path.join(BUILD, "tests", "fault", "rot"), f"{hookd.data}/hookd.mdb", *map(str, arguments)],
                          check=True, capture_output=True, text=True).stdout.split()


class Image:
    """A data directory with something in every table, sending paused; what it owes, and what else it knows."""

    def __init__(self, directory):
        self.directory = directory
        self.receiver = Receiver(lambda received: 500 if len(self.receiver.requests) == 1 else 204)
        hookd = Hookd(directory, CONFIG).start()
        self.payloads = {}  # event -> bytes
        self.owed = set()  # (event, endpoint)
        self.keys = {}  # event -> idempotency key
        for name in ("a", "b", "c"):
            hookd.admin.add_endpoint(name, self.receiver.url + name, types=[name, "all"], retry_schedule_s=[1] * 20)
        self.done = [self.submit(hookd, "c") for _ in range(3)]
        for event in self.done:
            hookd.manage.wait_for(event, "c", "delivered")
        self.receiver.answer = 204
        self.owed.clear()
        hookd.admin.post("/v1/pause")
        for i in range(24):
            self.submit(hookd, "ab"[i % 2], LARGE if i % 6 == 0 else 200)
        self.submit(hookd, "all", LARGE)
        self.dead = [self.submit(hookd, "c") for _ in range(3)]
        self.held = [self.submit(hookd, "c") for _ in range(3)]
        hookd.manage.post("/v1/deliveries/cancel", {"ids": [f"{event}/c" for event in self.dead]})
        hookd.manage.post("/v1/deliveries/hold", {"ids": [f"{event}/c" for event in self.held]})
        self.owed -= {(event, "c") for event in self.dead + self.held}
        assert hookd.stop() == 0
        shutil.copy(f"{hookd.data}/hookd.mdb", f"{directory}/sound.mdb")

    def submit(self, hookd, type, size=200):
        time.sleep(0.002)  # so that no id is another's with its last bit turned
        payload = random.Random(len(self.payloads)).randbytes(size)
        key = f"key-{len(self.payloads)}"
        answer = hookd.submit.call("POST", "/v1/events", payload, {"Idempotency-Key": key}, type=type)
        assert answer.status == 202, answer
        event = answer.json["id"]
        self.payloads[event], self.keys[event] = payload, key
        self.owed |= {(event, endpoint) for endpoint in ("abc" if type == "all" else type)}
        return event

    def requests(self):
        """What came since the last call: (event, endpoint) -> body."""
        with self.receiver.lock:
            requests, self.receiver.requests[:] = list(self.receiver.requests), []
        return {(r.id, r.path.strip("/")): r.body for r in requests}


@pytest.fixture(scope="module")
def image():
    with temporary_directory() as directory:
        made = Image(directory)
        yield made
        made.receiver.close()


@pytest.fixture
def copy_of(image):
    """Daemons on copies of the image, not started."""
    with contextlib.ExitStack() as stack:
        def make():
            hookd = Hookd(stack.enter_context(temporary_directory()), CONFIG)
            shutil.copytree(f"{image.directory}/data", hookd.data)
            image.requests()
            stack.callback(lambda: hookd.process and hookd.process.kill())
            return hookd
        yield make


class Refused(Exception):
    """hookd does not run on this file."""


def start(hookd):
    """As systemd does: a hookd that stops with status 1 is started again. Refused when it ends with 65."""
    for _ in range(4):
        hookd.start(wait=False)
        try:
            hookd.wait_ready()
            return
        except (AssertionError, OSError):
            status = hookd.process.wait(20)
            assert status in (1, EXIT_DAMAGED), f"{status}: {hookd.log()}"
            hookd.process = None
            if status == EXIT_DAMAGED:
                raise Refused(hookd.log())
    raise AssertionError(f"it does not start: {hookd.log()}")


def ask(hookd, call):
    """call(hookd), again after hookd has stopped to mend its file: as long as it stops it answers 503, or nothing."""
    for _ in range(4):
        try:
            answer = call(hookd)
            if answer.status != 503:
                return answer
        except OSError:
            pass
        status = hookd.process.wait(20)
        assert status in (1, EXIT_DAMAGED), f"{status}: {hookd.log()}"
        hookd.process = None
        if status == EXIT_DAMAGED:
            raise Refused(hookd.log())
        start(hookd)
    raise AssertionError(f"it does not run: {hookd.log()}")


def queue(hookd):
    return ask(hookd, lambda h: h.manage.get("/v1/status")).json["queue"]


def drain(hookd):
    """Lets hookd send what it owes."""
    if not hookd.process:
        start(hookd)
    ask(hookd, lambda h: h.admin.post("/v1/resume"))
    try:
        wait_until(lambda: queue(hookd)["pending"] == 0, 20)
    except AssertionError:
        raise AssertionError(f"still pending: {queue(hookd)}\n{hookd.log()}") from None


def dead(hookd):
    """(event, endpoint) -> reason"""
    return {(d["event"], d["endpoint"]): d["dead_reason"]
            for d in ask(hookd, lambda h: h.manage.get("/v1/deliveries", state="dead", limit=100)).json["items"]}


def judge(image, hookd, got):
    """Every delivery that was owed has ended, and nothing else was sent."""
    for delivery, body in got.items():
        assert delivery in image.owed and body == image.payloads[delivery[0]], delivery
    died = dead(hookd)
    ended = set(got) | {delivery for delivery, reason in died.items() if reason == "damaged"}
    named = set(re.findall(r"evt_\w{26}", hookd.log()))
    hidden = {delivery for delivery in image.owed - ended if delivery[0] not in named}
    assert not hidden, f"owed to nobody: {hidden}\n{hookd.log()}"
    return died


# ---- One row of each table ------------------------------------------------------------------------


def expect_all_delivered(image, hookd):
    drain(hookd)
    got = image.requests()
    died = judge(image, hookd, got)
    assert set(got) == image.owed and "damaged" not in died.values()


def expect_mended(image, hookd):
    expect_all_delivered(image, hookd)
    log = hookd.log()
    assert log.count("the data file was made anew") == 1, log
    assert os.path.exists(f"{hookd.data}/hookd.mdb.damaged") and not os.path.exists(f"{hookd.data}/rebuild")
    assert hookd.stop() == 0
    checked = check_data(hookd)
    assert checked.returncode == 0, checked.stdout


def expect_dead_letters(image, hookd, n=1):
    drain(hookd)
    got = image.requests()
    died = judge(image, hookd, got)
    damaged = {delivery for delivery, reason in died.items() if reason == "damaged"}
    assert len(damaged) == n and damaged == image.owed - set(got)
    for event, _ in damaged:
        assert event in hookd.log()


def expect_refused(words):
    def expect(image, hookd):
        with pytest.raises(Refused, match=words):
            start(hookd)
        assert not os.path.exists(f"{hookd.data}/rebuild")
    return expect


def expect_forgotten_key(image, hookd):
    """A key whose record is damaged confirms nothing: the event is stored anew, under another id."""
    drain(hookd)
    assert set(image.requests()) == image.owed
    for event, key in image.keys.items():
        type = next((e for v, e in image.owed if v == event), "c")
        hookd.submit.call("POST", "/v1/events", image.payloads[event], {"Idempotency-Key": key}, type=type)
    drain(hookd)  # or they would come to the next test's receiver
    anew = {event for event, _ in image.requests()}
    assert len(anew) == 1 and not anew & set(image.payloads)


def expect_history_gap(image, hookd):
    expect_all_delivered(image, hookd)
    assert hookd.log().count("damaged") == 0


def expect_seen_in_list(image, hookd):
    """What is dead, held or delivered is not sent; the list that leads to it notices, and the next start mends it."""
    drain(hookd)
    assert set(image.requests()) == image.owed
    for query in ({"state": "dead"}, {"state": "delivered"}, {"state": "held", "endpoint": "c"}):
        hookd.manage.all("/v1/deliveries", **query)
    status = hookd.manage.get("/v1/status").json
    assert [p["code"] for p in status["problems"]] == ["damaged"] and "restart" in status["problems"][0]["message"]
    hookd.restart()
    assert hookd.log().count("the data file was made anew") == 1, hookd.log()
    known = {(d["event"], d["endpoint"]) for d in hookd.manage.all("/v1/deliveries", state="pending,held,dead,delivered")}
    assert known == image.owed | {(event, "c") for event in image.done + image.dead + image.held}
    assert hookd.stop() == 0 and check_data(hookd).returncode == 0


def expect_removal_ends_all(image, hookd):
    """An endpoint goes, and what it is owed dies with it, though a row of the index does not lead there."""
    start(hookd)
    for name in "abc":
        assert ask(hookd, lambda h: h.manage.delete(f"/v1/endpoints/{name}")).status in (204, 404)
    wait_until(lambda: queue(hookd)["pending"] == queue(hookd)["held"] == 0, 20)
    assert image.requests() == {}
    assert "the data file was made anew" in hookd.log()
    assert {event for event, _ in dead(hookd)} == set(image.payloads) - set(image.done)


# Table; row, from the front; part of it; byte, from the end if negative; bits; what has to come of it. Rows of "due"
# and "standing" begin with the endpoint's number, 4 bytes; the first 13 are a's.
DAMAGE = {
    "due: another endpoint's": ("due", 5, "key", 3, 0x40, expect_mended),
    "due: no endpoint's": ("due", 5, "key", 0, 0x80, expect_mended),
    "due: the first of an endpoint": ("due", 0, "key", 3, 0x02, expect_mended),
    "due: the last of all": ("due", 25, "key", 3, 0x40, expect_mended),
    "due: long ago": ("due", 5, "key", 8, 0x01, expect_mended),
    "due: in a thousand years": ("due", 5, "key", 6, 0x10, expect_mended),
    "due: in a moment": ("due", 5, "key", 10, 0x10, expect_mended),
    "due: another event's": ("due", 5, "key", -1, 0x01, expect_mended),
    "due: no event's": ("due", 5, "key", 12, 0x40, expect_mended),
    "standing: another endpoint's": ("standing", 5, "key", 3, 0x40, expect_removal_ends_all),
    "standing: another state": ("standing", 5, "key", 4, 0x02, expect_removal_ends_all),
    "standing: no event's": ("standing", 5, "key", 6, 0x10, expect_removal_ends_all),
    "standing: is not needed to deliver": ("standing", 5, "key", 3, 0x40, expect_all_delivered),
    "dead: no event's": ("dead", 1, "key", 10, 0x40, expect_seen_in_list),
    "dead: another endpoint's": ("dead", 1, "key", -1, 0x40, expect_seen_in_list),
    "live: a record": ("live", 4, "value", 10, 0x01, expect_dead_letters),
    "live: its version": ("live", 4, "value", 0, 0x01, expect_dead_letters),
    "live: its checksum": ("live", 4, "value", -1, 0x80, expect_dead_letters),
    "live: its event": ("live", 4, "key", 15, 0x01, expect_dead_letters),
    "live: its endpoint": ("live", 4, "key", 19, 0x40, expect_dead_letters),
    "live: one that is held": ("live", 31, "value", 10, 0x01, expect_seen_in_list),
    "live: one that is dead": ("live", 28, "value", 10, 0x01, expect_seen_in_list),
    "done: a record": ("done", 1, "value", 10, 0x01, expect_seen_in_list),
    "event: its header": ("event", 8, "value", 5, 0x20, expect_dead_letters),
    "event: its payload": ("event", 8, "value", -20, 0x20, expect_dead_letters),
    "event: its id": ("event", 8, "key", 15, 0x01, expect_dead_letters),
    "piece: its payload": ("piece", 1, "value", 2000, 0x20, expect_dead_letters),
    "piece: its number": ("piece", 1, "key", 19, 0x08, expect_dead_letters),
    "attempt: a record": ("attempt", 0, "value", 5, 0x01, expect_history_gap),
    "endpoint: settings": ("endpoint", 1, "value", 20, 0x01, expect_refused("endpoint number 2 cannot be read")),
    "endpoint: its number": ("endpoint", 1, "key", 3, 0x40, expect_refused("endpoint number 66 cannot be read")),
    "tally: a record": ("tally", 1, "value", 4, 0x01, expect_mended),
    "tally: its number": ("tally", 1, "key", 3, 0x40, expect_mended),
    "key: a record": ("key", 3, "value", 5, 0x01, expect_forgotten_key),
    "key: its text": ("key", 3, "key", -1, 0x40, expect_forgotten_key),
    "key_expiry: its time": ("key_expiry", 3, "key", 3, 0x01, expect_all_delivered),
    "key_expiry: its key": ("key_expiry", 3, "key", -1, 0x40, expect_all_delivered),
    "ended: its event": ("ended", 1, "key", -1, 0x40, expect_all_delivered),
    "meta: the record": ("meta", 0, "value", 5, 0x01, expect_refused("its first record cannot be read")),
    "meta: its name": ("meta", 0, "key", 0, 0x01, expect_refused("its first record cannot be read")),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_one_damaged_row(image, copy_of, name):
    table, row, part, byte, mask, expect = DAMAGE[name]
    hookd = copy_of()
    rot(hookd, "flip", table, row, part, byte, mask)
    expect(image, hookd)


def test_a_damaged_row_of_what_has_ended_takes_no_other_event_along(image, copy_of):
    """Retention reads that index. Its row of a delivered event is made to name one that is owed."""
    hookd = copy_of()
    hookd.configure({**CONFIG, "retention": {"delivered": "1s"}})
    row, owed = rot(hookd, "keys", "ended")[0], rot(hookd, "keys", "live")[0][:32]
    for i in range(16):
        mask = int(row[18 + 2 * i:20 + 2 * i], 16) ^ int(owed[2 * i:2 * i + 2], 16)
        rot(hookd, "flip", "ended", 0, "key", 9 + i, mask)
    start(hookd)
    wait_until(lambda: len(hookd.manage.all("/v1/deliveries", state="delivered")) == 1)  # the others are forgotten
    expect_all_delivered(image, hookd)
    hookd.restart()
    assert "the data file was made anew" in hookd.log()


ROOT = 40  # in LMDB's record of a table: the number of its first page


def unreadable(hookd, table):
    rot(hookd, "flip", "-", sorted(UNREADABLE).index(table), "value", ROOT + 4, 0x01)


def expect_beyond_mending(words):
    """Noticed at the start or later; the start after that says what is lost."""
    def expect(image, hookd):
        with pytest.raises(Refused, match=words):
            drain(hookd)
        assert not os.path.exists(f"{hookd.data}/hookd.mdb.damaged")
    return expect


# What follows from other tables is made again from them; of what was given or happened nothing may go.
UNREADABLE = {
    "attempt": expect_beyond_mending("cannot be made anew"),
    "dead": expect_mended,
    "done": expect_beyond_mending("cannot be made anew"),
    "due": expect_mended,
    "ended": expect_mended,
    "endpoint": expect_beyond_mending("0 records of endpoints are to be read"),
    "event": expect_beyond_mending("cannot be made anew"),
    "key": expect_beyond_mending("cannot be made anew"),
    "key_expiry": expect_mended,
    "live": expect_beyond_mending("cannot be made anew"),
    "meta": expect_beyond_mending("its first record cannot be read"),
    "piece": expect_beyond_mending("cannot be made anew"),
    "standing": expect_mended,
    "tally": expect_mended,
}


@pytest.mark.parametrize("while_it_runs", [False, True], ids=["stopped", "running"])
@pytest.mark.parametrize("table", UNREADABLE)
def test_a_table_that_cannot_be_found(image, copy_of, table, while_it_runs):
    """LMDB tells of that one call later, and then calls it something else."""
    hookd = copy_of()
    if while_it_runs:
        start(hookd)
    unreadable(hookd, table)
    UNREADABLE[table](image, hookd)


def test_a_delivery_that_nothing_names_any_more_is_not_forgotten(image, copy_of):
    """Its record is another event's by its key, and the index that says whose it was cannot be read."""
    hookd = copy_of()
    rot(hookd, "flip", "live", 4, "key", 15, 0x01)
    unreadable(hookd, "standing")
    expect_beyond_mending("a delivery's record is damaged")(image, hookd)


def test_a_delivery_that_was_purged_is_not_missed(image, copy_of):
    """Its event knows of more deliveries than there are, rightly."""
    hookd = copy_of()
    start(hookd)
    (all_types, purged), *_ = sorted((event, endpoint) for event, endpoint in image.owed if (event, "c") in image.owed)
    answer = hookd.admin.post("/v1/deliveries/purge", {"ids": [f"{all_types}/{purged}"], "state": "pending"})
    assert answer.json["changed"] == 1
    assert hookd.stop() == 0
    unreadable(hookd, "standing")
    drain(hookd)
    assert set(image.requests()) == image.owed - {(all_types, purged)} and "made anew:" in hookd.log()


# ---- Anything, anywhere -----------------------------------------------------------------------------


def flip_bits(file, size, chance):
    for _ in range(chance.choice([1, 1, 1, 2, 8])):
        at = chance.randrange(size)
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1 << chance.randrange(8)]))


def zero_pages(file, size, chance):
    file.seek(chance.randrange(size // 4096) * 4096)
    file.write(bytes(4096 * chance.choice([1, 1, 3])))


def tear_sectors(file, size, chance):
    file.seek(chance.randrange(size // 512) * 512)
    file.write(chance.randbytes(512))


def swap_pages(file, size, chance):
    a, b = (chance.randrange(size // 4096) * 4096 for _ in range(2))
    file.seek(a)
    page = file.read(4096)
    file.seek(b)
    file.write(page)


def cut_short(file, size, chance):
    file.truncate(chance.randrange(size))


def used_bytes(path):
    """The file is longer than what has been in use: its rest is zeros."""
    with open(path, "rb") as file:
        data = file.read()
    return (len(data.rstrip(b"\0")) + 4095) // 4096 * 4096


def run_seed(image, seed):
    chance = random.Random(seed)
    damage = chance.choices([flip_bits, zero_pages, tear_sectors, swap_pages, cut_short], [6, 1, 1, 1, 1])[0]
    receiver = Receiver()
    with temporary_directory() as directory:
        hookd = Hookd(directory, CONFIG)
        shutil.copytree(f"{image.directory}/data", hookd.data)
        path = f"{hookd.data}/hookd.mdb"
        with open(path, "r+b") as file:
            damage(file, used_bytes(path), chance)
        try:
            start(hookd)
            # The endpoints of the image know another receiver's address.
            for name in "abc":
                ask(hookd, lambda h: h.manage.patch(f"/v1/endpoints/{name}", {"url": receiver.url + name}))
            drain(hookd)
            got = {(r.id, r.path.strip("/")): r.body for r in receiver.requests}
            judge(image, hookd, got)
            return damage.__name__, "mended" if "made anew:" in hookd.log() else "runs"
        except Refused as refused:
            assert re.search(r"damaged|cut short|restore", str(refused)), f"seed {seed}: {refused}"
            return damage.__name__, "refused"
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, {damage.__name__}: {error}") from None
        finally:
            if hookd.process:
                hookd.process.kill()
                hookd.process.wait()
            receiver.close()


def test_any_damage_is_survived_or_refused_with_a_reason(image):
    seeds = range(2000 if LONG else 60)
    with ThreadPoolExecutor(4) as pool:
        ends = list(pool.map(lambda seed: run_seed(image, seed), seeds))
    outcomes = {outcome for _, outcome in ends}
    assert outcomes == {"runs", "mended", "refused"}, ends
    assert {outcome for damage, outcome in ends if damage == "cut_short"} <= {"refused", "runs"}


@pytest.mark.parametrize("damage, status", [(None, -signal.SIGSEGV), (("event", 8, "value", -20, 0x20), EXIT_DAMAGED)],
                         ids=["a sound file", "damage"])
def test_a_crash_after_damage_was_seen_is_told_as_damage(copy_of, damage, status):
    """LMDB believes what its pages say of themselves, and may have written anywhere: which thread crashes then is chance."""
    hookd = copy_of()
    if damage:
        rot(hookd, "flip", *damage)
    drain(hookd)
    hookd.process.send_signal(signal.SIGSEGV)  # which comes to the main thread
    assert hookd.process.wait(20) == status
    hookd.process = None
    assert ("store damaged: check or restore" in hookd.log()) == bool(damage)


# ---- Under a hookd that runs ------------------------------------------------------------------------


@pytest.mark.parametrize("trigger", ["submit", "list", "backup"])
def test_a_file_cut_short_under_hookd_ends_it_with_a_reason(copy_of, trigger):
    hookd = copy_of()
    start(hookd)
    with contextlib.suppress(OSError):
        os.truncate(f"{hookd.data}/hookd.mdb", 8192)
        if trigger == "backup":  # the kernel reads the map for it, and finds nothing there
            assert "no backup was made" in hookd.admin.post("/v1/backup").json["detail"]
            assert os.listdir(f"{hookd.data}/backup") == []
        if trigger == "list":
            hookd.manage.get("/v1/deliveries")
        hookd.submit.submit("a", 1)
    assert hookd.process.wait(20) == EXIT_DAMAGED
    hookd.process = None
    assert "store damaged: check or restore" in hookd.log()
    with pytest.raises(Refused, match="damaged|cut short"):
        start(hookd)
