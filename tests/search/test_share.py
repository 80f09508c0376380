"""The share of designs that fit, against counting all of them, and where almost none does."""

import numpy as np
import pytest

from archspec.search import feasible
from archspec.search.share import feasible_share
from archspec.testing.spaces import (
    allowed_designs,
    brute_designs,
    random_ruled_space,
    small_model,
    space_over,
    tight_bounds,
)

CHOICES = ["ffn", "experts", "private", "shared0"]


@pytest.mark.parametrize("seed", range(6))
def test_a_small_space_is_counted(seed: int) -> None:
    space = random_ruled_space(seed + 20)
    designs = brute_designs(space)
    if not designs:
        return
    allowed = allowed_designs(space, tight_bounds(space, share=0.3))
    found = feasible_share(allowed)
    assert found.exact
    assert found.value == pytest.approx(allowed.admits(*space.arrays(designs)).mean())


@pytest.mark.parametrize(("layers", "share"), [(7, 0.2), (7, 3e-3), (7, 2e-4)])
def test_an_estimate_is_near_the_count(layers: int, share: float, monkeypatch) -> None:
    space = space_over(small_model(layers), CHOICES, {"pool0": (8, 16)})
    allowed = allowed_designs(space, tight_bounds(space, share=share))
    exact = feasible_share(allowed)
    assert exact.exact
    monkeypatch.setattr(feasible, "LISTED", 0)
    found = feasible_share(allowed_designs(space, allowed.bounds))
    assert not found.exact
    assert found.value == pytest.approx(exact.value, rel=5 * found.error + 0.02)
    assert found.error < 0.2


def test_one_in_billions_is_not_nothing() -> None:
    """Only `private` is cheap: with a limit at k other layers, the designs can be counted."""
    space = space_over(small_model(24), ["ffn", "private"], {})
    table = allowed_designs(space, ()).table
    prices = {
        label: table.prices(*space.arrays([space.normal([choice] * 24, [])]))[0, 0]
        for choice, label in enumerate(("ffn", "private"))
    }
    low, high = sorted(prices.values())
    step = (high - low) // 24
    bound = dict(zip(("quantity", "side", "limit"), ("flops_per_token", "max", int(low + step)),
                     strict=True))  # fmt: skip
    from archspec.search.budget import Bound

    allowed = allowed_designs(space, [Bound(**bound)])
    found = feasible_share(allowed)
    assert found.value == pytest.approx(25 / 2**24, rel=0.1)
    assert np.isfinite(found.error)
