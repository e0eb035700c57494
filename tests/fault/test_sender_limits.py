"""What senders run out of is nobody's fault but ours: processes (fault 18), descriptors (fault 17). Attempts wait, at no
cost, and are made when there is room again.
"""

import os
import resource
import subprocess
import time

import pytest

from harness import BUILD, TROUBLE, wait_until
from taken_over import HookdWithSender

SOME_USER = 64998  # nobody's number; root has no limit of processes


@pytest.fixture
def start(directory):
    started = []

    def start_hookd(*arguments, **options):
        hookd = HookdWithSender(directory, *arguments, **options)
        started.append(hookd)
        return hookd
    yield start_hookd
    for hookd in started:
        assert hookd.stop() == 0, hookd.log()
        assert not TROUBLE.search(hookd.log()), hookd.log()


def problems(hookd):
    return {p["code"]: p["message"] for p in hookd.manage.get("/v1/status").json["problems"]}


def limit_processes(hookd, n):
    """As its own user: another's may not be limited by every root."""
    subprocess.run(["prlimit", "--pid", str(hookd.process.pid), f"--nproc={n}:"], user=SOME_USER, group=SOME_USER,
                   check=True)


def test_no_process_for_a_sender_costs_no_attempt(start, receive):
    receiver = receive()
    hookd = start(user=SOME_USER)
    hookd.start()
    hookd.admin.add_endpoint("e", receiver.url)
    senders = hookd.confined_senders()
    limit_processes(hookd, 1)
    for pid in senders:
        os.kill(pid, 9)
    wait_until(lambda: "Resource temporarily unavailable" in problems(hookd).get("senders_down", ""))
    event = hookd.submit.submit("t", 1)["id"]
    time.sleep(2.5)  # hookd tries again meanwhile
    assert hookd.senders() == []
    assert hookd.manage.delivery(event, "e")["attempts"] == 0
    assert hookd.log().count("cannot start") == 1
    limit_processes(hookd, 100)
    assert hookd.manage.wait_for(event, "e", "delivered", 20)["attempts"] == 1
    wait_until(lambda: problems(hookd) == {}, 20)


@pytest.mark.parametrize("size", [100, 200_000], ids=["for a connection", "for a payload's file"])
def test_no_descriptor_in_a_sender_costs_no_attempt_and_no_sender(start, receive, size):
    receiver = receive()
    hookd = start()
    hookd.start()
    hookd.admin.add_endpoint("e", receiver.url)
    senders = hookd.confined_senders()
    for pid in senders:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, 1024))
    events = [hookd.submit.submit("t", f"{i}".rjust(size))["id"] for i in range(8)]
    wait_until(lambda: "no file descriptor left" in problems(hookd).get("cannot_send", ""))
    time.sleep(1.5)
    assert all(hookd.manage.delivery(event, "e")["attempts"] == 0 for event in events)
    for pid in senders:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (1024, 1024))
    for i, event in enumerate(events):
        assert hookd.manage.wait_for(event, "e", "delivered", 30)["attempts"] == 1
        request = next(request for request in receiver.requests if request.id == event)
        assert request.json["data"].strip() == f"{i}"  # and each got its own
    assert hookd.senders() == senders


def test_a_sender_that_cannot_tell_the_machines_own_addresses_does_not_work(start, receive):
    """It could not refuse requests to them."""
    receiver = receive()
    hookd = start()
    sender = os.path.join(hookd.binaries, "hookd-sender")
    os.rename(sender, sender + ".real")
    with open(sender, "w") as script:
        script.write(f"#!/bin/sh\nexec {BUILD}/tests/fault/without socket 24 {sender}.real\n")
    os.chmod(sender, 0o755)
    hookd.start()
    hookd.admin.add_endpoint("e", receiver.url)
    hookd.submit.submit("t", 1)
    wait_until(lambda: "a sender cannot work" in problems(hookd).get("senders_down", ""))
    assert receiver.requests == []
