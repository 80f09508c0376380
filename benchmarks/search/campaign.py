"""All searches of a benchmark run, over processes; every one depends on its seed alone."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
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
    RARE_CASE,
    SMALL_CASE,
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
TABLE, AGAIN = "table", "table-again"
# Problems in other spaces, each with who searches it.
ELSEWHERE = {
    "small": (SMALL_CASE, (*FEW, "exhaustive")),
    "rare": (RARE_CASE, ("milp", "evolution", "random", "tpe", "nsga2")),
}
_LONGER = 2  # searches of the table, which random designs take long to get to the end of
# So many times as many searches of the table by the two whose medians are compared: who comes upon
# one of the few good designs first is luck.
_OFTEN, COMPARED = 10, ("milp", "random")


@dataclass(frozen=True)
class Job:
    """All searches of one problem, so that its best designs are worked out once.

    Attributes:
        problem: A key of ``STRUCTURES`` or of ``ELSEWHERE``, ``TABLE`` or ``AGAIN``.
        seed: Of the problem and of the samplers.
        evaluations: Of each search.
        table: The file of the table of trained models.
    """

    problem: str
    seed: int
    evaluations: int
    table: Path | None = None

    @property
    def name(self) -> str:
        """Tell it from all others of a run."""
        return f"{self.problem}-{self.seed:02}"


@dataclass(frozen=True)
class Done:
    """What a job came to, and the CPU seconds it took."""

    results: tuple[Result, ...]
    seconds: float


def jobs(
    *, seeds: int, evaluations: int, table: Path | None, structures: Iterable[str] = STRUCTURES
) -> Iterator[Job]:
    """List the problems, and the table if there is one; those that take longest come first."""
    if table is not None:
        for seed in range(_OFTEN * seeds):
            problem = TABLE if seed < seeds else AGAIN
            yield Job(problem, seed, _LONGER * evaluations, table)
    for problem, seed in itertools.product((*structures, *ELSEWHERE), range(seeds)):
        yield Job(problem, seed, evaluations)


def run_jobs(given: list[Job], processes: int) -> Iterator[tuple[Job, Done]]:
    """Run searches, several at a time; each job is yielded when it is done."""
    # Not forked: the parent has threads of its own once numpy has multiplied anything.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        running = {pool.submit(run, job): job for job in given}
        try:
            for future in as_completed(running):
                yield running[future], future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def run(job: Job) -> Done:
    """Run all searches of a problem."""
    began = time.process_time()
    return Done(tuple(_results(job)), time.process_time() - began)


def _results(job: Job) -> Iterator[Result]:
    if job.problem in (TABLE, AGAIN):
        assert job.table is not None, "searches of the table have one"
        target = Table.read(job.table).target(job.seed)
        samplers = ALL if job.problem == TABLE else COMPARED
        yield from (_searched(job, TABLE, name, target) for name in samplers)
    elif job.problem in ELSEWHERE:
        case, samplers = ELSEWHERE[job.problem]
        yield from _cases(job, [case], samplers)
    else:
        cases = [case for case in CASES if case.structure == job.problem]
        yield from _cases(job, cases, FEW)


def _cases(job: Job, cases: Sequence[Case], samplers: Iterable[str]) -> Iterator[Result]:
    """Run a problem with each of its noises."""
    problem = Problem(cases[0].structure, placements(cases[0].document), seed=job.seed)
    for case in cases:
        for name in ALL if case == HEADLINE else samplers:
            yield _searched(job, case.name, name, target_of(case, problem, job.seed))
        if case == HEADLINE:
            yield from _with_two_goals(job, case, problem)


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
