import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archspec.cost.pricing import QUANTITIES
from archspec.errors import BudgetError
from archspec.search.achievable import check_achievable, closest_design
from archspec.search.budget import Bound, resolve_bounds
from archspec.search.feasible import FeasibleSpace
from archspec.search.space import Design
from archspec.spec.search.budgets import Budgets
from archspec.testing.spaces import (
    allowed_designs,
    random_space,
    small_model,
    space_over,
    tight_bounds,
)


def listed(allowed: FeasibleSpace) -> tuple[list[Design], np.ndarray]:
    """Every design of a space with its prices, by enumeration."""
    space = allowed.space
    arrays = list(space.enumerate())
    designs = [space.normal(*row) for pair in arrays for row in zip(*pair, strict=True)]
    return designs, np.concatenate([allowed.table.prices(*pair) for pair in arrays])


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from(QUANTITIES),
    st.sampled_from(["max", "min"]),
    st.integers(0, 2),
    st.randoms(use_true_random=False),
)
def test_closest_value_is_that_of_brute_force(seed, quantity, side, num_others, rng) -> None:
    allowed = allowed_designs(random_space(seed), ())
    _, prices = listed(allowed)
    others = []
    for name in rng.sample(QUANTITIES, num_others):
        bound = Bound(name, rng.choice(["max", "min"]), 0)
        limit = int(rng.choice(prices[:, bound.column].tolist()))
        others.append(Bound(name, bound.side, limit))
    kept = np.all([np.ones(len(prices), bool), *(bound.holds(prices) for bound in others)], axis=0)
    design = closest_design(allowed, Bound(quantity, side, 0), others)
    if not kept.any():
        assert design is None
        return
    values = prices[kept, QUANTITIES.index(quantity)]
    assert design is not None
    assert allowed.prices(design)[quantity] == (values.min() if side == "max" else values.max())


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.randoms(use_true_random=False))
def test_refused_exactly_when_nothing_fits(seed, rng) -> None:
    space = random_space(seed)
    _, prices = listed(allowed_designs(space, ()))
    bounds = []
    for name in rng.sample(QUANTITIES, 3):
        column = QUANTITIES.index(name)
        bounds.append(Bound(name, "max", int(np.quantile(prices[:, column], rng.random() / 4))))
    allowed = allowed_designs(space, bounds)
    if np.all([bound.holds(prices) for bound in bounds], axis=0).any():
        check_achievable(allowed)
        return
    with pytest.raises(BudgetError):
        check_achievable(allowed)


def small_space():
    return space_over(small_model(3), ["ffn", "experts", "shared0"], {"pool0": (8, 16)})


def test_a_budget_out_of_reach_names_the_least_value_and_its_design() -> None:
    allowed = allowed_designs(small_space(), [Bound("num_params", "max", 5000)])
    least = min(int(p) for p in listed(allowed)[1][:, QUANTITIES.index("num_params")])
    with pytest.raises(BudgetError) as error:
        check_achievable(allowed)
    assert str(error.value) == (
        "budgets.num_params.max: no design has num_params at most 5.00 k (5,000); the least any "
        f"design reaches is 6.71 k ({least:,}), by [3 x shared0] with pool0 8²; raise it to at "
        "least that or change the choices"
    )


def test_a_minimum_out_of_reach_names_the_most() -> None:
    allowed = allowed_designs(small_space(), [Bound("flops_per_token", "min", 10**9)])
    with pytest.raises(BudgetError, match=r"the most any design reaches .* lower it to at most"):
        check_achievable(allowed)


def test_bounds_that_exclude_each_other_are_named_together() -> None:
    bounds = [
        Bound("flops_per_token", "max", 20_000),
        Bound("device_bytes", "max", 10**9),
        Bound("num_params", "min", 15_000),
    ]
    allowed = allowed_designs(small_space(), bounds)
    with pytest.raises(BudgetError) as error:
        check_achievable(allowed)
    assert "each is possible alone" in str(error.value)
    assert "flops_per_token at most 20.0 kFLOP" in str(error.value)
    assert "num_params at least 15.0 k" in str(error.value)
    assert "device_bytes" not in str(error.value)


def test_relative_budgets_round_inwards() -> None:
    budgets = Budgets.model_validate(
        {"flops_per_token": {"max": "1.05x"}, "num_params": {"min": "0.333x", "max": "2k"}}
    )
    base = {"flops_per_token": 101, "num_params": 1000}
    assert resolve_bounds(budgets, base) == (
        Bound("flops_per_token", "max", 106),
        Bound("num_params", "max", 2000),
        Bound("num_params", "min", 333),
    )


@pytest.mark.parametrize("seed", range(10))
def test_rejections_are_counted_over_different_designs(seed: int) -> None:
    space = random_space(seed)
    bounds = tight_bounds(space, share=0.3)
    allowed = allowed_designs(space, bounds)
    _, prices = listed(allowed_designs(space, ()))
    prices = prices[
        [space.normal(*row).sizes == tuple(row[1]) for pair in space.enumerate()
         for row in zip(*pair, strict=True)]
    ]  # fmt: skip
    found = allowed.rejections()
    assert found.exact
    assert found.num_designs == space.num_designs
    for bound in bounds:
        assert found.rejected[bound] == pytest.approx(1 - bound.holds(prices).mean())
    assert allowed.listed is not None
    assert found.num_feasible == len(allowed.listed)


def test_a_large_space_is_sampled_and_says_so() -> None:
    space = space_over(small_model(16), ["ffn", "experts", "private"], {})
    found = allowed_designs(space, tight_bounds(space, share=0.2)).rejections()
    assert not found.exact
    assert found.num_priced == 20_000
    assert found.num_feasible / found.num_priced == pytest.approx(0.2, abs=0.08)
