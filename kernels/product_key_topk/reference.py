"""The meaning of product-key selection: brute force over all ``num_keys ** 2`` slots.

Product keys are those of Lample et al., "Large Memory Layers with Product Keys" (2019), with one
pair of codebooks per head.
"""

from __future__ import annotations

import torch
from torch import Tensor


def product_key_topk(queries: Tensor, codebooks: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """Select each head's best slots by score descending, then slot ascending.

    Slot ``i * num_keys + j`` scores ``<queries[t, h, 0], codebooks[0, h, i]> +
    <queries[t, h, 1], codebooks[1, h, j]>``.

    Args:
        queries: [tokens, heads, 2, half_dim].
        codebooks: [2, heads, num_keys, half_dim], of queries' dtype.
        top_k: Slots per token and head, at most num_keys.

    Returns:
        Scores [tokens, heads, top_k], fp32 for 16-bit queries and else of their dtype, and slots
        [tokens, heads, top_k] of :func:`slot_dtype`.
    """
    first, second = _half_scores(queries, codebooks)  # each [tokens, heads, num_keys]
    scores = (first[..., :, None] + second[..., None, :]).flatten(-2)
    scores, slots = torch.sort(scores, dim=-1, descending=True, stable=True)
    slots = slots[..., :top_k].to(slot_dtype(codebooks.shape[2]))
    return scores[..., :top_k].contiguous(), slots.contiguous()


def product_key_topk_backward(
    grad_scores: Tensor, slots: Tensor, queries: Tensor, codebooks: Tensor
) -> tuple[Tensor, Tensor]:
    """Carry gradients of selected scores back to queries and codebooks.

    A slot's query half receives ``grad_scores`` times its key, its key the same times the query
    half. Keys and queries play the same part, which is what makes the op its own second derivative.

    Args:
        grad_scores: [tokens, heads, top_k], as the scores.
        slots: [tokens, heads, top_k].
        queries: [tokens, heads, 2, half_dim].
        codebooks: [2, heads, num_keys, half_dim].

    Returns:
        Gradients of queries and of codebooks, in their shapes and dtype.
    """
    num_keys = codebooks.shape[2]
    dtype = torch.promote_types(queries.dtype, torch.float32)
    heads = torch.arange(codebooks.shape[1], device=slots.device)[:, None]
    grad_queries, grad_codebooks = [], []
    for half, keys in enumerate((slots.long() // num_keys, slots.long() % num_keys)):
        rows = codebooks[half].to(dtype)[heads, keys]  # [tokens, heads, top_k, half_dim]
        grad_queries.append((grad_scores[..., None] * rows).sum(dim=2))
        shares = grad_scores[..., None] * queries[:, :, half, None].to(dtype)
        empty = torch.zeros_like(codebooks[half], dtype=dtype)
        places = (heads.expand_as(keys), keys)
        grad_codebooks.append(empty.index_put(places, shares, accumulate=True))
    return (
        torch.stack(grad_queries, dim=2).to(queries.dtype),
        torch.stack(grad_codebooks).to(codebooks.dtype),
    )


def slot_dtype(num_keys: int) -> torch.dtype:
    """Return int32 where every slot ``< num_keys ** 2`` fits (num_keys <= 46,340), else int64."""
    return torch.int32 if num_keys**2 - 1 <= torch.iinfo(torch.int32).max else torch.int64


def _half_scores(queries: Tensor, codebooks: Tensor) -> Tensor:
    dtype = torch.promote_types(queries.dtype, torch.float32)
    return torch.einsum("thpd,phnd->pthn", queries.to(dtype), codebooks.to(dtype))
