"""Registration of the row ops: choice of implementation, shapes, FLOPs.

They have no gradients: they run where gradients end. Arguments are checked by
:class:`archspec.kernels.row_gradient.RowGradient` and the optimizer, which make them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from archspec.kernels.dispatch import implementation


@torch.library.custom_op("archspec::sum_rows", mutates_args=())
def sum_rows(starts: Tensor, tokens: Tensor, weights: Tensor, grads: Tensor) -> Tensor:
    """See :func:`archspec.kernels.row_optimizer.reference.sum_rows`."""
    result: Tensor = implementation("sum_rows", grads)(starts, tokens, weights, grads)
    return result


@torch.library.custom_op("archspec::row_square_norms", mutates_args=())
def row_square_norms(starts: Tensor, tokens: Tensor, weights: Tensor, grads: Tensor) -> Tensor:
    """See :func:`archspec.kernels.row_optimizer.reference.row_square_norms`."""
    result: Tensor = implementation("row_square_norms", grads)(starts, tokens, weights, grads)
    return result


@torch.library.custom_op("archspec::row_adam_", mutates_args=("table", "exp_avg", "exp_avg_sq"))
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
    """See :func:`archspec.kernels.row_optimizer.reference.row_adam_`."""
    lookups = (rows, starts, tokens, weights, grads, scale)
    settings = {"lr": lr, "beta1": beta1, "beta2": beta2, "eps": eps, "step": step, "seed": seed}
    run = implementation("row_adam_", table)
    run(table, exp_avg, exp_avg_sq, *lookups, **settings)


@torch.library.custom_op("archspec::row_adagrad_", mutates_args=("table", "square_sum"))
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
    """See :func:`archspec.kernels.row_optimizer.reference.row_adagrad_`."""
    lookups = (rows, starts, tokens, weights, grads, scale)
    run = implementation("row_adagrad_", table)
    run(table, square_sum, *lookups, lr=lr, eps=eps, seed=seed)


@torch.library.custom_op("archspec::row_sgd_", mutates_args=("table",))
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
    """See :func:`archspec.kernels.row_optimizer.reference.row_sgd_`."""
    lookups = (rows, starts, tokens, weights, grads, scale)
    implementation("row_sgd_", table)(table, *lookups, lr=lr, seed=seed)


@sum_rows.register_fake
def _(starts: Tensor, _tokens: Tensor, _weights: Tensor, grads: Tensor) -> Tensor:
    dtype = torch.promote_types(grads.dtype, torch.float32)
    return grads.new_empty(starts.shape[0] - 1, grads.shape[1], dtype=dtype)


@row_square_norms.register_fake
def _(starts: Tensor, _tokens: Tensor, _weights: Tensor, grads: Tensor) -> Tensor:
    dtype = torch.promote_types(grads.dtype, torch.float32)
    return grads.new_empty(starts.shape[0] - 1, dtype=dtype)


@row_adam_.register_fake
@row_adagrad_.register_fake
@row_sgd_.register_fake
def _(*_: Tensor, **__: Any) -> None:
    return None


@register_flop_formula(torch.ops.archspec.sum_rows)
def _sum_rows_flops(
    _starts: torch.Size, tokens: torch.Size, _weights: torch.Size, grads: torch.Size, **_: Any
) -> int:
    """Count a multiply and an add for each element of each look-up; no index work."""
    return 2 * tokens[0] * grads[1]


@register_flop_formula(torch.ops.archspec.row_square_norms)
def _row_square_norms_flops(
    starts: torch.Size, tokens: torch.Size, _weights: torch.Size, grads: torch.Size, **_: Any
) -> int:
    """Count a multiply and an add for each element of each look-up, and of each row."""
    return 2 * (tokens[0] + starts[0] - 1) * grads[1]
