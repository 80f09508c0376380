"""The meaning of the two ops: a loop of stock matmuls, differentiable by plain autograd.

Both contract one trilinear form, the sum over groups g and rows r of g of
``rows[r] @ weights[g] @ grads[r]``, so each is the gradient of the other. Products of 16-bit
matrices are summed in fp32.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor


def grouped_matmul(rows: Tensor, weights: Tensor, offsets: Tensor) -> Tensor:
    """Multiply each group of rows by the group's matrix: ``result[r] = rows[r] @ weights[g(r)]``.

    Args:
        rows: [total, in_dim], sorted by group.
        weights: [groups, in_dim, out_dim], of rows' dtype.
        offsets: [groups], int32: group g holds the rows from ``offsets[g - 1]`` (0 for the first)
            up to, not including, ``offsets[g]``; the last is ``total``. Groups may be empty.

    Returns:
        [total, out_dim] in rows' dtype.

    Raises:
        ValueError: The offsets decrease or do not end at ``total``.
    """
    dtype = torch.promote_types(rows.dtype, torch.float32)
    bounds = group_bounds(offsets, rows.shape[0])
    parts = [
        rows[start:end].to(dtype) @ weights[group].to(dtype)
        for group, (start, end) in enumerate(pairwise(bounds))
    ]
    return torch.cat(parts).to(rows.dtype)


def grouped_outer(rows: Tensor, grads: Tensor, offsets: Tensor) -> Tensor:
    """Sum the outer products of each group: ``result[g] = rows[of g].T @ grads[of g]``.

    Args:
        rows: [total, in_dim], sorted by group.
        grads: [total, out_dim], of rows' dtype.
        offsets: [groups], int32, as in :func:`grouped_matmul`.

    Returns:
        [groups, in_dim, out_dim] in rows' dtype, zero for an empty group.

    Raises:
        ValueError: The offsets decrease or do not end at ``total``.
    """
    dtype = torch.promote_types(rows.dtype, torch.float32)
    bounds = group_bounds(offsets, rows.shape[0])
    parts = [rows[a:b].to(dtype).T @ grads[a:b].to(dtype) for a, b in pairwise(bounds)]
    return torch.stack(parts).to(rows.dtype)


def group_bounds(offsets: Tensor, total: int) -> list[int]:
    """Read the offsets as Python integers with a leading 0, and check them.

    Raises:
        ValueError: The offsets decrease or do not end at ``total``.
    """
    bounds = [0, *offsets.tolist()]
    if bounds != sorted(bounds) or bounds[-1] != total:
        raise ValueError(
            "grouped_matmul: offsets must not decrease and must end at the number of rows, "
            f"{total}, but they are {bounds[1:]}"
        )
    return bounds
