"""Registration of the two ops: choice of implementation, shapes, gradients, FLOPs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from archspec.kernels.autocast import cast_for_matmul
from archspec.kernels.dispatch import implementation, is_unwatched

Gradients = tuple[Tensor | None, ...]


def grouped_matmul(rows: Tensor, weights: Tensor, offsets: Tensor) -> Tensor:
    """Multiply each group of rows by the group's matrix: ``result[r] = rows[r] @ weights[g(r)]``.

    Differentiable, any number of times, in ``rows`` and ``weights``. Under autocast both are cast
    to its dtype first, as for any matmul.

    Args:
        rows: [total, in_dim], sorted by group.
        weights: [groups, in_dim, out_dim], of rows' dtype.
        offsets: [groups], int32: group g holds the rows from ``offsets[g - 1]`` (0 for the first)
            up to, not including, ``offsets[g]``; the last is ``total``. Groups may be empty.

    Returns:
        [total, out_dim] in rows' dtype.

    Raises:
        ValueError: Shapes or dtypes do not fit, or (checked on CPU only) the offsets decrease or
            do not end at ``total``.
        KernelError: ``ARCHSPEC_KERNELS`` demands an implementation that cannot run.
    """
    rows, weights = cast_for_matmul(rows, weights)
    if (
        rows.dim() != 2
        or weights.dim() != 3
        or rows.shape[1] != weights.shape[1]
        or offsets.shape != weights.shape[:1]
        or weights.shape[0] == 0
    ):
        raise ValueError(
            "grouped_matmul: rows are [total, in_dim], weights [groups, in_dim, out_dim] and "
            f"offsets [groups], with at least one group, but they are {list(rows.shape)}, "
            f"{list(weights.shape)} and {list(offsets.shape)}"
        )
    if offsets.dtype != torch.int32 or weights.dtype != rows.dtype:
        raise ValueError(
            "grouped_matmul: offsets are torch.int32 and weights have the dtype of rows "
            f"({rows.dtype}), but they are {offsets.dtype} and {weights.dtype}"
        )
    if rows.is_cpu and is_unwatched(rows, weights, offsets):
        return _multiply_directly(rows, weights, offsets)
    result: Tensor = grouped_matmul_op(rows, weights, offsets)
    return result


class _Direct(torch.autograd.Function):
    """The op and its gradients past torch's dispatcher, whose wrappers cost a small product."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weights: Tensor, offsets: Tensor) -> Tensor:
        ctx.save_for_backward(rows, weights, offsets)
        result: Tensor = implementation("grouped_matmul", rows)(rows, weights, offsets)
        return result

    @staticmethod
    def backward(ctx: Any, grads: Tensor) -> Gradients:
        if torch.is_grad_enabled():  # to be differentiated again
            return _grouped_matmul_backward(ctx, grads)
        rows, weights, offsets = ctx.saved_tensors
        wants_rows, wants_weights, _ = ctx.needs_input_grad
        multiply, outer = (
            implementation(name, rows) for name in ("grouped_matmul", "grouped_outer")
        )
        return (
            multiply(grads, weights.mT, offsets) if wants_rows else None,
            outer(rows, grads, offsets) if wants_weights else None,
            None,
        )


_multiply_directly: Callable[[Tensor, Tensor, Tensor], Tensor] = _Direct.apply


@torch.library.custom_op("archspec::grouped_matmul", mutates_args=())
def grouped_matmul_op(rows: Tensor, weights: Tensor, offsets: Tensor) -> Tensor:
    """See :func:`archspec.kernels.grouped_matmul.reference.grouped_matmul`."""
    result: Tensor = implementation("grouped_matmul", rows)(rows, weights, offsets)
    return result


@torch.library.custom_op("archspec::grouped_outer", mutates_args=())
def grouped_outer(rows: Tensor, grads: Tensor, offsets: Tensor) -> Tensor:
    """See :func:`archspec.kernels.grouped_matmul.reference.grouped_outer`."""
    result: Tensor = implementation("grouped_outer", rows)(rows, grads, offsets)
    return result


@grouped_matmul_op.register_fake
def _(rows: Tensor, weights: Tensor, _offsets: Tensor) -> Tensor:
    return rows.new_empty(rows.shape[0], weights.shape[2])


@grouped_outer.register_fake
def _(rows: Tensor, grads: Tensor, offsets: Tensor) -> Tensor:
    return rows.new_empty(offsets.shape[0], rows.shape[1], grads.shape[1])


# The two are one trilinear form (see reference.py): a backward transposes or swaps, nothing more.


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001 (passed by name)
    ctx.save_for_backward(*inputs)


def _grouped_matmul_backward(ctx: Any, grads: Tensor) -> Gradients:
    rows, weights, offsets = ctx.saved_tensors
    wants_rows, wants_weights, _ = ctx.needs_input_grad
    return (
        grouped_matmul_op(grads, weights.mT, offsets) if wants_rows else None,
        grouped_outer(rows, grads, offsets) if wants_weights else None,
        None,
    )


def _grouped_outer_backward(ctx: Any, weights: Tensor) -> Gradients:
    rows, grads, offsets = ctx.saved_tensors
    wants_rows, wants_grads, _ = ctx.needs_input_grad
    return (
        grouped_matmul_op(grads, weights.mT, offsets) if wants_rows else None,
        grouped_matmul_op(rows, weights, offsets) if wants_grads else None,
        None,
    )


grouped_matmul_op.register_autograd(_grouped_matmul_backward, setup_context=_save)
grouped_outer.register_autograd(_grouped_outer_backward, setup_context=_save)


@register_flop_formula([torch.ops.archspec.grouped_matmul, torch.ops.archspec.grouped_outer])
def _grouped_flops(rows: torch.Size, other: torch.Size, *_: Any, **__: Any) -> int:
    """Count 2 FLOPs per multiply-add of each row with one matrix [in_dim, out_dim]."""
    return 2 * rows[0] * rows[1] * other[-1]
