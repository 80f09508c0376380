"""What the surrogate of the default sampler learns, and that integer programs are told the same."""

import numpy as np
import pytest

from archspec.search.samplers.covariance import PARTS, Covariance
from archspec.search.samplers.surrogate import Surrogate
from archspec.search.space import Rows, Space
from archspec.testing.samplers import CHOICES
from archspec.testing.spaces import small_model, space_over


def space_of(depth: int, choices: tuple[str, ...] = CHOICES) -> Space:
    return space_over(small_model(depth), list(choices), {"pool0": (8, 16)})


@pytest.mark.parametrize("choices", [CHOICES, ("ffn", "experts")])
def test_scores_of_programs_are_the_additive_parts(choices: tuple[str, ...]) -> None:
    """Up to a constant, which features lose when they are centered."""
    space = space_of(7, choices)
    covariance, rng = Covariance(space), np.random.default_rng(0)
    rows = space.draw(rng, 50)
    weights = rng.uniform(0.1, 1.0, size=len(PARTS))
    designs = covariance.weighted(covariance.encode(rows), weights)
    drawn = rng.normal(size=designs.additive)
    expected = designs.linear[:, : designs.additive] @ drawn
    found = space.score(covariance.scores(drawn, designs.shares), rows)
    np.testing.assert_allclose(found - found.mean(), expected - expected.mean(), atol=1e-9)


def test_variances_are_the_diagonal_of_the_covariance() -> None:
    space = space_of(5)
    covariance, rng = Covariance(space), np.random.default_rng(1)
    weights = rng.uniform(0.1, 1.0, size=len(PARTS))
    designs = covariance.weighted(covariance.encode(space.draw(rng, 20)), weights)
    diagonal = covariance.total(designs, designs).diagonal()
    # "near" is 1 between equal designs up to what rounding makes of a distance of 0.
    np.testing.assert_allclose(covariance.variances(designs), diagonal, rtol=1e-6)


def begins(space: Space, rows: Rows) -> np.ndarray:
    """Return the relative depth at which memory layers of either kind begin, 1 if never."""
    part = space.parts[0]
    is_memory = np.isin(np.array(part.labels[0])[rows.layers], ["private", "shared0"])
    first = np.where(is_memory.any(axis=1), is_memory.argmax(axis=1), is_memory.shape[1])
    return first / is_memory.shape[1]


def test_where_a_kind_begins_is_learned_from_few_designs() -> None:
    space = space_of(8, ("ffn", "experts", "private", "shared0"))
    covariance, alike = Covariance(space), []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        shown, asked = space.draw(rng, 60), space.draw(rng, 400)
        losses = begins(space, shown) + 0.02 * rng.normal(size=60)
        surrogate = Surrogate(covariance, covariance.encode(shown), losses)
        means, _ = surrogate.predict(covariance.encode(asked))
        alike.append(np.corrcoef(means, begins(space, asked))[0, 1])
    assert np.mean(alike) > 0.82  # 0.78 where the covariance does not know of beginnings
