"""Searches in processes of their own, to be killed, and a check of what they leave.

Their objective writes ``begin HASH SEED PID`` before and ``end HASH SEED PID`` after a training.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState

from archspec.search.workspace import read_workspace


class SearchProcess:
    """A search that is started, killed and gone on with.

    Args:
        program: Runs ``archspec search`` with an objective that writes the log.
        document: The search document.
        folder: For the run directory and the log.
        storage: URL of the study's storage; None for the journal of the run.
    """

    def __init__(
        self, program: Path, document: Path, folder: Path, storage: str | None = None
    ) -> None:
        self._program = program
        self._document = document
        self.out, self.log = folder / "run", folder / "log.txt"
        self.log.touch()
        self.storage = storage
        self.killed: set[int] = set()

    def start(self, death: str, *options: str, out: Path | None = None) -> subprocess.Popen[str]:
        """Start it, or go on with it.

        Args:
            death: What the program should die of.
            options: More of the command line.
            out: Another run directory than the usual.
        """
        directory = out or self.out
        resumed = (directory / "run.json").exists()
        where = ["--resume", directory] if resumed else [self._document, "--out", directory]
        storage = ["--storage", self.storage] if self.storage else []
        arguments = [self._program, self.log, death, *where, *storage, *options]
        return subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )

    def run(self, death: str, *options: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        process = self.start(death, *options)
        out, err = process.communicate(timeout=540)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def await_begun(self, count: int, process: subprocess.Popen[str]) -> None:
        """Wait until so many trainings have begun."""
        while len(self.begun()) < count:
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)

    def kill(self, *pids: int) -> None:
        """Kill processes at once."""
        for pid in pids:
            self.killed.add(pid)
            os.kill(pid, signal.SIGKILL)

    def begun(self) -> list[str]:
        """Trainings that began, as ``HASH SEED``."""
        return [key for event, key, _ in self._events() if event == "begin"]

    def finished(self) -> set[str]:
        """Trainings whose outcome is on the disk."""
        stems = [path.stem for path in (self.out / "designs").glob("[!.]*.json")]
        return {stem.replace("-seed", " ") for stem in stems}

    def trials(self) -> list[FrozenTrial]:
        """The trials of the study."""
        with contextlib.closing(read_workspace(self.out, storage=self.storage)) as workspace:
            trials: list[FrozenTrial] = workspace.study.trials
            return trials

    def complete(self) -> dict[int, float]:
        """Values of the trials that are complete."""
        values = {trial.number: trial.value for trial in self.trials()}
        return {number: value for number, value in values.items() if value is not None}

    def study_name(self) -> str:
        """The study's name."""
        return str(json.loads((self.out / "run.json").read_text())["study"])

    def check_end(self, trials: int) -> None:
        """Check that every trial is there, none of them twice, and nothing is left half done."""
        found = self.trials()
        states = Counter(trial.state for trial in found)
        assert states[TrialState.COMPLETE] == trials, states
        assert not states[TrialState.RUNNING], states
        done = [trial for trial in found if trial.state == TrialState.COMPLETE]
        assert len({trial.user_attrs["spec_hash"] for trial in done}) == trials
        self.check_log()

    def check_log(self) -> None:
        """Check that no training ran twice, nor at once in two processes that both lived."""
        inside: dict[str, int] = {}
        ended: dict[str, int] = {}
        for event, key, pid in self._events():
            if event == "end":
                ended[key] = pid
                inside.pop(key, None)
                continue
            other = inside.get(key)
            assert other is None or other == pid or other in self.killed, f"{key}: {other}, {pid}"
            # Who dies right after a training has not told anybody of it.
            assert key not in ended or ended[key] in self.killed, f"{key} ran again"
            inside[key] = pid

    def _events(self) -> list[tuple[str, str, int]]:
        rows = [line.split() for line in self.log.read_text().splitlines()]
        return [(event, f"{spec} {seed}", int(pid)) for event, spec, seed, pid in rows]


def children(pid: int) -> list[int]:
    """Return the worker processes that a process started."""
    tasks = Path(f"/proc/{pid}/task").glob("*")
    found = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    return [pid for pid in found if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
