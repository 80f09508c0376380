"""Weight decay that reaches a row when the row is next needed.

Decoupled decay multiplies every row by ``1 - lr * weight_decay`` at every step. The factors of the
steps that a row has missed multiply up, so it is enough to keep the logarithm of the product over
all steps, and of the part of it that a row already has.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from archspec.kernels.row_optimizer.rounding import round_stochastically

_CHUNK_ELEMENTS = 1 << 18


class LazyDecay:
    """What a table's rows still owe: a row is worth ``exp(total - settled[row])`` times itself.

    Args:
        total: 0-dimensional, fp64: the logarithm of the decay of all steps.
        settled: [slots], fp64: the part of it that is in the row already.
    """

    def __init__(self, total: Tensor, settled: Tensor) -> None:
        self.total = total
        self.settled = settled

    def advance(self, rate: float) -> None:
        """Let all rows owe one step more, ``1 - rate``."""
        self.total += math.log1p(-rate)

    def factors(self, rows: Tensor) -> Tensor:
        """Return what to multiply these rows by, fp64 of their shape."""
        settled = self.settled.index_select(0, rows.reshape(-1)).view(rows.shape)
        return torch.exp(self.total - settled)

    def settle(self, table: Tensor, rows: Tensor, seed: int) -> None:
        """Decay these rows of the table by what they owe.

        Args:
            table: [slots, width], changed.
            rows: [n], int64, each once.
            seed: Of the rounding of bf16 rows.
        """
        for part in rows.split(max(1, _CHUNK_ELEMENTS // table.shape[1])):
            values = table.index_select(0, part)
            wide = values.to(torch.promote_types(table.dtype, torch.float32))
            wide = wide * self.factors(part)[:, None].to(wide.dtype)
            if table.dtype == torch.bfloat16:
                wide = round_stochastically(wide, part, seed)
            table.index_copy_(0, part, wide.to(table.dtype))
        self.settled[rows] = self.total
