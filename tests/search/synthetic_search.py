"""``archspec search`` with an objective that takes milliseconds, logs what it runs, and can die.

Run as a program by the tests that kill it: ``synthetic_search.py LOG DEATH ARGUMENT...``. DEATH is
``never``, ``training:N`` (SIGKILL inside the N-th training), ``told:N`` (after the N-th training,
before its trial is told), ``slow`` or ``slow:SECONDS`` (of each training, by default 0.2, to be
killed from outside), ``crowd:N`` (no training ends before N processes have begun one).
"""

import os
import signal
import sys
import time
from pathlib import Path

from archspec.cli import main
from archspec.search import study
from archspec.search.holder import Holder
from archspec.search.objective import Outcome
from archspec.spec.dump import spec_hash
from archspec.spec.model import ModelSpec


class LoggedObjective:
    """Writes a line before and after every training."""

    def __init__(self, log: Path, death: str) -> None:
        self.log = log
        self.stage, _, count = death.partition(":")
        self.left = int(count or 0) if self.stage in ("training", "told") else 0
        self.pause = float(count or 0.2) if self.stage == "slow" else 0.0
        self.crowd = int(count) if self.stage == "crowd" else 0

    def write(self, event: str, spec: ModelSpec, seed: int) -> None:
        with self.log.open("a") as file:
            file.write(f"{event} {spec_hash(spec)[:16]} {seed} {os.getpid()}\n")

    def __call__(self, spec: ModelSpec, seed: int) -> Outcome:
        self.write("begin", spec, seed)
        self.left -= 1
        if self.stage == "training" and self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(self.pause)
        while len({line.split()[-1] for line in self.log.read_text().splitlines()}) < self.crowd:
            time.sleep(0.05)
        value = int(spec_hash(spec)[:6], 16) / 1e6 + seed / 1e9
        self.write("end", spec, seed)
        return Outcome(value=value, metrics={"facts.nll": value}, seconds=0.1)


def die_before_telling(objective: LoggedObjective) -> None:
    tell = Holder.tell

    def dying(self: Holder, number, values, attributes) -> bool:
        if objective.stage == "told" and objective.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return tell(self, number, values, attributes)

    Holder.tell = dying


if __name__ == "__main__":
    judge = LoggedObjective(Path(sys.argv[1]), sys.argv[2])
    die_before_telling(judge)
    study.make_objective = lambda *_args: judge
    sys.exit(main(["search", *sys.argv[3:]]))
