"""How the ops may be split over ranks: by columns of the matrices, or by rows that sum up.

Groups and rows stay together: offsets count the rows of all ranks. To divide experts, exchange the
tokens first and call the op on what each rank then holds.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.distributed.tensor import Shard

import archspec.kernels.grouped_matmul.op  # noqa: F401 (registers the ops)
from archspec.errors import KernelError
from archspec.kernels.sharding import SUM, WHOLE, Rule, is_split, rule, rules_of

COLUMNS = Shard(1)  # of rows and gradients
IN_DIM, OUT_DIM = Shard(1), Shard(2)  # of the matrices


@rules_of(torch.ops.archspec.grouped_matmul.default)
def _grouped_matmul(_rows: Any, weights: Any, _offsets: Any) -> list[Rule]:
    if is_split(weights.placements, 0):
        raise KernelError(
            "grouped_matmul: matrices must not be divided by group among the ranks of a DTensor, "
            f"which would gather them all, but their placements are {tuple(weights.placements)}; "
            "exchange the rows first and multiply local tensors, or split in_dim or out_dim"
        )
    return [
        rule([WHOLE], WHOLE, WHOLE, WHOLE),
        rule([COLUMNS], WHOLE, OUT_DIM, WHOLE),
        rule([SUM], COLUMNS, IN_DIM, WHOLE),
    ]


@rules_of(torch.ops.archspec.grouped_outer.default)
def _grouped_outer(*_: Any) -> list[Rule]:
    return [
        rule([WHOLE], WHOLE, WHOLE, WHOLE),
        rule([OUT_DIM], WHOLE, COLUMNS, WHOLE),
        rule([IN_DIM], COLUMNS, WHOLE, WHOLE),
    ]
