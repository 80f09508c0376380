"""Weight decay that rows in a checkpoint still owe; see ``kernels/row_optimizer/decay.py``.

A checkpoint keeps tables as they are, so that a resumed run repeats bit by bit. Who reads the
weights without the optimizer applies what is owed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from archspec.errors import RunError
from archspec.train.optimizer_state import OPTIMIZER
from archspec.train.storage import StoredTensor, read_box


@dataclass(frozen=True, slots=True)
class OwedDecay:
    """What the rows of one table are to be multiplied by: [slots], fp64."""

    factors: Tensor

    @classmethod
    def find(cls, path: Path, stored: Mapping[str, StoredTensor], name: str) -> OwedDecay | None:
        """Return what a parameter's rows owe in a checkpoint; None for nothing. Raises RunError."""
        keys = [f"{OPTIMIZER}{name}/decay_{part}" for part in ("total", "settled")]
        if keys[0] not in stored:
            return None
        total, settled = (_read_whole(path, stored, key) for key in keys)
        return cls(torch.exp(total - settled))

    @torch.no_grad()
    def settle(self, rows: Tensor, start: int = 0) -> None:
        """Multiply rows of the table, from ``start`` on; bf16 is rounded to the nearest."""
        factors = self.factors[start : start + len(rows), None]
        rows.copy_(rows * factors.to(torch.promote_types(rows.dtype, torch.float32)))


def _read_whole(path: Path, stored: Mapping[str, StoredTensor], name: str) -> Tensor:
    if name not in stored:
        raise RunError(f"{path}: is damaged: {name} is missing")
    tensor = stored[name]
    whole = torch.empty(tensor.shape, dtype=tensor.dtype)
    for chunk in tensor.chunks:
        box = tuple(slice(o, o + n) for o, n in zip(chunk.offsets, chunk.shape, strict=True))
        whole[box or ...] = read_box(path, chunk, [0] * len(chunk.shape), chunk.shape)
    return whole
