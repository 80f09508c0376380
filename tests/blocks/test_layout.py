"""Cutting shapes over axes."""

from __future__ import annotations

import math

import pytest
import torch

from archspec.blocks.dense import sharding as dense
from archspec.blocks.dense.config import DenseConfig
from archspec.blocks.layout import ParameterLayout, chunk, fsdp_dim
from archspec.blocks.memory import sharding as memory
from archspec.blocks.memory.config import MemoryConfig
from archspec.blocks.moe import sharding as moe
from archspec.blocks.moe.config import MoeConfig
from archspec.blocks.pool import sharding as pool
from archspec.blocks.pool.config import PoolConfig
from archspec.testing.blocks import SCOPE


@pytest.mark.parametrize("length", range(20))
@pytest.mark.parametrize("parts", [1, 2, 3, 5, 8])
def test_chunk_cuts_as_torch_does(length, parts):
    lengths = [stop - start for start, stop in (chunk(length, parts, i) for i in range(parts))]
    theirs = [len(piece) for piece in torch.arange(length).chunk(parts)] if length else []
    assert lengths == theirs + [0] * (parts - len(theirs))
    assert sum(lengths) == length


def test_pieces_of_all_ranks_are_the_parameter():
    layout = ParameterLayout(shape=(7, 10), shard={"tp": 1, "memory_rows": 0, "memory_columns": 1})
    sizes = {"tp": 2, "memory_rows": 3, "memory_columns": 2}
    pieces = [
        math.prod(
            layout.local_shape(sizes, {"tp": tp, "memory_rows": row, "memory_columns": column})
        )
        for tp in range(2)
        for row in range(3)
        for column in range(2)
    ]
    assert sum(pieces) == 70
    first = layout.local_shape(sizes, {"tp": 0, "memory_rows": 0, "memory_columns": 0})
    assert first == (3, 3)


def test_an_axis_of_one_cuts_nothing():
    layout = ParameterLayout(shape=(7, 10), shard={"tp": 1})
    assert layout.cuts({"tp": 1}) == layout.cuts({}) == {}
    assert layout.local_shape({}, {}) == (7, 10)


def test_heads_that_tp_does_not_divide_stay_on_every_rank():
    layout = ParameterLayout(shape=(12, 5), shard={"tp": 0}, heads=3)
    assert layout.cuts({"tp": 2}) == {}
    assert layout.local_shape({"tp": 3}, {"tp": 1}) == (4, 5)


@pytest.mark.parametrize(
    ("shape", "ranks", "taken", "dim"),
    [
        ((64, 3), 8, (), 0),
        ((9, 3), 8, (), 0),  # uneven along the first dimension is fine
        ((2, 4, 256, 64), 8, (), 2),  # codebooks
        ((4, 64, 128), 8, (2,), 1),  # experts: not the width that tp cuts
        ((4, 6, 128), 8, (2,), 2),  # unless nothing else divides
        ((3, 5), 8, (), 0),
        ((3,), 8, (), 0),
    ],
)
def test_data_parallelism_cuts_where_there_is_something_to_cut(shape, ranks, taken, dim):
    assert fsdp_dim(shape, ranks, taken) == dim


def messages(found):
    return {".".join(map(str, fault.path)): fault.message for fault in found}


def test_a_width_that_tp_does_not_divide_names_rule_numbers_and_way_out():
    found = messages(dense.faults(DenseConfig(hidden_dim=100), SCOPE, {"tp": 8}))
    assert found == {
        "hidden_dim": "tp must divide hidden_dim, but hidden_dim=100 and tp=8; use a divisor of "
        "100 as tp, or make hidden_dim 104"
    }


def test_experts_need_a_rank_each_and_a_width_that_divides():
    config = MoeConfig(num_experts=6, top_k=2, hidden_dim=10, num_shared_experts=1)
    assert messages(moe.faults(config, SCOPE, {"ep": 4, "tp": 2})) == {}
    found = messages(moe.faults(config, SCOPE, {"ep": 8, "tp": 4}))
    assert found.keys() == {"hidden_dim", "num_shared_experts", "num_experts"}
    assert "num_experts=6 and ep=8" in found["num_experts"]


def test_a_table_needs_a_row_or_a_column_for_every_shard():
    config = PoolConfig(num_keys=2, value_dim=6)
    assert messages(pool.faults(config, 45, {"memory_rows": 4, "memory_columns": 5})) == {}
    found = messages(pool.faults(config, 45, {"tp": 2, "memory_rows": 5, "memory_columns": 4}))
    assert "slots=4 and the rows have 5 shards" in found["num_keys"]
    assert "value_dim=6, tp=2 and the columns have 4 shards" in found["value_dim"]


def test_a_table_of_rank1_experts_is_cut_by_the_model_width_too():
    config = MemoryConfig(num_keys=4, value_dim=8, key_dim=4, top_k=2, expert="rank1")
    found = messages(memory.faults(config, SCOPE, {"tp": 2}))  # d_model is 45
    assert "d_model of rank-1 experts=45 and tp=2" in found["expert"]
