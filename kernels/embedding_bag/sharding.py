"""How the ops may be split over ranks: by tokens, by picks, or by columns of the table.

Tokens and picks leave every rank with the whole table; its gradient is then a sum over ranks.
Columns divide the table; a token's weights then get a gradient that is a sum over ranks.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.distributed.tensor import Shard

import archspec.kernels.embedding_bag.op  # noqa: F401 (registers the ops)
from archspec.kernels.sharding import SUM, WHOLE, Rule, refuse_row_shards, rule, rules_of, stay

TOKENS, PICKS, COLUMNS = Shard(0), Shard(1), Shard(1)


@rules_of(torch.ops.archspec.embedding_bag.default)
def _embedding_bag(_indices: Any, _weights: Any, table: Any) -> list[Rule]:
    refuse_row_shards("embedding_bag", table.placements)
    rules = [
        rule([WHOLE], WHOLE, WHOLE, WHOLE),
        rule([TOKENS], TOKENS, TOKENS, WHOLE),
        rule([SUM], PICKS, PICKS, WHOLE),
        rule([COLUMNS], WHOLE, WHOLE, COLUMNS),
    ]
    return stay(rules, 2, table.placements)


@rules_of(torch.ops.archspec.gather_dot.default)
def _gather_dot(_indices: Any, _grad: Any, table: Any) -> list[Rule]:
    refuse_row_shards("gather_dot", table.placements)
    rules = [
        rule([WHOLE], WHOLE, WHOLE, WHOLE),
        rule([TOKENS], TOKENS, TOKENS, WHOLE),
        rule([PICKS], PICKS, WHOLE, WHOLE),
        rule([SUM], WHOLE, COLUMNS, COLUMNS),
    ]
    return stay(rules, 2, table.placements)


@rules_of(torch.ops.archspec.scatter_rows.default)
def _scatter_rows(*_: Any) -> list[Rule]:
    return [
        rule([WHOLE], WHOLE, WHOLE, WHOLE, None),
        rule([SUM], TOKENS, TOKENS, TOKENS, None),
        rule([SUM], PICKS, PICKS, WHOLE, None),
        rule([COLUMNS], WHOLE, WHOLE, COLUMNS, None),
    ]


@rules_of(torch.ops.archspec.embedding_bag_backward.default)
def _embedding_bag_backward(_indices: Any, _weights: Any, _grad: Any, table: Any) -> list[Rule]:
    refuse_row_shards("embedding_bag_backward", table.placements)
    rules = [
        rule([WHOLE, WHOLE], WHOLE, WHOLE, WHOLE, WHOLE),
        rule([TOKENS, SUM], TOKENS, TOKENS, TOKENS, WHOLE),
        rule([PICKS, SUM], PICKS, PICKS, WHOLE, WHOLE),
        rule([SUM, COLUMNS], WHOLE, WHOLE, COLUMNS, COLUMNS),
    ]
    return stay(rules, 3, table.placements)
