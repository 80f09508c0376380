"""Synthetic problems: their losses, and that their best design is the best."""

import numpy as np
import pytest

from archspec.search.budget import Bound
from archspec.search.feasible import FeasibleSpace
from benchmarks.search.campaign import exact_front
from benchmarks.search.losses import STRUCTURES, Tables
from benchmarks.search.problems import (
    CASES,
    HEADLINE,
    PRICED,
    SMALL,
    Case,
    Problem,
    placements,
    target_of,
)


@pytest.fixture(scope="module")
def small() -> FeasibleSpace:
    return placements(SMALL)


@pytest.mark.parametrize("seed", [3, 4])
@pytest.mark.parametrize("structure", STRUCTURES)
def test_the_exact_program_agrees_with_trying_all(
    small: FeasibleSpace, structure: str, seed: int
) -> None:
    problem = Problem(structure, small, seed=seed)
    losses = problem.losses(small.listed_arrays)
    assert problem.least == pytest.approx(losses.min(), abs=1e-9)
    prices = small.table.prices(*small.listed_arrays)[:, small.table.quantities.index(PRICED)]
    for share in (0.1, 0.5):
        limit = int(np.quantile(prices, share))
        best = problem.optimum([Bound(PRICED, "max", limit)])
        assert best is not None
        assert problem(best) == pytest.approx(losses[prices <= limit].min(), abs=1e-9)
    assert problem.optimum([Bound(PRICED, "max", int(0.99 * prices.min()))]) is None


def test_the_exact_front_falls_with_the_limit(small: FeasibleSpace) -> None:
    front = exact_front(Problem("interacting", small, seed=3))
    limits, losses = zip(*front, strict=True)
    assert len(front) >= 7  # that of the sample's least price may be below every design's
    assert list(limits) == sorted(limits)
    assert list(losses) == sorted(losses, reverse=True)


def test_losses_are_in_units_of_how_designs_that_fit_vary() -> None:
    problem = Problem("interacting", placements(), seed=5)
    losses = problem.losses(problem.samples)
    assert len(losses) > 50
    assert (losses.mean(), losses.std()) == (pytest.approx(0), pytest.approx(1))


def test_a_loss_is_the_sum_of_its_tables(small: FeasibleSpace) -> None:
    reads = small.space.reads[0]
    depth, width = reads.shape
    rng = np.random.default_rng(0)
    tables = Tables(
        own=rng.normal(size=(depth, width)),
        links=((1, 4, rng.normal(size=(width, width))),),
        counts=rng.normal(size=(width, depth + 1)),
        pools=rng.normal(size=3),
        reads=reads,
    )
    for design in small.space.designs(small.space.draw(rng, 20)):
        expected = sum(tables.own[layer, c] for layer, c in enumerate(design.layers))
        expected += tables.links[0][2][design.layers[1], design.layers[4]]
        expected += sum(tables.counts[c, design.layers.count(c)] for c in range(width))
        if any(reads[layer, c] for layer, c in enumerate(design.layers)):
            expected += tables.pools[design.sizes[0]]
        found = tables.of(small.space.arrays([design]))
        assert found[0] == pytest.approx(expected)


def test_noise_is_that_of_the_case(small: FeasibleSpace) -> None:
    problem = Problem("additive", small, seed=1)
    assert small.listed is not None
    design = small.listed[7]
    silent = target_of(Case("additive", 0.0), problem, 1)
    assert silent.observe(design) == silent.truth(design) == problem(design)
    loud = target_of(Case("additive", 0.5), problem, 1)
    seen = [loud.observe(design) - loud.truth(design) for _ in range(500)]
    assert np.std(seen) == pytest.approx(0.5, rel=0.1)
    again = target_of(Case("additive", 0.5), problem, 1)
    assert again.observe(design) == pytest.approx(seen[0] + problem(design))


def test_cases_have_names_of_their_own() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    assert HEADLINE.name == "interacting, noise 0.3"
    assert Case("additive", 0.0, SMALL).name == "small, additive, noise 0"
