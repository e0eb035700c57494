"""What hookd cannot do here, what it keeps to itself, and what it tells."""

import contextlib
import grp
import json
import os
import pwd
import re
import stat
import subprocess

import pytest

from harness import wait_until
from ledger import assert_holds
from machine import (CHANGED, DEAD, FAILING, PAUSED, TEST, WORKING, Cursor, drop_in, fork_as, run, show,
                     systemctl)


# ---- Walls -------------------------------------------------------------------------------------


def status_of(pid):
    with open(f"/proc/{pid}/status") as file:
        return {name: value.strip() for name, value in (line.split(":", 1) for line in file)}


def test_hookd_and_its_senders_have_no_rights_and_get_none(hookd):
    uid, gid = pwd.getpwnam("hookd").pw_uid, grp.getgrnam("hookd").gr_gid
    senders = hookd.senders()
    assert len(senders) == 2
    for pid in [hookd.pid, *senders]:
        status = status_of(pid)
        assert status["Uid"].split() == [str(uid)] * 4 and status["Gid"].split() == [str(gid)] * 4
        assert status["Groups"] in ("", str(gid))
        for kind in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]:
            assert int(status[kind], 16) == 0, kind
        assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"


def test_senders_are_confined_further_than_hookd_and_work(hookd):
    with hookd.ledger(seed=52) as ledger:
        ledger.add_endpoint("e")
        ledger.submit(ledger.make())
        ledger.settle()
        assert_holds(ledger.books())

    def are_confined():
        """They are so before their first request, and one of the two may not have had any."""
        own, *theirs = [int(status_of(pid)["Seccomp_filters"]) for pid in [hookd.pid, *hookd.senders()]]
        return len(theirs) == 2 and all(n > own for n in theirs)

    wait_until(are_confined, what="every sender has a filter of its own")
    status = hookd.manage.get("/v1/status").json
    assert status["senders"]["running"] == status["senders"]["wanted"] == 2 and status["problems"] == []


def tried(directory):
    with open(os.path.join(directory, "try_to_leave.json")) as file:
        return json.load(file)


def test_a_hookd_that_was_taken_over_can_write_its_state_and_nothing_else(hookd, tmp_path):
    script = os.path.join(TEST, "inside", "try_to_leave.py")
    outside = os.path.join(tmp_path, "outside")
    os.mkdir(outside)
    run("systemd-run", "--wait", "--quiet", "python3", script, outside)
    hookd.stop()
    with drop_in(f"[Service]\nType=oneshot\nExecStart=\nExecStart=/usr/bin/python3 {script} {hookd.data}\n"):
        systemctl("start", "hookd.service")
    inside = tried(hookd.data)
    assert [name for name, result in inside.items() if result == "done"] == ["write to its state directory"]
    real = [name for name, result in tried(outside).items() if result == "done"]
    assert len(real) >= len(inside) - 5, f"these were no real attempts: {sorted(set(inside) - set(real))}"


def test_what_hookd_may_use_up_is_bounded(hookd):
    assert show("hookd.service", "LimitNOFILE") == "65536" and show("hookd.service", "LimitCORE") == "0"
    assert show("hookd.service", "TasksMax") == "256" and show("hookd.service", "MemoryMax") == str(2 << 30)
    with open(f"/proc/{hookd.pid}/limits") as file:
        limits = {line[:26].strip(): line[26:].split()[:2] for line in file}
    assert limits["Max core file size"] == ["0", "0"]
    soft, hard = limits["Max open files"]
    assert soft == hard  # hookd takes what it may; a container may allow less than the unit does


# ---- The master key ----------------------------------------------------------------------------


def move_key(hookd):
    """Takes the key that hookd has made out of its state directory."""
    with open(f"{hookd.data}/master.key") as file:
        key = file.read()
    with open("/etc/hookd/master-key", "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        file.write(key)
    os.remove(f"{hookd.data}/master.key")
    return key.strip()


@pytest.fixture
def key(hookd):
    yield lambda: move_key(hookd)
    for name in ["master-key", "master-key.cred", "master-key-2.cred", "master-key-previous.cred"]:
        with contextlib.suppress(FileNotFoundError):
            os.remove(f"/etc/hookd/{name}")


def encrypted(key):
    run("systemd-creds", "encrypt", "--with-key=host", "--name=hookd-master-key", "/etc/hookd/master-key",
        "/etc/hookd/master-key.cred")
    os.remove("/etc/hookd/master-key")
    return "LoadCredentialEncrypted=hookd-master-key:/etc/hookd/master-key.cred"


CREDENTIALS = {
    "LoadCredential": lambda key: "LoadCredential=hookd-master-key:/etc/hookd/master-key",
    "LoadCredentialEncrypted": encrypted,
    "SetCredential": lambda key: f"SetCredential=hookd-master-key:{key}",
}


@pytest.mark.parametrize("way", CREDENTIALS)
def test_the_master_key_comes_as_a_credential_and_is_not_beside_the_data(hookd, key, way):
    with hookd.ledger(seed=51) as ledger:
        ledger.add_endpoint("e", headers={"X-Token": "Rohrdommel"})
        ledger.submit(ledger.make())
        ledger.settle()
        systemctl("stop", "hookd.service")
        with drop_in(f"[Service]\n{CREDENTIALS[way](key())}\n"):
            systemctl("start", "hookd.service")
            ledger.submit(ledger.make())
            ledger.settle()
            assert_holds(ledger.books())  # the secret is open to it: signatures are right
            assert not os.path.exists(f"{hookd.data}/master.key")
            given = os.stat("/run/credentials/hookd.service/hookd-master-key")
            assert stat.S_IMODE(given.st_mode) == 0o400 or stat.S_IMODE(given.st_mode) == 0o440  # with an ACL
            stranger = fork_as("nobody", lambda: os.access("/run/credentials/hookd.service/hookd-master-key", os.R_OK))
            assert stranger is False


def test_an_encrypted_key_is_changed_as_the_manual_says(hookd, key):
    """Such a file carries the name that it was encrypted for: the old one cannot be handed in as the previous key."""
    def master_key():
        return hookd.manage.get("/v1/status").json["master_key"]

    with hookd.ledger(seed=53) as ledger:
        ledger.add_endpoint("e", headers={"X-Token": "Rohrdommel"})
        with drop_in(f"[Service]\n{encrypted(key())}\n"):
            hookd.restart()
        before = master_key()
        run("sh", "-c", "openssl rand -hex 32 | systemd-creds encrypt --name=hookd-master-key - master-key-2.cred",
            cwd="/etc/hookd")
        run("sh", "-c", "systemd-creds decrypt --name=hookd-master-key master-key.cred - | "
            "systemd-creds encrypt --name=hookd-master-key-previous - master-key-previous.cred", cwd="/etc/hookd")
        new = "LoadCredentialEncrypted=hookd-master-key:/etc/hookd/master-key-2.cred\n"
        with drop_in(f"[Service]\n{new}"
                     "LoadCredentialEncrypted=hookd-master-key-previous:/etc/hookd/master-key-previous.cred\n"):
            hookd.restart()
            wait_until(lambda: master_key()["previous_is_spare"], 20, "everything is sealed anew")
        with drop_in(f"[Service]\n{new}"):
            hookd.restart()
            after = master_key()
            assert after["id"] != before["id"] and after["previous_id"] is None and not after["previous_is_spare"]
            ledger.submit(ledger.make())
            ledger.settle()
            assert_holds(ledger.books())  # the secret is open to it: signatures are right


@pytest.mark.parametrize("text, words", [
    ("[Service]\n", "there is no master key, neither the credential hookd-master-key nor"),
    (f"[Service]\nSetCredential=hookd-master-key:{'cd' * 32}\n", "the master key is not the one"),
])
def test_without_its_master_key_hookd_does_not_start_and_changes_nothing(hookd, key, text, words):
    hookd.admin.add_endpoint("e", "https://hooks.example/")
    systemctl("stop", "hookd.service")
    right, cursor = key(), Cursor()
    with drop_in(text):
        assert systemctl("start", "hookd.service", check=False).returncode != 0
        cursor.wait_for(words, "_SYSTEMD_UNIT=hookd.service")
        hookd.stop()
    with drop_in(f"[Service]\nSetCredential=hookd-master-key:{right}\n"):
        hookd.start()
        assert hookd.manage.get("/v1/endpoints/e").status == 200


# ---- Another user ------------------------------------------------------------------------------


def test_a_dynamic_user_works_and_so_does_the_way_back(hookd):
    first = hookd.submit.submit("t", 1)["id"]
    with drop_in("[Service]\nDynamicUser=yes\nUser=hookd-dynamic\nGroup=hookd-dynamic\n"):
        hookd.restart()
        uid = int(status_of(hookd.pid)["Uid"].split()[0])
        assert 61184 <= uid <= 65519
        assert os.readlink("/var/lib/hookd") == "private/hookd"
        assert hookd.submit.get(f"/v1/events/{first}").status == 200
        second = hookd.submit.submit("t", 2)["id"]
        assert os.stat(hookd.data_file).st_uid == uid
    hookd.restart()
    assert not os.path.islink("/var/lib/hookd")
    for id in [first, second]:
        assert hookd.submit.get(f"/v1/events/{id}").status == 200
    assert {pwd.getpwuid(entry.stat().st_uid).pw_name for entry in os.scandir(hookd.data)} == {"hookd"}


# ---- Backup and check --------------------------------------------------------------------------


def test_a_backup_is_restored_as_the_manual_says(hookd):
    id = hookd.submit.submit("t", 1)["id"]
    copy = run("hookctl", "backup").stdout.strip()
    status = os.stat(copy)
    assert stat.S_IMODE(status.st_mode) == 0o600 and pwd.getpwuid(status.st_uid).pw_name == "hookd"
    assert os.path.dirname(copy) == f"{hookd.data}/backup"
    later = hookd.submit.submit("t", 2)["id"]
    hookd.stop()
    os.rename(hookd.data_file, hookd.data_file + ".old")
    run("install", "-o", "hookd", "-g", "hookd", "-m", "0600", copy, hookd.data_file)
    assert run("hookd", "--check-data", hookd.data).stdout.endswith("no faults\n")
    systemctl("start", "hookd.service")
    assert hookd.submit.get(f"/v1/events/{id}").status == 200 and hookd.submit.get(f"/v1/events/{later}").status == 404
    assert hookd.manage.get("/v1/status").json["sending"]["state"] == "paused"
    run("hookctl", "resume", "--all", "-y")
    assert hookd.manage.get("/v1/status").json["sending"]["state"] != "paused"


def test_a_check_by_root_leaves_nothing_that_keeps_hookd_from_starting(hookd):
    id = hookd.submit.submit("t", 1)["id"]
    hookd.stop()
    for name in ["hookd.mdb-lock", "lock"]:  # the manual: they may be deleted
        os.remove(f"{hookd.data}/{name}")
    run("hookd", "--check-data", hookd.data)
    systemctl("start", "hookd.service")
    assert hookd.submit.get(f"/v1/events/{id}").status == 200


# ---- Journal -----------------------------------------------------------------------------------


def test_the_journal_has_every_field_of_a_dead_letter(hookd):
    with hookd.ledger(seed=61) as ledger:
        cursor = Cursor()
        ledger.add_endpoint("billing", tenant="acme", manner={"fail": 1, "statuses": [503]}, retry_schedule_s=[],
                            may_die=True)
        submission = ledger.make(tenant="acme", type="order.paid")
        ledger.submit(submission)
        dead = cursor.wait_for("dead letter", f"MESSAGE_ID={DEAD}")
        failing = cursor.wait_for("is failing", f"MESSAGE_ID={FAILING}")
        added = cursor.wait_for("", f"MESSAGE_ID={CHANGED}", "HOOKD_ACTION=add")
    fields = {"PRIORITY": "4", "HOOKD_EVENT": min(submission.ids), "HOOKD_ENDPOINT": "acme/billing", "HOOKD_TENANT": "acme",
              "HOOKD_TYPE": "order.paid", "HOOKD_ATTEMPT": "1", "HOOKD_RESULT": "status", "HOOKD_HTTP_STATUS": "503",
              "SYSLOG_IDENTIFIER": "hookd", "_SYSTEMD_UNIT": "hookd.service", "_UID": str(pwd.getpwnam("hookd").pw_uid)}
    assert {name: dead[name] for name in fields} == fields
    assert dead["HOOKD_DURATION_MS"].isdecimal()
    assert failing["PRIORITY"] == "5" and failing["HOOKD_ENDPOINT"] == "acme/billing"
    assert added["HOOKD_PEER_UID"] == "0" and added["HOOKD_PEER_PID"].isdecimal()


def test_one_customers_story_is_found_by_its_name(hookd):
    """The command that the README gives."""
    with hookd.ledger(seed=62) as ledger:
        cursor = Cursor()
        ledger.add_endpoint("billing", tenant="acme", manner={"fail_first": 1, "statuses": [500]}, retry_schedule_s=[1, 1])
        ledger.add_endpoint("crm", tenant="globex", manner={"fail": 1, "statuses": [410]})
        for tenant in ["acme", "globex"]:
            ledger.submit(ledger.make(tenant=tenant))
        cursor.wait_for("works again", f"MESSAGE_ID={WORKING}", "HOOKD_ENDPOINT=acme/billing")
        cursor.wait_for("410", f"MESSAGE_ID={PAUSED}", "HOOKD_ENDPOINT=globex/crm")
    story = cursor.read("--unit=hookd", "HOOKD_ENDPOINT=acme/billing")
    assert [line["HOOKD_ENDPOINT"] for line in story] == ["acme/billing"] * len(story) and len(story) >= 3


def test_every_kind_of_line_that_came_is_in_the_manual_and_most_kinds_came(hookd):
    """Over everything that has happened on this machine so far, and a sender that is killed."""
    cursor = Cursor()
    os.kill(hookd.senders()[0], 9)
    cursor.wait_for("sender", "_SYSTEMD_UNIT=hookd.service")
    page = run("gzip", "--decompress", "--stdout", "/usr/share/man/man8/hookd.8.gz").stdout
    listed = set(re.findall(r"\b5b2f1a4c\w{24}\b", page))
    assert len(listed) == 12
    lines = [json.loads(line) for line in
             run("journalctl", "--output=json", "_SYSTEMD_UNIT=hookd.service", "_COMM=hookd").stdout.splitlines()]
    kinds = {line["MESSAGE_ID"] for line in lines if "MESSAGE_ID" in line}
    assert kinds <= listed and len(kinds) >= 10, kinds
    assert all(line["PRIORITY"] in "345" for line in lines if "MESSAGE_ID" in line)


def test_no_secret_and_no_payload_is_in_the_journal(hookd):
    with hookd.ledger(seed=63) as ledger:
        ledger.add_endpoint("e", manner={"fail": 1, "statuses": [500]}, retry_schedule_s=[], may_die=True,
                            headers={"X-Token": "Sumpfohreule"})
        hookd.configure({"log": {"level": "debug", "attempts": "all"}})
        hookd.reload()
        for _ in range(5):
            ledger.submit(ledger.make())
        ledger.settle()
        run("journalctl", "--sync")
        needles = ledger.needles()
    journal = subprocess.run(["journalctl", "--output=export", "--all"], capture_output=True, check=True).stdout
    assert b"HOOKD_RESULT=status" in journal
    assert [what for what, needle in needles.items() if needle in journal] == []
