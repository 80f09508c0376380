"""Stock ops, on any device: a chunk of rows at a time, so that all passes over it stay in a cache.

The gradient of a chunk is ``F.embedding_bag`` over the look-ups grouped by row: the rows are bags
of tokens. No two threads write one row, so results are bitwise reproducible.

A chunk takes one of two paths. ``rows`` copies the touched rows out of table and state and back.
``blocks`` takes contiguous rows in place and leaves the untouched among them alone by a mask, which
is faster where most rows are touched. Both give the same values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from archspec.kernels.row_optimizer.rounding import round_stochastically

_CHUNK_ELEMENTS = 1 << 17  # of a gradient: 512 kB in fp32
_SEGMENT = 64  # look-ups that are added up before another sum starts
# Touched rows over all from which a pass over all rows is faster.
BLOCKS_FROM = 0.5

Buffers = dict[str, Tensor]


class Chunk(NamedTuple):
    """Consecutive rows with their gradient.

    Args:
        start: Of the first row, among the touched ones or, on the path ``blocks``, all.
        stop: After the last row.
        grad: [stop - start, width], zero for untouched rows; the receiver may overwrite it.
        is_touched: [stop - start], or None where all are.
    """

    start: int
    stop: int
    grad: Tensor
    is_touched: Tensor | None


def choose_path(distinct: int, slots: int) -> str:
    """Return ``blocks`` or ``rows`` for an update of this many rows of a table."""
    return "blocks" if distinct >= BLOCKS_FROM * slots else "rows"


def sum_rows(starts: Tensor, tokens: Tensor, weights: Tensor, grads: Tensor) -> Tensor:
    """See :func:`archspec.kernels.row_optimizer.reference.sum_rows`."""
    dtype = torch.promote_types(grads.dtype, torch.float32)
    sums = grads.new_empty(starts.shape[0] - 1, grads.shape[1], dtype=dtype)
    for chunk in _chunks(starts, tokens, weights, grads):
        sums[chunk.start : chunk.stop] = chunk.grad
    return sums


def row_square_norms(starts: Tensor, tokens: Tensor, weights: Tensor, grads: Tensor) -> Tensor:
    """See :func:`archspec.kernels.row_optimizer.reference.row_square_norms`."""
    dtype = torch.promote_types(grads.dtype, torch.float32)
    norms = grads.new_empty(starts.shape[0] - 1, dtype=dtype)
    for chunk in _chunks(starts, tokens, weights, grads):
        torch.sum(chunk.grad.square_(), dim=1, out=norms[chunk.start : chunk.stop])
    return norms


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
    rate = lr / (1 - beta1**step)
    root_correction = math.sqrt(1 - beta2**step)
    is_rowwise = exp_avg_sq.dim() == 1

    def change(values: Tensor, state: list[Tensor], chunk: Chunk) -> None:
        second = state[-1].view(chunk.grad.shape[0], -1)  # [rows, width or 1]
        second.mul_(_column(chunk, beta2, 1.0))
        if is_rowwise:
            second.add_(_mean_squares(chunk.grad), alpha=1 - beta2)
        else:
            second.addcmul_(chunk.grad, chunk.grad, value=1 - beta2)
        root = second.sqrt().div_(root_correction).add_(_column(chunk, eps, math.inf))
        first = chunk.grad
        if beta1 != 0:
            first = state[0].lerp_(chunk.grad, _column(chunk, 1 - beta1, 0.0))
        values.addcdiv_(first, root, value=-rate)

    states = [exp_avg_sq] if beta1 == 0 else [exp_avg, exp_avg_sq]
    _update(table, states, rows, (starts, tokens, weights * scale, grads), change, seed)


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

    def change(values: Tensor, state: list[Tensor], chunk: Chunk) -> None:
        total = state[0][:, None].add_(_mean_squares(chunk.grad))  # [rows, 1]
        root = total.sqrt().add_(_column(chunk, eps, math.inf))
        values.addcdiv_(chunk.grad, root, value=-lr)

    _update(table, [square_sum], rows, (starts, tokens, weights * scale, grads), change, seed)


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

    def change(values: Tensor, state: list[Tensor], chunk: Chunk) -> None:  # noqa: ARG001
        values.add_(chunk.grad, alpha=-lr)

    _update(table, [], rows, (starts, tokens, weights * scale, grads), change, seed)


def _update(
    table: Tensor,
    states: list[Tensor],
    rows: Tensor,
    lookups: tuple[Tensor, Tensor, Tensor, Tensor],
    change: Callable[[Tensor, list[Tensor], Chunk], None],
    seed: int,
) -> None:
    """Let ``change`` overwrite values and state of all touched rows, chunk by chunk."""
    slots = table.shape[0]
    if choose_path(rows.shape[0], slots) == "rows":
        _update_rows(table, states, rows, lookups, change, seed)
        return
    starts, *rest = lookups
    counts = torch.zeros(slots, dtype=starts.dtype, device=starts.device)
    counts[rows] = starts.diff()
    everywhere = F.pad(counts.cumsum(0), (1, 0))  # [slots + 1]
    is_touched = None if rows.shape[0] == slots else counts > 0
    for chunk in _chunks(everywhere, *rest, is_touched=is_touched):
        part = slice(chunk.start, chunk.stop)
        values = _wide(table[part])
        change(values, [state[part] for state in states], chunk)
        if values.dtype != table.dtype:
            everything = torch.arange(chunk.start, chunk.stop, device=rows.device)
            table[part] = _narrow(values, table.dtype, everything, seed)


def _update_rows(
    table: Tensor,
    states: list[Tensor],
    rows: Tensor,
    lookups: tuple[Tensor, Tensor, Tensor, Tensor],
    change: Callable[[Tensor, list[Tensor], Chunk], None],
    seed: int,
) -> None:
    for chunk in _chunks(*lookups):
        part = rows[chunk.start : chunk.stop]
        values = _wide(table.index_select(0, part))
        copies = [state.index_select(0, part) for state in states]
        change(values, copies, chunk)
        table.index_copy_(0, part, _narrow(values, table.dtype, part, seed))
        for state, copy in zip(states, copies, strict=True):
            state.index_copy_(0, part, copy)


def _chunks(
    starts: Tensor,
    tokens: Tensor,
    weights: Tensor,
    grads: Tensor,
    *,
    is_touched: Tensor | None = None,
) -> Iterator[Chunk]:
    grads = _wide(grads)
    weights = weights.to(grads.dtype)
    count, width = starts.shape[0] - 1, grads.shape[1]
    size = max(1, _CHUNK_ELEMENTS // max(1, width))  # rows
    bounds = [*range(0, count, size), count]
    firsts = starts[torch.tensor(bounds, device=starts.device)].tolist()
    has_long = count > 0 and int(starts.diff().max()) > _SEGMENT
    for start, stop, first, last in zip(bounds, bounds[1:], firsts, firsts[1:], strict=False):
        offsets = starts[start : stop + 1] - first
        bags = (offsets, tokens[first:last], weights[first:last], grads)
        grad = _sum_long_bags(*bags) if has_long else _sum_bags(*bags)
        yield Chunk(start, stop, grad, None if is_touched is None else is_touched[start:stop])


def _sum_long_bags(starts: Tensor, tokens: Tensor, weights: Tensor, grads: Tensor) -> Tensor:
    """Sum bags in segments, then the segments: hot rows stay accurate.

    A running sum of n terms loses up to n roundings; in two steps it is n / segment + segment.
    """
    counts = starts.diff()
    if int(counts.max()) <= _SEGMENT:
        return _sum_bags(starts, tokens, weights, grads)
    segments = (counts + _SEGMENT - 1) // _SEGMENT  # [rows]
    firsts = F.pad(segments.cumsum(0), (1, 0))  # [rows + 1]
    rows = torch.repeat_interleave(segments)  # [all segments]
    everything = torch.arange(rows.shape[0], device=rows.device)
    begins = starts[rows] + (everything - firsts[rows]) * _SEGMENT
    partial = _sum_bags(F.pad(begins, (0, 1), value=tokens.shape[0]), tokens, weights, grads)
    return F.embedding_bag(everything, partial, firsts[:-1], mode="sum")


def _sum_bags(starts: Tensor, tokens: Tensor, weights: Tensor, grads: Tensor) -> Tensor:
    if tokens.shape[0] == 0:
        return grads.new_zeros(starts.shape[0] - 1, grads.shape[1])
    return F.embedding_bag(
        tokens, grads, starts[:-1].to(tokens.dtype), mode="sum", per_sample_weights=weights
    )


def _mean_squares(grad: Tensor) -> Tensor:
    """Average the squares of each row, [rows, 1]."""
    squares: Tensor = torch.linalg.vecdot(grad, grad)
    return squares[:, None].div_(grad.shape[1])


def _column(chunk: Chunk, touched: float, untouched: float) -> Tensor | float:
    """Return a factor for every row, [rows, 1], or one for all."""
    if chunk.is_touched is None:
        return touched
    values = torch.tensor((untouched, touched), dtype=chunk.grad.dtype, device=chunk.grad.device)
    return values[chunk.is_touched.long()][:, None]


def _wide(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32)).contiguous()


def _narrow(values: Tensor, dtype: torch.dtype, rows: Tensor, seed: int) -> Tensor:
    if dtype == torch.bfloat16:
        return round_stochastically(values, rows, seed)
    return values.to(dtype)
