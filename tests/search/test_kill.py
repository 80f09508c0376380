"""Killing a real process loses at most the trial that was running."""

import random
import signal
import time
from pathlib import Path

import pytest

from archspec.testing.searches import SearchProcess

PROGRAM = Path(__file__).with_name("synthetic_search.py")


@pytest.fixture
def search(search_file: Path, storage_url: str | None, tmp_path: Path) -> SearchProcess:
    return SearchProcess(PROGRAM, search_file, tmp_path, storage_url)


@pytest.mark.parametrize(
    "death",
    [
        pytest.param("training:1", marks=pytest.mark.slow),
        "training:8",
        "told:6",
        pytest.param("training:14", marks=pytest.mark.slow),
    ],
)
def test_sigkill_then_resume(death: str, search: SearchProcess) -> None:
    process = search.start(death)
    process.communicate(timeout=540)
    assert process.returncode == -signal.SIGKILL
    search.killed.add(process.pid)
    before, finished, begun = search.complete(), search.finished(), search.begun()
    result = search.run("never")
    assert result.returncode == 0, result.stderr
    assert search.complete().items() >= before.items()
    assert not set(search.begun()[len(begun) :]) & finished
    search.check_end(trials=12)
    assert "Next: archspec report" in result.stdout


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_says_how_to_go_on(search: SearchProcess) -> None:
    process = search.start("slow")
    search.await_begun(4, process)
    process.send_signal(signal.SIGINT)
    search.killed.add(process.pid)
    _, err = process.communicate(timeout=540)
    assert process.returncode == 130
    assert "archspec search --resume" in err
    assert "Traceback" not in err
    assert "RUNNING" not in [trial.state.name for trial in search.trials()]
    finished, begun = search.finished(), len(search.begun())
    assert search.run("never").returncode == 0
    assert not set(search.begun()[begun:]) & finished
    search.check_end(trials=12)


@pytest.mark.slow
@pytest.mark.parametrize("storage_url", ["journal", "sqlite"], indirect=True)
def test_killed_at_random_moments_again_and_again(search: SearchProcess) -> None:
    rng = random.Random(search.storage is None)
    for _ in range(8):
        begun, finished = len(search.begun()), search.finished()
        before = search.complete() if begun else {}
        process = search.start("slow")
        while len(search.begun()) < begun + 1 and process.poll() is None:
            time.sleep(0.01)
        time.sleep(rng.random() * 0.5)
        search.kill(process.pid)
        process.communicate()
        assert not set(search.begun()[begun:]) & finished
        assert search.complete().items() >= before.items()
    result = search.run("never")
    assert result.returncode == 0, result.stderr
    search.check_end(trials=12)
