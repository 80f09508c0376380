"""The objective ``train``: a short training, and a metric of it."""

from __future__ import annotations

import math
import os
import time

from archspec.errors import DivergedError
from archspec.search.fidelity import Fidelity
from archspec.search.objective import Outcome
from archspec.spec.model import ModelSpec
from archspec.spec.search.spec import SearchSpec
from archspec.spec.train import TrainSpec


class TrainingObjective:
    """Trains the model and returns a metric.

    Args:
        train: The train document.
        metric: A metric of it.
    """

    def __init__(self, train: TrainSpec, metric: str) -> None:
        self._train = train
        self._metric = metric

    @classmethod
    def of(cls, spec: SearchSpec) -> TrainingObjective:
        """Return the training that a search asks for."""
        return cls(spec.train, spec.metric)

    def __call__(self, spec: ModelSpec, seed: int, *, fidelity: Fidelity | None = None) -> Outcome:
        """Train, here and now."""
        # Where cores are shared, threads that spin while they wait make a training several times
        # slower; OpenMP reads this once, so it must be said before torch is imported.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        from archspec.train.loop import train

        began = time.perf_counter()
        document = self._train if fidelity is None else fidelity.apply(self._train)
        metrics = dict(train(spec, document, out=None, seed=seed).metrics)
        value = metrics.get(self._metric, math.nan)
        if not math.isfinite(value):
            raise DivergedError(f"training diverged: {self._metric} is {value} at its end")
        return Outcome(value=value, metrics=metrics, seconds=time.perf_counter() - began)
