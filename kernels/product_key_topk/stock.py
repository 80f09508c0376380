"""The fast path: rank each half, then rank the few pairs of ranks that can win.

With both halves sorted, pair (a, b) of ranks from 0 is no better than the (a + 1)(b + 1) - 1 other
pairs of ranks at most a and b. So pairs with (a + 1)(b + 1) > top_k lose: 119 of 1,024 remain at
top_k 32.
"""

from __future__ import annotations

import torch
from torch import Tensor

from archspec.kernels.product_key_topk.reference import slot_dtype

# Half scores held at a time: 16 MB in fp32, so that ranking reads what scoring left in the cache.
_CHUNK_ELEMENTS = 1 << 22


def product_key_topk(queries: Tensor, codebooks: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """See :func:`archspec.kernels.product_key_topk.reference.product_key_topk`."""
    (tokens, heads), num_keys = queries.shape[:2], codebooks.shape[2]
    dtype = torch.promote_types(queries.dtype, torch.float32)
    scores = queries.new_empty(tokens, heads, top_k, dtype=dtype)
    slots = queries.new_empty(tokens, heads, top_k, dtype=slot_dtype(num_keys))
    keys = codebooks.to(dtype).mT  # [2, heads, half_dim, num_keys]
    ranks = _winning_ranks(top_k, queries.device)
    chunk = max(1, _CHUNK_ELEMENTS // max(1, 2 * heads * num_keys))  # tokens
    for start in range(0, tokens, chunk):
        part = queries[start : start + chunk].to(dtype).permute(2, 1, 0, 3)
        best = _best_slots(torch.matmul(part, keys), ranks, top_k)  # each [heads, chunk, top_k]
        scores[start : start + chunk] = best[0].transpose(0, 1)
        slots[start : start + chunk] = best[1].transpose(0, 1)
    return scores, slots


def product_key_topk_backward(
    grad_scores: Tensor, slots: Tensor, queries: Tensor, codebooks: Tensor
) -> tuple[Tensor, Tensor]:
    """See :func:`archspec.kernels.product_key_topk.reference.product_key_topk_backward`."""
    (tokens, heads, _), num_keys = slots.shape, codebooks.shape[2]
    dtype = torch.promote_types(queries.dtype, torch.float32)
    keys = codebooks.to(dtype)
    grad_queries = queries.new_empty(queries.shape)
    grad_codebooks = torch.zeros_like(keys, memory_format=torch.contiguous_format)
    chunk = max(1, _CHUNK_ELEMENTS // max(1, 2 * heads * num_keys))  # tokens
    for start in range(0, tokens, chunk):
        part = slice(start, start + chunk)
        grad_halves = _spread(grad_scores[part].to(dtype), slots[part], num_keys)
        grad_queries[part] = torch.matmul(grad_halves, keys).permute(2, 1, 0, 3)
        grad_codebooks += torch.matmul(grad_halves.mT, queries[part].to(dtype).permute(2, 1, 0, 3))
    return grad_queries, grad_codebooks.to(codebooks.dtype)


def _spread(grad_scores: Tensor, slots: Tensor, num_keys: int) -> Tensor:
    """Sum the gradients of each half key, [2, heads, tokens, num_keys]."""
    chosen = torch.stack((slots // num_keys, slots % num_keys)).long()
    grad_halves = grad_scores.new_zeros(*chosen.shape[:3], num_keys)
    grad_halves.scatter_add_(-1, chosen, grad_scores.expand(2, -1, -1, -1))
    return grad_halves.transpose(1, 2)


def _winning_ranks(top_k: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """List the pairs of ranks that can win, as two index vectors."""
    pairs = [(a, b) for a in range(top_k) for b in range(top_k // (a + 1))]
    first, second = torch.tensor(pairs, device=device).unbind(1)
    return first, second


def _best_slots(halves: Tensor, ranks: tuple[Tensor, Tensor], top_k: int) -> tuple[Tensor, Tensor]:
    """Rank slots from the scores of both halves, [2, heads, tokens, num_keys]."""
    num_keys = halves.shape[-1]
    ids = torch.arange(num_keys, device=halves.device).expand_as(halves)
    scores, keys = _ordered_topk(halves, ids, top_k)
    first, second = ranks
    return _ordered_topk(
        scores[0][..., first] + scores[1][..., second],
        keys[0][..., first] * num_keys + keys[1][..., second],
        top_k,
    )


def _ordered_topk(scores: Tensor, ids: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Select along the last axis by score descending, then id ascending.

    ``torch.topk`` orders unequal scores and is arbitrary among equal ones. One score more than
    asked for shows every tie that matters; rows that have one, few with real scores, are sorted.
    """
    top = scores.topk(min(k + 1, scores.shape[-1]))
    best_scores, best_ids = top.values[..., :k], ids.gather(-1, top.indices[..., :k])
    tied = (top.values[..., 1:] == top.values[..., :-1]).any(-1)
    if tied.any():
        tied_scores, tied_ids = _sort_rows(scores[tied], ids[tied])
        best_scores[tied], best_ids[tied] = tied_scores[:, :k], tied_ids[:, :k]
    return best_scores, best_ids


def _sort_rows(scores: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    ids, by_id = ids.sort(dim=-1)
    scores, by_score = scores.gather(-1, by_id).sort(dim=-1, descending=True, stable=True)
    return scores, ids.gather(-1, by_score)
