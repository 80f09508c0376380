"""The meaning of the row ops, in plain torch.

All of them read the gradient of a table as look-ups grouped by row (see
:class:`archspec.kernels.row_gradient.Lookups`): the gradient of ``rows[r]`` is the sum over k in
``starts[r]:starts[r + 1]`` of ``weights[k] * grads[tokens[k]]``, taken in fp32 (fp64 for fp64
gradients). An update changes the rows that have a look-up and, of the state, nothing but what
belongs to them.

Tables are fp32, fp64, fp16 or bf16; state is fp32, for fp64 tables fp64. New values are rounded
once, to bf16 stochastically (``rounding.py``), else to the nearest.
"""

from __future__ import annotations

import torch
from torch import Tensor

from archspec.kernels.row_optimizer.rounding import round_stochastically


def sum_rows(starts: Tensor, tokens: Tensor, weights: Tensor, grads: Tensor) -> Tensor:
    """Sum the look-ups of every row.

    Args:
        starts: [distinct + 1], int64, from 0 to the number of look-ups.
        tokens: [lookups], int32, the row of ``grads`` that a look-up adds.
        weights: [lookups], fp32 (fp64 with fp64 gradients).
        grads: [tokens, width].

    Returns:
        [distinct, width], fp32 (fp64 for fp64 gradients).
    """
    dtype = torch.promote_types(grads.dtype, torch.float32)
    distinct = starts.shape[0] - 1
    rows = torch.repeat_interleave(starts.diff(), output_size=tokens.shape[0])  # [lookups]
    shares = weights.to(dtype)[:, None] * grads.index_select(0, tokens).to(dtype)
    sums = torch.zeros(distinct, grads.shape[1], dtype=dtype, device=grads.device)
    return sums.index_add(0, rows, shares)


def row_square_norms(starts: Tensor, tokens: Tensor, weights: Tensor, grads: Tensor) -> Tensor:
    """Sum the squares of every row's gradient, [distinct]; arguments as for :func:`sum_rows`."""
    return sum_rows(starts, tokens, weights, grads).square().sum(1)


def row_adam_(
    table: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    rows: Tensor,
    starts: Tensor,
    tokens: Tensor,
    weights: Tensor,
    grads: Tensor,
    scale: Tensor,
    *,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    step: int,
    seed: int,
) -> None:
    """Update rows by Adam (Kingma and Ba, arXiv 1412.6980), with one second moment a row or many.

    With g the gradient times ``scale``: ``m = beta1 m + (1 - beta1) g``,
    ``v = beta2 v + (1 - beta2) g^2``,
    ``row -= lr / (1 - beta1^step) m / (sqrt(v / (1 - beta2^step)) + eps)``.

    Args:
        table: [slots, width], changed.
        exp_avg: m, [slots, width], changed; [0, width] where beta1 is 0, and then m is g.
        exp_avg_sq: v, [slots, width], changed; or [slots], and then g^2 is its mean over the row.
        rows: [distinct], int64, ascending.
        starts: As for :func:`sum_rows`; so are tokens, weights and grads.
        tokens: [lookups].
        weights: [lookups].
        grads: [tokens, width].
        scale: 0-dimensional, of the state's dtype; multiplies the gradient.
        lr: Learning rate.
        beta1: Decay of the first moment.
        beta2: Decay of the second.
        eps: Added to the root.
        step: Of the table, this one included: the bias correction knows no rows (as SparseAdam).
        seed: Of the rounding to bf16.
    """
    grad = scale * sum_rows(starts, tokens, weights, grads)
    first = grad
    if beta1 != 0:
        first = exp_avg[rows].lerp(grad, 1 - beta1)
        exp_avg[rows] = first
    square = grad.square() if exp_avg_sq.dim() == 2 else grad.square().mean(1)
    second = exp_avg_sq[rows].lerp(square, 1 - beta2)
    exp_avg_sq[rows] = second
    root = (second / (1 - beta2**step)).sqrt() + eps
    root = root if root.dim() == 2 else root[:, None]  # [distinct, width or 1]
    _store(table, rows, _values(table, rows) - lr / (1 - beta1**step) * first / root, seed)


def row_adagrad_(
    table: Tensor,
    square_sum: Tensor,
    rows: Tensor,
    starts: Tensor,
    tokens: Tensor,
    weights: Tensor,
    grads: Tensor,
    scale: Tensor,
    *,
    lr: float,
    eps: float,
    seed: int,
) -> None:
    """Update rows by Adagrad (Duchi et al., 2011) with one sum a row.

    With g the gradient times ``scale``: ``s += mean(g^2)``, ``row -= lr g / (sqrt(s) + eps)``.

    Args:
        table: [slots, width], changed.
        square_sum: s, [slots], changed.
        rows: As for :func:`row_adam_`; so are all others.
        starts: [distinct + 1].
        tokens: [lookups].
        weights: [lookups].
        grads: [tokens, width].
        scale: 0-dimensional.
        lr: Learning rate.
        eps: Added to the root.
        seed: Of the rounding to bf16.
    """
    grad = scale * sum_rows(starts, tokens, weights, grads)
    total = square_sum[rows] + grad.square().mean(1)
    square_sum[rows] = total
    _store(table, rows, _values(table, rows) - lr * grad / (total.sqrt() + eps)[:, None], seed)


def row_sgd_(
    table: Tensor,
    rows: Tensor,
    starts: Tensor,
    tokens: Tensor,
    weights: Tensor,
    grads: Tensor,
    scale: Tensor,
    *,
    lr: float,
    seed: int,
) -> None:
    """Update rows by ``row -= lr * scale * gradient``; arguments as for :func:`row_adam_`."""
    grad = scale * sum_rows(starts, tokens, weights, grads)
    _store(table, rows, _values(table, rows) - lr * grad, seed)


def _values(table: Tensor, rows: Tensor) -> Tensor:
    return table[rows].to(torch.promote_types(table.dtype, torch.float32))


def _store(table: Tensor, rows: Tensor, values: Tensor, seed: int) -> None:
    if table.dtype == torch.bfloat16:
        values = round_stochastically(values, rows, seed)
    table[rows] = values.to(table.dtype)
