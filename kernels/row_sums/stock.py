"""Sums of look-ups grouped by row, by stock ops: rows are bags of ``F.embedding_bag``.

No two threads write one row, so results are bitwise reproducible.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SEGMENT = 64  # look-ups that are added up before another sum starts


def sum_bags(starts: Tensor, tokens: Tensor, weights: Tensor | None, grads: Tensor) -> Tensor:
    """Sum weighted rows of ``grads`` into bags.

    Long bags are summed in segments, and so are their sums: a running sum of n terms loses up to n
    roundings, this way it is 64 times the logarithm of n to base 64.

    Args:
        starts: [bags + 1], ascending.
        tokens: [lookups], the row of ``grads`` that each adds.
        weights: [lookups] of grads' dtype, or None for ones.
        grads: [total, width], fp32 or fp64.

    Returns:
        [bags, width] in grads' dtype.
    """
    counts = starts.diff()
    if counts.numel() == 0 or int(counts.max()) <= SEGMENT:
        return sum_short_bags(starts, tokens, weights, grads)
    segments = (counts + SEGMENT - 1) // SEGMENT  # [bags]
    firsts = F.pad(segments.cumsum(0), (1, 0))  # [bags + 1]
    bags = torch.repeat_interleave(segments)  # [all segments]
    everything = torch.arange(bags.shape[0], device=bags.device)
    begins = starts[bags] + (everything - firsts[bags]) * SEGMENT
    ends = F.pad(begins, (0, 1), value=tokens.shape[0])
    return sum_bags(firsts, everything, None, sum_short_bags(ends, tokens, weights, grads))


def sum_short_bags(starts: Tensor, tokens: Tensor, weights: Tensor | None, grads: Tensor) -> Tensor:
    """Sum bags of any length one term after the other; see :func:`sum_bags`."""
    if tokens.shape[0] == 0:
        return grads.new_zeros(starts.shape[0] - 1, grads.shape[1])
    return F.embedding_bag(
        tokens, grads, starts[:-1].to(tokens.dtype), mode="sum", per_sample_weights=weights
    )
