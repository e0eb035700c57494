import os
import sys

import pytest

for folder in ["system", "fault"]:
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), folder))

from harness import TROUBLE, Hookd, Receiver, temporary_directory


@pytest.fixture
def directory():
    with temporary_directory() as path:
        yield path


@pytest.fixture
def make_hookd(directory):
    """Makes daemons; each has to end in good order, and without a complaint of a sanitizer."""
    made = []

    def make(config=None, local=True, start=True):
        path = f"{directory}/{len(made)}"
        os.mkdir(path)
        hookd = Hookd(path, config, local)
        made.append(hookd)
        return hookd.start() if start else hookd

    yield make
    for hookd in made:
        status = hookd.stop()
        log = hookd.log() if status is not None else ""
        assert status in (0, None), log
        assert not TROUBLE.search(log), log


@pytest.fixture
def hookd(make_hookd):
    """A running hookd that may send to this machine."""
    return make_hookd()


@pytest.fixture
def receive():
    """Makes receivers."""
    made = []

    def make(answer=204, **options):
        receiver = Receiver(answer, **options)
        made.append(receiver)
        return receiver

    yield make
    for receiver in made:
        receiver.close()
