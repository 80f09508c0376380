import json
import signal

import pytest

from archspec.errors import DataError, DivergedError, OtherRankError, RunError
from archspec.train.failure import Failure, find_cause, is_lost_contact, is_unanimous

CLOSED = "[../gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:4711"


def raised(error, cause=None):
    try:
        raise error from cause
    except type(error) as caught:
        return caught


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (DataError("tokens.bin: too short"), 2, "tokens.bin: too short"),
        (DivergedError("the loss is nan"), 3, "the loss is nan"),
    ],
)
def test_an_error_keeps_message_and_status(error, status, message):
    failure = Failure.of_exception(raised(error), rank=1, size=2)
    assert (failure.exit_status, failure.message, failure.follows) == (status, message, False)
    assert str(failure) == f"rank 1 of 2 on {failure.host}: {message}"


def test_what_nobody_expected_has_its_traceback():
    failure = Failure.of_exception(raised(ZeroDivisionError("by zero")), rank=0, size=2)
    assert failure.exit_status == 1
    assert "an unexpected error\nTraceback" in failure.message
    assert failure.message.endswith("ZeroDivisionError: by zero")


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (RuntimeError(CLOSED), True),
        (RuntimeError("[..] Timed out waiting 600000ms for recv operation to complete"), True),
        (raised(KeyError("x"), RuntimeError(CLOSED)), True),
        (RunError(f"rank 0 cannot write the checkpoint: {CLOSED}"), True),
        (raised(RunError("disk full"), RuntimeError(CLOSED)), False),
        (RuntimeError("shapes differ"), False),
    ],
)
def test_losing_another_rank_is_recognised(error, lost):
    assert is_lost_contact(error) is lost
    assert Failure.of_exception(error, rank=0, size=2).follows is lost


def test_the_cause_is_the_first_that_does_not_follow_from_another():
    make = {"size": 3, "host": "h"}
    lost = Failure(rank=0, message="lost", follows=True, time=1.0, **make)
    killed = Failure.of_signal(signal.SIGKILL, rank=1, size=3, time=3.0)
    late = Failure(rank=2, message="late", time=4.0, **make)
    assert find_cause([lost, late, killed]) is killed
    assert find_cause([lost]) is lost
    told = Failure.of_exception(raised(OtherRankError("late")), rank=0, size=3)
    assert find_cause([told, late]) is late
    assert "killed by SIGKILL, which the system sends when memory runs out" in killed.message


def test_unanimous_is_all_of_the_same():
    same = [Failure(rank=rank, size=2, message="no such file") for rank in range(2)]
    assert is_unanimous(same)
    assert not is_unanimous(same[:1])
    assert not is_unanimous([same[0], Failure(rank=1, size=2, message="other")])


def test_a_failure_is_written_for_any_launcher(tmp_path):
    path = tmp_path / "error.json"
    assert Failure.read(path) is None
    failure = Failure(rank=1, size=2, message="line one\nline two", exit_status=3)
    failure.write(path)
    assert Failure.read(path) == failure
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

    read_by_torchrun = ProcessFailure(1, 4711, 3, str(path))
    assert read_by_torchrun.timestamp == int(failure.time)
    assert "line two" in str(ChildFailedError("archspec", {1: read_by_torchrun}))
    path.write_text(json.dumps({"message": "of somebody else"}))
    assert Failure.read(path) is None
