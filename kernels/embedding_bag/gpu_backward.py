"""GPU kernels of the gradient of the table, with or without the gradient of the weights.

Look-ups are sorted by row, and each row of the gradient is written by one program, zeros included:
nothing is cleared before and nothing is added twice. That program also has the row of the table in
hand, once for all look-ups of it, so their dots cost no further reads. In bytes the floor is one
pass over the touched rows of the table and one over its gradient; the tokens' vectors come out of
the L2 cache (16,384 tokens of 1,024 16-bit columns are 34 MB, an H100 has 50).
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from archspec.kernels.row_sums.gpu import (
    LookUps,
    partials_tile,
    require_few_look_ups,
    store_columns,
    sum_hot_row,
    sum_segments,
    sum_short_rows,
)
from archspec.kernels.row_tiles import sum_tile

_MAX_INT32 = torch.iinfo(torch.int32).max


def embedding_bag_backward(
    indices: Tensor, weights: Tensor, grad: Tensor, table: Tensor
) -> tuple[Tensor, Tensor]:
    """See :func:`archspec.kernels.embedding_bag.reference.embedding_bag_backward`."""
    dots = grad.new_empty(indices.shape, dtype=torch.float32)
    return dots, _sum_rows(indices, weights, grad, table.shape[0], table.contiguous(), dots)


def scatter_rows(indices: Tensor, weights: Tensor, grad: Tensor, slots: int) -> Tensor:
    """See :func:`archspec.kernels.embedding_bag.reference.scatter_rows`."""
    return _sum_rows(indices, weights, grad, slots, None, None)


def _sum_rows(
    indices: Tensor,
    weights: Tensor,
    grad: Tensor,
    slots: int,
    table: Tensor | None,
    dots: Tensor | None,
) -> Tensor:
    width = grad.shape[1]
    result = grad.new_empty(slots, width)
    if indices.numel() == 0 or result.numel() == 0:
        if dots is not None:
            dots.zero_()
        return result.zero_()
    look_ups = _group(indices, weights, grad, slots)
    tile = sum_tile(width, grad.element_size(), with_dots=table is not None)
    arguments = (look_ups.starts, look_ups.order, look_ups.weights, look_ups.grads)
    stand_ins = (result if table is None else table, result if dots is None else dots)
    shape = {"WIDTH": width, "COLUMNS": tile.columns, "DEPTH": tile.depth}
    launch = {"num_warps": tile.num_warps, "num_stages": 1}
    with torch.cuda.device_of(grad):
        short_rows_kernel[(triton.cdiv(slots, tile.rows),)](
            *arguments,
            *stand_ins,
            result,
            slots,
            look_ups.picks,
            ROWS=tile.rows,
            DOT=table is not None,
            **shape,
            **launch,
        )
        hot = sum_segments(look_ups, tile, table, dots)
        if hot is not None:
            launch["num_warps"] = partials_tile(width).num_warps
            hot_rows_kernel[(hot.num_windows,)](look_ups.starts, *hot, result, **shape, **launch)
    return result


def _group(indices: Tensor, weights: Tensor, grad: Tensor, slots: int) -> LookUps:
    """Sort the look-ups by row, [slots] of them."""
    require_few_look_ups("embedding_bag", indices.numel())
    # int32 keys take the radix sort half the passes. Stable: it fixes the order of addition.
    keys = indices.flatten().to(torch.int32 if slots <= _MAX_INT32 else torch.int64)
    keys, order = torch.sort(keys, stable=True)
    rows = torch.arange(slots + 1, dtype=keys.dtype, device=keys.device)
    starts = torch.searchsorted(keys, rows, out_int32=True)  # [slots + 1]
    return LookUps(starts, order, weights.contiguous(), grad.contiguous(), indices.shape[1])


@triton.jit(do_not_specialize=["slots"])
def short_rows_kernel(
    starts,
    order,
    weights,
    grads,
    table,
    dots,
    result,
    slots,
    picks,
    WIDTH: tl.constexpr,
    COLUMNS: tl.constexpr,
    ROWS: tl.constexpr,
    DEPTH: tl.constexpr,
    DOT: tl.constexpr,
):
    """Write the gradient of ROWS rows, and of the weights of their look-ups."""
    column = tl.arange(0, COLUMNS)
    row, live, total = sum_short_rows(
        starts, slots, order, weights, grads, column, picks, table, dots,
        WIDTH, ROWS, DEPTH, True, DOT,
    )  # fmt: skip
    store_columns(result, row.to(tl.int64), live, column, total, WIDTH)


@triton.jit
def hot_rows_kernel(
    starts,
    places,
    partials,
    result,
    WIDTH: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
):
    """Write the gradient of the hot row that starts in this program's window, if one does."""
    column = tl.arange(0, COLUMNS)
    row, live, total = sum_hot_row(starts, places, partials, column, WIDTH, DEPTH)
    store_columns(result, row.to(tl.int64), live, column, total, WIDTH)
