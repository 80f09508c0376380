"""Reports with results that somebody made up."""

from collections.abc import Callable, Sequence

import pytest

from benchmarks.search.campaign import ALL, FEW, PRICED_TOO, TABLE, TWO_GOALS
from benchmarks.search.problems import CASES, HEADLINE, RARE_CASE, SMALL_CASE
from benchmarks.search.report import Report, Result, SpaceFacts, TableFacts, Timing

SEEDS = 6
_FACTS = TableFacts(
    designs=326,
    noise=0.04,
    noise_share=0.036,
    seed_effect=0.11,
    near=3,
    spread=0.2,
    best=2.4,
    metric="facts.nll",
    seconds=3.2,
)


def _make_result(
    case: str,
    sampler: str,
    seed: int,
    regrets: Sequence[float | None],
    *,
    volumes: Sequence[float] = (),
    fitting: float = 1.0,
    repeats: int = 0,
) -> Result:
    return Result(
        case=case,
        sampler=sampler,
        seed=seed,
        regrets=tuple(regrets),
        fitting=fitting,
        repeats=repeats,
        wall=0.1,
        cpu=0.05,
        volumes=tuple(volumes),
    )


def _every_result(ours: float = 1.0, theirs: float = 3.0, *, table: bool = True) -> list[Result]:
    """All searches of a run: milp ends at one regret, everybody else at another."""

    def curve(name: str, length: int) -> list[float | None]:
        end = ours if name == "milp" else theirs
        start: list[float | None] = [None if name.startswith("optuna") else 6.0] * 4
        return [*start, *[end] * (length - 4)]

    found = []
    for seed in range(SEEDS):
        for case in CASES:
            names = ALL if case == HEADLINE else FEW
            found += [_make_result(case.name, n, seed, curve(n, 100)) for n in names]
        for name in PRICED_TOO:
            volumes = [0.1] * 50 + [1 / (1 + (ours if name == "milp" else theirs))] * 50
            found.append(_make_result(TWO_GOALS, name, seed, curve(name, 100), volumes=volumes))
        found.append(_make_result(SMALL_CASE.name, "milp", seed, [1.0] * 40 + [0.0] * 60))
        found.append(_make_result(SMALL_CASE.name, "exhaustive", seed, [1.0] * 100))
        found += [_make_result(RARE_CASE.name, name, seed, [1.0] * 100) for name in ("milp", "tpe")]
        if table:
            within = [0.3] * (20 + seed) + [0.01] * 180
            found.append(_make_result(TABLE, "milp", seed, within[:200]))
            found.append(_make_result(TABLE, "random", seed, ([0.4] * 120 + [0.02] * 80)))
            found.append(_make_result(TABLE, "optuna tpe", seed, [0.4] * 200))
    return found


def _make_report(
    results: Sequence[Result] = (), *, table: TableFacts | None = None, quick: bool = False
) -> Report:
    return Report(
        started="2026-01-01T00:00:00+00:00",
        seconds=600.0,
        machine={"name": "A CPU", "cores": 2, "versions": {"numpy": "2.0"}},
        quick=quick,
        evaluations=100,
        seeds=SEEDS,
        results=tuple(results),
        timings=(
            Timing(sampler="milp", cpu=0.2, wall=0.3, slowest=0.4),
            Timing(sampler="random", cpu=0.1, wall=0.1, slowest=0.1),
        ),
        spaces={
            "placement": SpaceFacts(designs=10**18, fitting=0.004),
            "small": SpaceFacts(designs=10830, fitting=2784 / 10830),
            "rare": SpaceFacts(designs=10**18, fitting=0.0005),
        },
        table=table,
        missing="" if table else "there is no table yet",
    )


@pytest.fixture(scope="session")
def make_result() -> Callable[..., Result]:
    """Make a search that somebody did."""
    return _make_result


@pytest.fixture(scope="session")
def every_result() -> Callable[..., list[Result]]:
    """Make all searches of a run."""
    return _every_result


@pytest.fixture(scope="session")
def make_report() -> Callable[..., Report]:
    """Make a run of such searches."""
    return _make_report


@pytest.fixture(scope="session")
def facts() -> TableFacts:
    """What may be known of a table of trained models."""
    return _FACTS
