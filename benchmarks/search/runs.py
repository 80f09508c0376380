"""One search: a sampler, a target, so many evaluations."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import optuna

from archspec.search.params import suggest
from archspec.search.samplers.registry import make_sampler
from benchmarks.search.problems import Target
from benchmarks.search.rivals import RAW, set_constraints

OURS = ("milp", "evolution", "tpe", "nsga2")
RANDOM = "random"


@dataclass(frozen=True)
class Run:
    """What a search did, evaluation by evaluation.

    Attributes:
        regrets: Loss of the design that looks best so far, noise aside, over the optimum's; None
            before the first that fits.
        fits: Whether the evaluated design keeps to the budgets.
        repeats: Evaluations of a design that had been evaluated before.
        seconds: CPU time of all proposals.
        points: True loss and prices of every design that fits, for several goals.
    """

    regrets: tuple[float | None, ...]
    fits: tuple[bool, ...]
    repeats: int
    seconds: float
    points: tuple[tuple[float, ...], ...]


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
    allowed = target.allowed
    if name in RAW:
        sampler = RAW[name](seed)
    else:
        sampler = make_sampler(name, allowed, seed=seed, priced=priced)
    directions = ["minimize"] * (1 + len(priced))
    study = optuna.create_study(directions=directions, sampler=sampler)
    best, regret, seconds = float("inf"), None, 0.0
    regrets, fits, points, seen = [], [], [], []
    for _ in range(evaluations):
        began = time.process_time()
        trial = study.ask()
        design = suggest(allowed.space, trial)
        seconds += time.process_time() - began
        seen.append(design)
        fits.append(set_constraints(allowed, trial, design))
        prices = allowed.prices(design)
        # Of a design that does not fit, Optuna's samplers read the constraints alone.
        value = target.observe(design) if fits[-1] else 0.0
        study.tell(trial, [value, *(prices[name] for name in priced)])
        if fits[-1]:
            points.append((target.truth(design), *(prices[name] for name in priced)))
            if value < best:
                best, regret = value, points[-1][0] - target.optimum
        regrets.append(regret)
    return Run(tuple(regrets), tuple(fits), evaluations - len(set(seen)), seconds, tuple(points))
