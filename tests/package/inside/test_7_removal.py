"""The package goes: for a while, and for good."""

import os
import pwd
import time

from ledger import assert_holds
from machine import METRICS, STARTED, UNITS, Cursor, drop_in, install, is_active, refused, run, show, systemctl
from machine import hookd as installed

PACKAGES = ["hookd", "libhookd1", "libhookd-dev"]


def processes():
    """The ids of all processes of hookd's user."""
    uid = pwd.getpwnam("hookd").pw_uid
    return [pid for pid in os.listdir("/proc") if pid.isdecimal() and os.stat(f"/proc/{pid}").st_uid == uid]


def leftovers():
    """All paths with hookd in them, but for what belongs to these tests and to the history of the machine."""
    skipped = ["/proc", "/sys", "/opt/hookd-test", "/var/log", "/tmp", "/root", "/var/cache"]
    found = []
    for at, directories, files in os.walk("/"):
        directories[:] = [name for name in directories if os.path.join(at, name) not in skipped]
        found += [os.path.join(at, name) for name in directories + files if "hookd" in name]
    return sorted(path for path in found if "hookd-test.service" not in path)


def test_a_removal_stops_everything_and_keeps_what_is_owed(hookd):
    """Producers do not let it be: none of their connections may start again what is being stopped."""
    systemctl("enable", METRICS)
    hookd.restart()
    assert is_active(METRICS)
    with hookd.ledger(seed=81) as ledger:
        endpoint = ledger.add_endpoint("e", manner={"fail": 1, "statuses": [503]}, retry_schedule_s=[1] * 50)
        cursor = Cursor()
        with ledger.producers(8, pace_s=0.002):
            time.sleep(0.5)
            run("dpkg", "--remove", *PACKAGES)
            time.sleep(1)
        assert cursor.messages(f"MESSAGE_ID={STARTED}") == []
        assert processes() == [] and not any(is_active(unit) for unit in [*UNITS, METRICS])
        assert show("hookd.service", "LoadState") == "not-found"
        assert not os.path.exists("/run/hookd")
        assert os.path.exists(hookd.data_file) and os.path.exists(f"{hookd.data}/master.key")
        assert os.path.exists("/etc/hookd/hookd.conf")
        assert refused(ledger) != []  # "not stored", not silence

        # It comes again, and goes on where it was.
        install(*PACKAGES)
        assert all(is_active(unit) for unit in UNITS)
        assert systemctl("is-enabled", METRICS).stdout.strip() == "enabled"
        ledger.set_manner(endpoint)
        ledger.settle(120)
        assert_holds(ledger.books())


def test_a_purge_leaves_nothing_but_the_user(hookd):
    run("hookctl", "backup")
    hookd.submit.submit("t", 1)
    run("dpkg", "--purge", *PACKAGES)
    assert leftovers() == []
    assert processes() == [] and not any(is_active(unit) for unit in [*UNITS, METRICS])
    assert "hookd.service" not in systemctl("list-unit-files", "hookd*", "--no-legend", check=False).stdout
    assert systemctl("is-system-running", check=False).stdout.strip() == "running"
    assert pwd.getpwnam("hookd").pw_shell.endswith("/nologin")


def test_after_a_purge_it_installs_as_on_a_new_machine():
    install(*PACKAGES)
    assert all(is_active(unit) for unit in UNITS)
    assert os.listdir("/etc/hookd") == ["ca"]
    assert installed.manage.all("/v1/events") == []


def test_a_purge_takes_the_state_of_a_dynamic_user_with_it(hookd):
    with drop_in("[Service]\nDynamicUser=yes\nUser=hookd-dynamic\nGroup=hookd-dynamic\n"):
        hookd.restart()
        assert os.path.isdir("/var/lib/private/hookd")
        run("dpkg", "--purge", *PACKAGES)
    os.rmdir("/run/systemd/system/hookd.service.d")
    assert leftovers() == []
