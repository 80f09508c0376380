"""Registration of the op and its backward: choice of implementation, shapes, gradients, FLOPs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from archspec.kernels.autocast import cast_for_matmul, outside_autocast
from archspec.kernels.dispatch import implementation
from archspec.kernels.product_key_topk.reference import slot_dtype

Gradients = tuple[Tensor | None, ...]


def product_key_topk(queries: Tensor, codebooks: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """Select each head's ``top_k`` best of ``num_keys ** 2`` slots, exactly.

    Slot ``i * num_keys + j`` scores ``<queries[t, h, 0], codebooks[0, h, i]> +
    <queries[t, h, 1], codebooks[1, h, j]>``. The order is score descending, then slot ascending,
    and inside a half score descending, then key ascending. Where every sum of two half scores is
    exact, this equals brute force over all slots, ties included. Where sums round, two slots of
    unequal true scores can come out equal, and such ties are decided by slot among the candidates
    that the halves propose: the scores are those of brute force, a slot may be another of the same
    rounded score. Scores that are NaN give arbitrary slots, in range.

    Differentiable, any number of times, in ``queries`` and ``codebooks``; slots have no gradient.
    Under autocast both are cast to its dtype first, as for any matmul; scores stay fp32.

    Args:
        queries: [tokens, heads, 2, half_dim].
        codebooks: [2, heads, num_keys, half_dim], of queries' dtype.
        top_k: Slots per token and head, from 1 to num_keys.

    Returns:
        Scores [tokens, heads, top_k], fp32 for 16-bit queries and else of their dtype, and slots
        [tokens, heads, top_k], int32 where every slot fits (num_keys <= 46,340) and else int64.

    Raises:
        ValueError: Shapes or dtypes do not fit, or top_k is out of range.
        KernelError: ``ARCHSPEC_KERNELS`` demands an implementation that cannot run.
    """
    queries, codebooks = cast_for_matmul(queries, codebooks)
    _require_shapes(queries, codebooks)
    num_keys = codebooks.shape[2]
    if not 1 <= top_k <= num_keys:
        raise ValueError(
            f"product_key_topk: 1 <= top_k <= num_keys must hold, but top_k={top_k} and "
            f"num_keys={num_keys}; lower top_k or raise num_keys"
        )
    result: tuple[Tensor, Tensor] = product_key_topk_op(queries, codebooks, top_k)
    return result


def _require_shapes(queries: Tensor, codebooks: Tensor) -> None:
    fits = (
        queries.dim() == codebooks.dim() == 4
        and queries.shape[2] == codebooks.shape[0] == 2
        and queries.shape[1] == codebooks.shape[1]
        and queries.shape[3] == codebooks.shape[3]
    )
    if not fits:
        raise ValueError(
            "product_key_topk: queries are [tokens, heads, 2, half_dim] and codebooks [2, heads, "
            f"num_keys, half_dim], but they are {list(queries.shape)} and {list(codebooks.shape)}"
        )
    if queries.dtype != codebooks.dtype:
        raise ValueError(
            "product_key_topk: queries and codebooks have one dtype, but they have "
            f"{queries.dtype} and {codebooks.dtype}"
        )


@torch.library.custom_op("archspec::product_key_topk", mutates_args=())
def product_key_topk_op(queries: Tensor, codebooks: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """See :func:`archspec.kernels.product_key_topk.reference.product_key_topk`."""
    select = implementation("product_key_topk", queries, top_k=top_k, num_keys=codebooks.shape[2])
    result: tuple[Tensor, Tensor] = select(queries, codebooks, top_k)
    return result


@torch.library.custom_op("archspec::product_key_topk_backward", mutates_args=())
def product_key_topk_backward(
    grad_scores: Tensor, slots: Tensor, queries: Tensor, codebooks: Tensor
) -> tuple[Tensor, Tensor]:
    """See :func:`archspec.kernels.product_key_topk.reference.product_key_topk_backward`."""
    carry_back = implementation(
        "product_key_topk_backward", queries, top_k=slots.shape[2], num_keys=codebooks.shape[2]
    )
    result: tuple[Tensor, Tensor] = carry_back(grad_scores, slots, queries, codebooks)
    return result


@product_key_topk_op.register_fake
def _(queries: Tensor, codebooks: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    shape = (queries.shape[0], queries.shape[1], top_k)
    dtype = torch.promote_types(queries.dtype, torch.float32)
    return (
        queries.new_empty(shape, dtype=dtype),
        queries.new_empty(shape, dtype=slot_dtype(codebooks.shape[2])),
    )


@product_key_topk_backward.register_fake
def _(
    _grad_scores: Tensor, _slots: Tensor, queries: Tensor, codebooks: Tensor
) -> tuple[Tensor, Tensor]:
    return queries.new_empty(queries.shape), codebooks.new_empty(codebooks.shape)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    queries, codebooks, _ = inputs
    _, slots = output
    ctx.mark_non_differentiable(slots)
    ctx.save_for_backward(slots, queries, codebooks)


def _backward(ctx: Any, grad_scores: Tensor, _: Tensor | None) -> Gradients:
    return (*product_key_topk_backward(grad_scores, *ctx.saved_tensors), None)


def _save_inputs(
    ctx: Any,
    inputs: tuple[Any, ...],
    output: tuple[Tensor, Tensor],  # noqa: ARG001 (passed by name)
) -> None:
    ctx.save_for_backward(*inputs)


def _backward_twice(ctx: Any, along_queries: Tensor, along_codebooks: Tensor) -> Gradients:
    """Differentiate the backward, bilinear in gradients and (queries, codebooks).

    The cotangents arrive in the shapes of queries and codebooks, and because a key and the query it
    meets enter a score symmetrically, the op itself carries ``grad_scores`` back along them.
    """
    grad_scores, slots, queries, codebooks = ctx.saved_tensors
    with outside_autocast(queries.device.type):
        scores = _scores_of(slots, along_queries, codebooks) + _scores_of(
            slots, queries, along_codebooks
        )
    return (
        scores.to(grad_scores.dtype),
        None,
        *product_key_topk_backward(grad_scores, slots, along_queries, along_codebooks),
    )


def _scores_of(slots: Tensor, queries: Tensor, codebooks: Tensor) -> Tensor:
    """Score given slots, [tokens, heads, top_k]."""
    num_keys = codebooks.shape[2]
    dtype = torch.promote_types(queries.dtype, torch.float32)
    halves = torch.einsum("thpd,phnd->pthn", queries.to(dtype), codebooks.to(dtype))
    first, second = slots.long() // num_keys, slots.long() % num_keys
    return halves[0].gather(-1, first) + halves[1].gather(-1, second)


product_key_topk_op.register_autograd(_backward, setup_context=_save)
product_key_topk_backward.register_autograd(_backward_twice, setup_context=_save_inputs)


@register_flop_formula(torch.ops.archspec.product_key_topk)
def _forward_flops(queries: torch.Size, codebooks: torch.Size, *_: Any, **__: Any) -> int:
    """Count the scoring of all half keys at 2 FLOPs per multiply-add; selection counts 0."""
    tokens, heads, halves, half_dim = queries
    return 2 * tokens * heads * halves * codebooks[2] * half_dim


@register_flop_formula(torch.ops.archspec.product_key_topk_backward)
def _backward_flops(
    _grad_scores: torch.Size,
    _slots: torch.Size,
    queries: torch.Size,
    codebooks: torch.Size,
    *_: Any,
    **__: Any,
) -> int:
    """Count one dense matmul for queries and one for codebooks, each as large as scoring."""
    return 2 * _forward_flops(queries, codebooks)
