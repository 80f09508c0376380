"""Ties, counts, forbidden neighbours and variants, against trying every combination."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archspec.search import graph
from archspec.search.feasible import FeasibleSpace
from archspec.search.features import Scores
from archspec.search.params import distributions, from_params, to_params
from archspec.search.space import Design, Space
from archspec.spec.search.variant import CountRule
from archspec.testing.spaces import (
    allowed_designs,
    brute_designs,
    price_of,
    random_ruled_space,
    small_model,
    space_over,
    tight_bounds,
)

seeds = st.integers(0, 10_000)


def random_scores(space: Space, rng: np.random.Generator) -> list[Scores]:
    return [
        Scores(
            rng.normal(size=(len(part.genes), part.width)),
            [rng.normal(size=len(sizes)) for sizes in space.pools.values()],
            float(rng.normal()),
        )
        for part in space.parts
    ]


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_designs_are_counted_and_listed_exactly(seed: int) -> None:
    space = random_ruled_space(seed)
    expected = brute_designs(space)
    found = [design for rows in space.enumerate(64) for design in space.designs(rows)]
    assert space.is_counted
    assert len(found) == len(set(found)) == space.num_designs == len(expected)
    assert set(found) == set(expected)


def bounded(seed: int, share: float) -> tuple[FeasibleSpace, list[Design], list[Scores]]:
    """Return a random space under tight bounds, all designs that keep its rules, and a score."""
    space = random_ruled_space(seed)
    everything = brute_designs(space)
    bounds = tight_bounds(space, share=share) if everything else ()
    scores = random_scores(space, np.random.default_rng(seed))
    return allowed_designs(space, bounds), everything, scores


@settings(max_examples=40, deadline=None)
@given(seeds, st.floats(0.05, 1.0))
def test_the_program_finds_the_best_of_all(seed: int, share: float) -> None:
    allowed, everything, scores = bounded(seed, share)
    space = allowed.space
    objective = allowed.program.objective(scores)
    if not everything:
        assert allowed.program.best(objective) is None
        return
    rows = space.arrays(everything)
    values = np.where(allowed.admits(*rows), space.score(scores, rows), np.inf)
    order = [everything[i] for i in np.argsort(values) if np.isfinite(values[i])]
    taken: set = set()
    for expected in order[:3]:
        found = allowed.program.best(objective, excluded=taken)
        assert found is not None
        one, other = space.score(scores, space.arrays([found, expected]))
        assert one == pytest.approx(other, abs=1e-6)
        taken.add(found)
    assert allowed.program.best(objective, excluded=set(order)) is None


@settings(max_examples=40, deadline=None)
@given(seeds, st.floats(0.05, 1.0))
def test_a_good_design_fits_and_is_not_far_from_the_best(seed: int, share: float) -> None:
    allowed, everything, scores = bounded(seed, share)
    space = allowed.space
    found = allowed.program.good(allowed.program.objective(scores))
    rows = space.arrays(everything)
    fitting = space.score(scores, rows)[allowed.admits(*rows)] if everything else np.array([])
    if not len(fitting):
        assert found is None
        return
    assert found is not None
    assert found in allowed
    # A dive is a heuristic: it may miss the best, but does not end up in the worse half.
    (value,) = space.score(scores, space.arrays([found]))
    assert value <= np.median(fitting) + 1e-9


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_prices_are_those_of_the_written_out_models(seed: int) -> None:
    allowed = allowed_designs(random_ruled_space(seed), ())
    rows = allowed.space.draw(np.random.default_rng(seed), 20)
    for design in allowed.space.designs(rows):
        assert allowed.prices(design) == price_of(allowed.space, design)


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_parameters_stand_for_one_design(seed: int) -> None:
    space = random_ruled_space(seed)
    known = distributions(space)
    for design in space.designs(space.draw(np.random.default_rng(seed), 20)):
        params = to_params(space, design)
        assert from_params(space, params) == design
        assert all(value in known[name].choices for name, value in params.items())


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_features_add_up_to_scores(seed: int) -> None:
    space = random_ruled_space(seed)
    rng = np.random.default_rng(seed)
    rows = space.draw(rng, 30)
    weights = rng.normal(size=space.feature_map.size)
    scores = space.feature_map.scores(weights)
    assert space.score(scores, rows) == pytest.approx(space.features(rows) @ weights)


@pytest.mark.parametrize("seed", [2, 5, 12])
def test_draws_are_uniform(seed: int) -> None:
    space = random_ruled_space(seed)
    expected = brute_designs(space)
    assert 2 <= len(expected) <= 2000
    count = 400 * len(expected)
    counts = dict.fromkeys(expected, 0)
    for design in space.designs(space.draw(np.random.default_rng(0), count)):
        counts[design] += 1
    spread = sum((number - 400) ** 2 / 400 for number in counts.values())
    freedom = len(expected) - 1
    assert abs(spread - freedom) < 5 * np.sqrt(2 * freedom)


def test_rules_with_too_many_states_are_kept_all_the_same(monkeypatch) -> None:
    plain = space_over(small_model(5), ["ffn", "experts", "private"], {}).variants[0]
    rules = (CountRule("ffn", 2, 3), CountRule("experts", 1))
    ruled = dataclasses.replace(plain, counts=rules, forbidden=(("ffn", "private"),))
    space = Space([ruled], {})
    expected = brute_designs(space)
    monkeypatch.setattr(graph, "MOST_STATES", 1)
    again = Space(space.variants, space.pools)
    assert not again.is_counted
    assert again.num_designs >= len(expected)
    found = [design for rows in again.enumerate() for design in again.designs(rows)]
    assert sorted(found, key=repr) == sorted(expected, key=repr)


def test_tied_layers_are_one_parameter() -> None:
    plain = space_over(small_model(6), ["ffn", "experts"], {}).variants[0]
    space = Space([dataclasses.replace(plain, tied=((0, 2, 4), (1, 5)))], {})
    assert space.parts[0].genes == ((0, 2, 4), (1, 5), (3,))
    assert list(distributions(space)) == ["layers.0", "layers.1", "layers.3"]
    names = [layer.names[0] for layer in space.model(space.normal([1, 0, 1], [])).layers]
    assert names == ["experts", "ffn", "experts", "experts", "experts", "ffn"]


def test_proposing_stays_fast_at_48_layers_of_8_choices() -> None:
    import time

    names = ["ffn", "experts", "private", "shared0"]
    choices = [*names, "ffn+private", "ffn+shared0", "experts+shared0", "private+shared0"]
    space = space_over(small_model(48), choices, {"pool0": (8, 16)})
    allowed: FeasibleSpace = allowed_designs(space, tight_bounds(space, share=0.02))
    program, rng = allowed.program, np.random.default_rng(0)
    program.best(program.random(rng), gap=1e-3)
    began = time.process_time()
    for _ in range(5):
        assert program.best(program.random(rng), gap=1e-3) is not None
    assert (time.process_time() - began) / 5 < 0.5
