"""One voice of many ranks, and what a failed run is told."""

import os
import time

import pytest
import torch

from archspec.cli import main
from archspec.cli.ranks import WayOn, check_nproc, one_voice
from archspec.errors import DataError, DivergedError, RunError
from archspec.train.failure import ERROR_FILE, Failure
from archspec.train.launch import LIFELINE
from archspec.train.world import World


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", LIFELINE, ERROR_FILE):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def as_rank(monkeypatch, tmp_path):
    """Become one of two ranks, of torchrun or of ours; return the file for failures."""

    def become(rank, *, launched=False):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "2")
        monkeypatch.setenv(ERROR_FILE, str(tmp_path / "error.json"))
        if launched:
            monkeypatch.setenv(LIFELINE, "0")
        return tmp_path / "error.json"

    return become


class Takes(World):
    """A world in which this rank is, or is not, the first to fail."""

    def __init__(self, rank, first):
        super().__init__(rank=rank, size=2, device=torch.device("cpu"))
        object.__setattr__(self, "first", first)

    def takes(self, part):
        return self.first


def test_a_process_alone_fails_as_ever():
    with pytest.raises(DataError, match="bad"), one_voice("train", None):
        raise DataError("bad")


@pytest.mark.parametrize("first", [True, False])
def test_under_torchrun_the_first_to_fail_speaks(first, as_rank, capsys):
    path = as_rank(1)
    with pytest.raises(SystemExit) as ended, one_voice("train", Takes(1, first)):
        raise DivergedError("the loss is nan")
    assert ended.value.code == 3
    error = capsys.readouterr().err
    assert (": the loss is nan" in error) is first
    assert error.startswith("archspec train: error:\nrank 1 of 2 on ") is first
    assert Failure.read(path).message == "the loss is nan"


@pytest.mark.parametrize("rank", [0, 1])
def test_before_ranks_have_met_the_one_of_number_0_speaks(rank, as_rank, capsys):
    as_rank(rank)
    with pytest.raises(SystemExit), one_voice("train", None):
        raise RunError("no")
    assert (": no" in capsys.readouterr().err) is (rank == 0)


def test_ranks_of_ours_leave_it_to_the_launcher(as_rank, capsys):
    path = as_rank(0, launched=True)
    with pytest.raises(SystemExit) as ended, one_voice("train", Takes(0, True)):
        raise ZeroDivisionError("by zero")
    assert ended.value.code == 1
    assert capsys.readouterr().err == ""
    assert "Traceback" in Failure.read(path).message


def test_of_ranks_that_are_interrupted_the_first_says_so(as_rank):
    as_rank(0)
    with pytest.raises(KeyboardInterrupt), one_voice("train", None):
        raise KeyboardInterrupt
    as_rank(1)
    with pytest.raises(SystemExit) as ended, one_voice("train", None):
        raise KeyboardInterrupt
    assert ended.value.code == 130


def test_a_run_with_a_checkpoint_is_told_how_to_go_on(tmp_path):
    def way_on(**changes):
        values = {"out": tmp_path, "checkpoints": tmp_path / "checkpoints", "resumed": False}
        return WayOn(**(values | changes))

    assert way_on().after(2) == ""
    saved = tmp_path / "checkpoints" / "step_000020"
    saved.mkdir(parents=True)
    os.utime(saved, (time.time() - 60,) * 2)
    assert way_on().after(2) == "", "an older run is in the way, and not this one's"
    told = f"\nThe last checkpoint is {saved}; go on with\n  archspec train --resume {tmp_path}"
    assert way_on(resumed=True).after(2) == told
    assert way_on(began=time.time() - 99).after(1) == told
    assert way_on(resumed=True).after(3) == "", "what diverged names its last good one itself"


@pytest.mark.parametrize(("nproc", "message"), [(0, "at least 1"), (-2, "at least 1")])
def test_a_number_of_ranks_that_is_none_is_refused(nproc, message):
    with pytest.raises(RunError, match=message):
        check_nproc(nproc)
    assert main(["train", "a", "--train", "b", "--out", "c", "--nproc", str(nproc)]) == 2


def test_two_launchers_are_one_too_many(as_rank):
    check_nproc(2)
    as_rank(0)
    check_nproc(None)
    with pytest.raises(RunError, match="one of 2 that torchrun started; give one of the two"):
        check_nproc(2)
