"""The power goes: whatever hookd promised before is there when it starts again.

A load is recorded once, then disks are made as they may look after a cut at any place in it, and hookd starts
on each. HOOKD_POWER_IMAGES says how many, HOOKD_POWER_SEED which. When one fails, all that is needed to look
into it is kept, and the command that makes it again is told.
"""

import filecmp
import os
import random
import shutil
import subprocess
import tempfile

import pytest

from harness import BUILD, LONG, Hookd
from power_load import (KINDS, Envelope, Recording, quick_directory, raw_event, record_first_start, record_load,
                        record_rebuild, record_rekey)

SEED = int(os.environ.get("HOOKD_POWER_SEED", "1"))
IMAGES = int(os.environ.get("HOOKD_POWER_IMAGES", "20000" if LONG else "2000"))
STARTS = 300 if LONG else 30

# Flags of mdb_env_open() that hookd must not use.
NOSYNC, NOMETASYNC = 0x10000, 0x40000


@pytest.fixture
def quick():
    with quick_directory() as path:
        yield path


@pytest.fixture(scope="module")
def recording():
    with quick_directory() as path:
        recording = record_load(path + "/load", SEED)
        yield recording
        recording.close()


def expect_no_failure(recording, *options):
    """Returns how many images there were."""
    replayed = recording.replay(*options)
    if replayed.failed:
        kept = tempfile.mkdtemp(prefix="hookd-power-failed-", dir="/tmp")
        shutil.copytree(recording.directory, kept, dirs_exist_ok=True, ignore=shutil.ignore_patterns("run"))  # sockets
        command = " ".join(recording.replay_command("--work", "/tmp", *options, "--image", "NUMBER"))
        raise AssertionError(f"{replayed}\nIt is kept. Again: {command.replace(recording.directory, kept)}")
    return replayed.images


def test_the_recorder_misses_nothing(recording, quick):
    recording.make_image(quick + "/all", "--cut", -1, "--choice", "keep")
    whole, made = recording.directory + "/data", quick + "/all/data"
    names = [os.path.relpath(os.path.join(path, name), whole) for path, _, files in os.walk(whole) for name in files]
    assert sorted(names) == sorted(
        os.path.relpath(os.path.join(path, name), made) for path, _, files in os.walk(made) for name in files)
    contents = [name for name in names if not name.endswith("-lock")]  # written through a map; need not last
    assert filecmp.cmpfiles(whole, made, contents, shallow=False) == (contents, [], [])
    # All was done that an image may be cut at; the rest is left to those who make files anew.
    assert {kind for kind, _ in recording.records()} >= set(KINDS.values()) - {KINDS["UNLINK"], KINDS["LINK"]}


def test_no_power_cut_loses_what_was_promised(recording):
    assert expect_no_failure(recording, "--images", IMAGES, "--seed", SEED) == IMAGES


def test_a_file_system_that_cannot_preallocate_loses_nothing_either(quick):
    recording = record_load(quick + "/load", SEED, NO_FALLOCATE=1)
    expect_no_failure(recording, "--images", IMAGES // 10, "--seed", SEED)
    recording.close()


@pytest.mark.parametrize("flags", [NOSYNC, NOMETASYNC], ids=["NOSYNC", "NOMETASYNC"])
def test_an_engine_that_saves_on_flushes_is_caught(quick, flags):
    recording = record_load(quick + "/load", SEED, FLAGS=flags)
    replayed = recording.replay("--images", 150, "--seed", SEED, "--failures", 1000)
    recording.close()
    assert replayed.failed > 15, replayed
    assert any(": event evt_" in line and line.endswith(" is lost") for line in replayed.failures), replayed


def test_a_torn_sector_of_a_promised_payload_is_noticed(recording):
    replayed = recording.replay("--images", 100, "--seed", SEED, "--failures", 1000, "--tear")
    assert replayed.failed == replayed.images - replayed.untorn > 50, replayed


def check_started(hookd, recording, surely, perhaps, rng):
    """What an application sees: events, their bytes, and what a repeated key answers."""
    listed = {event["id"] for event in hookd.manage.all("/v1/events", limit=1000)}
    assert set(surely) <= listed
    for id in rng.sample(surely, min(20, len(surely))):
        assert hookd.manage.get(f"/v1/events/{id}/payload").body == recording.events[id].payload
    with_keys = [id for id in surely + perhaps if recording.events[id].key]
    for id in rng.sample(with_keys, min(20, len(with_keys))):
        event = recording.events[id]
        if isinstance(event, Envelope):
            answer = hookd.submit.call("POST", "/v1/events", event.line, {"Content-Type": "application/json"})
        else:
            answer = hookd.submit.call("POST", "/v1/events", event.payload, {"Idempotency-Key": event.key}, type=event.type)
        assert answer.status == 202 and answer.json["duplicate"] and answer.json["id"] == id, answer
    hookd.submit.submit("nobody", "life goes on")


def test_hookd_itself_starts_after_a_power_cut(recording, quick):
    for i in range(STARTS):
        surely, perhaps = recording.make_image(quick + "/image", "--seed", SEED, "--image", i)
        hookd = Hookd(quick + "/image")
        try:
            hookd.start()
            check_started(hookd, recording, surely, perhaps, random.Random(i))
            assert hookd.stop() == 0, hookd.log()
        finally:
            if hookd.process:
                hookd.kill()
        checked = subprocess.run([BUILD + "/daemon/hookd", "--check-data", hookd.data], capture_output=True, text=True)
        assert checked.returncode == 0, f"image {i}: {checked.stdout}"
        shutil.rmtree(hookd.directory)


# ---- The first start --------------------------------------------------------------------------


def sweep(recording, seeds, since=0):
    """Cuts behind each single record, or each behind the first so many."""
    n = recording.n_records - since
    return "--sweep", "--from", since, "--images", seeds * n, "--seed", SEED


def test_the_first_event_of_all_is_there_wherever_the_power_went(quick):
    recording = record_first_start(quick + "/first")
    assert expect_no_failure(recording, *sweep(recording, 100 if LONG else 8)) > 200
    recording.close()


def test_a_first_start_that_does_not_sync_directories_is_caught(quick):
    recording = record_first_start(quick + "/first")
    replayed = recording.replay(*sweep(recording, 3), "--no-directory-sync", "--failures", 1000)
    recording.close()
    assert any(line.endswith("there is no data file, and 1 events were promised") for line in replayed.failures), replayed


def test_a_first_start_that_was_killed_leaves_nothing_that_a_power_cut_can_take(quick):
    """The second start finds files that are only in the page cache, and names that are only there."""
    whole = record_first_start(quick + "/whole")
    whole.close()
    kinds = [kind for kind, _ in whole.records()]
    moments = range(1, len(kinds))
    if not LONG:
        # Behind a change of names, and while a commit is in the page cache alone.
        names, writing = {KINDS["MAKE_DIRECTORY"], KINDS["RENAME"]}, (KINDS["WRITE"], KINDS["WRITTEN"])
        moments = [i for i in moments if kinds[i - 1] in names or tuple(kinds[i - 1:i + 1]) == writing]
    for moment in moments:
        recording = record_first_start(f"{quick}/{moment}", kill_at=moment)
        expect_no_failure(recording, *sweep(recording, 2))
        recording.close()


def test_what_a_person_restored_lasts_from_the_first_answer_on(make_hookd, quick):
    """cp syncs neither what it writes nor its name; from when hookd answers, that is hookd's business."""
    original = make_hookd()
    event = raw_event("nobody", b"from before", "before")
    id = original.submit.call("POST", "/v1/events", event.payload, {"Idempotency-Key": event.key}, type=event.type).json["id"]
    backup = original.admin.post("/v1/backup").json["file"]
    recording = Recording(quick + "/restored")
    recording.copy(**{"hookd.mdb": backup, "master.key": original.data + "/master.key"})
    recording.start()
    assert recording.submit(event) == id
    recording.hookd.kill()
    first_answer = [kind for kind, _ in recording.records()].index(KINDS["ANSWER"])
    expect_no_failure(recording, *sweep(recording, 30, since=first_answer))
    recording.close()


# ---- A file that is made anew, and a key that is changed --------------------------------------


def moments_of(recording, since):
    """When to kill what hookd does from its last start on to the first file that it removes: behind each change of names, and
    while a commit is in the page cache alone; in the long run, everywhere."""
    kinds = [kind for kind, _ in list(recording.records())[since:] if kind != KINDS["MARK"]]
    kinds = kinds[len(kinds) - kinds[::-1].index(KINDS["START"]) - 1:]
    kinds = kinds[:kinds.index(KINDS["UNLINK"]) + 1]
    names, writing = {KINDS[name] for name in ("CREATE", "LINK", "RENAME", "UNLINK")}, [KINDS["WRITE"], KINDS["WRITTEN"]]
    return [i + 1 for i in range(1, len(kinds)) if LONG or kinds[i] in names or kinds[i:i + 2] == writing]


@pytest.fixture(scope="module", params=[record_rebuild, record_rekey], ids=["rebuild", "rekey"])
def change(request):
    """What makes a recording of it, one, and how long that was before the change."""
    with quick_directory() as path:
        recording, before = request.param(path + "/change")
        yield request.param, recording, before
        recording.close()


def test_no_power_cut_spoils_a_change_of_all_that_there_is(change):
    _, recording, before = change
    seeds = (10000 if LONG else 450) // (recording.n_records - before)
    assert expect_no_failure(recording, *sweep(recording, seeds, since=before)) > 200


def test_a_change_that_was_killed_and_went_on_leaves_nothing_that_a_power_cut_can_take(change, quick):
    record, whole, since = change
    moments = moments_of(whole, since)
    assert len(moments) >= 6
    for i, moment in enumerate(moments):
        recording, before = record(f"{quick}/{moment}", kill_at=moment)
        assert recording.is_cut_off or i >= 4  # how many records come later is not the same each time
        expect_no_failure(recording, *sweep(recording, 1, since=before))
        recording.close()


def test_a_change_that_does_not_sync_directories_is_caught(change):
    _, recording, before = change
    replayed = recording.replay(*sweep(recording, 2, since=before), "--no-directory-sync", "--failures", 1000)
    said = "|".join(replayed.failures)
    assert replayed.failed > 5 and ("made anew" in said or "hookd would not start" in said), replayed


def test_a_key_that_is_renamed_before_it_is_on_disk_is_caught(quick):
    recording, before = record_rekey(quick + "/careless", NO_FSYNC=1)
    replayed = recording.replay(*sweep(recording, 1, since=before), "--failures", 1000)
    recording.close()
    assert any("master.key is not a master key" in line for line in replayed.failures), replayed
