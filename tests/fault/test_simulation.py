"""The seeded simulation (tests/sim, fault 49): many histories of one machine, and bugs planted to see that it finds them.

A seed that fails is run again, with a trace of what happened, by the command that the failure names. HOOKD_SEEDS says how
many there are.
"""

import os
import re
import subprocess

import pytest

from harness import BUILD, LONG, PATIENCE

SIM = os.path.join(BUILD, "tests", "sim", "sim")
SEEDS = int(os.environ.get("HOOKD_SEEDS", 20000 if LONG else 4000))
SEEDS_TO_FIND_A_MUTANT = 200
FAILED = 10
ASAN_REMARK = re.compile(r"^==\d+==WARNING: ASan doesn't fully support makecontext.*\n", re.MULTILINE)  # threads.c tells it

# The bugs of mutants.c, and what the simulation says of them.
STARVES = r"endpoint \d+ starves"
MUTANTS = {
    "lost-retry": STARVES,
    "lost-with-sender": STARVES,
    "lost-removal": r"owed to an endpoint that is removed, and nothing moves",
    "twice-at-once": r"is claimed twice",
    "again-after-outcome": r"is claimed twice|is claimed, and is (delivered|held|dead)",
    "starved-by-claim": STARVES,
    "starved-by-limit": STARVES,
    "limit-exceeded": r"endpoint \d+ gets \d+ attempts at once, of at most",
    "rate-exceeded": r"endpoint \d+ gets more than \S+ attempts a second",
    "rate-wasted": STARVES,
    "window-ignored": r"endpoints that do not answer have|attempts at once, of at most 1 now",
    "pause-ignored": r"is sent while all sending is paused",
    "retry-after-ignored": r"to endpoint \d+, which is to be left alone for",
    "before-it-is-due": r"is claimed \d+ ms before it is due",
    "verb-without-turn": r"but have to be",
    "verb-beats-success": r"but has to be delivered",
    "old-failure-counts": r"but have to be",
    "old-claim-sent": r"is sent as it was before a verb that is done",
    "by-the-wall-clock": r"before it is due|hookd spins|queue time",
}


def sim(*arguments, timeout=300):
    done = subprocess.run([SIM, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=timeout * PATIENCE)
    return done.returncode, ASAN_REMARK.sub("", done.stdout)


def test_no_history_breaks_a_promise_and_everything_was_tried():
    status, output = sim(SEEDS, timeout=SEEDS / 20)
    assert status == 0, output
    assert f"{SEEDS} seeds went well, 0 things were never tried" in output, output


def test_a_seed_is_the_same_history_every_time_and_leaks_nothing():
    lines = 0
    for seed in range(1, 21):
        status, first = sim("--replay", seed)  # with ASan, not 0 when something is left
        assert status == 0 and first.endswith(f"seed {seed} went well\n"), first[-2000:]
        lines += len(first.splitlines())
        assert sim("--replay", seed) == (0, first)
    assert lines > 2000


@pytest.mark.parametrize("mutant", MUTANTS)
def test_planted_bug_is_found(mutant):
    status, output = sim("--mutant", mutant, SEEDS_TO_FIND_A_MUTANT)
    assert status == FAILED, output
    assert re.search("^! .*(" + MUTANTS[mutant] + ")", output, re.MULTILINE), output


def test_all_mutants_are_tested():
    assert sim("--mutants") == (0, "".join(name + "\n" for name in MUTANTS))


def test_failing_seed_is_replayed_by_the_command_that_the_failure_names():
    status, output = sim("--mutant", "pause-ignored", SEEDS_TO_FIND_A_MUTANT)
    command = re.search(r"^to see what happened: sim (.*)$", output, re.MULTILINE).group(1).split()
    seed = command[-1]
    reason = re.search(rf"^(! .*)\nseed {seed} failed$", output, re.MULTILINE).group(1)
    replayed_status, trace = sim(*command)
    assert status == replayed_status == FAILED
    assert trace.endswith(f"{reason}\nseed {seed} failed\n")
    assert "all sending is paused\n" in trace
