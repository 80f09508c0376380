"""Twenty kills at random moments: nothing is lost, nothing is unreadable."""

import json
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("killed_sessions.py")


@pytest.mark.slow
def test_twenty_kills_change_nothing(jobs):
    shape = {"steps": 220, "every": 2}
    whole = jobs("whole").write(**shape).finish(plan=False)
    job = jobs("killed").write(**shape)
    status, out, error = job.run("0", "20", program=(sys.executable, str(PROGRAM)))
    assert status == 0, error
    found = json.loads(out)
    assert job.losses() == whole
    assert len(found["went_on_from"]) == 20
    assert found["half_written"] >= 2, "some kills fall into the writing of a checkpoint"
    assert found["went_on_from"] == sorted(found["went_on_from"]), "no checkpoint goes backwards"
