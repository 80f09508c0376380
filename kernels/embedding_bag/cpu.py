"""CPU kernels of the two adjoint ops; for the bag itself, the stock op is as fast as memory.

``gather_dot`` reads each picked row once and keeps nothing, where stock ops first copy the rows;
the rows of the next picks are under way meanwhile. ``scatter_rows`` sums a row's look-ups in the
cache and writes the row once.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from archspec.kernels.arrays import as_array
from archspec.kernels.embedding_bag.stock import require_range
from archspec.kernels.intrinsics import prefetch_row, rows_ahead
from archspec.kernels.jit import compiled_any_order
from archspec.kernels.row_gradient import RowGradient
from archspec.kernels.row_optimizer.cpu import sum_rows_into
from archspec.kernels.threads import even_bounds, run_ranges

_LEAST_ELEMENTS = 1 << 19  # for a thread: below, starting it costs more than it brings


def gather_dot(indices: Tensor, grad: Tensor, table: Tensor) -> Tensor:
    """See :func:`archspec.kernels.embedding_bag.reference.gather_dot`."""
    tokens, picks = indices.shape
    result = torch.empty(tokens, picks, dtype=torch.float32)
    if indices.numel() == 0:
        return result
    require_range(indices, table.shape[0])
    arrays = [as_array(tensor.contiguous()) for tensor in (indices, grad, table)]
    bounds = even_bounds(tokens, least=_LEAST_ELEMENTS // (picks * max(1, table.shape[1])))
    run_ranges(lambda start, stop: _dot_range(start, stop, *arrays, as_array(result)), bounds)
    return result


def scatter_rows(indices: Tensor, weights: Tensor, grad: Tensor, slots: int) -> Tensor:
    """See :func:`archspec.kernels.embedding_bag.reference.scatter_rows`."""
    table = torch.zeros(slots, grad.shape[1], dtype=torch.float32)
    gradient = RowGradient(slots=slots, width=grad.shape[1])
    gradient.append(indices, weights, grad)
    sum_rows_into(table, *gradient.grouped())
    return table


def embedding_bag_backward(
    indices: Tensor, weights: Tensor, grad: Tensor, table: Tensor
) -> tuple[Tensor, Tensor]:
    """See :func:`archspec.kernels.embedding_bag.reference.embedding_bag_backward`."""
    dots = gather_dot(indices, grad, table)
    return dots, scatter_rows(indices, weights, grad, table.shape[0])


@compiled_any_order
def _dot_range(start, stop, indices, grad, table, result):
    """Dot the rows that a range of tokens picked."""
    picks, width = indices.shape[1], table.shape[1]
    flat = indices.reshape(-1)
    ahead, last = rows_ahead(4 * width), stop * picks - 1
    for token in range(start, stop):
        vector, dots = grad[token], result[token]
        for pick in range(picks):
            here = token * picks + pick
            prefetch_row(table, flat[min(here + ahead, last)], 4 * width)
            row = table[flat[here]]
            dot = np.float32(0)
            for i in range(len(vector)):
                dot += vector[i] * row[i]
            dots[pick] = dot
