"""The fast path: ``F.grouped_mm`` where it runs, a loop of matmuls elsewhere.

On CPU the stock op is itself a loop, in C++: equal for large groups, up to 2.7 times as fast for
small ones. It takes no fp64, and no matrix whose rows are not multiples of 16 bytes. Those are
padded with zeros where the copies cost less than the loop: with 64 groups on one CPU thread in fp32
padding took 0.45 of the loop's time for matrices of 630 elements, 0.8 for 8,450 and 1.4 for 20,500.
On CUDA they are always padded, because the loop would wait for the device to learn the offsets.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from archspec.kernels.grouped_matmul.reference import group_bounds

_STOCK_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_STOCK_ALIGNMENT = 16  # bytes
_PADDED_ELEMENTS = 1 << 13  # of a group's matrix, up to which a CPU pads


def grouped_matmul(rows: Tensor, weights: Tensor, offsets: Tensor) -> Tensor:
    """See :func:`archspec.kernels.grouped_matmul.reference.grouped_matmul`."""
    rows = rows.contiguous()  # an expanded gradient has stride 0, which the stock op refuses
    total, (_, in_dim, out_dim) = rows.shape[0], weights.shape
    if not rows.is_cuda:
        group_bounds(offsets, total)
    if _stock_takes(rows, weights):
        return F.grouped_mm(rows, weights, offs=offsets).contiguous()
    if _is_worth_padding(rows, in_dim * out_dim):
        padded = F.grouped_mm(_pad(rows, 1), _pad(weights, 2), offs=offsets)
        return padded[:, :out_dim].contiguous()
    result = rows.new_empty(total, out_dim)
    for group, (start, end) in enumerate(pairwise(group_bounds(offsets, total))):
        torch.mm(rows[start:end], weights[group], out=result[start:end])
    return result


def grouped_outer(rows: Tensor, grads: Tensor, offsets: Tensor) -> Tensor:
    """See :func:`archspec.kernels.grouped_matmul.reference.grouped_outer`."""
    rows, grads = rows.contiguous(), grads.contiguous()
    (total, in_dim), out_dim = rows.shape, grads.shape[1]
    if not rows.is_cuda:
        group_bounds(offsets, total)
    if _stock_takes(rows, grads):
        return F.grouped_mm(rows.T, grads, offs=offsets).contiguous()
    if _is_worth_padding(rows, in_dim * out_dim):
        padded = F.grouped_mm(_pad(rows, 1).T, _pad(grads, 1), offs=offsets)
        return padded[:, :in_dim, :out_dim].contiguous()
    result = rows.new_empty(offsets.shape[0], in_dim, out_dim)
    for group, (start, end) in enumerate(pairwise(group_bounds(offsets, total))):
        torch.mm(rows[start:end].T, grads[start:end], out=result[group])
    return result


def _stock_takes(*matrices: Tensor) -> bool:
    return all(
        matrix.dtype in _STOCK_DTYPES and matrix.numel() > 0 and _is_aligned(matrix)
        for matrix in matrices
    )


def _is_aligned(matrix: Tensor) -> bool:
    inner, outer = sorted(matrix.stride()[-2:])
    at_start = matrix.data_ptr() % _STOCK_ALIGNMENT == 0
    return at_start and inner == 1 and outer * matrix.element_size() % _STOCK_ALIGNMENT == 0


def _is_worth_padding(rows: Tensor, elements: int) -> bool:
    """Say whether to pad, for matrices of so many elements a group."""
    takes = rows.dtype in _STOCK_DTYPES and rows.numel() > 0 and elements > 0
    return takes and (rows.is_cuda or elements <= _PADDED_ELEMENTS)


def _pad(matrix: Tensor, axes: int) -> Tensor:
    """Append zeros to the last ``axes`` axes, up to whole multiples of the stock alignment."""
    if axes == 2 and matrix.stride(-1) != 1 == matrix.stride(-2):
        return _pad(matrix.mT, 2).mT  # so that the copy runs along memory
    multiple = _STOCK_ALIGNMENT // matrix.element_size()
    missing = [(0, -size % multiple) for size in reversed(matrix.shape[-axes:])]
    return F.pad(matrix, [side for sides in missing for side in sides])
