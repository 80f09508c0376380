"""All searches of a benchmark run, over processes; every one depends on its seed alone."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from archspec.search.budget import Bound
from benchmarks.search.losses import STRUCTURES
from benchmarks.search.problems import (
    CASES,
    HEADLINE,
    NUM_LIMITS,
    PRICED,
    Case,
    Problem,
    Target,
    placements,
    target_of,
)
from benchmarks.search.report import Result
from benchmarks.search.runs import Run, search
from benchmarks.search.statistics import gained
from benchmarks.search.table import Table

FEW = ("milp", "evolution", "random", "optuna tpe")
ALL = (*FEW, "tpe", "nsga2", "optuna nsga2")
PRICED_TOO = (*FEW, "optuna nsga2")
TWO_GOALS = "two goals"
TABLE = "table"


@dataclass(frozen=True)
class Job:
    """All searches of one problem, so that its best designs are worked out once.

    Attributes:
        structure: Of a synthetic problem, or ``TABLE``.
        seed: Of the problem and of the samplers.
        evaluations: Of each search.
        table: The file of the table of trained models.
    """

    structure: str
    seed: int
    evaluations: int
    table: Path | None = None


def jobs(
    *, seeds: int, evaluations: int, table: Path | None, structures: Iterable[str] = STRUCTURES
) -> Iterator[Job]:
    """List the problems, and the table if there is one; those that take longest come first."""
    for structure, seed in itertools.product(structures, range(seeds)):
        yield Job(structure, seed, evaluations)
    if table is not None:
        yield from (Job(TABLE, seed, evaluations, table) for seed in range(seeds))


def run_jobs(given: list[Job], processes: int) -> Iterator[list[Result]]:
    """Run searches, several at a time."""
    if processes == 1:
        yield from map(run, given)
        return
    # Not forked: the parent has threads of its own once numpy has multiplied anything.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield from pool.map(run, given)


def run(job: Job) -> list[Result]:
    """Run all searches of a problem."""
    if job.structure == TABLE:
        assert job.table is not None, "searches of the table have one"
        target = Table.read(job.table).target(job.seed)
        return [_searched(job, TABLE, name, target) for name in ALL]
    problem = Problem(job.structure, placements(), seed=job.seed)
    found = []
    for case in CASES:
        if case.structure != job.structure:
            continue
        samplers = ALL if case == HEADLINE else FEW
        found += [
            _searched(job, case.name, n, target_of(case, problem, job.seed)) for n in samplers
        ]
        if case == HEADLINE:
            found += _with_two_goals(job, case, problem)
    return found


def _searched(job: Job, case: str, name: str, target: Target) -> Result:
    return _result(job, case, name, search(name, target, job.evaluations, seed=job.seed))


def _with_two_goals(job: Job, case: Case, problem: Problem) -> Iterator[Result]:
    front = exact_front(problem)
    for name in PRICED_TOO:
        target = target_of(case, problem, job.seed)
        run = search(name, target, job.evaluations, seed=job.seed, priced=(PRICED,))
        yield _result(job, TWO_GOALS, name, run, _volumes(run, front))


def _result(job: Job, case: str, name: str, run: Run, volumes: tuple[float, ...] = ()) -> Result:
    return Result(
        case=case,
        sampler=name,
        seed=job.seed,
        regrets=tuple(run.regrets),
        fitting=run.fitting,
        repeats=run.repeats,
        wall=run.wall / job.evaluations,
        cpu=run.cpu / job.evaluations,
        volumes=volumes,
    )


def _volumes(run: Run, front: list[tuple[float, float]]) -> tuple[float, ...]:
    """Return by evaluation the share of the exact front's hypervolume."""
    limits = [limit for limit, _ in front]
    whole = gained([(loss, loss, limit) for limit, loss in front], limits)
    shares = []
    for count in range(1, len(run.points) + 1):
        points = [point for point in run.points[:count] if point is not None]
        shares.append(gained(points, limits) / whole)
    return tuple(shares)


def exact_front(problem: Problem) -> list[tuple[float, float]]:
    """Return limits on the price with the least loss within each.

    The limits go in equal steps to that of the budget from the least that a sample costs.
    """
    (most,) = (bound.limit for bound in problem.allowed.bounds if bound.quantity == PRICED)
    column = problem.allowed.table.quantities.index(PRICED)
    least = int(problem.allowed.table.prices(*problem.samples)[:, column].min())
    found = []
    for limit in np.linspace(least, most, NUM_LIMITS).tolist():
        design = problem.optimum([Bound(PRICED, "max", int(limit))])
        if design is not None:
            found.append((limit, problem(design)))
    return found
