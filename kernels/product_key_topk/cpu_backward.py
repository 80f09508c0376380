"""The CPU kernel that carries gradients of scores back to queries and codebooks.

The picks of a token share keys: 32 slots lie on about 12 keys of either half, however many there
are. So shares are summed by key first, and then only the rows of these keys are read and added to,
where a matmul would go over all of them.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from archspec.kernels.arrays import as_array
from archspec.kernels.jit import compiled
from archspec.kernels.threads import even_bounds, run_ranges

# Tokens whose sums of codebook gradients one thread takes alone. Fixed, because it decides the
# order of addition.
_PART_TOKENS = 2048
_LEAST_WORK = 512  # half rows for a thread: below, starting it costs more than it brings


def product_key_topk_backward(
    grad_scores: Tensor, slots: Tensor, queries: Tensor, codebooks: Tensor
) -> tuple[Tensor, Tensor]:
    """See :func:`archspec.kernels.product_key_topk.reference.product_key_topk_backward`."""
    tokens, heads = queries.shape[:2]
    grad_queries = torch.empty(queries.shape, dtype=torch.float32)
    parts = max(1, -(-tokens // _PART_TOKENS))
    sums = torch.empty(parts, *codebooks.shape, dtype=torch.float32)
    inputs = (grad_scores.float(), slots, queries.float(), codebooks.float())
    arrays = [as_array(tensor.contiguous()) for tensor in (*inputs, grad_queries, sums)]
    bounds = even_bounds(parts * 2 * heads, least=_LEAST_WORK // max(1, min(tokens, _PART_TOKENS)))
    run_ranges(lambda start, stop: _carry_back(start, stop, *arrays, _PART_TOKENS), bounds)
    grad_codebooks = sums[0] if parts == 1 else sums.sum(0)
    return grad_queries.to(queries.dtype), grad_codebooks.to(codebooks.dtype)


@compiled
def _carry_back(
    start, stop, grad_scores, slots, queries, codebooks, grad_queries, sums, part_tokens
):
    """Carry back a range of units, each a part of the tokens in one half of one head."""
    tokens, top_k = slots.shape[0], slots.shape[2]
    heads, num_keys = codebooks.shape[1], codebooks.shape[2]
    shares = np.zeros(num_keys, np.float32)
    is_listed = np.zeros(num_keys, np.uint8)
    listed = np.empty(top_k + 1, np.uint32)
    for unit in range(start, stop):
        part, half, head = unit // (2 * heads), unit // heads % 2, unit % heads
        keys, grad_keys = codebooks[half, head], sums[part, half, head]
        grad_keys[:] = 0
        for token in range(part * part_tokens, min(tokens, (part + 1) * part_tokens)):
            picked, grads = slots[token, head], grad_scores[token, head]
            count = _share_out(picked, grads, half, shares, is_listed, listed)
            query, grad_query = queries[token, head, half], grad_queries[token, head, half]
            _add_rows(listed[:count], shares, is_listed, keys, query, grad_query, grad_keys)


@compiled
def _share_out(picked, grads, half, shares, is_listed, listed):
    """Add each slot's gradient to its key of this half, and list the keys; return their number."""
    num_keys = np.uint64(len(shares))
    count = np.uint64(0)
    for pick in range(len(picked)):
        slot = np.uint64(picked[pick])
        key = slot % num_keys if half else slot // num_keys
        shares[key] += grads[pick]
        # Without a branch, which would be guessed wrong: what is listed already is written over.
        listed[count] = key
        count += np.uint64(1) - is_listed[key]
        is_listed[key] = 1
    return count


@compiled
def _add_rows(listed, shares, is_listed, keys, query, grad_query, grad_keys):
    """Add the listed keys to the query's gradient, the query to theirs; clear their shares."""
    grad_query[:] = 0
    for i in range(len(listed)):
        key = listed[i]
        share, row, grad_row = shares[key], keys[key], grad_keys[key]
        shares[key], is_listed[key] = 0, 0
        for d in range(len(query)):
            grad_query[d] += share * row[d]
        for d in range(len(query)):
            grad_row[d] += share * query[d]
