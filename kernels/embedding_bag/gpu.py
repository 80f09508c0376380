"""GPU kernels of the bag and of its dots; the backward is in ``gpu_backward.py``.

A program takes some tokens side by side in its lanes and a few picks at a time, which no lane has
to share: the sum over picks needs neither shuffles nor barriers. Row numbers of the next picks are
on their way while the rows of these arrive. The width of a row is known when a kernel is compiled,
as 16-byte loads need it; the number of tokens never is.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from archspec.kernels.embedding_bag.gpu_backward import embedding_bag_backward, scatter_rows
from archspec.kernels.row_sums.gpu import load_columns
from archspec.kernels.row_tiles import bag_tile, dot_tile

__all__ = ["embedding_bag", "embedding_bag_backward", "gather_dot", "scatter_rows"]


def embedding_bag(indices: Tensor, weights: Tensor, table: Tensor) -> Tensor:
    """See :func:`archspec.kernels.embedding_bag.reference.embedding_bag`; checks no index."""
    (tokens, picks), width = indices.shape, table.shape[1]
    result = table.new_empty(tokens, width)
    if result.numel() == 0:
        return result
    tile = bag_tile(width, table.element_size())
    grid = (triton.cdiv(tokens, tile.rows) * tile.blocks,)
    with torch.cuda.device_of(table):
        bag_kernel[grid](
            indices.contiguous(),
            weights.contiguous(),
            table.contiguous(),
            result,
            tokens,
            picks,
            WIDTH=width,
            COLUMNS=tile.columns,
            TOKENS=tile.rows,
            DEPTH=tile.depth,
            num_warps=tile.num_warps,
            num_stages=1,
        )
    return result


def gather_dot(indices: Tensor, grad: Tensor, table: Tensor) -> Tensor:
    """See :func:`archspec.kernels.embedding_bag.reference.gather_dot`; checks no index."""
    (tokens, picks), width = indices.shape, table.shape[1]
    result = table.new_empty(tokens, picks, dtype=torch.float32)
    if result.numel() == 0 or width == 0:
        return result.zero_()
    tile = dot_tile(width, table.element_size())
    with torch.cuda.device_of(table):
        dot_kernel[(triton.cdiv(tokens, tile.rows),)](
            indices.contiguous(),
            grad.contiguous(),
            table.contiguous(),
            result,
            tokens,
            picks,
            WIDTH=width,
            COLUMNS=tile.columns,
            TOKENS=tile.rows,
            DEPTH=tile.depth,
            num_warps=tile.num_warps,
            num_stages=1,
        )
    return result


# Number of tokens: no variant for 1 or for multiples of 16. Of picks, which no model changes, those
# variants are wanted.
@triton.jit(do_not_specialize=["tokens"])
def bag_kernel(
    indices,  # [tokens, picks]
    weights,  # [tokens, picks]
    table,  # [slots, WIDTH]
    result,  # [tokens, WIDTH]
    tokens,
    picks,
    WIDTH: tl.constexpr,
    COLUMNS: tl.constexpr,
    TOKENS: tl.constexpr,
    DEPTH: tl.constexpr,
):
    """Sum the picked rows of TOKENS tokens, in one block of columns."""
    blocks: tl.constexpr = (WIDTH + COLUMNS - 1) // COLUMNS
    # Blocks of one token are neighbours in time, so that they meet in the same DRAM pages.
    program = tl.program_id(0)
    column = program % blocks * COLUMNS + tl.arange(0, COLUMNS)
    token = (program // blocks).to(tl.int64) * TOKENS + tl.arange(0, TOKENS)
    pick = tl.arange(0, DEPTH)[:, None]
    inside = token < tokens
    in_row = column < WIDTH
    place = token[None, :] * picks + pick  # [DEPTH, TOKENS]
    live = inside[None, :] & (pick < picks)
    row = tl.load(indices + place, mask=live, other=0)
    weight = tl.load(weights + place, mask=live, other=0.0).to(tl.float32)
    total = tl.zeros([TOKENS, COLUMNS], tl.float32)
    for first in range(0, picks, DEPTH):
        values = tl.load(
            table + row.to(tl.int64)[:, :, None] * WIDTH + column[None, None, :],
            mask=live[:, :, None] & in_row[None, None, :],
            other=0.0,
        )  # [DEPTH, TOKENS, COLUMNS]
        after = first + DEPTH
        live = inside[None, :] & (pick + after < picks)
        row = tl.load(indices + place + after, mask=live, other=0)
        next_weight = tl.load(weights + place + after, mask=live, other=0.0).to(tl.float32)
        total += tl.sum(weight[:, :, None] * values.to(tl.float32), 0)
        weight = next_weight
    tl.store(
        result + token[:, None] * WIDTH + column[None, :],
        total.to(result.dtype.element_ty),
        mask=inside[:, None] & in_row[None, :],
    )


@triton.jit(do_not_specialize=["tokens"])
def dot_kernel(
    indices,  # [tokens, picks]
    grad,  # [tokens, WIDTH]
    table,  # [slots, WIDTH]
    result,  # [tokens, picks]
    tokens,
    picks,
    WIDTH: tl.constexpr,
    COLUMNS: tl.constexpr,
    TOKENS: tl.constexpr,
    DEPTH: tl.constexpr,
):
    """Dot the picked rows of TOKENS tokens with the tokens' vectors."""
    token = tl.program_id(0).to(tl.int64) * TOKENS + tl.arange(0, TOKENS)
    pick = tl.arange(0, DEPTH)[:, None]
    inside = token < tokens
    place = token[None, :] * picks + pick  # [DEPTH, TOKENS]
    column = tl.arange(0, COLUMNS)
    vector = load_columns(grad, token, inside, column, WIDTH)
    live = inside[None, :] & (pick < picks)
    row = tl.load(indices + place, mask=live, other=0).to(tl.int64)
    for first in range(0, picks, DEPTH):
        after = first + DEPTH
        next_live = inside[None, :] & (pick + after < picks)
        next_row = tl.load(indices + place + after, mask=next_live, other=0).to(tl.int64)
        dot = tl.zeros([DEPTH, TOKENS], tl.float32)
        for begin in tl.static_range(0, WIDTH, COLUMNS):
            if WIDTH > COLUMNS:
                # From the second block on this hits the L1 cache: a token's vector is small.
                vector = load_columns(grad, token, inside, column + begin, WIDTH)
            values = tl.load(
                table + row[:, :, None] * WIDTH + (column + begin)[None, None, :],
                mask=live[:, :, None] & (column + begin < WIDTH)[None, None, :],
                other=0.0,
            )  # [DEPTH, TOKENS, COLUMNS]
            dot += tl.sum(values.to(tl.float32) * vector[None, :, :], 2)
        tl.store(result + place + first, dot, mask=live)
        row, live = next_row, next_live
