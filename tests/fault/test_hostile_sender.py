"""What a sender says is taken for an enemy's word: hookd ends the sender, makes its attempts again, loses nothing, and
neither descriptors nor memory go with it. hostile_sender.c has the manners.
"""

import concurrent.futures
import contextlib
import os
import re
import signal
import time

import pytest

from harness import TROUBLE, temporary_directory, wait_until
from ledger import Footprint, grown, wait_for_footprint
from taken_over import INSTRUMENTED, HookdWithSender

ENDPOINTS, EVENTS = 8, 6

NONSENSE = "a frame was not understood"
TOO_LONG = "a frame is too long"
GONE = "it is gone|it exited|Connection reset by peer|Broken pipe"
FILES = "a descriptor came along"
SILENT = "it did not answer in time"

MANNERS = {
    "say_garbage": TOO_LONG,
    "announce_too_much": TOO_LONG,
    "announce_4_gib": TOO_LONG,
    "use_an_unknown_type": NONSENSE,
    "speak_like_hookd": NONSENSE,
    "be_ready_twice": NONSENSE,
    "be_ready_with_words": NONSENSE,
    "be_unfit_after_all": NONSENSE,
    "answer_nothing_asked": NONSENSE,
    "answer_an_impossible_slot": NONSENSE,
    "answer_an_older_slot": NONSENSE,
    "answer_a_later_slot": NONSENSE,
    "answer_for_others": NONSENSE,
    "answer_twice": NONSENSE,
    "stop_within_an_outcome": GONE,
    "cut_an_outcome_short": NONSENSE,
    "lengthen_an_outcome": NONSENSE,
    "lie_about_a_length": NONSENSE,
    "contradict_itself": NONSENSE,
    "give_a_descriptor": FILES,
    "give_many_descriptors": FILES,
    "flood_without_reading": NONSENSE,
    "flood_with_outcomes": NONSENSE,
    "leave_and_stay": GONE,
    "fill_the_longest_frame": NONSENSE,
    # These say nothing wrong; hookd notices when their attempts are overdue.
    "never_read": SILENT,
    "read_and_never_answer": SILENT,
    "dribble": SILENT,
}
SCENES_AT_ONCE = 7
MEMORY = (256 if INSTRUMENTED else 32) << 20  # sanitizers keep what was freed


def give_manner(hookd, manner, start):
    """One of the senders that are started then takes the manner."""
    path = os.path.join(hookd.binaries, "manner")
    with open(path, "w") as file:
        file.write(manner)
    start()
    wait_until(lambda: not os.path.exists(path))


class Scene:
    """A hookd one of whose two senders has this manner; the others behave."""

    def __init__(self, directory, manner):
        self.hookd = HookdWithSender(directory, "tests/fault/hostile-sender", {"delivery": {"timeout": "1s"}})
        self.manner = manner

    def send(self, n):
        """Events with small and large payloads; returns when all deliveries have ended well."""
        ids = [self.hookd.submit.submit("t", "x" * (100_000 if i % 2 else 10))["id"] for i in range(n)]
        for id in ids:
            for i in range(ENDPOINTS):
                assert self.hookd.manage.wait_for(id, f"e{i}", "delivered", 40)["attempts"] == 1

    def begin(self):
        self.hookd.start()
        wait_until(lambda: len(self.hookd.senders()) == 2)
        for i in range(ENDPOINTS):
            self.hookd.admin.add_endpoint(f"e{i}", "http://127.0.0.1:8080/")
        self.send(1)
        self.before = Footprint(self.hookd.process.pid)
        give_manner(self.hookd, self.manner, self.hookd.reload)

    def assert_unharmed(self):
        hookd, reason = self.hookd, MANNERS[self.manner]
        self.send(EVENTS)
        wait_until(lambda: re.search(rf"sender \d+ ended \(({reason})\)", hookd.log()), 40, reason)
        assert hookd.log().count(" ended (") == 1, hookd.log()
        wait_until(lambda: len(hookd.senders()) == 2, 20)
        after = wait_for_footprint(hookd, self.before, memory=MEMORY)
        assert grown(self.before, after, memory=MEMORY) == []
        assert hookd.manage.get("/v1/status").json["problems"] == []

    def play(self):
        try:
            self.begin()
            self.assert_unharmed()
        finally:
            assert self.hookd.stop() == 0, self.hookd.log()
        assert not TROUBLE.search(self.hookd.log()), self.hookd.log()


@pytest.fixture(scope="module")
def scenes():
    """All manners side by side, because most of the time is spent waiting; in the order of their tests."""
    def play(manner):
        with temporary_directory() as directory:
            Scene(directory, manner).play()
    with concurrent.futures.ThreadPoolExecutor(SCENES_AT_ONCE) as pool:
        yield {manner: pool.submit(play, manner) for manner in reversed(MANNERS)}


@pytest.mark.parametrize("manner", reversed(MANNERS))
def test_hookd_ends_a_sender_that_says_what_none_would_and_loses_nothing(scenes, manner):
    scenes[manner].result()


@pytest.fixture
def hookd_with():
    """Starts a hookd with this sender."""
    with contextlib.ExitStack() as stack:
        def make(*arguments):
            directory = stack.enter_context(temporary_directory())
            hookd = HookdWithSender(directory, *arguments)
            stack.callback(lambda: (hookd.stop(), TROUBLE.search(hookd.log())) == (0, None) or pytest.fail(hookd.log()))
            return hookd
        yield make


def test_a_sender_that_does_not_leave_when_it_is_told_to_is_ended(hookd_with):
    """It may be another's by now, who would keep a place in the network until hookd stops."""
    hookd = hookd_with("tests/fault/hostile-sender")
    give_manner(hookd, "never_leave", hookd.start)
    before = hookd.senders()
    hookd.reload()
    wait_until(lambda: len(hookd.senders()) == 3)
    wait_until(lambda: len(hookd.senders()) == 2, 20, "it is ended")
    assert not set(before) & set(hookd.senders())
    assert hookd.log().count(" does not leave, and is ended") == 1
    assert hookd.manage.get("/v1/status").json["senders"]["restarts_total"] == 0 and " ended (" not in hookd.log()


def replace_sender(hookd, script):
    """The script is started in the place of hookd-sender, which it finds in its directory as real-sender."""
    sender = os.path.join(hookd.binaries, "hookd-sender")
    os.rename(sender, os.path.join(hookd.binaries, "real-sender"))
    with open(sender, "w") as file:
        file.write('#!/bin/sh\ncd "${0%/*}"\n' + script)
    os.chmod(sender, 0o755)


# Becomes the sender three times, and then only once there is a file "mended".
BREAKS = """
echo >> starts
[ $(wc -l < starts) -le 3 ] || [ -e mended ] || exit 1
exec ./real-sender
"""


def test_a_suspect_for_which_no_sender_can_start_waits_at_no_cost(hookd_with, receive):
    """What killed two senders is sent with one to itself, the fourth here, and charged if that dies. One that never
    began did not die of it."""
    mended = []
    receiver = receive(lambda r: wait_until(lambda: mended, 60) and 200)
    hookd = hookd_with("daemon/hookd-sender", {"senders": {"count": "1"}, "delivery": {"timeout": "60s"}})
    replace_sender(hookd, BREAKS)
    hookd.start()
    hookd.admin.add_endpoint("e", receiver.url, retry_schedule_s=[])
    event = hookd.submit.submit("t", 1)["id"]
    for n in (1, 2):
        receiver.wait_for(n, 20)
        time.sleep(1.1)  # deaths within a second count as one
        os.kill(hookd.senders()[0], signal.SIGKILL)
    wait_until(lambda: "no sender process can start" in str(hookd.manage.get("/v1/status").json["problems"]), 20)
    delivery = hookd.manage.delivery(event, "e")
    assert (delivery["state"], delivery["attempts"], delivery["history"]) == ("pending", 0, [])
    mended.append(open(os.path.join(hookd.binaries, "mended"), "w").close())
    assert hookd.manage.wait_for(event, "e", "delivered", 60)["attempts"] == 1


# A large payload comes as a file, of which a sender asks the size while it reads the request.
DIES_OF_FILES = "exec strace -D -o /dev/null -e trace=lseek -e inject=lseek:signal=SIGKILL ./real-sender\n"


def test_what_kills_every_sender_as_it_reads_it_is_charged(hookd_with, receive):
    """The one that a suspect has to itself reads it together with its configuration, and has to say before that it
    began."""
    hookd = hookd_with("daemon/hookd-sender", {"senders": {"count": "1"}})
    replace_sender(hookd, DIES_OF_FILES)
    hookd.start()
    hookd.admin.add_endpoint("e", receive().url, retry_schedule_s=[])
    event = hookd.submit.call("POST", "/v1/events", b"x" * 200_000, type="t").json["id"]
    delivery = hookd.manage.wait_for(event, "e", "dead", 60)
    assert delivery["attempts"] == 1
    assert delivery["last_attempt"]["message"] == "the sender process died while it made this attempt"
