"""Causal attention by a CPU kernel of our own, on the processors where torch's is slow.

torch's attention for CPUs multiplies by MKL, which on processors other than Intel's leaves AVX-512
idle. On one thread of an EPYC with 512-bit units, ours took a third to two thirds of its time for
256 to 2,048 tokens, forward and backward, and in bf16 it rounds nothing but arguments and results.
Everywhere else, and wherever somebody watches (tracers, modes, subclasses), this is
``F.scaled_dot_product_attention``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from archspec.kernels.arrays import as_array
from archspec.kernels.autocast import cast_for_matmul
from archspec.kernels.causal_attention import stock
from archspec.kernels.dispatch import VARIABLE, is_installed, is_unwatched
from archspec.kernels.linear import prefers_onednn
from archspec.kernels.threads import even_bounds, run_ranges

_DTYPES = (torch.float32, torch.bfloat16)
_WIDTHS = 32  # of which heads have whole numbers: the kernel's TILE_COLUMNS
_LEAST_TOKENS = 64  # the kernel's BLOCK
_LEAST_MACS = 1 << 22  # of all queries with all keys; below, starting the kernel costs too much
_STOCK = F.scaled_dot_product_attention  # somebody who counts FLOPs may put another in its place


def causal_attention(query: Tensor, key: Tensor, value: Tensor, *, scale: float) -> Tensor:
    """Attend, each query to the keys up to its own; key heads are shared by groups of query heads.

    Differentiable any number of times. Under autocast all are cast to its dtype, as for any matmul.

    Args:
        query: [batch, tokens, heads, width].
        key: [batch, tokens, kv_heads, width].
        value: [batch, tokens, kv_heads, value_width].
        scale: Factor on the logits, positive.

    Returns:
        [batch, tokens, heads, value_width].
    """
    query, key, value = cast_for_matmul(query, key, value)
    if torch.compiler.is_compiling() or not _is_for_kernel(query, key, value):
        return stock.causal_attention(query, key, value, scale)
    return _attend(query, key, value, scale)


def _is_for_kernel(query: Tensor, key: Tensor, value: Tensor) -> bool:
    return (
        query.is_cpu
        and query.dtype in _DTYPES
        and query.dtype == key.dtype == value.dtype
        and is_unwatched(query, key, value)  # before any size is read
        and query.shape[1] >= _LEAST_TOKENS
        and query.numel() * query.shape[1] >= _LEAST_MACS
        and query.shape[3] % _WIDTHS == value.shape[3] % _WIDTHS == 0
        and prefers_onednn()  # that is, MKL is what is slow
        and F.scaled_dot_product_attention is _STOCK
        and os.environ.get(VARIABLE) not in ("torch", "reference")
        and query.shape[0] * key.shape[2] >= torch.get_num_threads()  # each has whole heads
        and is_installed("numba")
    )


class _CausalAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        from archspec.kernels.causal_attention.cpu import attend_heads

        batch, tokens, heads, _ = query.shape
        result = query.new_empty(batch, tokens, heads, value.shape[3])
        logsum = query.new_empty(batch, heads, tokens, dtype=torch.float32)
        _on_heads(attend_heads, (query, key, value, result, logsum), scale)
        ctx.scale = scale
        ctx.save_for_backward(query, key, value, logsum)
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        from archspec.kernels.causal_attention.cpu import attend_heads_backward

        query, key, value, logsum = ctx.saved_tensors
        if torch.is_grad_enabled():  # to be differentiated again
            return (*stock.differentiable_gradients(grad, (query, key, value), ctx.scale), None)
        grads = [
            torch.empty_like(tensor, memory_format=torch.contiguous_format)
            for tensor in (query, key, value)
        ]
        _on_heads(attend_heads_backward, (query, key, value, grad, logsum, *grads), ctx.scale)
        return (*grads, None)


_attend: Callable[[Tensor, Tensor, Tensor, float], Tensor] = _CausalAttention.apply


def _on_heads(kernel: Callable[..., object], tensors: tuple[Tensor, ...], scale: float) -> None:
    """Run a kernel on all heads; query, key and value come first, results are contiguous."""
    query, _, value = tensors[:3]
    batch, tokens, heads, width = query.shape
    _, _, kv_heads, value_width = value.shape
    arrays = [_flat(tensor) for tensor in tensors]
    sizes, factor = (tokens, heads, kv_heads, width, value_width), np.float32(scale)
    run_ranges(
        lambda start, stop: kernel(start, stop, *arrays, sizes, factor),
        even_bounds(batch * kv_heads),
    )


def _flat(tensor: Tensor) -> np.ndarray[Any, Any]:
    """Return the elements in order; numba knows no bf16, which goes in as uint16."""
    flat = tensor.detach().contiguous().view(-1)
    return as_array(flat.view(torch.uint16) if flat.dtype == torch.bfloat16 else flat)
