"""How long one trial takes: measured by a few steps of training the base, or read from a run."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from archspec.errors import RunError
from archspec.search.run_directory import DESIGNS
from archspec.spec.model import ModelSpec
from archspec.spec.search.spec import SearchSpec
from archspec.spec.train import TrainSpec
from archspec.train.files import read_json

_SHORT, _LONG = 2, 6  # steps of the two trainings that are timed


@dataclass(frozen=True, slots=True)
class TrialTime:
    """Seconds of one training of a design, and where that is from."""

    seconds: float
    source: str


def measured_time(spec: SearchSpec) -> TrialTime:
    """Time trainings of the base with a few steps, and extrapolate to all steps.

    The difference of a longer and a shorter training is that of their steps; what is left of the
    shorter one, data and evaluation above all, comes once. Designs that cost more take longer.

    Raises:
        ArchspecError: If the base cannot be trained.
    """
    steps = spec.train.num_steps
    if steps <= _LONG:
        seconds = _timed(spec.base, spec.train)
        return TrialTime(spec.seeds * seconds, f"measured: the base trained for all {steps} steps")
    _timed(spec.base, _shortened(spec.train, 1))  # what is read and compiled once per process
    short = _timed(spec.base, _shortened(spec.train, _SHORT))
    long = _timed(spec.base, _shortened(spec.train, _LONG))
    per_step = max(0.0, long - short) / (_LONG - _SHORT)
    seconds = max(0.0, short - _SHORT * per_step) + steps * per_step
    text = f"estimated from {_SHORT} and {_LONG} of {steps} steps of training the base"
    return TrialTime(spec.seeds * seconds, text)


def stored_time(out: Path) -> TrialTime | None:
    """Return the mean time of a run's trainings, None if it has finished none.

    Raises:
        RunError: If one of its files is damaged.
    """
    times = []
    for path in sorted((out / DESIGNS).glob("*.json")):
        content = read_json(path)
        if "diverged" in content:
            continue
        if not isinstance(content.get("seconds"), (int, float)):
            raise RunError(f"{path}: is damaged: it has no seconds; remove the file")
        times.append(float(content["seconds"]))
    if not times:
        return None
    return TrialTime(sum(times) / len(times), f"mean of {len(times)} trainings in {out}")


def _shortened(train: TrainSpec, steps: int) -> TrainSpec:
    schedule = train.schedule.model_copy(update={"warmup_tokens": 0, "decay_tokens": None})
    tokens = steps * train.batch_tokens
    return train.model_copy(update={"tokens": tokens, "schedule": schedule})


def _timed(base: ModelSpec, train: TrainSpec) -> float:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as trials do
    from archspec.train.loop import train as run

    began = time.perf_counter()
    run(base, train, out=None, seed=train.seed)
    return time.perf_counter() - began
