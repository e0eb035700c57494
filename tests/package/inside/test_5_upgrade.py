"""A new version of the package comes while there is work."""

import os
import time

from ledger import assert_holds
from machine import METRICS, STARTED, UNITS, Cursor, install, is_active, refused, run, systemctl


def version():
    return run("dpkg-query", "--show", "--showformat=${Version}", "hookd").stdout


def sockets():
    """What they would not have any more if they had been made again."""
    found = [os.stat(f"/run/hookd/{role}.sock") for role in ["submit", "manage", "admin"]]
    return [(status.st_ino, status.st_ctime_ns) for status in found]


def test_an_upgrade_keeps_the_queue_and_refuses_nobody(hookd):
    """Producers submit all the while; one receiver is well, the other only after the upgrade."""
    old_version = version()
    systemctl("enable", METRICS)
    with hookd.ledger(seed=71) as ledger:
        ledger.add_endpoint("up", retry_schedule_s=[1] * 50)
        down = ledger.add_endpoint("down", manner={"fail": 1, "statuses": [503]}, retry_schedule_s=[1] * 50)
        for _ in range(50):
            assert ledger.submit(ledger.make(key=True)) == "stored"
        pid, names, cursor = hookd.pid, sockets(), Cursor()
        with ledger.producers(8, pace_s=0.005):
            time.sleep(0.5)
            install("hookd", "libhookd1", "libhookd-dev", version="upgrade")
            time.sleep(0.5)
        assert version() == f"{old_version}+upgrade1"
        assert refused(ledger) == []
        assert len(cursor.read(f"MESSAGE_ID={STARTED}")) == 1
        assert hookd.pid != pid and os.readlink(f"/proc/{hookd.pid}/exe") == "/usr/sbin/hookd"  # not "(deleted)"
        assert sockets() == names
        assert systemctl("is-enabled", METRICS).stdout.strip() == "enabled"
        assert hookd.manage.get("/v1/endpoints/down").json["queue"]["pending"] >= 50
        ledger.set_manner(down)
        ledger.settle(120)
        assert_holds(ledger.books())
    systemctl("disable", METRICS)


def test_what_an_administrator_switched_off_stays_off(hookd):
    systemctl("disable", "--now", *UNITS)
    try:
        install("hookd", version="upgrade")
        for unit in UNITS:
            assert not is_active(unit), unit
            assert systemctl("is-enabled", unit, check=False).stdout.strip() == "disabled", unit
    finally:
        systemctl("enable", "--now", *UNITS)


def test_an_older_package_takes_over_again(hookd):
    """Back to the version before, as after an upgrade that somebody regrets."""
    id = hookd.submit.submit("t", 1)["id"]
    install("hookd", "libhookd1", "libhookd-dev")
    assert "upgrade" not in version()
    assert hookd.submit.get(f"/v1/events/{id}").status == 200


def test_the_queue_that_the_next_boot_has_to_find(hookd):
    """Left for test_6_boot.py: an event that is owed to a receiver which is down."""
    hookd.admin.add_endpoint("after-boot", "http://127.0.0.1:8765/", retry_schedule_s=[5] * 50)
    id = hookd.submit.submit("t", {"from": "the first boot"})["id"]
    with open("/opt/hookd-test/owed", "w") as file:
        file.write(id)
