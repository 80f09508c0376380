"""The backward of product-key selection on a GPU: gradients spread over all keys, then two GEMMs.

A dense matmul does num_keys / top_k times the work that is needed, on units that are 15 times as
fast as any others (bf16, H100), reads rows in order and sums in a fixed order. For 16,384 tokens, 4
heads, 1,024 keys and key_dim 512 that is 137 GFLOP, 0.14 ms at 989 TFLOP/s. The gradients of half
scores are written once and read twice, 268 MB each time in bf16, 0.24 ms at 3.35 TB/s.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from archspec.kernels.product_key_topk.gpu import (
    by_half,
    chunks,
    matmul_fp32,
    padded,
    padded_keys,
)


def product_key_topk_backward(
    grad_scores: Tensor, slots: Tensor, queries: Tensor, codebooks: Tensor
) -> tuple[Tensor, Tensor]:
    """See :func:`archspec.kernels.product_key_topk.reference.product_key_topk_backward`.

    For 16-bit queries the gradients of half scores are rounded to their dtype, once all picks of a
    key are summed: what autograd does for a linear layer.
    """
    tokens, heads, _ = slots.shape
    num_keys = codebooks.shape[2]
    rows, keys = by_half(queries), padded_keys(codebooks)
    grad_queries = torch.empty_like(queries, memory_format=torch.contiguous_format)
    grad_keys = torch.zeros_like(keys, dtype=torch.float32)
    with torch.cuda.device_of(queries):
        for part in chunks(tokens, 2 * heads * keys.shape[1]):
            grad_halves = queries.new_empty(2 * heads, len(slots[part]), keys.shape[1])
            _spread(grad_scores[part], slots[part], grad_halves, num_keys)
            torch.bmm(grad_halves, keys, out=by_half(grad_queries)[:, part])
            grad_keys += matmul_fp32(grad_halves.mT, rows[:, part])
    grad_codebooks = grad_keys[:, :num_keys].unflatten(0, (heads, 2)).transpose(0, 1)
    return grad_queries, grad_codebooks.to(codebooks.dtype).contiguous()


def spread_constants(num_keys: int, top_k: int) -> dict[str, int]:
    """Return what the kernel is compiled for."""
    stride = padded(num_keys)
    return {
        "NUM_KEYS": num_keys,
        "STRIDE": stride,
        "TOP_K": top_k,
        "TOP": triton.next_power_of_2(top_k),
        "BLOCK": min(1024, triton.next_power_of_2(stride)),
    }


def _spread(grad_scores: Tensor, slots: Tensor, grad_halves: Tensor, num_keys: int) -> None:
    """Fill [heads * 2, tokens, padded num_keys] with the gradients of half scores."""
    tokens, heads, top_k = slots.shape
    _spread_kernel[(tokens * heads,)](
        grad_scores.contiguous(),
        slots.contiguous(),
        grad_halves,
        tokens,
        heads,
        **spread_constants(num_keys, top_k),
        num_warps=num_warps(top_k),
    )


def num_warps(top_k: int) -> int:
    """Return the warps of a program; its square of picks takes 32 registers of a lane."""
    return 1 if top_k <= 32 else 4


@triton.jit(do_not_specialize=["tokens", "heads"])
def _spread_kernel(
    grad_scores,  # [tokens, heads, TOP_K]
    slots,  # [tokens, heads, TOP_K]
    grad_halves,  # [heads * 2, tokens, STRIDE]
    tokens,
    heads,
    NUM_KEYS: tl.constexpr,
    STRIDE: tl.constexpr,
    TOP_K: tl.constexpr,
    TOP: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Sum the gradients of each key of a token and head, and write zeros for the others.

    Picks of one key all find the same sum, in the same order, and write it to the same place.
    """
    row = tl.program_id(0)
    token, head = row // heads, row % heads
    firsts = grad_halves + (head * 2 * tokens + token) * STRIDE
    seconds = firsts + tokens * STRIDE
    columns = tl.arange(0, BLOCK)
    zeros = tl.zeros((BLOCK,), grad_halves.dtype.element_ty)
    for start in range(0, STRIDE, BLOCK):
        tl.store(firsts + start + columns, zeros, mask=start + columns < STRIDE)
        tl.store(seconds + start + columns, zeros, mask=start + columns < STRIDE)
    picks = tl.arange(0, TOP)
    is_pick = picks < TOP_K
    grads = tl.load(grad_scores + row * TOP_K + picks, mask=is_pick, other=0).to(tl.float32)
    chosen = tl.load(slots + row * TOP_K + picks, mask=is_pick, other=0).to(tl.int32)
    # The zeros are in place before any sum.
    tl.debug_barrier()
    tl.store(firsts + chosen // NUM_KEYS, _sum_by_key(chosen // NUM_KEYS, grads), mask=is_pick)
    tl.store(seconds + chosen % NUM_KEYS, _sum_by_key(chosen % NUM_KEYS, grads), mask=is_pick)


@triton.jit
def _sum_by_key(keys, grads):
    """Return for each pick the sum over all picks of its key."""
    return tl.sum(tl.where(keys[:, None] == keys[None, :], grads[:, None], 0.0), axis=0)
