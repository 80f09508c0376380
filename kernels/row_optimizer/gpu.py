"""GPU kernels of the row ops: the sum of a row's look-ups goes into its update without a detour.

A row's sum stays in the registers of the program that reads and writes the row and its state, so
the bytes are those of the touched rows, once each way; the tokens' vectors come out of the L2
cache. Every kernel runs twice: for short rows, and for hot ones, whose segments were summed before
(see :mod:`archspec.kernels.row_sums.gpu`). Their results do not depend on one another.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from archspec.kernels.row_sums.gpu import (
    LookUps,
    load_columns,
    require_few_look_ups,
    store_columns,
    sum_hot_row,
    sum_segments,
    sum_short_rows,
)
from archspec.kernels.row_tiles import sum_tile


def sum_rows(starts: Tensor, tokens: Tensor, weights: Tensor, grads: Tensor) -> Tensor:
    """See :func:`archspec.kernels.row_optimizer.reference.sum_rows`."""
    result = grads.new_empty(starts.shape[0] - 1, grads.shape[1], dtype=torch.float32)
    _run(sums_kernel, starts, tokens, weights, grads, result, NORMS=False)
    return result


def row_square_norms(starts: Tensor, tokens: Tensor, weights: Tensor, grads: Tensor) -> Tensor:
    """See :func:`archspec.kernels.row_optimizer.reference.row_square_norms`."""
    result = grads.new_empty(starts.shape[0] - 1, dtype=torch.float32)
    if grads.shape[1] == 0:
        return result.zero_()
    _run(sums_kernel, starts, tokens, weights, grads, result, NORMS=True)
    return result


def row_adam_(
    table: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    rows: Tensor,
    starts: Tensor,
    tokens: Tensor,
    weights: Tensor,
    grads: Tensor,
    scale: Tensor,
    *,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    step: int,
    seed: int,
) -> None:
    """See :func:`archspec.kernels.row_optimizer.reference.row_adam_`."""
    _require_contiguous("row_adam_", table=table, exp_avg=exp_avg, exp_avg_sq=exp_avg_sq)
    places = (table, exp_avg, exp_avg_sq, rows.contiguous(), scale, _as_int32(seed))
    numbers = (lr / (1 - beta1**step), 1 - beta1, 1 - beta2, 1 / (1 - beta2**step), eps)
    flags = {"HAS_FIRST": beta1 != 0, "IS_ROWWISE": exp_avg_sq.dim() == 1}
    _run(adam_kernel, starts, tokens, weights, grads, *places, *numbers, **flags)


def row_adagrad_(
    table: Tensor,
    square_sum: Tensor,
    rows: Tensor,
    starts: Tensor,
    tokens: Tensor,
    weights: Tensor,
    grads: Tensor,
    scale: Tensor,
    *,
    lr: float,
    eps: float,
    seed: int,
) -> None:
    """See :func:`archspec.kernels.row_optimizer.reference.row_adagrad_`."""
    _require_contiguous("row_adagrad_", table=table, square_sum=square_sum)
    places = (table, square_sum, rows.contiguous(), scale, _as_int32(seed))
    _run(adagrad_kernel, starts, tokens, weights, grads, *places, lr, eps)


def row_sgd_(
    table: Tensor,
    rows: Tensor,
    starts: Tensor,
    tokens: Tensor,
    weights: Tensor,
    grads: Tensor,
    scale: Tensor,
    *,
    lr: float,
    seed: int,
) -> None:
    """See :func:`archspec.kernels.row_optimizer.reference.row_sgd_`."""
    _require_contiguous("row_sgd_", table=table)
    places = (table, rows.contiguous(), scale, _as_int32(seed))
    _run(sgd_kernel, starts, tokens, weights, grads, *places, lr)


def _run(
    kernel: Any,
    starts: Tensor,
    tokens: Tensor,
    weights: Tensor,
    grads: Tensor,
    *own: Any,
    **flags: bool,
) -> None:
    """Launch a kernel for the short rows and, if there can be any, for the hot ones."""
    num_rows, width = starts.shape[0] - 1, grads.shape[1]
    if num_rows == 0 or width == 0:
        return
    require_few_look_ups("row_optimizer", tokens.shape[0])
    look_ups = LookUps(
        starts.contiguous(), tokens.contiguous(), weights.contiguous(), grads.contiguous(), 0
    )
    tile = sum_tile(width, grads.element_size())
    shape = {"WIDTH": width, "COLUMNS": tile.columns, "DEPTH": tile.depth, **flags}
    launch = {"num_warps": tile.num_warps, "num_stages": 1}
    with torch.cuda.device_of(grads):
        hot = sum_segments(look_ups, tile)
        arguments = (look_ups.starts, num_rows, *look_ups[1:4])
        kernel[(triton.cdiv(num_rows, tile.rows),)](
            *arguments, starts, grads, *own, ROWS=tile.rows, HOT=False, **shape, **launch
        )
        if hot is not None:
            kernel[(hot.num_windows,)](*arguments, *hot, *own, ROWS=1, HOT=True, **shape, **launch)


def _require_contiguous(op_name: str, **tensors: Tensor) -> None:
    for name, tensor in tensors.items():
        if not tensor.is_contiguous():
            raise ValueError(
                f"{op_name}: {name} is changed in place and must be contiguous, but its strides "
                f"are {tensor.stride()} for the shape {list(tensor.shape)}; make it contiguous"
            )


def _as_int32(seed: int) -> int:
    # One type whatever the seed, as each type of argument is another compiled kernel.
    return ((seed & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000


@triton.jit(do_not_specialize=["num_rows"])
def sums_kernel(
    starts,
    num_rows,
    tokens,
    weights,
    grads,
    places,
    partials,
    result,  # [num_rows, WIDTH] or [num_rows]
    WIDTH: tl.constexpr,
    COLUMNS: tl.constexpr,
    ROWS: tl.constexpr,
    DEPTH: tl.constexpr,
    HOT: tl.constexpr,
    NORMS: tl.constexpr,
):
    """Write the sums of rows, or the squares of their norms."""
    column = tl.arange(0, COLUMNS)
    number, live, total = sum_of_rows(
        starts, num_rows, tokens, weights, grads, places, partials, column, WIDTH, ROWS, DEPTH, HOT
    )
    if NORMS:
        tl.store(result + number, tl.sum(total * total, 1), mask=live)
    else:
        store_columns(result, number.to(tl.int64), live, column, total, WIDTH)


@triton.jit(do_not_specialize=["num_rows", "seed"])
def adam_kernel(
    starts,
    num_rows,
    tokens,
    weights,
    grads,
    places,
    partials,
    table,  # [slots, WIDTH]
    exp_avg,  # [slots, WIDTH] if HAS_FIRST
    exp_avg_sq,  # [slots, WIDTH], or [slots] if IS_ROWWISE
    rows,
    scale,
    seed,
    rate,  # lr / (1 - beta1^step)
    first_share,  # 1 - beta1
    second_share,  # 1 - beta2
    correction,  # 1 / (1 - beta2^step)
    eps,
    WIDTH: tl.constexpr,
    COLUMNS: tl.constexpr,
    ROWS: tl.constexpr,
    DEPTH: tl.constexpr,
    HOT: tl.constexpr,
    HAS_FIRST: tl.constexpr,
    IS_ROWWISE: tl.constexpr,
):
    """Update rows by Adam."""
    column = tl.arange(0, COLUMNS)
    number, live, total = sum_of_rows(
        starts, num_rows, tokens, weights, grads, places, partials, column, WIDTH, ROWS, DEPTH, HOT
    )
    row = tl.load(rows + number, mask=live, other=0)
    grad = total * tl.load(scale).to(tl.float32)
    if IS_ROWWISE:
        second = tl.load(exp_avg_sq + row, mask=live, other=0.0)  # [ROWS]
        second += (tl.sum(grad * grad, 1) / WIDTH - second) * second_share
        tl.store(exp_avg_sq + row, second, mask=live)
        factor = (rate / (tl.sqrt(second * correction) + eps))[:, None]
    else:
        second = load_columns(exp_avg_sq, row, live, column, WIDTH)
        second += (grad * grad - second) * second_share
        store_columns(exp_avg_sq, row, live, column, second, WIDTH)
        factor = rate / (tl.sqrt(second * correction) + eps)
    first = grad
    if HAS_FIRST:
        first = load_columns(exp_avg, row, live, column, WIDTH)
        first += (grad - first) * first_share
        store_columns(exp_avg, row, live, column, first, WIDTH)
    values = load_columns(table, row, live, column, WIDTH) - factor * first
    store_rounded(table, row, live, column, values, seed, WIDTH)


@triton.jit(do_not_specialize=["num_rows", "seed"])
def adagrad_kernel(
    starts,
    num_rows,
    tokens,
    weights,
    grads,
    places,
    partials,
    table,  # [slots, WIDTH]
    square_sum,  # [slots]
    rows,
    scale,
    seed,
    lr,
    eps,
    WIDTH: tl.constexpr,
    COLUMNS: tl.constexpr,
    ROWS: tl.constexpr,
    DEPTH: tl.constexpr,
    HOT: tl.constexpr,
):
    """Update rows by row-wise Adagrad."""
    column = tl.arange(0, COLUMNS)
    number, live, total = sum_of_rows(
        starts, num_rows, tokens, weights, grads, places, partials, column, WIDTH, ROWS, DEPTH, HOT
    )
    row = tl.load(rows + number, mask=live, other=0)
    grad = total * tl.load(scale).to(tl.float32)
    squares = tl.load(square_sum + row, mask=live, other=0.0) + tl.sum(grad * grad, 1) / WIDTH
    tl.store(square_sum + row, squares, mask=live)
    factor = lr / (tl.sqrt(squares) + eps)  # [ROWS]
    values = load_columns(table, row, live, column, WIDTH) - factor[:, None] * grad
    store_rounded(table, row, live, column, values, seed, WIDTH)


@triton.jit(do_not_specialize=["num_rows", "seed"])
def sgd_kernel(
    starts,
    num_rows,
    tokens,
    weights,
    grads,
    places,
    partials,
    table,  # [slots, WIDTH]
    rows,
    scale,
    seed,
    lr,
    WIDTH: tl.constexpr,
    COLUMNS: tl.constexpr,
    ROWS: tl.constexpr,
    DEPTH: tl.constexpr,
    HOT: tl.constexpr,
):
    """Update rows by gradient descent."""
    column = tl.arange(0, COLUMNS)
    number, live, total = sum_of_rows(
        starts, num_rows, tokens, weights, grads, places, partials, column, WIDTH, ROWS, DEPTH, HOT
    )
    row = tl.load(rows + number, mask=live, other=0)
    values = (
        load_columns(table, row, live, column, WIDTH) - lr * tl.load(scale).to(tl.float32) * total
    )
    store_rounded(table, row, live, column, values, seed, WIDTH)


@triton.jit
def sum_of_rows(
    starts,
    num_rows,
    tokens,
    weights,
    grads,
    places,
    partials,
    column,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    DEPTH: tl.constexpr,
    HOT: tl.constexpr,
):
    """Sum this program's rows: its short ones, or the hot one in its window."""
    if HOT:
        number, live, total = sum_hot_row(starts, places, partials, column, WIDTH, DEPTH)
    else:
        number, live, total = sum_short_rows(
            starts, num_rows, tokens, weights, grads, column, 1, grads, grads,
            WIDTH, ROWS, DEPTH, False, False,
        )  # fmt: skip
    return number, live, total


@triton.jit
def store_rounded(table, row, live, column, values, seed, WIDTH: tl.constexpr):
    """Store rows: to bf16 rounded by chance, as ``rounding.py`` defines it, else to the nearest."""
    if table.dtype.element_ty == tl.bfloat16:
        key = mix(mix(row.to(tl.uint32) + 0x9E3779B9) ^ seed.to(tl.uint32))  # [ROWS]
        chance = mix(key[:, None] + (column.to(tl.uint32) * 0x9E3779B9)[None, :]) >> 16
        bits = values.to(tl.uint32, bitcast=True)
        # Infinities and NaN keep their upper half, which arithmetic never leaves without a bit set.
        is_finite = (bits & 0x7F800000) != 0x7F800000
        bits += tl.where(is_finite, chance, 0)
        values = (bits >> 16).to(tl.uint16).to(tl.bfloat16, bitcast=True)
    store_columns(table, row, live, column, values, WIDTH)


@triton.jit
def mix(bits):
    """Scramble unsigned 32-bit numbers."""
    bits = bits ^ (bits >> 16)
    bits = bits * 0x85EBCA6B
    bits = bits ^ (bits >> 13)
    bits = bits * 0xC2B2AE35
    return bits ^ (bits >> 16)
