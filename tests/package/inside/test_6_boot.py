"""The machine was switched off in good order, and is on again."""

from harness import Receiver, wait_until
from machine import UNITS, hookd, is_active, run, systemctl


def test_hookd_stopped_in_order_when_the_machine_did():
    said = run("journalctl", "--boot=-1", "--unit=hookd.service", "--output=cat", "--lines=20").stdout
    assert "hookd stopped" in said and "Deactivated successfully" in said, said


def test_hookd_runs_after_a_boot_without_anybodys_help():
    for unit in UNITS:
        assert systemctl("is-enabled", unit).stdout.strip() == "enabled", unit
        assert is_active(unit), unit
    assert wait_until(lambda: systemctl("is-system-running", check=False).stdout.strip() == "running", 20)


def test_what_was_owed_before_the_boot_is_delivered_after_it():
    with open("/opt/hookd-test/owed") as file:
        id = file.read()
    receiver = Receiver(port=8765)
    try:
        received = receiver.wait_for(1, 20)[0]
        assert received.id == id and received.json["data"] == {"from": "the first boot"}
        hookd.manage.wait_for(id, "after-boot", "delivered")
    finally:
        receiver.close()
