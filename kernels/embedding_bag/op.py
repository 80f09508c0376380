"""Registration of the ops: choice of implementation, shapes, gradients, FLOPs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from archspec.kernels.autocast import is_autocast
from archspec.kernels.dispatch import implementation, is_plain
from archspec.kernels.sharding import require_whole_rows

Gradients = tuple[Tensor | None, ...]


def embedding_bag(indices: Tensor, weights: Tensor, table: Tensor) -> Tensor:
    """Sum each token's picked rows: ``result[t] = sum_p weights[t, p] * table[indices[t, p]]``.

    Differentiable, any number of times, in ``weights`` and ``table``. The gradient of the table is
    dense. Sums of 16-bit rows are kept in fp32 and rounded once. Bitwise reproducible on CPU.
    Autocast never casts a table: under it weights may have any dtype, and the result has the
    table's.

    Args:
        indices: [tokens, picks], int32 or int64, each in [0, slots). Duplicates add up.
        weights: [tokens, picks], of the table's dtype or fp32.
        table: [slots, value_dim], contiguous (a copy is made otherwise).

    Returns:
        [tokens, value_dim] in the table's dtype.

    Raises:
        ValueError: Shapes or dtypes do not fit.
        IndexError: An index is out of range (checked on CPU only).
        KernelError: ``ARCHSPEC_KERNELS`` demands an implementation that cannot run, or the table is
            a DTensor that every rank would have to gather.
    """
    require_whole_rows("embedding_bag", table)
    if indices.dim() != 2 or weights.shape != indices.shape or table.dim() != 2:
        raise ValueError(
            "embedding_bag: indices and weights are [tokens, picks] and table is [slots, "
            f"value_dim], but they are {list(indices.shape)}, {list(weights.shape)} and "
            f"{list(table.shape)}"
        )
    if indices.dtype not in (torch.int32, torch.int64):
        raise ValueError(f"embedding_bag: indices are int32 or int64, not {indices.dtype}")
    if is_autocast(table.device.type) and weights.dtype != table.dtype:
        weights = weights.to(torch.promote_types(table.dtype, torch.float32))
    if weights.dtype not in (table.dtype, torch.float32):
        raise ValueError(
            f"embedding_bag: weights have the table's dtype ({table.dtype}) or torch.float32, "
            f"not {weights.dtype}"
        )
    if is_plain(indices, weights, table):
        result: Tensor = implementation("embedding_bag", table)(indices, weights, table)
    else:
        result = embedding_bag_op(indices, weights, table)
    return result


@torch.library.custom_op("archspec::embedding_bag", mutates_args=())
def embedding_bag_op(indices: Tensor, weights: Tensor, table: Tensor) -> Tensor:
    """See :func:`archspec.kernels.embedding_bag.reference.embedding_bag`."""
    result: Tensor = implementation("embedding_bag", table)(indices, weights, table)
    return result


# The wrappers of custom_op cost as much as a small look-up; on CPU the kernel is called directly.
_DIRECT = torch.library.Library("archspec", "IMPL")
_DIRECT.impl("embedding_bag", lambda *args: implementation("embedding_bag", args[2])(*args), "CPU")


@torch.library.custom_op("archspec::gather_dot", mutates_args=())
def gather_dot(indices: Tensor, grad: Tensor, table: Tensor) -> Tensor:
    """See :func:`archspec.kernels.embedding_bag.reference.gather_dot`."""
    result: Tensor = implementation("gather_dot", table)(indices, grad, table)
    return result


@torch.library.custom_op("archspec::scatter_rows", mutates_args=())
def scatter_rows(indices: Tensor, weights: Tensor, grad: Tensor, slots: int) -> Tensor:
    """See :func:`archspec.kernels.embedding_bag.reference.scatter_rows`."""
    result: Tensor = implementation("scatter_rows", grad)(indices, weights, grad, slots)
    return result


@torch.library.custom_op("archspec::embedding_bag_backward", mutates_args=())
def embedding_bag_backward(
    indices: Tensor, weights: Tensor, grad: Tensor, table: Tensor
) -> tuple[Tensor, Tensor]:
    """See :func:`archspec.kernels.embedding_bag.reference.embedding_bag_backward`."""
    function = implementation("embedding_bag_backward", table)
    result: tuple[Tensor, Tensor] = function(indices, weights, grad, table)
    return result


@embedding_bag_op.register_fake
def _(indices: Tensor, _weights: Tensor, table: Tensor) -> Tensor:
    return table.new_empty(indices.shape[0], table.shape[1])


@gather_dot.register_fake
def _(indices: Tensor, grad: Tensor, table: Tensor) -> Tensor:
    return grad.new_empty(indices.shape, dtype=torch.promote_types(table.dtype, torch.float32))


@scatter_rows.register_fake
def _(_indices: Tensor, _weights: Tensor, grad: Tensor, slots: int) -> Tensor:
    return grad.new_empty(slots, grad.shape[1])


@embedding_bag_backward.register_fake
def _(indices: Tensor, _weights: Tensor, grad: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
    dtype = torch.promote_types(table.dtype, torch.float32)
    return grad.new_empty(indices.shape, dtype=dtype), grad.new_empty(table.shape)


# The first three are one trilinear form (see reference.py), so each backward is the other two ops.


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001 (passed by name)
    ctx.save_for_backward(*inputs[:3])


def _embedding_bag_backward(ctx: Any, grad: Tensor) -> Gradients:
    indices, weights, table = ctx.saved_tensors
    _, wants_weights, wants_table = ctx.needs_input_grad
    if wants_weights and wants_table:
        grad_weights, grad_table = embedding_bag_backward(indices, weights, grad, table)
        return None, grad_weights.to(weights.dtype), grad_table
    return (
        None,
        gather_dot(indices, grad, table).to(weights.dtype) if wants_weights else None,
        scatter_rows(indices, weights, grad, table.shape[0]) if wants_table else None,
    )


def _gather_dot_backward(ctx: Any, weights: Tensor) -> Gradients:
    indices, grad, table = ctx.saved_tensors
    _, wants_grad, wants_table = ctx.needs_input_grad
    return (
        None,
        embedding_bag_op(indices, weights, table) if wants_grad else None,
        scatter_rows(indices, weights, grad, table.shape[0]) if wants_table else None,
    )


def _scatter_rows_backward(ctx: Any, table: Tensor) -> Gradients:
    indices, weights, grad = ctx.saved_tensors
    _, wants_weights, wants_grad, _ = ctx.needs_input_grad
    return (
        None,
        gather_dot(indices, grad, table).to(weights.dtype) if wants_weights else None,
        embedding_bag_op(indices, weights, table) if wants_grad else None,
        None,
    )


def _save_all(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001
    # Without this, a cotangent that nobody made is a table of zeros.
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs)


def _backward_backward(ctx: Any, dots: Tensor | None, rows: Tensor | None) -> Gradients:
    indices, weights, grad, table = ctx.saved_tensors
    _, wants_weights, wants_grad, wants_table = ctx.needs_input_grad
    to_weights = to_grad = to_table = None
    if rows is not None and wants_weights:
        to_weights = gather_dot(indices, grad, rows).to(weights.dtype)
    if rows is not None and wants_grad:
        to_grad = embedding_bag_op(indices, weights, rows)
    if dots is not None and wants_grad:
        through_dots = embedding_bag_op(indices, dots, table)
        to_grad = through_dots if to_grad is None else to_grad + through_dots
    if dots is not None and wants_table:
        to_table = scatter_rows(indices, dots, grad, table.shape[0])
    return None, to_weights, to_grad, to_table


embedding_bag_op.register_autograd(_embedding_bag_backward, setup_context=_save)
gather_dot.register_autograd(_gather_dot_backward, setup_context=_save)
scatter_rows.register_autograd(_scatter_rows_backward, setup_context=_save)
embedding_bag_backward.register_autograd(_backward_backward, setup_context=_save_all)


@register_flop_formula([torch.ops.archspec.embedding_bag, torch.ops.archspec.scatter_rows])
def _weighted_rows_flops(
    indices: torch.Size, _weights: torch.Size, rows: torch.Size, *_: Any, **__: Any
) -> int:
    """Count a multiply and an add for each element of each look-up; no index work."""
    return 2 * indices[0] * indices[1] * rows[1]


@register_flop_formula(torch.ops.archspec.gather_dot)
def _gather_dot_flops(
    indices: torch.Size, _grad: torch.Size, table: torch.Size, *_: Any, **__: Any
) -> int:
    """Count a multiply and an add for each element of each look-up; no index work."""
    return 2 * indices[0] * indices[1] * table[1]


@register_flop_formula(torch.ops.archspec.embedding_bag_backward)
def _embedding_bag_backward_flops(
    indices: torch.Size, _weights: torch.Size, _grad: torch.Size, table: torch.Size, **__: Any
) -> int:
    """Count two multiplies and two adds for each element of each look-up; no index work."""
    return 4 * indices[0] * indices[1] * table[1]
