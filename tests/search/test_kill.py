"""Killing a real process loses at most the trial that was running."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
PROGRAM = Path(__file__).with_name("synthetic_search.py")


class Search:
    """A search in processes of its own."""

    def __init__(self, search_file: Path, folder: Path, storage: str | None = None) -> None:
        self.file, self.out, self.log = search_file, folder / "run", folder / "log.txt"
        self.log.touch()
        self.storage = storage

    def start(self, death: str) -> subprocess.Popen[str]:
        where = ["--resume", self.out] if self.out.exists() else [self.file, "--out", self.out]
        storage = ["--storage", self.storage] if self.storage else []
        return subprocess.Popen(
            [sys.executable, PROGRAM, self.log, death, *where, *storage],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def run(self, death: str) -> subprocess.CompletedProcess[str]:
        process = self.start(death)
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def begun(self) -> list[str]:
        lines = self.log.read_text().splitlines()
        return [line.removeprefix("begin ") for line in lines if line.startswith("begin")]

    def finished(self) -> set[str]:
        """Trainings whose outcome is on the disk, as the log writes them."""
        stems = [path.stem for path in (self.out / "designs").glob("[!.]*.json")]
        return {stem.replace("-seed", " ") for stem in stems}

    def trials(self) -> list[optuna.trial.FrozenTrial]:
        storage: optuna.storages.BaseStorage | str
        if self.storage:
            storage = self.storage
        else:
            backend = optuna.storages.journal.JournalFileBackend(str(self.out / "study.journal"))
            storage = optuna.storages.JournalStorage(backend)
        name = json.loads((self.out / "run.json").read_text())["study"]
        return optuna.load_study(study_name=name, storage=storage).trials

    def complete(self) -> dict[int, float]:
        return {t.number: t.value for t in self.trials() if t.state.name == "COMPLETE"}

    def check_end(self) -> None:
        states = [trial.state.name for trial in self.trials()]
        assert states.count("COMPLETE") == 12
        assert "RUNNING" not in states
        hashes = [t.user_attrs["spec_hash"] for t in self.trials() if t.state.name == "COMPLETE"]
        assert len(set(hashes)) == 12


@pytest.mark.parametrize(
    "death",
    [
        pytest.param("training:1", marks=pytest.mark.slow),
        "training:8",
        "told:6",
        pytest.param("training:14", marks=pytest.mark.slow),
    ],
)
def test_sigkill_then_resume(death: str, search_file: Path, tmp_path: Path) -> None:
    search = Search(search_file, tmp_path)
    assert search.run(death).returncode == -signal.SIGKILL
    before, finished, begun = search.complete(), search.finished(), search.begun()
    result = search.run("never")
    assert result.returncode == 0, result.stderr
    assert search.complete().items() >= before.items()
    assert not set(search.begun()[len(begun) :]) & finished
    search.check_end()
    assert "Next: archspec summary" in result.stdout


def test_ctrl_c_says_how_to_go_on(search_file: Path, tmp_path: Path) -> None:
    search = Search(search_file, tmp_path)
    process = search.start("slow")
    while len(search.begun()) < 4:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "archspec search --resume" in err
    assert "Traceback" not in err
    assert "RUNNING" not in [trial.state.name for trial in search.trials()]
    finished, begun = search.finished(), len(search.begun())
    assert search.run("never").returncode == 0
    assert not set(search.begun()[begun:]) & finished
    search.check_end()


def test_a_second_process_is_kept_out(search_file: Path, tmp_path: Path) -> None:
    search = Search(search_file, tmp_path)
    first = search.start("slow")
    while not search.begun():
        assert first.poll() is None, first.communicate()
        time.sleep(0.02)
    second = search.run("never")
    assert second.returncode == 2
    assert "another process is searching in it" in second.stderr
    first.kill()
    first.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_killed_at_random_moments_again_and_again(
    kind: str, search_file: Path, tmp_path: Path
) -> None:
    storage = f"sqlite:///{tmp_path / 'study.db'}" if kind == "sqlite" else None
    search, rng = Search(search_file, tmp_path, storage), random.Random(kind)
    for _ in range(8):
        begun, finished = len(search.begun()), search.finished()
        before = search.complete() if search.log.read_text() else {}
        process = search.start("slow")
        wanted = begun + 1
        while len(search.begun()) < wanted and process.poll() is None:
            time.sleep(0.01)
        time.sleep(rng.random() * 0.5)
        process.kill()
        process.communicate()
        assert not set(search.begun()[begun:]) & finished
        assert search.complete().items() >= before.items()
    result = search.run("never")
    assert result.returncode == 0, result.stderr
    search.check_end()
