"""What a design is judged by. Anything that maps a model and a seed to an Outcome will do."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from archspec.errors import DivergedError, RunError
from archspec.spec.dump import spec_hash
from archspec.spec.model import ModelSpec
from archspec.spec.train import TrainSpec
from archspec.train.files import read_json, replace_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a design did.

    Attributes:
        value: What the search improves.
        metrics: Everything that was measured, by name.
        seconds: How long it took.
    """

    value: float
    metrics: Mapping[str, float]
    seconds: float


class Objective(Protocol):
    """Judges a design. Equal arguments give equal outcomes as far as the machine allows."""

    def __call__(self, spec: ModelSpec, seed: int) -> Outcome:
        """Return the outcome. Raises DivergedError if the design cannot be trained."""
        ...


class TrainingObjective:
    """Trains the model and returns a metric, averaged over several seeds.

    Args:
        train: The train document.
        metric: A metric of it.
        seeds: How many trainings; those after the first have seeds next to the one asked for.
    """

    def __init__(self, train: TrainSpec, metric: str, *, seeds: int = 1) -> None:
        self._train = train
        self._metric = metric
        self._seeds = seeds

    def __call__(self, spec: ModelSpec, seed: int) -> Outcome:
        """Train with every seed, here and now."""
        # Where cores are shared, threads that spin while they wait make a training several times
        # slower; OpenMP reads this once, so it must be said before torch is imported.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        from archspec.train.loop import train

        began = time.perf_counter()
        runs = [
            train(spec, self._train, out=None, seed=seed + number).metrics
            for number in range(self._seeds)
        ]
        metrics = {name: sum(run[name] for run in runs) / len(runs) for name in runs[0]}
        value = metrics[self._metric]
        if not math.isfinite(value):
            raise DivergedError(f"training diverged: {self._metric} is {value} at its end")
        return Outcome(value=value, metrics=metrics, seconds=time.perf_counter() - began)


class StoredObjective:
    """Remembers every outcome in a folder, so that no design is trained twice with one seed.

    An outcome is on the disk before anybody hears of it; a search that is killed right after a
    training finds it again.

    Args:
        judge: Judges what is not remembered.
        folder: One file per design and seed.
    """

    def __init__(self, judge: Objective, folder: Path) -> None:
        self._judge = judge
        self._folder = folder

    def __call__(self, spec: ModelSpec, seed: int) -> Outcome:
        """Return the remembered outcome, or judge and remember; divergence is remembered too."""
        path = self._folder / f"{spec_hash(spec)[:16]}-seed{seed}.json"
        if path.exists():
            return _recall(path)
        try:
            outcome = self._judge(spec, seed)
        except DivergedError as error:
            replace_text(path, json.dumps({"diverged": str(error)}))
            raise
        content = {
            "value": outcome.value,
            "metrics": dict(outcome.metrics),
            "seconds": outcome.seconds,
        }
        replace_text(path, json.dumps(content))
        return outcome


def _recall(path: Path) -> Outcome:
    content = read_json(path)
    if "diverged" in content:
        raise DivergedError(content["diverged"])
    if content.keys() != {"value", "metrics", "seconds"}:
        raise RunError(f"{path}: is damaged: its keys are {', '.join(content)}; remove the file")
    return Outcome(**content)
