"""What one tensor-parallel rank does: its parameters are those of the layouts, its work adds up."""

from __future__ import annotations

import math

import pytest

from archspec.blocks.pool import sharding as pool_sharding
from archspec.blocks.registry import sharding_of
from archspec.cost.summary import cost_context
from archspec.testing.specs import random_spec

PLACE = {"tp": 0}


def whole(spec, layer, tp):
    """Tell whether tp cuts a layer's attention and blocks without breaking a rule."""
    sizes = {"tp": tp}
    faults = list(layer.attention.sharding_faults(spec.d_model, sizes))
    for block in layer.blocks:
        faults += sharding_of(block.type).faults(block, spec.scope, sizes)
        if block.pool_name is not None:
            faults += pool_sharding.faults(spec.pools[block.pool_name], spec.d_model, sizes)
    return not faults


@pytest.mark.parametrize("tp", [1, 2, 3])
def test_parameters_of_a_rank_are_those_of_its_layouts(tp):
    seen: set[str] = set()
    for seed in range(150):
        spec = random_spec(seed)
        context = cost_context(spec)
        for layer in spec.layers:
            if not whole(spec, layer, tp):
                continue
            attention = layer.attention.layout(spec.d_model)
            held = sum(
                math.prod(layout.local_shape({"tp": tp}, PLACE)) for layout in attention.values()
            )
            assert layer.attention.on_rank(tp).cost(context).num_params == held, seed
            for block in layer.blocks:
                sharding = sharding_of(block.type)
                layouts = sharding.layout(block, spec.scope).values()
                held = sum(math.prod(one.local_shape({"tp": tp}, PLACE)) for one in layouts)
                assert sharding.rank_cost(block, context, tp).cost.num_params == held, (seed, block)
                seen |= {block.type, layer.attention.type}
    assert seen >= {"dense", "moe", "memory", "shared_pool", "ngram", "gqa", "mla"}


def test_one_rank_does_everything():
    for seed in range(60):
        spec = random_spec(seed)
        context = cost_context(spec)
        for layer in spec.layers:
            for block in layer.blocks:
                found = sharding_of(block.type).rank_cost(block, context, 1)
                assert found.cost == block.cost(context)
                assert found.kept_bytes == block.kept_bytes(context)


def test_ranks_share_the_work_of_blocks_that_tp_cuts():
    for seed in range(150):
        spec = random_spec(seed)
        context = cost_context(spec)
        for layer in spec.layers:
            if not whole(spec, layer, 2):
                continue
            for block in layer.blocks:
                one = sharding_of(block.type).rank_cost(block, context, 2).cost
                all_of_it = block.cost(context)
                assert one.flops_per_token <= all_of_it.flops_per_token
                assert 2 * one.flops_per_token >= all_of_it.flops_per_token
                if block.type != "ngram":
                    assert 2 * one.table_bytes_per_token == all_of_it.table_bytes_per_token
