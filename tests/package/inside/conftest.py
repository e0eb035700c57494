"""A line for each promise, into a file that outlives this system's power."""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
RESULTS = os.path.join(HERE, "..", "results")
sys.path.insert(0, os.path.join(HERE, ".."))

import pytest  # noqa: E402

from machine import hookd as the_hookd  # noqa: E402


@pytest.fixture
def hookd():
    """The hookd of this machine, running, with an empty queue."""
    the_hookd.begin_anew()
    return the_hookd


def write(name, text):
    with open(os.path.join(RESULTS, name), "a") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())


def pytest_runtest_logreport(report):
    if report.when == "call" or report.outcome != "passed":
        word = "ok" if report.outcome == "passed" else "FAILED"
        write("lines", f"{word}: {report.nodeid.split('::', 1)[1].removeprefix('test_').replace('_', ' ')}")


def pytest_sessionfinish(exitstatus):
    write("end", str(int(exitstatus)))
