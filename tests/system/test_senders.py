"""Senders: separate processes that may die, and lose nobody's deliveries when they do."""

import os
import signal
import time

from harness import PATIENCE, raw_receiver, read_request, wait_until

# The system calls epoll_wait and epoll_pwait of amd64, and epoll_pwait of arm64.
EPOLL_WAITS = {"x86_64": ["232", "281"], "aarch64": ["22"]}[os.uname().machine]


def test_there_are_as_many_as_configured_and_they_have_nothing_open_but_the_channel(hookd):
    pids = hookd.confined_senders()
    assert len(pids) == 2
    for pid in pids:
        with open(f"/proc/{pid}/environ", "rb") as file:
            assert file.read() == b""
        for fd in os.listdir(f"/proc/{pid}/fd"):
            link = os.readlink(f"/proc/{pid}/fd/{fd}")
            assert int(fd) <= 3 or link.startswith(("anon_inode:", "socket:", "pipe:")), (fd, link)
            assert hookd.data not in link


def test_a_sender_that_dies_is_replaced_and_its_attempts_are_made_again(hookd, receive):
    release = []
    receiver = receive(lambda r: (wait_until(lambda: release, 30) and 200) if len(receiver.requests) == 1 else 200)
    hookd.admin.add_endpoint("e", receiver.url)
    event = hookd.submit.submit("t", 1)["id"]
    receiver.wait_for(1)
    before = set(hookd.senders())
    for how in [signal.SIGSTOP, signal.SIGKILL]:  # what one of them is relieved of, the other must not send
        for pid in before:
            os.kill(pid, how)
    delivery = hookd.manage.wait_for(event, "e", "delivered")
    release.append(1)
    assert delivery["attempts"] == 1  # the lost one cost nothing
    assert len(receiver.requests) == 2
    wait_until(lambda: len(hookd.senders()) == 2 and not before & set(hookd.senders()))
    wait_until(lambda: hookd.manage.get("/v1/status").json["senders"]["restarts_total"] == 2)
    assert hookd.metric("hookd_sender_restarts_total") == 2


def test_a_delivery_that_kills_senders_runs_alone_and_then_counts_as_a_failure(hookd, receive):
    """Played by killing whichever sender makes the attempt."""
    good = receive()
    hookd.admin.add_endpoint("good", good.url, types=["good"])

    def kill_who_has(port):
        for pid in hookd.senders():
            try:
                with open(f"/proc/{pid}/net/tcp") as file:
                    table = file.read()
                inodes = {line.split()[9] for line in table.splitlines()[1:]
                          if int(line.split()[1].split(":")[1], 16) == port}
                links = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
            except OSError:  # one of its descriptors was closed meanwhile
                continue
            if links & {f"socket:[{inode}]" for inode in inodes}:
                os.kill(pid, signal.SIGKILL)
                return True
        return False

    def kill_the_peer(connection):
        read_request(connection)
        wait_until(lambda: kill_who_has(connection.getpeername()[1]))

    with raw_receiver(kill_the_peer) as url:
        hookd.admin.add_endpoint("killer", url, types=["killer"], retry_schedule_s=[])
        event = hookd.submit.submit("killer", 1)["id"]
        delivery = hookd.manage.wait_for(event, "killer", "dead", 20)
    assert delivery["attempts"] == 1 and delivery["last_attempt"]["result"] == "protocol"
    assert "died" in delivery["last_attempt"]["message"]
    event = hookd.submit.submit("good", 1)["id"]
    hookd.manage.wait_for(event, "good", "delivered", 20)


def begun_senders(hookd):
    """When they have said that they are ready, which nobody else is told: then they wait for what they are to do."""
    def waits(pid):
        with open(f"/proc/{pid}/syscall") as file:
            return file.read().split()[0] in EPOLL_WAITS

    pids = hookd.confined_senders()
    wait_until(lambda: all(waits(pid) for pid in pids))
    return pids


def test_a_sender_that_hangs_delays_only_its_own_share(hookd, receive):
    receiver = receive()
    for i in range(8):
        hookd.admin.add_endpoint(f"e{i}", receiver.url)
    stopped = begun_senders(hookd)[0]
    os.kill(stopped, signal.SIGSTOP)
    try:
        hookd.submit.submit("t", 1)
        receiver.wait_for(1)
        time.sleep(1)
        assert len(receiver.requests) < 8
        assert hookd.manage.get("/v1/status").status == 200
    finally:
        os.kill(stopped, signal.SIGCONT)
    receiver.wait_for(8)


def test_a_sender_that_hangs_for_good_is_replaced_and_its_attempts_are_made_again(make_hookd, receive):
    hookd = make_hookd({"delivery": {"timeout": "1s"}})
    receiver = receive()
    for i in range(8):
        hookd.admin.add_endpoint(f"e{i}", receiver.url)
    for pid in begun_senders(hookd):
        os.kill(pid, signal.SIGSTOP)
    event = hookd.submit.submit("t", 1)["id"]
    receiver.wait_for(8, 30)
    for i in range(8):
        assert hookd.manage.wait_for(event, f"e{i}", "delivered")["attempts"] == 1
    assert hookd.log().count("it did not answer in time") == 2
    assert hookd.stop() == 0


def test_many_deliveries_that_saw_two_deaths_are_not_one_long_queue(make_hookd, receive):
    hookd = make_hookd({"delivery": {"max_in_flight": "64"}})
    slow = [True]
    receiver = receive(lambda r: time.sleep(30 if slow[0] else 0.5) or 200)
    for i in range(3):
        hookd.admin.add_endpoint(f"e{i}", receiver.url, timeout_s=40)
        slow[0] = False
        event = hookd.submit.submit("warm", 1)["id"]
        hookd.manage.wait_for(event, f"e{i}", "delivered")
    for n in range(6):  # windows open
        events = [hookd.submit.submit("warm", n)["id"] for _ in range(2 ** n)]
        hookd.manage.wait_for(events[-1], "e2", "delivered", 30)
    slow[0] = True
    before = len(receiver.requests)
    for n in range(40):
        hookd.submit.submit("t", n)
    for death in range(2):
        receiver.wait_for(before + 120 * (death + 1), 30)
        time.sleep(1.1)
        for pid in hookd.senders():
            os.kill(pid, signal.SIGKILL)
    slow[0] = False
    start = time.monotonic()
    wait_until(lambda: hookd.metric("hookd_queue_deliveries", state="pending") == 0, 60)
    # One after the other they would take 60 s.
    assert time.monotonic() - start < 30 * PATIENCE
    assert "no sender is free" not in hookd.log()
    assert all(d["attempts"] == 1 for d in hookd.manage.all("/v1/deliveries"))


def test_senders_go_when_hookd_is_killed(hookd):
    def is_gone(pid):
        try:
            with open(f"/proc/{pid}/stat") as file:
                return file.read().rsplit(")", 1)[1].split()[0] == "Z"
        except OSError:
            return True

    pids = hookd.senders()
    hookd.kill()
    for pid in pids:
        wait_until(lambda: is_gone(pid))


def test_a_reload_brings_new_senders_and_lets_the_old_finish(hookd, receive):
    release = []
    receiver = receive(lambda r: wait_until(lambda: release, 30) and 200)
    hookd.admin.add_endpoint("e", receiver.url)
    event = hookd.submit.submit("t", 1)["id"]
    receiver.wait_for(1)
    before = set(hookd.senders())
    hookd.configure({"network": {"deny": "192.0.2.0/24"}})
    hookd.reload()
    wait_until(lambda: len(set(hookd.senders()) - before) == 2)
    release.append(1)
    assert hookd.manage.wait_for(event, "e", "delivered")["attempts"] == 1
    assert len(receiver.requests) == 1
    wait_until(lambda: not before & set(hookd.senders()))
    assert hookd.metric("hookd_sender_restarts_total") == 0


def test_a_sender_started_by_hand_says_who_starts_it():
    import subprocess
    from harness import BUILD
    done = subprocess.run([os.path.join(BUILD, "daemon", "hookd-sender")], capture_output=True, text=True, close_fds=True)
    assert done.returncode == 2 and "started by hookd" in done.stderr
