"""How the ops may be split over ranks: by tokens or by heads.

The keys of a head stay together, because a selection needs them all; codebooks that are divided
otherwise are small, and gathered.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.distributed.tensor import Shard

import archspec.kernels.product_key_topk.op  # noqa: F401 (registers the ops)
from archspec.kernels.sharding import SUM, WHOLE, Rule, rule, rules_of

TOKENS, HEADS = Shard(0), Shard(1)


@rules_of(torch.ops.archspec.product_key_topk.default)
def _product_key_topk(*_: Any) -> list[Rule]:
    return [
        rule([WHOLE, WHOLE], WHOLE, WHOLE, None),
        rule([TOKENS, TOKENS], TOKENS, WHOLE, None),
        rule([HEADS, HEADS], HEADS, HEADS, None),
    ]


@rules_of(torch.ops.archspec.product_key_topk_backward.default)
def _product_key_topk_backward(*_: Any) -> list[Rule]:
    return [
        rule([WHOLE, WHOLE], WHOLE, WHOLE, WHOLE, WHOLE),
        rule([TOKENS, SUM], TOKENS, TOKENS, TOKENS, WHOLE),
        rule([HEADS, HEADS], HEADS, HEADS, HEADS, HEADS),
    ]
