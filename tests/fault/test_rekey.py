"""Changing the master key (faults 43 to 45, rules K1, K2, K7): whenever hookd is killed, every secret is still there;
whenever a call fails, hookd goes on with the keys that it had."""

import concurrent.futures
import os
import shutil
import signal
import subprocess
import threading

import pytest

from harness import LONG, PATIENCE, check_data, hookctl, injected, is_signed, strace, traced, wait_until, wait_until_held
from secrets_of import (assert_all_sign, copy_of, edit_data, make_secrets, master_key, read, run_to_its_end,
                        wait_for_change)

N_ENDPOINTS = 3
STUCK = "fdatasync:delay_enter=600000000"  # until the trace ends


def files(hookd):
    return sorted(name for name in os.listdir(hookd.data) if name.startswith("master.key"))


@pytest.fixture
def keyed(make_hookd, receive):
    """A hookd with some endpoints, its receiver, and their secrets."""
    hookd, receiver = make_hookd(), receive()
    return hookd, receiver, make_secrets(hookd, receiver, N_ENDPOINTS)


# ---- What it does ---------------------------------------------------------------------------------


def test_a_change_seals_everything_anew_and_forgets_the_old_key(keyed):
    hookd, receiver, secrets = keyed
    before, old = master_key(hookd), read(hookd.data + "/master.key")
    fingerprint = hookd.manage.get("/v1/endpoints/e0").json["secrets"][0]["fingerprint"]
    answer = hookd.admin.post("/v1/rekey")
    assert answer.status == 200, answer
    after = master_key(hookd)
    assert answer.json == {"id": after["id"], "source": "file", "resealed": N_ENDPOINTS}
    assert after["id"] != before["id"]
    assert (after["previous_id"], after["sealed_with_previous"], after["previous_is_spare"]) == (None, 0, False)
    assert files(hookd) == ["master.key"] and read(hookd.data + "/master.key") != old
    assert os.stat(hookd.data + "/master.key").st_mode & 0o7777 == 0o600
    # Fingerprints are salted with the key.
    assert hookd.manage.get("/v1/endpoints/e0").json["secrets"][0]["fingerprint"] != fingerprint
    assert_all_sign(hookd, receiver, secrets)
    assert hookd.stop() == 0
    for number in range(1, N_ENDPOINTS + 1):
        assert edit_data(hookd, "show", number, 0)[:2] == [after["id"], after["id"]]
    hookd.start()
    assert_all_sign(hookd, receiver, secrets)


def test_hookctl_asks_first_and_says_what_to_keep(keyed):
    hookd, receiver, secrets = keyed
    unasked = hookctl(hookd, "rekey")
    assert unasked.returncode == 2 and "asks first" in unasked.stderr and files(hookd) == ["master.key"]
    done = hookctl(hookd, "rekey", "-y")
    id = master_key(hookd)["id"]
    assert done.returncode == 0, done
    assert done.stdout == f"the master key is {id} now; the secrets of {N_ENDPOINTS} endpoints were sealed anew\n"
    assert "keep a copy of master.key" in done.stderr
    assert "master key" not in hookctl(hookd, "status").stdout
    assert "began to change the master key" in hookd.log() and f"all secrets are sealed with master key {id}" in hookd.log()


def test_only_admin_may_change_the_key(keyed):
    hookd, _, _ = keyed
    for client in [hookd.submit, hookd.manage, hookd.metrics]:
        assert client.post("/v1/rekey").status == 403
    assert hookd.admin.post("/v1/rekey", {"key": "x"}).status == 400
    assert "rekey" not in hookd.log() and "change the master key" not in hookd.log()


def test_endpoints_that_come_go_and_change_meanwhile_lose_nothing(make_hookd, receive):
    """Some records are on their way to the disk when the key changes, some are sealed by the change, and some endpoints
    are removed already, but owe their names to dead letters."""
    hookd, receiver = make_hookd({"log": {"attempts": "none"}}), receive()
    secrets = make_secrets(hookd, receiver, 150)
    hookd.admin.add_endpoint("gone", receiver.url, types=["gone"])
    hookd.manage.post("/v1/endpoints/gone/pause")
    dead = hookd.submit.submit("gone", 1)["id"]
    assert hookd.manage.delete("/v1/endpoints/gone").status == 204
    hookd.manage.wait_for(dead, "gone", "dead")
    stopping = threading.Event()

    def churn(worker):
        i = 0
        while not stopping.is_set():
            name = f"e{(7 * i + worker) % 150}"
            rotated = hookd.manage.post(f"/v1/endpoints/{name}/rotate-secret", {"overlap_s": 0})
            assert rotated.status == 200, rotated
            secrets[name] = rotated.json["secret"]
            assert hookd.manage.post("/v1/endpoints", {"name": f"short{worker}", "url": receiver.url,
                                                       "types": ["none"], "allow_http": None}).status in (201, 409)
            assert hookd.manage.delete(f"/v1/endpoints/short{worker}").status in (204, 404)
            i += 4

    # A disk that is slow enough for changes to be on their way when the key changes.
    with traced(hookd, "fdatasync:delay_enter=20000"), concurrent.futures.ThreadPoolExecutor(4) as pool:
        churning = [pool.submit(churn, worker) for worker in range(4)]
        try:
            for _ in range(20 if LONG else 5):
                assert hookd.admin.post("/v1/rekey").status == 200
        finally:
            stopping.set()
        for worker in churning:
            worker.result()
    assert hookd.restart() and not [p for p in hookd.manage.get("/v1/status").json["problems"]]
    assert master_key(hookd)["sealed_with_previous"] == 0
    assert_all_sign(hookd, receiver, secrets)
    assert hookd.manage.delivery(dead, "gone")["dead_reason"] == "endpoint_removed"


def test_an_endpoint_that_is_being_made_when_the_key_changes_is_sealed_anew(make_hookd, receive):
    """Its record is on its way to the disk, sealed with the old key, and nothing else needs that."""
    hookd, receiver = make_hookd(), receive()
    secrets = {}
    with traced(hookd, f"fdatasync:delay_enter={int(200000 * PATIENCE)}"):
        making = threading.Thread(target=lambda: secrets.update(make_secrets(hookd, receiver, 1)))
        making.start()
        wait_until_held(hookd)
        assert hookd.admin.post("/v1/rekey").json["resealed"] == 1
        making.join()
    hookd.restart()
    assert_all_sign(hookd, receiver, secrets)


def test_a_change_of_an_endpoint_that_goes_while_it_waits_to_be_sealed_is_answered(keyed):
    """The removal is being committed, the change of the key waits behind it, and a change of its settings behind that.
    With the removal the endpoint is forgotten, and what waits for it has to be told."""
    hookd, receiver, secrets = keyed
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        with traced(hookd, STUCK):
            removal = pool.submit(hookd.manage.delete, "/v1/endpoints/e0")
            wait_until_held(hookd)
            rekey = pool.submit(hookd.admin.post, "/v1/rekey")
            wait_until(lambda: master_key(hookd)["sealed_with_previous"] == N_ENDPOINTS)
            connections = lambda: hookd.metric("hookd_api_connections", role="manage")
            wait_until(lambda: connections() == 1)  # the removal's; that of a question ends a moment after its answer
            change = pool.submit(hookd.manage.patch, "/v1/endpoints/e0", {"description": "x"})
            wait_until(lambda: connections() == 2)
        assert (removal.result().status, rekey.result().status) == (204, 200)
        assert change.result().status == 404
    secrets.pop("e0")
    assert_all_sign(hookd, receiver, secrets)
    assert hookd.stop() == 0
    assert check_data(hookd).returncode == 0
    hookd.start()
    assert_all_sign(hookd, receiver, secrets)


def test_every_request_is_signed_while_the_key_changes(keyed):
    hookd, receiver, secrets = keyed
    stopping = threading.Event()

    def load():
        while not stopping.is_set():
            hookd.submit.submit("t", "x" * 500)

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        loading = pool.submit(load)
        try:
            while len(receiver.requests) < 100 and not loading.done():
                assert hookd.admin.post("/v1/rekey").status == 200
        finally:
            stopping.set()
        loading.result()
    wait_until(lambda: hookd.manage.get("/v1/status").json["queue"]["pending"] == 0)
    for request in list(receiver.requests):
        assert is_signed(request, secrets[request.path.strip("/")])


def test_a_compacted_copy_holds_nothing_of_the_old_key(keyed, directory):
    """As hookd(8) says: what the old key has sealed stays in unused pages of the file, and does not in such a copy."""
    hookd, receiver, secrets = keyed
    old = bytes.fromhex(master_key(hookd)["id"])
    assert hookd.admin.post("/v1/rekey").status == 200
    assert hookd.stop() == 0
    assert old in read(hookd.data + "/hookd.mdb")
    subprocess.run(["mdb_copy", "-n", "-c", hookd.data + "/hookd.mdb", directory + "/hookd.mdb"], check=True)
    assert old not in read(directory + "/hookd.mdb")
    shutil.copy(directory + "/hookd.mdb", hookd.data + "/hookd.mdb")
    hookd.start()
    assert_all_sign(hookd, receiver, secrets)


@pytest.mark.parametrize("n_signals, status", [(1, 200), (2, 503)])
def test_a_stop_waits_for_the_end_of_a_change_or_leaves_it_to_the_next_start(keyed, n_signals, status):
    hookd, receiver, secrets = keyed
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        with traced(hookd, STUCK):
            change = pool.submit(hookd.admin.post, "/v1/rekey")
            wait_until(lambda: master_key(hookd)["previous_id"])
            for i in range(n_signals):
                hookd.process.send_signal(signal.SIGTERM)
                wait_until(lambda: hookd.log().count("stopping") > i)
        assert change.result().status == status
    assert hookd.process.wait(20 * PATIENCE) == 0
    hookd.process = None
    assert ("master.key.previous" in files(hookd)) == (status == 503)
    hookd.start()
    wait_for_change(hookd)
    assert files(hookd) == ["master.key"]
    assert_all_sign(hookd, receiver, secrets)


# ---- Killed, and failing ------------------------------------------------------------------------------


@pytest.fixture
def template(keyed):
    """The data of a hookd that is stopped, to be copied for each try."""
    hookd, receiver, secrets = keyed
    assert hookd.stop() == 0
    return hookd, receiver, secrets


class Try:
    """A hookd on a copy of the template, that changes its key while something is done to it."""

    def __init__(self, template, directory):
        self.template, self.receiver, self.secrets = template
        self.hookd = copy_of(self.template, directory).start()

    def change(self, *arguments, **options):
        """Returns the answer, or None when there was none; with arguments and options of strace()."""
        with strace(self.hookd.process.pid, *arguments, **options):
            try:
                return self.hookd.admin.post("/v1/rekey")
            except OSError:
                return None

    def end(self):
        if self.hookd.process:
            assert self.hookd.stop() == 0, self.hookd.log()

    def clear(self):
        if self.hookd.process:
            self.hookd.kill()
        shutil.rmtree(self.hookd.directory)


def kill_at(template, directory, call, n):
    """Kills hookd at the n-th such call of a change. Returns whether there was one. Afterwards hookd starts, ends what
    was begun, and has every secret."""
    attempt = Try(template, directory)
    hookd = attempt.hookd
    try:
        answer = attempt.change("-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={n}")
        was_killed = answer is None
        if was_killed:
            hookd.process.wait(20 * PATIENCE)
            hookd.process = None
            hookd.start()
        wait_for_change(hookd)
        assert files(hookd) == ["master.key"]
        assert_all_sign(hookd, attempt.receiver, attempt.secrets)
        attempt.end()
        return was_killed
    finally:
        attempt.clear()


CALLS_OF_A_CHANGE = ["openat", "fsync", "rename", "unlink", "pwrite64", "fdatasync", "write"]


def test_killed_at_any_call_of_a_change_no_secret_is_lost(template, directory):
    """Every file operation of hookd from the request to the answer, on all threads."""
    def sweep(call):
        killed = 0
        for n in range(1, 100):
            if not kill_at(template, f"{directory}/{call}{n}", call, n):
                return killed
            killed += 1
        raise AssertionError(f"{call}: never clean")

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        killed = dict(zip(CALLS_OF_A_CHANGE, pool.map(sweep, CALLS_OF_A_CHANGE)))
    # Two key files, the directory behind each; one file removed, the directory behind it; two commits at least.
    assert killed["fsync"] >= 5 and killed["rename"] == 2 and killed["unlink"] >= 3, killed
    assert killed["fdatasync"] >= 2 and killed["pwrite64"] >= 2 and killed["openat"] >= 5, killed


@pytest.mark.parametrize("call, error", [("fsync", "EIO"), ("rename", "EACCES"), ("openat", "EMFILE"), ("unlink", "EIO")])
def test_a_call_that_fails_changes_nothing_or_is_made_up_for(template, directory, call, error):
    """Of the main thread, which handles the key files. Either the change is refused and the keys are those of before, or
    it is done and the old key's file goes at the next start."""
    for n in range(1, 100):
        attempt = Try(template, f"{directory}/{call}{n}")
        hookd = attempt.hookd
        try:
            log = f"{directory}/{call}{n}.log"
            answer = attempt.change("-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={n}", follow=False, log=log)
            assert answer.status in (200, 507), answer
            with open(log) as file:
                met = "(INJECTED)" in file.read()
            assert_all_sign(hookd, attempt.receiver, attempt.secrets)
            hookd.restart()
            wait_for_change(hookd)
            assert files(hookd) == ["master.key"]
            assert_all_sign(hookd, attempt.receiver, attempt.secrets)
            attempt.end()
        finally:
            attempt.clear()
        if not met:
            assert n > 1
            return
    raise AssertionError(f"{call}: never clean")


def test_keys_are_on_disk_before_anything_needs_them(template, directory):
    """The order of the calls, which decides what a power cut leaves: the old key is safe under its new name before the
    new one takes its place, that is safe before a record needs it, and the old one goes last."""
    attempt = Try(template, f"{directory}/one")
    log = f"{directory}/calls"
    answer = attempt.change("-e", "trace=fsync,rename,unlink,fdatasync,openat", "-yy", log=log)
    assert answer.status == 200
    data = attempt.hookd.data
    calls = []
    for line in open(log):
        line = line.split(maxsplit=1)[1]
        if line.startswith("unlink(") and ".new" in line or line.startswith("openat("):
            continue
        for call, name in [("fsync", f"<{data}/master.key.previous.new>"), ("fsync", f"<{data}/master.key.new>"),
                           ("fsync", f"<{data}>"), ("rename", "master.key.previous\""), ("rename", "master.key\""),
                           ("unlink", "master.key.previous\""), ("fdatasync", "hookd.mdb>")]:
            if line.startswith(call + "(") and name in line:
                calls.append(f"{call} {os.path.basename(name.strip('<>'))}".strip('"'))
    assert calls[:6] == ["fsync master.key.previous.new", "rename master.key.previous", "fsync data",
                         "fsync master.key.new", "rename master.key", "fsync data"], calls
    assert calls[-2:] == ["unlink master.key.previous", "fsync data"], calls
    commits = calls[6:-2]
    assert len(commits) >= 2 and set(commits) == {"fdatasync hookd.mdb"}, calls
    attempt.end()
    attempt.clear()


def test_a_backup_is_of_one_key(keyed):
    """One that was made of a change half way would need both keys."""
    hookd, _, _ = keyed
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        with traced(hookd, STUCK):
            change = pool.submit(hookd.admin.post, "/v1/rekey")
            wait_until(lambda: master_key(hookd)["previous_id"])
            assert hookd.admin.post("/v1/backup").json["code"] == "busy"
        assert change.result().status == 200
    before = master_key(hookd)["id"]
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        with injected(hookd.process.pid, "fsync:delay_enter=600000000"):
            backup = pool.submit(hookd.admin.post, "/v1/backup")
            wait_until(lambda: os.path.isdir(hookd.data + "/backup") and os.listdir(hookd.data + "/backup"))
            assert hookd.admin.post("/v1/rekey").json["code"] == "busy"
        assert backup.result().status == 200
    assert master_key(hookd)["id"] == before and files(hookd) == ["master.key"]


# ---- Credentials ----------------------------------------------------------------------------------------


class Credentials:
    """What systemd hands in."""

    def __init__(self, directory):
        self.path = directory
        os.mkdir(directory)

    def set(self, **keys):
        for name in os.listdir(self.path):
            os.remove(os.path.join(self.path, name))
        for name, key in keys.items():
            with open(os.path.join(self.path, "hookd-" + name.replace("_", "-")), "w") as file:
                file.write(key * 32 + "\n")
        return {**os.environ, "CREDENTIALS_DIRECTORY": self.path}


def test_credentials_are_changed_by_handing_in_both(make_hookd, receive, directory):
    credentials, receiver, hookd = Credentials(directory + "/credentials"), receive(), make_hookd(start=False)
    hookd.start(env=credentials.set(master_key="aa"))
    secrets = make_secrets(hookd, receiver, 3)
    first = master_key(hookd)
    assert first["source"] == "credential"
    refused = hookctl(hookd, "rekey")
    assert refused.returncode == 1 and "hookd-master-key-previous" in refused.stderr, refused
    # The new one alone does not open anything: nothing is touched, and both ids are told.
    assert hookd.stop() == 0
    data = read(hookd.data + "/hookd.mdb")
    status, said = run_to_its_end(hookd, env=credentials.set(master_key="bb"))
    assert status == 1 and "the master key is not the one" in said and f"that is {first['id']}, given is" in said
    assert read(hookd.data + "/hookd.mdb") == data
    # Both: the secrets are sealed anew by themselves, and it is told when the previous one may go.
    hookd.start(env=credentials.set(master_key="bb", master_key_previous="aa"))
    after = wait_for_change(hookd)
    assert after["id"] != first["id"] and after["previous_is_spare"] is True
    assert "hookd-master-key-previous may be taken away" in hookctl(hookd, "status").stdout
    done = hookctl(hookd, "rekey")
    assert done.returncode == 0 and f"the master key is {after['id']} now" in done.stdout
    assert_all_sign(hookd, receiver, secrets)
    assert hookd.stop() == 0
    hookd.start(env=credentials.set(master_key="bb"))
    assert_all_sign(hookd, receiver, secrets)
    assert master_key(hookd) == {**after, "previous_is_spare": False}
    assert files(hookd) == []


def test_a_change_of_credentials_that_was_cut_off_says_which_key_is_missing(make_hookd, receive, directory):
    """Killed when some are sealed with the one key and some with the other: with one of them hookd does not start."""
    credentials, receiver, hookd = Credentials(directory + "/credentials"), receive(), make_hookd(start=False)
    hookd.start(env=credentials.set(master_key="aa"))
    secrets = make_secrets(hookd, receiver, 20)  # more than are sealed at once
    old = master_key(hookd)["id"]
    assert hookd.stop() == 0
    # The second commit of the change is the second slice.
    env = credentials.set(master_key="bb", master_key_previous="aa")
    command = hookd.command
    hookd.command = lambda: ["strace", "-f", "-o", "/dev/null", "-e", "trace=fdatasync", "-e",
                             "inject=fdatasync:signal=KILL:when=2", *command()]
    hookd.start(wait=False, env=env)
    hookd.process.wait(20 * PATIENCE)
    hookd.process, hookd.command = None, command
    sealed = {edit_data(hookd, "show", number, 0)[1] for number in range(1, 21)}
    assert len(sealed) == 2 and old in sealed
    new = (sealed - {old}).pop()
    data = read(hookd.data + "/hookd.mdb")
    for key, words in [("aa", f"is sealed with master key {new}, which is not there"), ("bb", f"that is {old}, given is {new}")]:
        status, said = run_to_its_end(hookd, env=credentials.set(master_key=key))
        assert status == 1 and words in said, said
        assert read(hookd.data + "/hookd.mdb") == data
    hookd.start(env=credentials.set(master_key="bb", master_key_previous="aa"))
    wait_for_change(hookd)
    assert_all_sign(hookd, receiver, secrets)


def test_the_way_back_is_the_same_way(make_hookd, receive, directory):
    """A change that was not wanted: the keys are handed in the other way round."""
    credentials, receiver, hookd = Credentials(directory + "/credentials"), receive(), make_hookd(start=False)
    secrets = None
    for current, previous in [("aa", None), ("bb", "aa"), ("aa", "bb")]:
        keys = {"master_key": current, **({"master_key_previous": previous} if previous else {})}
        hookd.start(env=credentials.set(**keys))
        wait_for_change(hookd)
        secrets = secrets or make_secrets(hookd, receiver, 2)
        assert_all_sign(hookd, receiver, secrets)
        assert hookd.stop() == 0


def test_a_key_moves_from_a_credential_into_the_data_directory_and_is_changed_there(make_hookd, receive, directory):
    credentials, receiver, hookd = Credentials(directory + "/credentials"), receive(), make_hookd(start=False)
    hookd.start(env=credentials.set(master_key="aa"))
    secrets = make_secrets(hookd, receiver, 2)
    assert hookd.stop() == 0
    with open(os.open(hookd.data + "/master.key", os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        file.write("bb" * 32 + "\n")
    hookd.start(env=credentials.set(master_key_previous="aa"))
    moved = wait_for_change(hookd)
    assert (moved["source"], moved["previous_is_spare"]) == ("file", True)
    assert hookd.admin.post("/v1/rekey").json == {"id": master_key(hookd)["id"], "source": "file", "resealed": 2}
    assert master_key(hookd)["id"] != moved["id"]
    assert hookd.stop() == 0
    hookd.start()
    assert_all_sign(hookd, receiver, secrets)


def test_a_key_moves_from_the_data_directory_to_a_new_credential(keyed, directory):
    hookd, receiver, secrets = keyed
    credentials = Credentials(directory + "/credentials")
    assert hookd.stop() == 0
    env = credentials.set(master_key="bb")
    shutil.move(hookd.data + "/master.key", credentials.path + "/hookd-master-key-previous")
    hookd.start(env=env)
    wait_for_change(hookd)
    assert hookd.stop() == 0
    hookd.start(env=credentials.set(master_key="bb"))
    assert_all_sign(hookd, receiver, secrets)
