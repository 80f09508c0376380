import time

import numpy as np
import pytest

from archspec.cost.pricing import QUANTITIES, PriceTable, price
from archspec.testing.spaces import SETTING, price_of, random_space, small_model, space_over


def table_of(space):
    return PriceTable(space.base, space.choices, space.pools, SETTING)


@pytest.mark.parametrize("seed", range(20))
def test_random_assignments_equal_the_summary_of_the_written_out_model(seed: int) -> None:
    space = random_space(seed)
    layers, sizes, _ = space.draw(np.random.default_rng(seed), 200)
    layers, sizes = layers[:50], sizes[:50]
    prices = table_of(space).prices(layers, sizes)
    for row, placed, chosen in zip(prices.tolist(), layers, sizes, strict=True):
        expected = price_of(space, space.normal(placed, chosen))
        assert dict(zip(QUANTITIES, row, strict=True)) == expected


def test_a_pool_is_paid_once_and_not_at_all_without_readers() -> None:
    space = space_over(small_model(3), ["ffn", "shared0"], {"pool0": (8, 16)})
    table = table_of(space)
    layers = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0]])
    params = table.prices(layers, np.ones((3, 1), dtype=np.int64))[:, 1]
    rows = 16 * 16 * 16
    reader = table.prices(layers, np.zeros((3, 1), dtype=np.int64))[:, 1]
    assert params[1] - params[0] - (params[2] - params[1]) == rows
    assert reader[0] == params[0]


def test_the_base_costs_what_its_summary_says() -> None:
    base = small_model(4)
    assert price(base, SETTING)["flops_per_token"] > 0


def test_twenty_thousand_designs_of_32_layers_a_second() -> None:
    choices = ["ffn", "experts", "private", "shared0", "shared1", "ffn+shared0"]
    sizes = {"pool0": (8, 16, 24), "pool1": (8, 16)}
    space = space_over(small_model(32, pools=2), choices, sizes)
    drawn = space.draw(np.random.default_rng(0), 20_000)
    table = table_of(space)
    began = time.process_time()
    table.prices(drawn.layers, drawn.sizes)
    assert len(drawn.layers) / (time.process_time() - began) > 20_000
