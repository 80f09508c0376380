"""What the page of the paper's claims says follows from the committed results."""

import dataclasses
import pathlib

import pytest

from archspec.race.results import DesignResult, Point, RaceResults, RunResult, load_results
from archspec.race.settings import RaceSettings
from archspec.race.statistics import Mean
from archspec.spec.load import load
from benchmarks.claims.page import END, START, results_text, write_into
from benchmarks.claims.verdicts import (
    ACCURACY,
    CHANCE,
    SHARED,
    TEXT,
    above,
    accuracy_ratio,
    below,
    judge,
    tokens_share,
    worst,
)

ROOT = pathlib.Path(__file__).parents[1]
COMMITTED = ROOT / "benchmarks" / "results" / "claims.json"
PAGE = ROOT / "docs" / "claims.md"
TOKENS = 1000


def a_run(seed: int, accuracy: float, text: float = 1.5) -> RunResult:
    """A run whose accuracy grows in proportion to its tokens."""
    curve = tuple(
        Point(
            step=i,
            tokens=i * 100,
            seconds=float(i),
            metrics={ACCURACY: accuracy * i / 10, TEXT: text, CHANCE: 1 / 256},
        )
        for i in range(1, 11)
    )
    return RunResult(
        key=f"runs/{seed}",
        seed=seed,
        diverged=None,
        steps=10,
        num_steps=10,
        tokens=TOKENS,
        seconds=10.0,
        metrics=curve[-1].metrics,
        curve=curve,
        data_order="x",
        data={},
        settings="x",
    )


def a_design(
    name: str, accuracies: list[float], *, table: int = 0, text: float = 1.5
) -> DesignResult:
    return DesignResult(
        name=name,
        source=f"specs/claims/{name}.yaml",
        spec_hash="x",
        family="dense",
        entry="reference" if name == "dense" else "matched",
        flops_per_token=1000,
        flops_before=1000,
        flops_ratio=1.0,
        training_flops=3000,
        hidden_dims=(8,),
        hidden_dims_before=(8,),
        num_params=10_000 + table,
        num_active_params=10_000,
        num_table_params=table,
        lr=1e-3,
        table_lr=100.0,
        runs=tuple(a_run(seed, a, text) for seed, a in enumerate(accuracies)),
    )


def a_race(**changed: list[float]) -> RaceResults:
    accuracies = {
        "dense": [0.10, 0.11, 0.12],
        "moe": [0.11, 0.12, 0.13],
        "memory": [0.30, 0.31, 0.32],
        "shared_small": [0.30, 0.31, 0.32],
        "shared_medium": [0.38, 0.40, 0.42],
        "shared_large": [0.45, 0.47, 0.50],
        "dense_2x": [0.20, 0.21, 0.22],
        **changed,
    }
    tables = {"memory": 2000, **dict(zip(SHARED, (500, 2000, 8000), strict=True))}
    return RaceResults(
        settings=RaceSettings(metric=ACCURACY),
        train={},
        metrics=(ACCURACY, TEXT),
        tokens=TOKENS,
        designs=tuple(a_design(n, a, table=tables.get(n, 0)) for n, a in accuracies.items()),
        sweep=(),
        checks=(),
        jobs=1,
        machine={},
    )


def outcomes(results: RaceResults) -> list[str]:
    return [verdict.outcome for verdict in judge(results)]


def test_a_clear_race_bears_every_claim_out():
    assert set(outcomes(a_race())) == {"holds"}


@pytest.mark.parametrize(
    ("changed", "index", "outcome"),
    [
        ({"shared_large": [0.15, 0.16, 0.17]}, 0, "does not hold"),
        ({"shared_large": [0.21, 0.22, 0.24]}, 0, "undecided"),
        ({"dense_2x": [0.60, 0.61, 0.63]}, 1, "does not hold"),
        ({"moe": [0.40, 0.50, 0.48]}, 2, "undecided"),
        ({"dense": [0.46, 0.48, 0.52]}, 3, "does not hold"),
        ({"dense": [0.30, 0.31, 0.32]}, 4, "does not hold"),
        ({"shared_small": [0.50, 0.52, 0.53]}, 5, "does not hold"),
        ({"memory": [0.42, 0.45, 0.46]}, 8, "does not hold"),
    ],
)
def test_each_claim_fails_by_its_own_numbers(changed, index, outcome):
    assert outcomes(a_race(**changed))[index] == outcome


def test_an_interval_over_the_bound_is_undecided():
    value = Mean(value=2.1, low=1.9, high=2.3, count=3)
    assert above(value, 2.0) == below(value, 2.0) == "undecided"
    assert (above(value, 1.5), below(value, 1.5)) == ("holds", "does not hold")
    assert above(Mean(value=9.0, low=None, high=None, count=1), 2.0) == "undecided"


def test_a_claim_of_parts_is_as_good_as_the_worst():
    assert worst(["holds", "undecided"]) == "undecided"
    assert worst(["undecided", "does not hold", "holds"]) == "does not hold"


def test_ratios_are_taken_seed_by_seed():
    first, second = a_design("a", [0.2, 0.9]), a_design("b", [0.1, 0.3])
    assert accuracy_ratio(first, second).value == pytest.approx(6**0.5)


def test_knowing_nothing_counts_as_guessing():
    first, second = a_design("a", [0.5, 0.5]), a_design("b", [0.0, 0.0])
    assert accuracy_ratio(first, second).value == pytest.approx(128)


def test_tokens_are_counted_to_where_dense_ends():
    dense = a_design("dense", [0.1, 0.1])
    share = tokens_share(dense, a_design("a", [0.4, 0.4]))
    assert share is not None
    assert share.value == pytest.approx(0.25)
    assert tokens_share(dense, a_design("a", [0.4, 0.05])) is None


def test_text_that_suffers_is_said():
    results = a_race()
    worse = [
        a_design(d.name, [0.45, 0.47, 0.50], table=d.num_table_params, text=1.6)
        if d.name == "shared_large"
        else d
        for d in results.designs
    ]
    assert outcomes(dataclasses.replace(results, designs=tuple(worse)))[-1] == "does not hold"


def test_only_the_part_between_the_marks_is_written():
    page = f"before\n{START}\nstale words\n{END}\nafter\n"
    written = write_into(page, a_race())
    assert written.startswith("before\n")
    assert written.endswith("after\n")
    assert "stale" not in written
    assert write_into(written, a_race()) == written


@pytest.mark.skipif(not COMMITTED.exists(), reason="the race has not been run yet")
def test_the_page_says_what_the_results_say():
    assert results_text(load_results(COMMITTED)) in PAGE.read_text()


def test_every_design_of_the_race_loads():
    names = sorted(path.stem for path in (ROOT / "specs" / "claims").glob("*.yaml"))
    assert {"dense", "dense_2x", "moe", "memory", *SHARED, "train"} <= set(names)
    for name in names:
        load(ROOT / "specs" / "claims" / f"{name}.yaml")
