"""CPU kernels: sum a row's look-ups and update the row while all of it is in the cache.

One pass over the touched rows, and none over the others. What limits it is memory: each of table
and state is read and written once, 6 x 4 bytes an element for Adam in fp32, while the gradients of
the tokens stay in the cache. A row belongs to one thread and its look-ups are added in their order,
so results do not depend on the number of threads.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from archspec.kernels.arrays import as_array
from archspec.kernels.intrinsics import prefetch_row, rows_ahead
from archspec.kernels.jit import compiled, compiled_any_order
from archspec.kernels.threads import run_ranges

_SEGMENT = 64  # look-ups that are added up before another sum starts
_GROUP = 64 * _SEGMENT  # and these, before yet another
_ROW_WORK = 4  # an update of a row takes as long as about this many look-ups
_LEAST_WORK = 2048  # for a thread: below, starting it costs more than it brings

_ADAM, _ROWWISE_ADAM, _ADAGRAD, _SGD = range(4)


class _Setting(NamedTuple):
    """Numbers of a rule, fp32."""

    rate: np.float32
    fresh_first: np.float32  # 1 - beta1
    fresh_second: np.float32  # 1 - beta2
    correction: np.float32  # of the root of the second moment
    eps: np.float32


def sum_rows(starts: Tensor, tokens: Tensor, weights: Tensor, grads: Tensor) -> Tensor:
    """See :func:`archspec.kernels.row_optimizer.reference.sum_rows`."""
    distinct = starts.shape[0] - 1
    sums = torch.empty(distinct, grads.shape[1], dtype=torch.float32)
    sum_rows_into(sums, torch.arange(distinct), starts, tokens, weights, grads)
    return sums


def sum_rows_into(
    sums: Tensor, rows: Tensor, starts: Tensor, tokens: Tensor, weights: Tensor, grads: Tensor
) -> None:
    """Write the sums to ``rows`` of ``sums``, fp32; the rest as for :func:`sum_rows`."""
    arrays = (*_arrays(rows, starts, tokens, weights, grads), as_array(sums))
    _run(lambda start, stop: _sum_range(start, stop, *arrays), arrays[1])


def row_square_norms(starts: Tensor, tokens: Tensor, weights: Tensor, grads: Tensor) -> Tensor:
    """See :func:`archspec.kernels.row_optimizer.reference.row_square_norms`."""
    norms = torch.empty(starts.shape[0] - 1, dtype=torch.float32)
    arrays = (*_arrays(starts, tokens, weights, grads), as_array(norms))
    _run(lambda start, stop: _norm_range(start, stop, *arrays), arrays[0])
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
    setting = _setting(
        rate=lr / (1 - beta1**step),
        fresh_first=1 - beta1,
        fresh_second=1 - beta2,
        correction=1 / math.sqrt(1 - beta2**step),
        eps=eps,
    )
    rule = _ADAM if exp_avg_sq.dim() == 2 else _ROWWISE_ADAM
    state = (exp_avg, exp_avg_sq.view(table.shape[0], -1))
    lookups = (rows, starts, tokens, weights * scale, grads)
    _update(rule, table, state, lookups, setting, seed)


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
    state = (_no_state(table), square_sum[:, None])
    lookups = (rows, starts, tokens, weights * scale, grads)
    _update(_ADAGRAD, table, state, lookups, _setting(rate=lr, eps=eps), seed)


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
    state = (_no_state(table), _no_state(table))
    lookups = (rows, starts, tokens, weights * scale, grads)
    _update(_SGD, table, state, lookups, _setting(rate=lr), seed)


def _setting(
    *,
    rate: float,
    fresh_first: float = 0.0,
    fresh_second: float = 0.0,
    correction: float = 1.0,
    eps: float = 0.0,
) -> _Setting:
    numbers = (rate, fresh_first, fresh_second, correction, eps)
    with np.errstate(over="ignore"):  # a rate beyond fp32 is infinite, as elsewhere
        return _Setting(*(np.float32(number) for number in numbers))


def _no_state(table: Tensor) -> Tensor:
    return torch.empty(0, table.shape[1], dtype=torch.float32)


def _update(
    rule: int,
    table: Tensor,
    state: tuple[Tensor, Tensor],
    lookups: tuple[Tensor, ...],
    setting: _Setting,
    seed: int,
) -> None:
    # numba knows no bf16: such a table goes in as the upper halves of fp32 numbers. One of the two
    # tables is empty, so that one compiled function serves both.
    if table.dtype == torch.bfloat16:
        wide, narrow = _no_state(table), table.view(torch.uint16)
    else:
        wide, narrow = table, _no_state(table).to(torch.uint16)
    arrays = _arrays(*lookups)
    held = (*(as_array(tensor) for tensor in (wide, narrow, *state)), *arrays)
    numbers = (setting, np.uint32(seed & 0xFFFFFFFF))
    _run(lambda start, stop: _update_range(start, stop, rule, *held, *numbers), arrays[1])


def _arrays(*lookups: Tensor) -> tuple[np.ndarray, ...]:
    """Hand over as arrays, floating-point ones in fp32."""
    return tuple(
        as_array((tensor.float() if tensor.is_floating_point() else tensor).contiguous())
        for tensor in lookups
    )


def _run(function: Callable[[int, int], object], starts: np.ndarray) -> None:
    """Run over ranges of rows that have about the same work."""
    distinct, total = len(starts) - 1, _work_before(starts, len(starts) - 1)
    parts = max(1, min(torch.get_num_threads(), total // _LEAST_WORK))
    cuts = [
        bisect_left(range(distinct), total * part // parts, key=lambda r: _work_before(starts, r))
        for part in range(1, parts)
    ]
    run_ranges(function, [0, *cuts, distinct])


def _work_before(starts: np.ndarray, row: int) -> int:
    return int(starts[row]) + _ROW_WORK * row


# Short rows go straight to _add: in functions that call others, as _sum_long_row does, numba counts
# references to arrays, which takes longer than adding a few look-ups.


@compiled
def _sum_range(start, stop, rows, starts, tokens, weights, grads, sums):
    parts = _vector(grads.shape[1]), _vector(grads.shape[1])
    for r in range(start, stop):
        if starts[r + 1] - starts[r] <= _SEGMENT:
            _add(starts[r], starts[r + 1], tokens, weights, grads, sums[rows[r]])
        else:
            _sum_long_row(starts[r], starts[r + 1], tokens, weights, grads, sums[rows[r]], parts)


@compiled
def _norm_range(start, stop, starts, tokens, weights, grads, norms):
    total = _vector(grads.shape[1])
    parts = _vector(grads.shape[1]), _vector(grads.shape[1])
    for r in range(start, stop):
        if starts[r + 1] - starts[r] <= _SEGMENT:
            _add(starts[r], starts[r + 1], tokens, weights, grads, total)
        else:
            _sum_long_row(starts[r], starts[r + 1], tokens, weights, grads, total, parts)
        norms[r] = _square_sum(total)


@compiled
def _update_range(
    start,
    stop,
    rule,
    wide,
    narrow,
    first,
    second,
    rows,
    starts,
    tokens,
    weights,
    grads,
    setting,
    seed,
):
    width = grads.shape[1]
    grad, part, buffer = _vector(width), _vector(width), _vector(width)
    parts = part, buffer
    bits = buffer.view(np.uint32)
    ahead = rows_ahead(4 * width)
    for r in range(start, stop):
        row, soon = rows[r], rows[min(r + ahead, stop - 1)]
        for table in (wide, first, second):
            prefetch_row(table, soon, 4 * table.shape[1] if len(table) else 0)
        prefetch_row(narrow, soon, 2 * width if len(narrow) else 0)
        if starts[r + 1] - starts[r] <= _SEGMENT:
            _add(starts[r], starts[r + 1], tokens, weights, grads, grad)
        else:
            _sum_long_row(starts[r], starts[r + 1], tokens, weights, grads, grad, parts)
        if len(narrow):
            _widen(narrow[row], bits)
        values = buffer if len(narrow) else wide[row]
        moment = first[row] if len(first) else part
        if len(first) == 0:
            part[:] = grad
        if rule == _ADAM:
            _adam_row(values, moment, second[row], grad, setting)
        elif rule == _ROWWISE_ADAM:
            _rowwise_adam_row(values, moment, second[row], grad, setting)
        elif rule == _ADAGRAD:
            _adagrad_row(values, second[row], grad, setting)
        else:
            _descend(values, grad, setting.rate)
        if len(narrow):
            _round_row(bits, narrow[row], np.uint32(row), seed)


@compiled
def _vector(width):
    return np.empty(width, np.float32)


@compiled
def _sum_long_row(start, stop, tokens, weights, grads, total, parts):
    """Sum a row's look-ups in groups of segments: a running sum of n loses up to n roundings."""
    group, part = parts
    _sum_group(start, min(stop, start + _GROUP), tokens, weights, grads, total, part)
    for first in range(start + _GROUP, stop, _GROUP):
        _sum_group(first, min(stop, first + _GROUP), tokens, weights, grads, group, part)
        for i in range(len(group)):
            total[i] += group[i]


@compiled
def _sum_group(start, stop, tokens, weights, grads, total, part):
    _add(start, min(stop, start + _SEGMENT), tokens, weights, grads, total)
    for first in range(start + _SEGMENT, stop, _SEGMENT):
        _add(first, min(stop, first + _SEGMENT), tokens, weights, grads, part)
        for i in range(len(part)):
            total[i] += part[i]


@compiled
def _add(start, stop, tokens, weights, grads, total):
    """Write the sum of some look-ups, at least one, in their order."""
    weight, grad = weights[start], grads[tokens[start]]
    for i in range(len(grad)):
        total[i] = weight * grad[i]
    # Four at a time, so that the sum is read and written a quarter as often.
    whole = start + 1 + (stop - start - 1) // 4 * 4
    for k in range(start + 1, whole, 4):
        a, b, c, d = weights[k], weights[k + 1], weights[k + 2], weights[k + 3]
        row_a, row_b = grads[tokens[k]], grads[tokens[k + 1]]
        row_c, row_d = grads[tokens[k + 2]], grads[tokens[k + 3]]
        for i in range(len(row_a)):
            total[i] = total[i] + a * row_a[i] + b * row_b[i] + c * row_c[i] + d * row_d[i]
    for k in range(whole, stop):
        weight, grad = weights[k], grads[tokens[k]]
        for i in range(len(grad)):
            total[i] += weight * grad[i]


@compiled_any_order
def _square_sum(values):
    total = np.float32(0)
    for i in range(len(values)):
        total += values[i] * values[i]
    return total


@compiled
def _adam_row(values, first, second, grad, setting):
    for i in range(len(grad)):
        first[i] += (grad[i] - first[i]) * setting.fresh_first
        second[i] += (grad[i] * grad[i] - second[i]) * setting.fresh_second
        root = np.sqrt(second[i]) * setting.correction + setting.eps
        values[i] -= setting.rate * first[i] / root


@compiled
def _rowwise_adam_row(values, first, second, grad, setting):
    square = _square_sum(grad) / np.float32(len(grad))
    second[0] += (square - second[0]) * setting.fresh_second
    rate = setting.rate / (np.sqrt(second[0]) * setting.correction + setting.eps)
    for i in range(len(grad)):
        first[i] += (grad[i] - first[i]) * setting.fresh_first
        values[i] -= rate * first[i]


@compiled
def _adagrad_row(values, total, grad, setting):
    total[0] += _square_sum(grad) / np.float32(len(grad))
    _descend(values, grad, setting.rate / (np.sqrt(total[0]) + setting.eps))


@compiled
def _descend(values, grad, rate):
    for i in range(len(grad)):
        values[i] -= rate * grad[i]


# bf16, as rounding.py defines it. Numbers of 32 bits have to be cut to them after every operation,
# because numba computes integers in 64.


@compiled
def _widen(row, bits):
    for i in range(len(row)):
        bits[i] = np.uint32(row[i]) << np.uint32(16)


@compiled
def _round_row(bits, row, number, seed):
    """Write fp32 numbers, given as bits, to a row of bf16, rounded stochastically."""
    key = _mix(_mix(np.uint32(number + np.uint32(0x9E3779B9))) ^ seed)
    for i in range(len(row)):
        chance = _mix(np.uint32(key + np.uint32(np.uint32(i) * np.uint32(0x9E3779B9)))) >> 16
        is_finite = bits[i] & np.uint32(0x7F800000) != np.uint32(0x7F800000)
        is_nan = bits[i] & np.uint32(0x7FFFFFFF) > np.uint32(0x7F800000)
        rounded = np.uint32(bits[i] + np.uint32(chance if is_finite else 0)) >> 16
        row[i] = np.uint16(0x7FC0 if is_nan else rounded)


@compiled
def _mix(bits):
    bits = np.uint32(bits ^ np.uint32(bits >> np.uint32(16)))
    bits = np.uint32(bits * np.uint32(0x85EBCA6B))
    bits = np.uint32(bits ^ np.uint32(bits >> np.uint32(13)))
    bits = np.uint32(bits * np.uint32(0xC2B2AE35))
    return np.uint32(bits ^ np.uint32(bits >> np.uint32(16)))
