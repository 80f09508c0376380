"""Many workers on one study: every design is trained once, whoever is killed."""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from optuna.trial import TrialState

from archspec.testing.searches import SearchProcess, children

pytestmark = pytest.mark.slow
PROGRAM = Path(__file__).with_name("synthetic_search.py")
STORAGES = ["journal", "postgresql", "redis"]
TRIALS = 40


@pytest.fixture
def search(search_file: Path, storage_url: str | None, tmp_path: Path) -> SearchProcess:
    search_file.write_text(search_file.read_text().replace("trials: 12", f"trials: {TRIALS}"))
    return SearchProcess(PROGRAM, search_file, tmp_path, storage_url)


def kill_everything(search: SearchProcess, process: subprocess.Popen[str]) -> None:
    search.kill(process.pid, *children(process.pid))
    process.communicate()


def await_trials(search: SearchProcess, count: int, process: subprocess.Popen[str]) -> None:
    while len(search.begun()) < count and process.poll() is None:
        time.sleep(0.05)


@pytest.mark.parametrize("storage_url", STORAGES, indirect=True)
def test_one_of_eight_is_killed_again_and_again(search: SearchProcess) -> None:
    rng, kills = random.Random(0), 0
    process = search.start("slow:0.5", "--workers", "8")
    await_trials(search, 4, process)
    while process.poll() is None and kills < 6:
        workers = children(process.pid)
        busy = [pid for pid in workers if f" {pid}\n" in search.log.read_text()]
        if busy:
            search.kill(rng.choice(busy))
            kills += 1
        time.sleep(2.0)
    _, err = process.communicate(timeout=400)
    assert process.returncode == 0, err
    assert kills > 2
    assert "SIGKILL" in err
    assert "is queued again" in err
    search.check_end(TRIALS)


@pytest.mark.parametrize("storage_url", ["journal", "postgresql"], indirect=True)
def test_everything_is_killed_and_gone_on_with(search: SearchProcess) -> None:
    process = search.start("slow:0.3", "--workers", "8")
    await_trials(search, 14, process)
    kill_everything(search, process)
    before = {t.number: t for t in search.trials()}
    cut_short = {
        trial.user_attrs["spec_hash"]
        for trial in before.values()
        if trial.state == TrialState.RUNNING and "claimed" in trial.user_attrs
    }
    assert cut_short
    result = search.run("never", "--workers", "4")
    assert result.returncode == 0, result.stderr
    search.check_end(TRIALS)
    after = search.trials()
    for number, trial in before.items():
        if trial.state == TrialState.COMPLETE:
            assert after[number].value == trial.value
    trained = {t.user_attrs["spec_hash"] for t in after if t.state == TrialState.COMPLETE}
    assert trained >= cut_short
    suggested = {t.number: t.params for t in after if t.number not in before and not t.system_attrs}
    assert suggested
    assert all(params not in [t.params for t in before.values()] for params in suggested.values())


def test_two_machines_share_a_run(search: SearchProcess) -> None:
    first = search.start("crowd:4", "--workers", "2")
    search.await_begun(2, first)
    second = search.start("crowd:4", "--workers", "2")
    for process in (first, second):
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
    search.check_end(TRIALS)


@pytest.mark.parametrize("storage_url", ["postgresql"], indirect=True)
def test_machines_that_share_a_database_find_each_other_by_name(
    search: SearchProcess, tmp_path: Path
) -> None:
    """The same command on both, at the same time; they share no directory."""
    elsewhere = tmp_path / "elsewhere"
    options = ["crowd:4", "--workers", "2", "--study", "ours"]
    machines = [search.start(*options), search.start(*options, out=elsewhere)]
    for process in machines:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
    search.check_end(TRIALS)
    winners = [(run / "best.yaml").read_text() for run in (search.out, elsewhere)]
    assert winners[0] == winners[1]


@pytest.mark.parametrize("storage_url", ["journal", "postgresql"], indirect=True)
def test_a_worker_that_was_only_slow_notices(search: SearchProcess) -> None:
    process = search.start("slow:1", "--workers", "3", "--lease", "3")
    search.await_begun(6, process)
    (paused, *_) = children(process.pid)
    os.kill(paused, signal.SIGSTOP)
    held = [
        trial.number
        for trial in search.trials()
        if trial.state == TrialState.RUNNING and trial.user_attrs["worker"]["pid"] == paused
    ]
    while any(search.trials()[number].state == TrialState.RUNNING for number in held):
        time.sleep(0.2)
    os.kill(paused, signal.SIGCONT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert held == [] or "is gone; trial" in err
    search.killed.add(paused)  # what it was at was trained again by somebody else
    search.check_end(TRIALS)


def test_a_worker_ends_with_its_parent(search: SearchProcess) -> None:
    process = search.start("slow:60", "--workers", "2")
    search.await_begun(2, process)
    workers = children(process.pid)
    search.kill(process.pid)
    process.communicate()
    until = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < until:
        time.sleep(0.1)
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]
    assert TrialState.RUNNING not in [trial.state for trial in search.trials()]
