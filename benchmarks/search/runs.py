"""One search: a sampler, a target, so many evaluations."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field

import optuna

from archspec.search.params import suggest
from archspec.search.samplers.registry import make_sampler
from benchmarks.search.problems import Target
from benchmarks.search.rivals import RAW, set_constraints


@dataclass
class Run:
    """What a search did.

    Attributes:
        regrets: By evaluation the loss of the design that looks best so far, noise aside, over the
            optimum's; None before the first that fits.
        points: Of every evaluation what was observed, the true loss and the prices of the other
            goals; None for a design that does not fit.
        repeats: Evaluations of a design that had been evaluated before.
        wall: Seconds of all proposals.
        cpu: CPU seconds of all proposals.
    """

    regrets: list[float | None] = field(default_factory=list)
    points: list[tuple[float, ...] | None] = field(default_factory=list)
    repeats: int = 0
    wall: float = 0.0
    cpu: float = 0.0

    @property
    def fitting(self) -> float:
        """The share of the evaluated designs that fit."""
        return sum(point is not None for point in self.points) / len(self.points)


def search(
    name: str, target: Target, evaluations: int, *, seed: int, priced: Sequence[str] = ()
) -> Run:
    """Search once.

    Args:
        name: A sampler of ours, or a key of ``RAW``.
        target: What is searched.
        evaluations: How many.
        seed: Of the sampler.
        priced: Quantities to minimise besides the loss.
    """
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    allowed, run, seen = target.allowed, Run(), set()
    study = optuna.create_study(
        directions=["minimize"] * (1 + len(priced)),
        sampler=RAW[name](seed) if name in RAW
        else make_sampler(name, allowed, seed=seed, priced=priced),
    )  # fmt: skip
    best, regret = float("inf"), None
    for _ in range(evaluations):
        wall, cpu = time.perf_counter(), time.process_time()
        trial = study.ask()
        design = suggest(allowed.space, trial)
        run.wall += time.perf_counter() - wall
        run.cpu += time.process_time() - cpu
        run.repeats += design in seen
        seen.add(design)
        named = allowed.prices(design)
        prices = tuple(named[quantity] for quantity in priced)
        if not set_constraints(allowed, trial, design):
            # Of a trial that breaks a constraint, Optuna's samplers read the constraints alone.
            study.tell(trial, [0.0, *prices])
            run.points.append(None)
        else:
            value, truth = target.observe(design), target.truth(design)
            study.tell(trial, [value, *prices])
            run.points.append((value, truth, *prices))
            if value < best:
                best, regret = value, truth - target.optimum
        run.regrets.append(regret)
    return run
