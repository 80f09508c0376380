"""Optuna's own samplers on the raw space, with the budgets as constraints."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import optuna
from optuna.samplers import BaseSampler, NSGAIISampler, TPESampler

from archspec.search.feasible import FeasibleSpace
from archspec.search.space import Design

RAW: Mapping[str, Callable[[int], BaseSampler]] = {
    "optuna tpe": lambda seed: TPESampler(seed=seed),
    "optuna nsga2": lambda seed: NSGAIISampler(seed=seed, population_size=20),
}


def set_constraints(allowed: FeasibleSpace, trial: optuna.Trial, design: Design) -> bool:
    """Note on a trial how far a design is over each budget; tell whether it fits."""
    prices = allowed.prices(design)
    for bound in allowed.bounds:
        over = prices[bound.quantity] / bound.limit - 1
        name = f"{bound.quantity} {bound.side}"
        trial.set_constraint(name, over if bound.side == "max" else -over)
    return design in allowed
