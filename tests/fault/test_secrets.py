"""Secrets are nowhere in clear, and nothing goes out without the right one (faults 43 to 45, rules K1, K3 to K6)."""

import base64
import contextlib
import hashlib
import hmac
import os
import random
import re
import resource
import signal
import subprocess
import threading
import time

import pytest

from harness import LONG, PATIENCE, hookctl, is_signed, strace, traced, wait_until
from ledger import leaked
from secrets_of import (HOOKD, assert_all_sign, copy_of, edit_data, make_secrets, read, run_to_its_end)

# ---- The canary (43) ------------------------------------------------------------------------------


def forms(name, value):
    """The ways in which a value could show: as it is, in base64, in hexadecimal digits."""
    return {name: value, f"{name} in base64": base64.b64encode(value)[:24], f"{name} in hexadecimal": value.hex().encode()}


class Canaries:
    """Secrets that would be recognized anywhere."""

    def __init__(self):
        self.keys = [f"canary-signing-key-{i}-{random.getrandbits(64):016x}".encode()[:32].ljust(32, b"!") for i in range(3)]
        self.header = f"Bearer canary-header-{random.getrandbits(64):016x}"
        self.needles = forms("the header's value", self.header.encode())
        for i, key in enumerate(self.keys):
            self.needles |= forms(f"secret {i}", key)

    def text(self, i):
        return "whsec_" + base64.b64encode(self.keys[i]).decode()


def read_environment(pid):
    return {f"{file} of {pid}": read(f"/proc/{pid}/{file}") for file in ["cmdline", "environ"]}


def lists(hookd):
    targets = ["/v1/endpoints", "/v1/endpoints/canary", "/v1/deliveries", "/v1/events", "/v1/status", "/v1/backlog", "/metrics"]
    found = {target: hookd.admin.get(target).body for target in targets}
    for words in ["endpoint show canary", "endpoint show canary --json", "endpoint list", "endpoint list --json", "status",
                  "status --json", "list", "list --json", "backlog"]:
        result = hookctl(hookd, *words.split())
        found[f"hookctl {words}"] = (result.stdout + result.stderr).encode()
    return found


def test_a_canary_is_nowhere(make_hookd, receive, directory):
    """Through a life of registering, sending, failing, rotating, testing, replaying, changing the master key, a backup
    and a crash, with everything logged that can be."""
    canaries = Canaries()
    hookd = make_hookd({"log": {"level": "debug", "attempts": "all"}}, start=False)
    hookd.start(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2), cwd=directory)
    receiver = receive(lambda r: (500, {}, r.headers["Authorization"].encode()[:0]) if len(receiver.requests) % 3 else 204)
    places = {}
    trace = f"{directory}/channel"
    with strace(hookd.process.pid, "-s", "100000", "-xx", "-e", "trace=sendmsg,sendto,writev,write", log=trace):
        shown = hookd.admin.post("/v1/endpoints", {"name": "canary", "url": receiver.url, "secret": canaries.text(0),
                                                   "headers": {"Authorization": canaries.header}, "retry_schedule_s": [1] * 9})
        assert shown.status == 201 and canaries.text(0).encode() in shown.body  # shown once, to who made it
        event = hookd.submit.submit("t", 1)["id"]
        receiver.wait_for(2)
        assert hookd.manage.post("/v1/endpoints/canary/rotate-secret", {"secret": canaries.text(1)}).status == 200
        secret_file = f"{directory}/secret"
        with open(secret_file, "w") as file:
            file.write(canaries.text(2) + "\n")
        rotated = hookctl(hookd, "endpoint", "rotate-secret", "canary", "--secret-file", secret_file)
        assert rotated.returncode == 0
        places["hookctl rotate-secret"] = (rotated.stdout + rotated.stderr).encode()
        os.remove(secret_file)
        for secret in ["whsec_" + canaries.text(0)[6:-8] + "&&&&", canaries.text(0)[6:], canaries.text(0) + "AAAA" * 40]:
            refused = hookd.manage.post("/v1/endpoints/canary/rotate-secret", {"secret": secret})
            assert refused.status == 400
            places[f"the refusal of {len(secret)} bytes"] = refused.body
        assert hookd.manage.post("/v1/endpoints/canary/test").status == 200
    hookd.manage.wait_for(event, "canary", "delivered", 30)
    assert hookd.manage.post("/v1/deliveries/replay", {"ids": [f"{event}/canary"]}).status == 200
    hookd.manage.wait_for(event, "canary", "delivered", 30)
    copy = hookd.admin.post("/v1/backup").json["file"]
    assert hookd.admin.post("/v1/rekey").status == 200
    places |= lists(hookd)
    for pid in [hookd.process.pid, *hookd.senders()]:
        places |= read_environment(pid)
    senders = hookd.senders()
    hookd.process.send_signal(signal.SIGSEGV)
    _, status = os.waitpid(hookd.process.pid, 0)
    hookd.process.returncode, hookd.process = -signal.SIGSEGV, None
    assert not os.WCOREDUMP(status)
    wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in senders))
    places |= {"the log": hookd.log().encode(), "the backup": read(copy)}
    for folder, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isfile(path) and path != trace:
                places[path] = read(path)
    assert any(path.endswith("hookd.mdb") for path in places)
    found = leaked(canaries.needles, places)
    assert not found, found
    # What hookd wrote to anybody, senders included: the header's value had to go there; a signing secret went nowhere
    # but into the answer to who had given it.
    sent = bytes.fromhex("".join(re.findall(r"\\x([0-9a-f]{2})", read(trace).decode())))
    assert canaries.header.encode() in sent and sent.count(b"webhook-signature: v1,") >= 2
    for name, needle in canaries.needles.items():
        if "header" not in name:
            assert all(sent[:found.start()].endswith(b'"secret":"whsec_') for found in re.finditer(re.escape(needle), sent)), name
    assert canaries.needles["secret 0 in base64"] in sent


def test_the_search_for_canaries_finds_planted_ones(directory):
    canaries = Canaries()
    for needle in canaries.needles.values():
        assert len(leaked(canaries.needles, {"a place": b"some " + needle + b" text"})) >= 1
    assert not leaked(canaries.needles, {"a place": b"canary-signing-key"})


def test_a_crash_leaves_no_core_where_another_program_leaves_one(make_hookd, directory):
    def unlimited():
        signal.signal(signal.SIGQUIT, signal.SIG_DFL)  # what runs in the background ignores it
        resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2)

    other = subprocess.Popen(["sleep", "60"], preexec_fn=unlimited, cwd=directory)
    time.sleep(0.1)
    os.kill(other.pid, signal.SIGSEGV)
    _, status = os.waitpid(other.pid, 0)
    other.returncode = -signal.SIGSEGV
    dumps = os.WCOREDUMP(status)
    for number in [signal.SIGSEGV, signal.SIGQUIT, signal.SIGABRT]:
        hookd = make_hookd(start=False)
        hookd.start(preexec_fn=unlimited, cwd=hookd.directory)
        hookd.process.send_signal(number)
        _, status = os.waitpid(hookd.process.pid, 0)
        hookd.process.returncode, hookd.process = -number, None
        assert status != 0 and not os.WCOREDUMP(status)  # a sanitizer ends the process in its own way
        assert not [name for name in os.listdir(hookd.directory) if name.startswith("core")]
    assert dumps, "this machine makes no cores: nothing was proved"


def test_other_processes_of_the_same_user_cannot_look_into_hookd(make_hookd, directory):
    """Not dumpable: its memory belongs to root, whoever runs it."""
    hookd = make_hookd(start=False)
    os.chmod(directory, 0o755)
    for path in [hookd.directory, os.path.dirname(HOOKD)]:
        assert os.stat(path).st_mode & 0o005 or os.chmod(path, 0o755) is None
    os.mkdir(hookd.data)
    os.mkdir(hookd.sockets)
    for path in [hookd.directory, hookd.data, hookd.sockets]:
        os.chown(path, 65534, 65534)
    hookd.start(user=65534, group=65534)
    for name in ["mem", "environ", "maps", "fd"]:
        assert os.stat(f"/proc/{hookd.process.pid}/{name}").st_uid == 0
        assert subprocess.run(["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "ls" if name == "fd" else "cat",
                               f"/proc/{hookd.process.pid}/{name}"], capture_output=True).returncode != 0
    # The key is kept where no core shows it and no swap takes it.
    flags = [dict(line.split(":", 1) for line in block.splitlines()[1:] if ":" in line).get("VmFlags", "").split()
             for block in re.split(r"(?m)^(?=[0-9a-f]+-[0-9a-f]+ )", read(f"/proc/{hookd.process.pid}/smaps").decode())[1:]]
    assert any("dd" in flag and "lo" in flag for flag in flags)


def words_of_help():
    """The options of every command of hookctl that mention a secret."""
    hookctl_path = os.path.join(os.path.dirname(os.path.dirname(HOOKD)), "ctl", "hookctl")
    overview = subprocess.run([hookctl_path, "--help"], capture_output=True, text=True).stdout
    for name in re.findall(r"(?m)^  ([a-z][a-z-]*(?: [a-z][a-z-]*)?)  ", overview):
        text = subprocess.run([hookctl_path, *name.split(), "--help"], capture_output=True, text=True).stdout
        for option in re.findall(r"(?m)^  (?:-\w, )?(--[a-z-]*secret[a-z-]*(?: \w+)?)", text):
            yield name, option


def test_hookctl_takes_no_secret_on_its_command_line():
    found = list(words_of_help())
    assert {name for name, _ in found} >= {"endpoint add", "endpoint rotate-secret", "sign", "verify", "listen"}
    assert {option for _, option in found} == {"--secret-file FILE"}, found


# ---- The master key (K1) ------------------------------------------------------------------------------


@pytest.fixture
def sealed(make_hookd, receive):
    """A hookd that is stopped, with two endpoints; its receiver and their secrets."""
    hookd, receiver = make_hookd(), receive()
    secrets = make_secrets(hookd, receiver, 2)
    assert hookd.stop() == 0
    return hookd, receiver, secrets


def replace_key(hookd, content, mode=0o600):
    path = hookd.data + "/master.key"
    os.remove(path)
    with open(path, "wb") as file:
        file.write(content)
    os.chmod(path, mode)


def test_a_master_key_that_is_lost_or_wrong_stops_nothing_but_the_start(sealed):
    """The exact words, exit status 1, no byte changed, nobody served; the right key back, all is as it was."""
    hookd, receiver, secrets = sealed
    path, key = hookd.data + "/master.key", read(hookd.data + "/master.key")
    id = edit_data(hookd, "show", 1, 0)[0]
    data = read(hookd.data + "/hookd.mdb")

    def lose():
        os.remove(path)

    def link():
        os.rename(path, hookd.directory + "/key")
        os.symlink(hookd.directory + "/key", path)

    def pipe():
        os.remove(path)
        os.mkfifo(path, 0o600)

    cases = [
        (lose, f"there is no master key, neither the credential hookd-master-key nor {path}: "
               "put the one there that the data file was made with"),
        (lambda: replace_key(hookd, b"ab" * 32 + b"\n"),
         f"the master key is not the one that the store in {hookd.data} was sealed with: that is {id}, given is "),
        (lambda: replace_key(hookd, b""), f"{path} is not a master key: expected 64 hexadecimal digits or 32 raw bytes"),
        (lambda: replace_key(hookd, key[:31]), f"{path} is not a master key"),
        (lambda: replace_key(hookd, key * 2), f"{path} is not a master key"),
        (lambda: os.chmod(path, 0o640), f"{path} has mode 0640, so that others can get at the master key: chmod 600"),
        (lambda: os.chmod(path, 0o602), f"{path} has mode 0602"),
        (link, f"{path} is a symbolic link: put the key itself there, or hand it in as a credential"),
        (pipe, f"{path} is not a file"),
    ]
    for spoil, words in cases:
        spoil()
        status, said = run_to_its_end(hookd)
        assert status == 1 and words in said, said
        assert key.decode().strip() not in said
        assert not os.path.exists(hookd.socket_path("submit"))
        if os.path.lexists(path):
            os.remove(path)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
            file.write(key)
    assert read(hookd.data + "/hookd.mdb") == data
    hookd.start()
    assert_all_sign(hookd, receiver, secrets)


def test_a_key_that_its_user_may_not_read_is_told(sealed):
    hookd, _, _ = sealed
    for path in [hookd.directory, hookd.data, *[os.path.join(hookd.data, name) for name in os.listdir(hookd.data)]]:
        if not path.endswith("master.key"):
            os.chown(path, 65534, 65534)
    os.chmod(os.path.dirname(hookd.directory), 0o755)
    os.chown(hookd.log_path, 65534, 65534)
    status, said = run_to_its_end(hookd, user=65534, group=65534)
    assert status == 1 and f"cannot open {hookd.data}/master.key: Permission denied" in said


# ---- What was tampered with (44) ------------------------------------------------------------------------


def bits_to_flip(box_bytes):
    """Of the version, the nonce, the ciphertext and the tag. The key's id is K2's business (test_rekey.py)."""
    chance = random.Random(1)
    bits = [0, 7, 9 * 8, 20 * 8 + 7, 21 * 8, (box_bytes - 16) * 8, box_bytes * 8 - 1]
    return bits + [chance.randrange(9 * 8, box_bytes * 8) for _ in range(40 if LONG else 3)]


def tamperings(hookd):
    length = int(edit_data(hookd, "show", 1, 0)[2])
    yield from ((("flip", 1, bit), ["e0"]) for bit in bits_to_flip(length))
    yield ("cut", 1, 1), ["e0"]
    yield ("cut", 1, length - 37), ["e0"]
    yield ("swap", 1, 2), ["e0", "e1"]


def test_a_box_that_was_tampered_with_is_never_used_and_the_others_go_on(make_hookd, receive, directory):
    """With every checksum right. Nothing is sent to the endpoint, everybody is told, and a new secret repairs it."""
    template, receiver = make_hookd(), receive()
    secrets = make_secrets(template, receiver, 3)
    assert template.stop() == 0
    for n, (change, spoiled) in enumerate(tamperings(template)):
        hookd = copy_of(template, f"{directory}/tampered{n}")
        edit_data(hookd, *change)
        hookd.start()
        try:
            assert_is_locked(hookd, receiver, secrets, spoiled)
            repair(hookd, receiver, secrets, spoiled, restart=change[0] == "swap")
            assert hookd.stop() == 0, hookd.log()
        finally:
            if hookd.process:
                hookd.kill()


def assert_is_locked(hookd, receiver, secrets, spoiled):
    whole = {name: secret for name, secret in secrets.items() if name not in spoiled}
    before = len(receiver.requests)
    assert_all_sign(hookd, receiver, whole)
    assert len(receiver.requests) == before + len(whole)
    for name in spoiled:
        endpoint = hookd.manage.get(f"/v1/endpoints/{name}").json
        assert (endpoint["state"], endpoint["paused_by"], endpoint["secrets"], endpoint["headers"]) == ("paused", "hookd", [], {})
        assert endpoint["queue"]["pending"] == 1
        assert "its secret cannot be opened" in endpoint["reason"] and "X-Token" in endpoint["reason"]
        assert f"{name} is paused: its secret cannot be opened" in hookd.log()
        refused = hookd.manage.post(f"/v1/endpoints/{name}/resume")
        assert refused.status == 400 and "rotate-secret" in refused.json["detail"], refused
        tested = hookd.manage.post(f"/v1/endpoints/{name}/test")
        assert tested.status == 503 and "secret" in tested.json["detail"], tested
    status = hookctl(hookd, "status")
    others = f" and {len(spoiled) - 1} others" if len(spoiled) > 1 else ""
    assert status.returncode == 1
    assert f"the secret of {spoiled[0]}{others} cannot be opened, and nothing is sent there" in status.stdout
    # What is paused by a person keeps its lock, and a change of something else does not lift it.
    assert hookd.manage.patch(f"/v1/endpoints/{spoiled[0]}", {"description": "looked at"}).status == 200
    assert hookd.manage.post(f"/v1/endpoints/{spoiled[0]}/resume").status == 400


def repair(hookd, receiver, secrets, spoiled, restart):
    """As status says; what waited is sent then."""
    renewed = dict(secrets)
    for name in spoiled:
        rotated = hookctl(hookd, "endpoint", "rotate-secret", name)
        assert rotated.returncode == 0, rotated
        renewed[name] = rotated.stdout.strip()
        assert hookctl(hookd, "endpoint", "set", name, "--header", f"X-Token: token-of-{name}").returncode == 0
    if restart:
        hookd.restart()
    before = {name: [r for r in receiver.requests if r.path.strip("/") == name] for name in spoiled}
    for name in spoiled:
        assert hookctl(hookd, "resume", name).returncode == 0
    for name in spoiled:
        came = wait_until(lambda: [r for r in receiver.requests if r.path.strip("/") == name and r not in before[name]])
        assert is_signed(came[0], renewed[name])
    assert_all_sign(hookd, receiver, renewed)
    assert hookctl(hookd, "status").returncode == 0


def test_a_locked_endpoint_stays_locked_through_a_change_of_the_master_key(sealed):
    """What cannot be opened cannot be sealed anew, and does not keep the old key alive."""
    hookd, receiver, secrets = sealed
    edit_data(hookd, "flip", 1, 200)
    hookd.start()
    assert hookd.admin.post("/v1/rekey").status == 200
    for _ in range(2):
        locked = hookd.manage.get("/v1/endpoints/e0").json
        assert locked["state"] == "paused" and locked["secrets"] == [] and "X-Token" in locked["reason"]
        assert [p["code"] for p in hookd.manage.get("/v1/status").json["problems"]] == ["secrets_locked"]
        hookd.restart()
    repair_and_send(hookd, receiver, secrets)


def repair_and_send(hookd, receiver, secrets):
    secret = hookd.manage.post("/v1/endpoints/e0/rotate-secret").json["secret"]
    assert hookd.manage.patch("/v1/endpoints/e0", {"headers": {"X-Token": "token-of-e0"}}).status == 200
    assert hookd.manage.post("/v1/endpoints/e0/resume").status == 200
    assert_all_sign(hookd, receiver, {**secrets, "e0": secret})


# ---- Rotation (45) ----------------------------------------------------------------------------------------


def new_secret():
    return "whsec_" + base64.b64encode(random.randbytes(32)).decode()


def fits(request, secret):
    """Would a receiver that knows this one secret be content?"""
    content = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode() + request.body
    mac = hmac.new(base64.b64decode(secret.removeprefix("whsec_")), content, hashlib.sha256).digest()
    return "v1," + base64.b64encode(mac).decode() in request.headers["webhook-signature"].split(" ")


def rotate_and_crash(hookd, secret, n):
    """Kills hookd at the n-th commit from now on, which is that of the rotation or one beside it."""
    with traced(hookd, f"fdatasync:signal=KILL:when={n}"):
        with contextlib.suppress(OSError):
            hookd.manage.post("/v1/endpoints/e/rotate-secret", {"secret": secret, "overlap_s": 3600})
        hookd.process.wait(20 * PATIENCE)
    hookd.process = None
    hookd.start()


def test_a_receiver_may_change_over_at_any_moment_of_the_overlap(make_hookd, receive):
    """Under load, and through crashes in the middle of rotations: what is submitted once a rotation was answered carries
    a signature of the old and of the new secret, so that a receiver with either is content; and no request at all goes
    out unsigned, or signed with something else."""
    hookd, receiver = make_hookd(), receive()
    secret = hookd.admin.add_endpoint("e", receiver.url)["secret"]
    given = [secret]
    stopping = threading.Event()

    def load():
        while not stopping.is_set():
            with contextlib.suppress(OSError):
                hookd.submit.post("/v1/events", {"type": "t", "data": 1})
            time.sleep(0.02)  # no more than the receiver can take

    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for round in range(30 if LONG else 6):
            if round % 3 == 2:  # nobody knows whether this one was taken
                given.append(new_secret())
                rotate_and_crash(hookd, given[-1], 1 + round % 2)
            fresh = new_secret()
            given.append(fresh)
            assert hookd.manage.post("/v1/endpoints/e/rotate-secret", {"secret": fresh, "overlap_s": 3600}).status == 200
            for _ in range(5):
                id = hookd.submit.submit("t", 2)["id"]
                came = wait_until(lambda: next((r for r in list(receiver.requests) if r.id == id), None), what=f"{id} comes")
                assert fits(came, secret) and fits(came, fresh), round
            secret = fresh
        wait_until(lambda: len(receiver.requests) > 100)
    finally:
        stopping.set()
        for thread in threads:
            thread.join()
    wait_until(lambda: hookd.manage.get("/v1/status").json["queue"]["pending"] == 0, 30)
    for request in list(receiver.requests):
        # As many signatures as secrets that fit: none is of anything else.
        n = sum(fits(request, s) for s in given)
        assert n == len(request.headers["webhook-signature"].split(" ")) and 1 <= n <= 4
