"""Prices under plans and on devices, against the plan and the roofline of written-out models."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archspec.compiler.plan.make import make_plan
from archspec.cost.estimates import Setting, estimate
from archspec.cost.pricing import ALL_QUANTITIES, PriceSetting
from archspec.cost.summary import cost_context
from archspec.cost.training import training_flops
from archspec.search.achievable import closest_design
from archspec.search.budget import Bound
from archspec.search.program import Program
from archspec.spec.load import load_hardware
from archspec.testing.spaces import (
    allowed_designs,
    brute_designs,
    price_of,
    random_ruled_space,
    random_setting,
    random_space,
    small_model,
    space_over,
    with_plan,
)

seeds = st.integers(0, 100_000)


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_every_price_is_that_of_the_written_out_model(seed: int) -> None:
    setting = random_setting(seed)
    space = with_plan(random_space(seed), setting.plan)
    allowed = allowed_designs(space, (), setting)
    for design in space.designs(space.draw(np.random.default_rng(seed), 12)):
        assert allowed.prices(design) == price_of(space, design, setting)


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_prices_are_those_that_plan_and_summary_print(seed: int) -> None:
    setting = random_setting(seed)
    space = with_plan(random_space(seed), setting.plan)
    allowed = allowed_designs(space, (), setting)
    (design,) = space.designs(space.draw(np.random.default_rng(seed), 1))
    prices, model = allowed.prices(design), space.model(design)
    recompute = "none" if setting.plan is None else setting.plan.recompute
    flops = training_flops(model, cost_context(model), recompute)
    assert prices["train_flops"] == flops * setting.tokens
    decode = estimate(model, Setting(), setting.hardware).decode
    assert prices["decode_time"] == round(1e9 * decode.seconds)
    if setting.plan is None:
        return
    plan = make_plan(
        model, setting.plan, hardware=setting.hardware, micro_tokens=setting.micro_tokens,
        allow_oversize=True,
    )  # fmt: skip
    assert prices["device_bytes"] == plan.largest.total
    assert prices["step_time"] == round(1e9 * plan.time.seconds)


def test_one_device_takes_as_long_as_its_estimate() -> None:
    setting = PriceSetting(micro_tokens=32, hardware=load_hardware("h100"))
    space = space_over(small_model(4), ["ffn", "shared0"], {})
    design = space.normal([0, 1, 1, 0], [0])
    allowed = allowed_designs(space, (), setting)
    step = estimate(space.model(design), Setting(), setting.hardware).step
    assert allowed.prices(design)["step_time"] == round(1e9 * step.seconds)


@settings(max_examples=50, deadline=None)
@given(seeds, st.sampled_from(ALL_QUANTITIES), st.sampled_from(["max", "min"]), st.floats(0, 1))
def test_the_program_reaches_the_extremes_of_every_quantity(seed, quantity, side, share) -> None:
    setting = random_setting(seed)
    space = with_plan(random_ruled_space(seed), setting.plan)
    designs = brute_designs(space)
    if not designs:
        return
    allowed = allowed_designs(space, (), setting)
    prices = allowed.table.prices(*space.arrays(designs))
    column = ALL_QUANTITIES.index(quantity)
    other = ALL_QUANTITIES[(column + 1 + seed) % len(ALL_QUANTITIES)]
    bound = Bound(other, "min" if seed % 2 else "max", 0, allowed.table.unit(other))
    limit = int(np.quantile(prices[:, bound.column], share)) * bound.unit
    others = [Bound(other, bound.side, limit, bound.unit)]
    kept = others[0].holds(prices)
    found = closest_design(allowed, Bound(quantity, side, 0), others)
    if not kept.any():
        assert found is None
        return
    values = prices[kept, column]
    assert found is not None
    best = values.min() if side == "max" else values.max()
    here = allowed.table.prices(*space.arrays([found]))[0, column]
    assert here == pytest.approx(best, rel=1e-6, abs=1)


def test_48_layers_under_a_plan_are_solved_in_time() -> None:
    import time

    setting = random_setting(3)
    names = ["ffn", "experts", "private", "shared0"]
    choices = [*names, "ffn+private", "ffn+shared0", "experts+shared0", "private+shared0"]
    space = with_plan(space_over(small_model(48), choices, {"pool0": (8, 16)}), setting.plan)
    allowed = allowed_designs(space, (), setting)
    prices = allowed.table.prices(*space.draw(np.random.default_rng(0), 4000))
    bounds = [
        Bound(name, "max", int(np.quantile(prices[:, ALL_QUANTITIES.index(name)], 0.1)))
        for name in ("flops_per_token", "device_bytes", "step_time")
    ]
    program, rng = Program(space, allowed.table, bounds), np.random.default_rng(0)
    began = time.process_time()
    for _ in range(3):
        assert program.best(program.random(rng), gap=1e-3) is not None
    assert (time.process_time() - began) / 3 < 1.0
