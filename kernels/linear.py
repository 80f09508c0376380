"""``F.linear`` in fp32 on CPUs whose AVX-512 units torch's own matmul leaves idle.

torch's wheels multiply fp32 matrices with MKL, which on processors other than Intel's runs its AVX2
code whatever they can do. The wheels hold a second library, oneDNN, that asks the processor: on one
thread of an EPYC with 512-bit units it took half the time (200 instead of 95 GFLOP/s). Precision is
the same. Everywhere else, and wherever somebody watches (tracers, modes, subclasses), this is
``F.linear``.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from archspec.kernels.autocast import is_autocast
from archspec.kernels.dispatch import VARIABLE, is_unwatched

# Multiply-adds from which oneDNN wins: a call of it takes some 15 us longer than one of MKL.
_LEAST_MACS = 1 << 21
_STOCK = F.linear  # somebody who counts FLOPs may put another in its place


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return ``x @ weight.T + bias``, differentiable any number of times.

    Args:
        x: [..., in_dim].
        weight: [out_dim, in_dim].
        bias: [out_dim].

    Returns:
        [..., out_dim].
    """
    if torch.compiler.is_compiling() or not _is_for_onednn(x, weight):
        return F.linear(x, weight, bias)
    return _linear(x, weight, bias)


@cache
def prefers_onednn() -> bool:
    """Say whether fp32 matmuls on this CPU are faster in oneDNN than in torch's MKL."""
    return (
        torch.backends.cpu.get_cpu_capability() == "AVX512"
        and torch.backends.mkl.is_available()
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and _vendor() not in ("", "GenuineIntel")
    )


def _vendor() -> str:
    """Read the maker of the processor; empty where Linux does not say it."""
    file = pathlib.Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    found = (line.partition(":")[2].strip() for line in lines if line.startswith("vendor_id"))
    return next(found, "")


def _is_for_onednn(x: Tensor, weight: Tensor) -> bool:
    return (
        prefers_onednn()
        and x.dtype == weight.dtype == torch.float32
        and x.is_cpu
        and is_unwatched(x, weight)  # before any size is read, which a tracer would remark on
        and x.numel() * weight.shape[0] >= _LEAST_MACS
        and F.linear is _STOCK
        and torch._C._get_mkldnn_enabled()
        and os.environ.get(VARIABLE) not in ("torch", "reference")
        and not is_autocast("cpu")
    )


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _times_transposed(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        rows = grad.reshape(-1, grad.shape[-1])  # [rows, out_dim]
        inputs = x.reshape(-1, x.shape[-1])  # [rows, in_dim]
        # A gradient that is to be differentiated again is taken by stock ops.
        by_stock = torch.is_grad_enabled()
        grad_x = grad_weight = None
        if wants_x:
            grad_x = grad @ weight if by_stock else _times_transposed(grad, weight.T)
        if wants_weight:
            grad_weight = rows.T @ inputs if by_stock else _outer(rows, inputs)
        return grad_x, grad_weight, rows.sum(0) if wants_bias else None


_linear: Callable[[Tensor, Tensor, Tensor | None], Tensor] = _Linear.apply


def _times_transposed(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    result: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return result


def _outer(grads: Tensor, inputs: Tensor) -> Tensor:
    """Return ``grads.T @ inputs``, [out_dim, in_dim].

    oneDNN copies a first factor whose rows are not contiguous, so the narrower one comes first,
    where turning the result costs less than that saves.
    """
    (rows, out_dim), in_dim = grads.shape, inputs.shape[1]
    if rows * in_dim + out_dim * in_dim < rows * out_dim:
        return _times_transposed(inputs.T, grads.T).T.contiguous()
    return _times_transposed(grads.T, inputs.T)
