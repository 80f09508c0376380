"""How long one proposal takes in a large space after many trials."""

from __future__ import annotations

import time

import numpy as np
import optuna
from optuna.trial import create_trial

from archspec.search.feasible import FeasibleSpace
from archspec.search.params import distributions, suggest, to_params
from archspec.search.samplers.registry import make_sampler
from archspec.search.space import Design
from archspec.spec.load import load_search
from benchmarks.search.losses import STRUCTURES, draw_tables
from benchmarks.search.problems import PLACEMENT
from benchmarks.search.report import Timing

LARGE = PLACEMENT.with_name("large.yaml")
TIMED = ("milp", "evolution", "random")
_ASKED = 15


def time_proposals(name: str, *, trials: int) -> Timing:
    """Ask for a few designs after so many random ones."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    allowed = FeasibleSpace.of(load_search(LARGE))
    study = optuna.create_study(sampler=make_sampler(name, allowed, seed=0))
    known = distributions(allowed.space)
    designs = _designs(allowed, trials)
    rng = np.random.default_rng(0)
    sizes = len(next(iter(allowed.space.pools.values())))
    tables = draw_tables(allowed.space.reads[0], sizes, rng, **STRUCTURES["interacting"])
    losses = tables.of(allowed.space.arrays(designs)).tolist()
    study.add_trials(
        [
            create_trial(params=to_params(allowed.space, d), distributions=known, value=loss)
            for d, loss in zip(designs, losses, strict=True)
        ]
    )
    suggest(allowed.space, study.ask())  # what is worked out once for the space
    walls, cpus = [], []
    for _ in range(_ASKED):
        wall, cpu = time.perf_counter(), time.process_time()
        suggest(allowed.space, study.ask())
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return Timing(
        sampler=name,
        wall=float(np.median(walls)),
        cpu=float(np.median(cpus)),
        slowest=max(cpus),
    )


def _designs(allowed: FeasibleSpace, count: int) -> list[Design]:
    rng, found = np.random.default_rng(0), list[Design]()
    while len(found) < count:
        found.extend(allowed.select(*allowed.space.draw(rng, 50_000)))
    return list(dict.fromkeys(found))[:count]
