"""The meaning of the ops, in stock torch, differentiable by plain autograd.

With R the rows named by ``indices``, the first three contract one trilinear form, sum over tokens t
and picks p of ``weights[t, p] * <table[indices[t, p]], grad[t]>``, with all but one of its factors.
Each is therefore the gradient of the others. 16-bit tables are summed in fp32.
"""

from __future__ import annotations

import torch
from torch import Tensor


def embedding_bag(indices: Tensor, weights: Tensor, table: Tensor) -> Tensor:
    """Sum each token's picked rows: ``result[t] = sum_p weights[t, p] * table[indices[t, p]]``.

    Args:
        indices: [tokens, picks], int32 or int64, each in [0, slots).
        weights: [tokens, picks], of the table's dtype or fp32.
        table: [slots, value_dim].

    Returns:
        [tokens, value_dim] in the table's dtype.

    Raises:
        IndexError: An index is out of range.
    """
    rows = _gather(indices, table)  # [tokens, picks, value_dim]
    return torch.einsum("tp,tpv->tv", weights.to(rows.dtype), rows).to(table.dtype)


def gather_dot(indices: Tensor, grad: Tensor, table: Tensor) -> Tensor:
    """Dot each picked row with its token's vector: ``<table[indices[t, p]], grad[t]>``.

    Args:
        indices: [tokens, picks], int32 or int64, each in [0, slots).
        grad: [tokens, value_dim], of the table's dtype.
        table: [slots, value_dim].

    Returns:
        [tokens, picks], in fp32 for a 16-bit table, else in the table's dtype.

    Raises:
        IndexError: An index is out of range.
    """
    rows = _gather(indices, table)  # [tokens, picks, value_dim]
    return torch.einsum("tpv,tv->tp", rows, grad.to(rows.dtype))


def scatter_rows(indices: Tensor, weights: Tensor, grad: Tensor, slots: int) -> Tensor:
    """Add each token's weighted vector to its picked rows of a zero table.

    Args:
        indices: [tokens, picks], int32 or int64, each in [0, slots).
        weights: [tokens, picks], of grad's dtype or fp32.
        grad: [tokens, value_dim].
        slots: Number of rows of the result.

    Returns:
        [slots, value_dim] in grad's dtype: ``result[r] = sum of weights[t, p] * grad[t] over all
        t, p with indices[t, p] = r``.

    Raises:
        IndexError, RuntimeError: An index is out of range, as ``index_add`` reports it.
    """
    dtype = torch.promote_types(grad.dtype, torch.float32)
    shares = torch.bmm(weights.to(dtype)[:, :, None], grad.to(dtype)[:, None, :])
    table = torch.zeros(slots, grad.shape[1], dtype=dtype, device=grad.device)
    return table.index_add(0, indices.reshape(-1), shares.flatten(0, 1)).to(grad.dtype)


def embedding_bag_backward(
    indices: Tensor, weights: Tensor, grad: Tensor, table: Tensor
) -> tuple[Tensor, Tensor]:
    """Take both gradients of ``embedding_bag`` at once: dots with rows, and sums into rows.

    Args:
        indices: [tokens, picks], int32 or int64, each in [0, slots).
        weights: [tokens, picks], of the table's dtype or fp32.
        grad: [tokens, value_dim], of the table's dtype.
        table: [slots, value_dim].

    Returns:
        What ``gather_dot(indices, grad, table)`` and ``scatter_rows(indices, weights, grad,
        slots)`` return.

    Raises:
        IndexError: An index is out of range.
    """
    dots = gather_dot(indices, grad, table)
    return dots, scatter_rows(indices, weights, grad, table.shape[0])


def _gather(indices: Tensor, table: Tensor) -> Tensor:
    # index_select rather than table[indices], which would read a negative index from the end.
    rows = table.index_select(0, indices.reshape(-1))
    rows = rows.reshape(*indices.shape, table.shape[1])
    return rows.to(torch.promote_types(table.dtype, torch.float32))
