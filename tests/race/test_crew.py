"""A race in real processes: whole, stopped by a signal, and killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from archspec.errors import RunError
from archspec.race.events import Listener, Progress
from archspec.race.outcome import OUTCOME
from archspec.race.results import RaceResults, load_results
from archspec.race.run import prepare_race, resume_race, start_race
from archspec.race.settings import RaceSettings
from archspec.race.trainings import Training
from archspec.spec.load import load_train

pytestmark = pytest.mark.slow
METRIC = "facts.accuracy"
LONG = "tokens: 19_200"  # three hundred steps: a second or more


class Counter(Listener):
    """Counts the trainings that began."""

    def __init__(self) -> None:
        self.started: list[str] = []

    def on_start(self, training: Training) -> None:
        self.started.append(training.key)


class KillOwnWorkers(Counter):
    """Kills the worker of the first training that is on its way."""

    def on_progress(self, training: Training, progress: Progress) -> None:
        for child in children(os.getpid()):
            os.kill(child, signal.SIGKILL)


def children(parent: int) -> list[int]:
    found = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(parent)],
        capture_output=True,
        text=True,
        check=False,
    )
    return [int(line.split()[0]) for line in found.stdout.splitlines() if "race.worker" in line]


def start(out: str, **options: object) -> RaceResults:
    settings = RaceSettings(seeds=2, metric=METRIC, rates=(1e-3, 4e-3), points=5)
    train = load_train("train.yaml")
    race = prepare_race(["dense.yaml", "shared.yaml"], [], train, settings)
    return start_race(race, Path(out), jobs=2, **options)


def values(results: RaceResults) -> list[object]:
    """Everything that does not depend on the clock."""
    return [
        [
            (run.metrics, run.data_order, [point.metrics for point in run.curve])
            for run in design.runs
        ]
        for design in results.designs
    ]


def test_a_race_in_processes(folder: Path) -> None:
    counter = Counter()
    results = start("out", listener=counter)
    assert len(counter.started) == 2 * 2 + 2 * 2
    orders = [[run.data_order for run in design.runs] for design in results.designs]
    assert orders[0] == orders[1]
    assert orders[0][0] != orders[0][1]
    assert not list(Path("out/sweep").rglob("checkpoints"))
    assert values(start("again")) == values(results)
    counter.started.clear()
    assert resume_race(Path("out"), listener=counter) == load_results(Path("out/results.json"))
    assert counter.started == []


def test_a_worker_that_dies_is_named_and_the_race_goes_on(folder: Path) -> None:
    Path("train.yaml").write_text(Path("train.yaml").read_text().replace("tokens: 640", LONG))
    with pytest.raises(RunError, match=r"the process that trained .* died \(signal SIGKILL\)"):
        start("out", listener=KillOwnWorkers())
    assert not children(os.getpid())
    assert values(resume_race(Path("out"), jobs=2)) == values(start("whole"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_a_race_and_says_how_to_go_on(folder: Path, number: int) -> None:
    Path("train.yaml").write_text(Path("train.yaml").read_text().replace("tokens: 640", LONG))
    command = [sys.executable, "-m", "archspec", "race"]
    options = ["dense.yaml", "shared.yaml", "--train", "train.yaml", "--out", "out", "--jobs", "2"]
    options += ["--no-sweep", "--seeds", "2"]
    process = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True)
    while not list(Path("out").rglob(OUTCOME)) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "go on with\n  archspec race --resume out" in said
    done = {path: path.stat().st_mtime_ns for path in Path("out").rglob(OUTCOME)}
    saved = list(Path("out").rglob("state.json"))
    assert len(saved) > len(done), "what was running saved its state"
    again = subprocess.run(
        [*command, "--resume", "out", "--json"], capture_output=True, text=True, check=True
    )
    assert len(json.loads(again.stdout)["designs"]) == 2
    assert done == {path: path.stat().st_mtime_ns for path in done}
