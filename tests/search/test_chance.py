"""Best of k random designs, against all orders tried one by one."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archspec.search.chance import best_so_far, chance_from_fit, chance_from_trials
from archspec.testing.spaces import allowed_designs, small_model, space_over, tight_bounds

values = st.lists(st.floats(-5, 5, allow_nan=False), min_size=1, max_size=6)


@given(values, st.sampled_from([1.0, -1.0]))
def test_expected_best_is_that_over_all_orders(found: list[float], sign: float) -> None:
    orders = [best_so_far(order, sign=sign) for order in itertools.permutations(found)]
    curve = chance_from_trials(found, sign=sign)
    assert curve.middle == pytest.approx(np.mean(orders, axis=0).tolist(), abs=1e-9)
    assert all(low <= high for low, high in zip(curve.low, curve.high, strict=True))
    assert curve.middle[-1] == pytest.approx(min(found) if sign > 0 else max(found))


def test_the_band_holds_eight_orders_in_ten() -> None:
    found = np.random.default_rng(0).normal(size=12)
    curve = chance_from_trials(found.tolist(), sign=1.0)
    rng = np.random.default_rng(1)
    runs = np.array([best_so_far(rng.permutation(found).tolist(), sign=1.0) for _ in range(4000)])
    for k in range(12):
        assert ((runs[:, k] >= curve.low[k]) & (runs[:, k] <= curve.high[k])).mean() >= 0.79


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("listed", [True, False])
def test_the_fit_foresees_what_random_designs_come_to(sign: float, listed: bool) -> None:
    space = space_over(small_model(4 if listed else 14), ["ffn", "experts", "private"], {})
    allowed = allowed_designs(space, tight_bounds(space, share=0.3))
    assert (allowed.listed is not None) is listed
    rng = np.random.default_rng(2)
    effects = rng.normal(size=(len(space.choices), 3))

    def value(layers: tuple[int, ...]) -> float:
        return sign * sum(effects[i, c] for i, c in enumerate(layers)) + 0.2 * rng.normal()

    designs = allowed.select(*space.draw(rng, 600))[:120]
    trained = [value(d.layers) for d in designs]
    curve = chance_from_fit(allowed, designs, trained, 20, sign=sign)
    assert curve is not None
    fresh = allowed.select(*space.draw(rng, 60_000 if not listed else 8000))
    runs = [
        best_so_far([value(fresh[i].layers) for i in rng.integers(len(fresh), size=20)], sign=sign)
        for _ in range(300)
    ]
    truth = np.median(runs, axis=0)
    for k in (0, 4, 19):
        assert curve.low[k] < truth[k] < curve.high[k]
        assert curve.middle[k] == pytest.approx(truth[k], abs=0.35 * np.std(runs, axis=0)[0])


def test_designs_that_are_too_rare_to_draw_leave_it_open() -> None:
    space = space_over(small_model(16), ["ffn", "experts", "private"], {})
    allowed = allowed_designs(space, tight_bounds(space, share=1e-5))
    designs = space.designs(space.draw(np.random.default_rng(0), 30))
    assert chance_from_fit(allowed, designs, list(np.arange(30.0)), 5, sign=1.0) is None
