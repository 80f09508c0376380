"""Bags of a table whose gradient goes to a carrier instead of ``.grad``.

The backward of a look-up appends what it knows to a
:class:`~archspec.kernels.row_gradient.RowGradient` and gives the table no gradient. Every backward
pass does so, ``torch.autograd.grad`` for other tensors included. There is no double backward, and
``torch.compile`` breaks its graph around a look-up, because appending is a side effect.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from archspec.kernels.embedding_bag import embedding_bag, gather_dot
from archspec.kernels.row_gradient import RowGradient

Gradients = tuple[Tensor | None, ...]


def collected_bag(
    indices: Tensor,
    weights: Tensor,
    table: Tensor,
    gradient: RowGradient,
    owned: Tensor | None = None,
) -> Tensor:
    """Sum each token's picked rows, as ``embedding_bag``; decay that rows owe is counted in.

    Args:
        indices: [tokens, picks], int32 or int64, each in [0, slots).
        weights: [tokens, picks], of the table's dtype or fp32.
        table: [slots, width].
        gradient: Where backward appends (indices, weights, gradient of the result), if the table
            requires a gradient.
        owned: See :meth:`RowGradient.append`.

    Returns:
        [tokens, width] in the table's dtype.
    """
    result: Tensor = _apply(_Bag, indices, weights, table, gradient, owned)
    return result


def collected_gather_dot(
    indices: Tensor,
    x: Tensor,
    table: Tensor,
    gradient: RowGradient,
    owned: Tensor | None = None,
) -> Tensor:
    """Dot each picked row with its token's vector, as ``gather_dot``; owed decay is counted in.

    Args:
        indices: [tokens, picks], int32 or int64, each in [0, slots).
        x: [tokens, width], of the table's dtype.
        table: [slots, width].
        gradient: Where backward appends (indices, gradient of the result, x), if the table requires
            a gradient.
        owned: See :meth:`RowGradient.append`.

    Returns:
        [tokens, picks], in fp32 for a 16-bit table, else in the table's dtype.
    """
    result: Tensor = _apply(_GatherDot, indices, x, table, gradient, owned)
    return result


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _apply(function: type[torch.autograd.Function], *arguments: Any) -> Any:
    return function.apply(*arguments)


class _Bag(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        indices: Tensor,
        weights: Tensor,
        table: Tensor,
        gradient: RowGradient,
        owned: Tensor | None,
    ) -> Tensor:
        ctx.gradient = gradient
        factors = _owed(indices, table, gradient)
        ctx.save_for_backward(indices, weights, table, factors, owned)
        return embedding_bag(indices, _times(weights, factors), table)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Gradients:
        indices, weights, table, factors, owned = ctx.saved_tensors
        _, wants_weights, wants_table, *_ = ctx.needs_input_grad
        if wants_table:
            ctx.gradient.append(indices, weights, grad, owned)
        if not wants_weights:
            return None, None, None, None, None
        grad_weights = _times(gather_dot(indices, grad, table), factors)
        return None, grad_weights.to(weights.dtype), None, None, None


class _GatherDot(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        indices: Tensor,
        x: Tensor,
        table: Tensor,
        gradient: RowGradient,
        owned: Tensor | None,
    ) -> Tensor:
        ctx.gradient = gradient
        factors = _owed(indices, table, gradient)
        ctx.save_for_backward(indices, x, table, factors, owned)
        return _times(gather_dot(indices, x, table), factors)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Gradients:
        indices, x, table, factors, owned = ctx.saved_tensors
        _, wants_x, wants_table, *_ = ctx.needs_input_grad
        if wants_table:
            ctx.gradient.append(indices, grad, x, owned)
        if not wants_x:
            return None, None, None, None, None
        return None, embedding_bag(indices, _times(grad, factors), table), None, None, None


def _owed(indices: Tensor, table: Tensor, gradient: RowGradient) -> Tensor | None:
    """Return the decay that the rows owe, [tokens, picks], or None for none."""
    if gradient.decay is None:
        return None
    return gradient.decay.factors(indices).to(torch.promote_types(table.dtype, torch.float32))


def _times(values: Tensor, factors: Tensor | None) -> Tensor:
    return values if factors is None else values * factors
