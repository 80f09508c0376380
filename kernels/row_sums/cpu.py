"""Look-ups grouped by row by counting: no comparisons, and two passes over them.

Torch sorts in more passes, and takes further ones to number the rows, to find the tokens and to
reorder the weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from archspec.kernels.arrays import as_array
from archspec.kernels.jit import compiled


def group(
    indices: Sequence[Tensor], weights: Sequence[Tensor], slots: int, *, with_absent: bool
) -> tuple[Tensor, ...] | None:
    """Group look-ups by row, those of a row in their order.

    Args:
        indices: Of each entry, [tokens, picks], int32 or int64.
        weights: Of each entry, [tokens, picks].
        slots: Rows of the table.
        with_absent: Whether an index may be negative, and is then passed over.

    Returns:
        ``rows``, ``starts``, ``tokens`` and ``weights``, in fp32, of
        :class:`archspec.kernels.row_gradient.Lookups`; None if an index is out of range.
    """
    picked = [as_array(tensor.contiguous()) for tensor in indices]
    heights = [as_array(tensor.float().contiguous()) for tensor in weights]
    counts = np.zeros(slots, np.int32)
    if not all(_count(array, counts, with_absent) for array in picked):
        return None
    total = int(counts.sum())
    most = min(slots, total)
    rows, starts = np.empty(most + 1, np.int64), np.empty(most + 1, np.int64)
    distinct = _number(counts, rows, starts)
    tokens, sorted_weights = np.empty(total, np.int32), np.empty(total, np.float32)
    first = 0
    for array, height in zip(picked, heights, strict=True):
        _place(array, height, first, counts, tokens, sorted_weights)
        first += len(array)
    found = (rows[:distinct], starts[: distinct + 1], tokens, sorted_weights)
    return tuple(map(torch.from_numpy, found))


@compiled
def _count(indices, counts, with_absent):
    """Count the look-ups of every row; say whether all rows exist."""
    flat, slots = indices.reshape(-1), len(counts)
    for i in range(len(flat)):
        if flat[i] >= slots or (flat[i] < 0 and not with_absent):
            return False
        if flat[i] >= 0:
            counts[np.uint64(flat[i])] += 1
    return True


@compiled
def _number(counts, rows, starts):
    """List the rows that have look-ups, and turn their numbers of them into where these start."""
    distinct, start = np.uint64(0), 0
    for row in range(len(counts)):
        # Without a branch, which would be guessed wrong: what has no look-up is written over.
        rows[distinct], starts[distinct] = row, start
        distinct += np.uint64(counts[row] > 0)
        start, counts[row] = start + counts[row], start
    starts[distinct] = start
    return distinct


@compiled
def _place(indices, weights, first, counts, tokens, sorted_weights):
    """Put each look-up behind those of its row that came before; tokens count from ``first``."""
    for token in range(indices.shape[0]):
        for pick in range(indices.shape[1]):
            if indices[token, pick] >= 0:
                row = np.uint64(indices[token, pick])
                place = np.uint64(counts[row])
                tokens[place], sorted_weights[place] = first + token, weights[token, pick]
                counts[row] += 1
