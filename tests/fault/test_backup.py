"""Copies of the data file, and files of other versions (faults 46 and 48, rule K7)."""

import os
import shutil
import signal
import time

import pytest

from harness import LONG, PATIENCE, Hookd, injected, strace, wait_until
from ledger import Ledger, altered, doubled, invented, lost
from secrets_of import (assert_all_sign, copy_of, edit_data, make_secrets, master_key, read, run_to_its_end,
                        wait_for_change)


def backup_of(hookd):
    answer = hookd.admin.post("/v1/backup")
    assert answer.status == 200, answer
    return answer.json["file"]


def elsewhere(directory, copy, key=None):
    """A hookd on another machine, with a copy and perhaps with a key."""
    os.mkdir(directory)
    hookd = Hookd(directory)
    os.mkdir(hookd.data, 0o700)
    shutil.copy(copy, hookd.data + "/hookd.mdb")
    if key:
        shutil.copy(key, hookd.data + "/master.key")
    return hookd


@pytest.fixture
def clean_up():
    """Hookds that a test has made itself end in good order, too."""
    made = []
    yield made.append
    for hookd in made:
        assert hookd.stop() in (0, None), hookd.log()


@pytest.mark.parametrize("round", range(10 if LONG else 1))
def test_a_backup_under_load_has_all_that_was_answered_before_it(make_hookd, directory, clean_up, round):
    """Restored elsewhere it sends nothing until it is told to; then every event that was acknowledged before the copy
    was begun is delivered, as it was submitted, signed with the endpoint's secret."""
    hookd = make_hookd()
    with Ledger(hookd, seed=round) as ledger:
        ledger.add_endpoint("ok", headers={"X-Token": "of-ok"})
        ledger.add_endpoint("flaky", manner={"fail": 0.3}, retry_schedule_s=[1] * 50)
        ledger.add_endpoint("slow", tenant="acme", manner={"delay_s": 0.3})
        answered = lambda: {id for s in list(ledger.submissions) for id in s.ids}
        with ledger.producers(6, pace_s=0.01):
            time.sleep(1.0)
            wait_until(lambda: len(answered()) > 30)
            promised = answered()
            copy = backup_of(hookd)
            time.sleep(0.3)
        assert hookd.stop() == 0

        restored = ledger.hookd = elsewhere(f"{directory}/elsewhere", copy, hookd.data + "/master.key")
        clean_up(restored)
        ledger.crash()  # what was under way, or delivered since the copy, is attempted again
        came = len(ledger.requests())
        restored.start()
        time.sleep(0.3)
        assert len(ledger.requests()) == came
        known = {event["id"] for event in restored.manage.all("/v1/events", limit=1000)}
        assert promised <= known, f"{len(promised - known)} of {len(promised)} promised events are not in the backup"
        # What came after the copy is not in it: the answers of another life.
        ledger.submissions = [s for s in ledger.submissions if s.ids & known]
        bodies = {s.body for s in ledger.submissions}
        assert restored.admin.post("/v1/resume").status == 200
        ledger.settle()
        books = ledger.books()
        books.requests = [r for r in books.requests if r.body in bodies]
        found = lost(books) + altered(books) + doubled(books) + invented(books)
        assert not found, f"{len(found)} violations:\n" + "\n".join(found[:20])


def test_a_copy_is_its_owners_alone_and_holds_no_secret(make_hookd, receive):
    hookd, receiver = make_hookd(start=False), receive()
    hookd.start(preexec_fn=lambda: os.umask(0))
    secrets = make_secrets(hookd, receiver, 2)
    assert_all_sign(hookd, receiver, secrets)
    copy = backup_of(hookd)
    assert os.stat(copy).st_mode & 0o7777 == 0o600
    assert os.stat(os.path.dirname(copy)).st_mode & 0o7777 == 0o700
    content = read(copy)
    for needle in [b"token-of-e", *(s.removeprefix("whsec_").encode() for s in secrets.values()),
                   read(hookd.data + "/master.key").strip(), bytes.fromhex(read(hookd.data + "/master.key").decode())]:
        assert needle not in content
    assert b"X-Token" in content  # names are not secret: the search finds what is there


def test_a_copy_that_was_answered_survives_a_power_cut(make_hookd, directory):
    """Bytes before the name, the name before the answer."""
    hookd = make_hookd()
    log = f"{directory}/calls"
    with strace(hookd.process.pid, "-yy", "-e", "trace=fsync,fdatasync,rename,pwrite64", log=log):
        copy = backup_of(hookd)
    lines = [line.split(maxsplit=1)[1] for line in open(log)]

    def at(call, name):
        return [i for i, line in enumerate(lines) if line.startswith(call + "(") and name in line]

    part = os.path.basename(copy) + ".part"
    renamed, = at("rename", part)
    bytes_synced = at("fsync", part + ">") + at("fdatasync", part + ">")
    assert bytes_synced and min(bytes_synced) < renamed
    assert [i for i in at("pwrite64", part + ">") if i < renamed], lines  # it is made to begin paused
    assert [i for i in at("fsync", f"<{hookd.data}/backup>") if i > renamed], lines
    assert [i for i in at("fsync", f"<{hookd.data}>") if i > renamed], lines


def test_a_copy_without_its_key_is_refused_and_stays_as_it_is(make_hookd, receive, directory, clean_up):
    hookd, receiver = make_hookd(), receive()
    secrets = make_secrets(hookd, receiver, 2)
    copy, wanted = backup_of(hookd), master_key(hookd)["id"]
    assert hookd.stop() == 0
    restored = elsewhere(f"{directory}/elsewhere", copy)
    clean_up(restored)
    before = read(copy)
    status, said = run_to_its_end(restored)
    assert status == 1 and "there is no master key" in said and "that the data file was made with" in said
    assert not os.path.exists(restored.data + "/master.key")
    with open(restored.data + "/master.key", "w") as file:
        file.write("cd" * 32 + "\n")
    os.chmod(restored.data + "/master.key", 0o600)
    status, said = run_to_its_end(restored)
    assert status == 1 and f"that is {wanted}, given is" in said
    assert read(restored.data + "/hookd.mdb") == before
    shutil.copy(hookd.data + "/master.key", restored.data + "/master.key")
    restored.start()
    assert restored.admin.post("/v1/resume").status == 200
    assert_all_sign(restored, receiver, secrets)


def test_a_half_written_copy_is_refused(make_hookd, receive, directory):
    """Of every length: hookd does not start on it, and does not touch it."""
    hookd, receiver = make_hookd(), receive()
    make_secrets(hookd, receiver, 2)
    for i in range(50):
        hookd.submit.submit("t", "x" * 4000)
    copy = backup_of(hookd)
    assert hookd.stop() == 0
    size = os.path.getsize(copy)
    assert size > 40 * 4096
    for n, length in enumerate([0, 1, 100, 4096, 4096 + 100, 8192, 12288, size // 2, size - 4096, size - 1]):
        restored = elsewhere(f"{directory}/half{n}", copy, hookd.data + "/master.key")
        os.truncate(restored.data + "/hookd.mdb", length)
        before = read(restored.data + "/hookd.mdb")
        status, said = run_to_its_end(restored)
        assert status == 65 and "hookd.mdb is cut short" in said, (length, said)
        assert read(restored.data + "/hookd.mdb") == before, length


def test_a_backup_that_was_killed_leaves_nothing_that_looks_like_one(make_hookd, receive):
    hookd, receiver = make_hookd(), receive()
    secrets = make_secrets(hookd, receiver, 2)
    with injected(hookd.process.pid, "fsync:signal=KILL:when=1"):
        with pytest.raises(OSError):
            hookd.admin.post("/v1/backup")
    assert hookd.process.wait(20 * PATIENCE) == -signal.SIGKILL
    hookd.process = None
    left = os.listdir(hookd.data + "/backup")
    assert len(left) == 1 and left[0].endswith(".part")
    hookd.start()
    assert_all_sign(hookd, receiver, secrets)
    wait_until(lambda: time.time() % 1 < 0.5)  # names have seconds
    assert os.path.exists(backup_of(hookd))


def test_each_backup_needs_the_key_of_its_time(make_hookd, receive, directory, clean_up):
    hookd, receiver = make_hookd(), receive()
    secrets = make_secrets(hookd, receiver, 2)
    before, first_key = backup_of(hookd), read(hookd.data + "/master.key")
    old = master_key(hookd)["id"]
    assert hookd.admin.post("/v1/rekey").status == 200
    time.sleep(1.1)  # names have seconds
    after, new = backup_of(hookd), master_key(hookd)["id"]
    assert hookd.stop() == 0
    # Of the changed store with the new key: the old one is not needed.
    restored = elsewhere(f"{directory}/after", after, hookd.data + "/master.key")
    clean_up(restored)
    restored.start()
    assert restored.admin.post("/v1/resume").status == 200
    assert_all_sign(restored, receiver, secrets)
    # Of the store before with the new key only: refused, both ids are told.
    restored = elsewhere(f"{directory}/before", before, hookd.data + "/master.key")
    clean_up(restored)
    status, said = run_to_its_end(restored)
    assert status == 1 and f"that is {old}, given is {new}" in said
    # With the old one beside it: it is sealed anew, and from then on the new one does.
    with open(restored.data + "/master.key.previous", "wb") as file:
        file.write(first_key)
    os.chmod(restored.data + "/master.key.previous", 0o600)
    restored.start()
    assert wait_for_change(restored)["id"] == new
    assert not os.path.exists(restored.data + "/master.key.previous")
    assert restored.admin.post("/v1/resume").status == 200
    assert_all_sign(restored, receiver, secrets)


def test_a_file_of_a_newer_schema_is_refused_and_stays_as_it_is(make_hookd, receive, directory):
    hookd, receiver = make_hookd(), receive()
    secrets = make_secrets(hookd, receiver, 2)
    assert hookd.stop() == 0
    for schema in [2, 4294967295]:
        newer = copy_of(hookd, f"{directory}/{schema}")
        edit_data(newer, "schema", schema, 0)
        before = {name: read(os.path.join(newer.data, name)) for name in ["hookd.mdb", "master.key"]}
        status, said = run_to_its_end(newer)
        assert status == 1, said
        assert f"has schema {schema}, and this hookd knows schema 1: it was written by a newer hookd" in said
        assert {name: read(os.path.join(newer.data, name)) for name in before} == before
    hookd.start()
    assert_all_sign(hookd, receiver, secrets)


def test_a_start_that_is_refused_writes_nothing(make_hookd, receive, directory):
    """Whatever the reason is, the file can be put right or taken elsewhere as it was."""
    hookd, receiver = make_hookd(), receive()
    make_secrets(hookd, receiver, 2)
    assert hookd.stop() == 0
    _, sealed_with, length = edit_data(hookd, "show", 1, 0)
    for n, change in enumerate([("flip", 1, 8 * 5), ("cut", 1, int(length))]):  # another key's id; no box at all
        spoiled = copy_of(hookd, f"{directory}/spoiled{n}")
        edit_data(spoiled, *change)
        before = read(spoiled.data + "/hookd.mdb")
        status, said = run_to_its_end(spoiled)
        assert status == 1 and ("is sealed with master key" in said or "endpoint number 1 cannot be read" in said), said
        assert read(spoiled.data + "/hookd.mdb") == before


def test_a_start_without_sockets_writes_nothing(make_hookd, receive, directory):
    hookd, receiver = make_hookd(), receive()
    make_secrets(hookd, receiver, 1)
    assert hookd.stop() == 0
    elsewhere = copy_of(hookd, f"{directory}/elsewhere")
    before = read(elsewhere.data + "/hookd.mdb")
    with open(elsewhere.sockets, "w"):
        pass
    status, said = run_to_its_end(elsewhere)
    assert status == 1 and elsewhere.sockets in said, said
    assert read(elsewhere.data + "/hookd.mdb") == before


def test_a_start_with_another_key_makes_no_file_anew(make_hookd, receive):
    """A restored file that is to be made anew, and the key of another machine."""
    hookd, receiver = make_hookd(), receive()
    secrets = make_secrets(hookd, receiver, 1)
    assert hookd.stop() == 0
    before, key = read(hookd.data + "/hookd.mdb"), read(hookd.data + "/master.key")
    for name, content in (("rebuild", b""), ("hookd.mdb.damaged", b"an earlier one"), ("master.key", b"cd" * 32 + b"\n")):
        with open(f"{hookd.data}/{name}", "wb") as file:
            file.write(content)
    status, said = run_to_its_end(hookd)
    assert status == 1 and "the master key is not the one" in said, said
    assert read(hookd.data + "/hookd.mdb") == before
    assert os.path.exists(hookd.data + "/rebuild") and read(hookd.data + "/hookd.mdb.damaged") == b"an earlier one"
    with open(hookd.data + "/master.key", "wb") as file:
        file.write(key)
    hookd.start()
    assert "the data file was made anew" in hookd.log()
    assert_all_sign(hookd, receiver, secrets)
