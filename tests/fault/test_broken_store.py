"""The store breaks while many wait for it (fault 6): everybody is answered, and hookd ends."""

import time

import pytest

from harness import LONG, PATIENCE, traced
from ledger import Ledger, assert_holds


@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_when_the_store_breaks_under_load_everybody_is_answered_and_the_end_is_prompt(make_hookd, error):
    hookd = make_hookd()
    with Ledger(hookd, seed=7) as ledger:
        ledger.add_endpoint("ok", max_in_flight=64)
        for _ in range(50 if LONG else 8):
            with ledger.producers(40, pace_s=0, react=lambda submissions, stop: None):
                time.sleep(0.2)
                with traced(hookd, f"fdatasync:error={error}"):
                    status = hookd.process.wait(20 * PATIENCE)
            hookd.process = None
            assert status == 1 and "has ended in time" not in hookd.log(), hookd.log()[-500:]  # no answer was waited for in vain
            ledger.crash()
            hookd.start()
        told = [answer for submission in ledger.submissions for answer in submission.answers]
        assert any(answer.why == "unknown" for answer in told)
        ledger.settle()
        assert_holds(ledger.books())
