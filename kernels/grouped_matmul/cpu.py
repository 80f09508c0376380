"""CPU kernels in fp32, for groups of any size: one call for all, where stock makes one for each.

A group's matrix is copied, 32 columns at a time, into a panel that stays in the cache while rows of
the other factor meet it, 8 at a time. With 64 groups of 128 rows this took half the time of
``F.grouped_mm`` on an EPYC with AVX-512, and two thirds with 8 groups of 256.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from archspec.kernels.arrays import as_array
from archspec.kernels.grouped_matmul.reference import group_bounds
from archspec.kernels.intrinsics import TILE_COLUMNS, TILE_ROWS, multiply_tile
from archspec.kernels.jit import compiled
from archspec.kernels.threads import even_bounds, run_ranges

_LEAST_MACS = 1 << 20  # for a thread: below, starting it costs more than it brings
_MOST_DEPTH = 1024  # of a panel, which then takes 128 KiB of the second cache


def grouped_matmul(rows: Tensor, weights: Tensor, offsets: Tensor) -> Tensor:
    """See :func:`archspec.kernels.grouped_matmul.reference.grouped_matmul`."""
    (total, in_dim), out_dim = rows.shape, weights.shape[2]
    result = rows.new_empty(total, out_dim)
    group_bounds(offsets, total)
    if result.numel() == 0 or in_dim == 0:
        return result.zero_()
    is_turned = not weights.is_contiguous() and weights.mT.is_contiguous()
    if is_turned:
        weights, steps = weights.mT, (1, in_dim)
    else:
        weights, steps = weights.contiguous(), (out_dim, 1)
    arrays = [_flat(tensor) for tensor in (rows.contiguous(), weights, result)]
    ends = as_array(offsets.contiguous())
    run_ranges(
        lambda start, stop: _multiply_rows(start, stop, *arrays, ends, in_dim, out_dim, *steps),
        even_bounds(total, least=_LEAST_MACS // (in_dim * out_dim)),
    )
    return result


def grouped_outer(rows: Tensor, grads: Tensor, offsets: Tensor) -> Tensor:
    """See :func:`archspec.kernels.grouped_matmul.reference.grouped_outer`."""
    (total, in_dim), out_dim = rows.shape, grads.shape[1]
    result = rows.new_empty(offsets.shape[0], in_dim, out_dim)
    group_bounds(offsets, total)
    if result.numel() == 0 or total == 0:
        return result.zero_()
    arrays = [_flat(tensor) for tensor in (rows.contiguous(), grads.contiguous(), result)]
    ends = as_array(offsets.contiguous())
    # Threads share each group's matrix: groups may differ in size by any factor.
    run_ranges(
        lambda start, stop: _sum_outer(start, stop, *arrays, ends, in_dim, out_dim),
        even_bounds(in_dim, least=max(TILE_ROWS, _LEAST_MACS // (total * out_dim))),
    )
    return result


def _flat(tensor: Tensor) -> np.ndarray:
    return as_array(tensor.view(-1))


@compiled
def _multiply_rows(start, stop, rows, weights, result, ends, in_dim, out_dim, down, right):
    """Multiply rows from start to stop by the matrices of their groups.

    Element (i, j) of group g's matrix stands at ``g * in_dim * out_dim + i * down + j * right``.
    """
    panel, spare_rows, spare = _workspace(in_dim)
    first = 0
    for group in range(len(ends)):
        top, bottom = max(first, start), min(ends[group], stop)
        first = ends[group]
        if top < bottom:
            a = (rows, top * in_dim, in_dim, 1)
            b = (weights, group * in_dim * out_dim, down, right)
            c = (result, top * out_dim, out_dim)
            _multiply(bottom - top, out_dim, in_dim, a, b, c, panel, spare_rows, spare)


@compiled
def _sum_outer(start, stop, rows, grads, result, ends, in_dim, out_dim):
    """Sum the outer products of each group, the elements of rows from start to stop."""
    panel, spare_rows, spare = _workspace(_MOST_DEPTH)
    first = 0
    for group in range(len(ends)):
        depth = ends[group] - first
        place = (group * in_dim + start) * out_dim
        if depth == 0:
            result[place : place + (stop - start) * out_dim] = 0
        else:
            a = (rows, first * in_dim + start, 1, in_dim)
            b = (grads, first * out_dim, out_dim, 1)
            c = (result, place, out_dim)
            _multiply(stop - start, out_dim, depth, a, b, c, panel, spare_rows, spare)
        first = ends[group]


@compiled
def _workspace(depth):
    """Return room for a panel, for rows too few for a tile, and for what a tile overhangs."""
    depth = min(depth, _MOST_DEPTH)
    return (
        np.empty(depth * TILE_COLUMNS, np.float32),
        np.zeros(depth * TILE_ROWS, np.float32),
        np.empty(TILE_ROWS * TILE_COLUMNS, np.float32),
    )


@compiled
def _multiply(height, width, depth, a, b, c, panel, spare_rows, spare):
    """Set c, [height, width], to a, [height, depth], times b, [depth, width].

    Each is a flat array, where it begins, and the steps from row to row and column to column;
    those of c are contiguous.
    """
    a_flat, a_first, a_row, a_step = a
    b_flat, b_first, b_row, b_step = b
    for above in range(0, depth, _MOST_DEPTH):
        layers = min(_MOST_DEPTH, depth - above)
        left_a = (a_flat, a_first + above * a_step, a_row, a_step)
        for left in range(0, width, TILE_COLUMNS):
            columns = min(TILE_COLUMNS, width - left)
            begin = b_first + above * b_row + left * b_step
            _fill_panel(panel, b_flat, begin, b_row, b_step, layers, columns)
            _multiply_panel(
                height, columns, layers, left_a, panel, c, left, above > 0, spare_rows, spare
            )


@compiled
def _fill_panel(panel, flat, begin, row, step, depth, columns):
    """Copy [depth, columns] into a panel, with zeros up to its width."""
    if columns < TILE_COLUMNS:
        for k in range(depth):
            for j in range(columns):
                panel[k * TILE_COLUMNS + j] = flat[begin + k * row + j * step]
            for j in range(columns, TILE_COLUMNS):
                panel[k * TILE_COLUMNS + j] = 0
    elif step == 1:  # a loop of its own, and of constant length: vectors are copied
        for k in range(depth):
            for j in range(TILE_COLUMNS):
                panel[k * TILE_COLUMNS + j] = flat[begin + k * row + j]
    else:
        for k in range(depth):
            for j in range(TILE_COLUMNS):
                panel[k * TILE_COLUMNS + j] = flat[begin + k * row + j * step]


@compiled
def _multiply_panel(height, columns, depth, a, panel, c, left, adds, spare_rows, spare):
    """Set or increase ``columns`` columns of c, from ``left``, by a times a panel."""
    a_flat, a_first, a_row, a_step = a
    c_flat, c_first, c_row = c
    for top in range(0, height, TILE_ROWS):
        place = c_first + top * c_row + left
        if top + TILE_ROWS <= height and columns == TILE_COLUMNS:
            begin = a_first + top * a_row
            multiply_tile(a_flat, begin, a_row, a_step, panel, depth, c_flat, place, c_row, adds)
            continue
        rows = min(TILE_ROWS, height - top)
        skipped = 0
        if height >= TILE_ROWS:  # a full tile that ends where the rows do
            skipped = TILE_ROWS - rows
            begin = a_first + (top - skipped) * a_row
            multiply_tile(a_flat, begin, a_row, a_step, panel, depth, spare, 0, TILE_COLUMNS, False)
        else:
            for r in range(rows):
                for k in range(depth):
                    spare_rows[r * depth + k] = a_flat[a_first + r * a_row + k * a_step]
            multiply_tile(spare_rows, 0, depth, 1, panel, depth, spare, 0, TILE_COLUMNS, False)
        for r in range(rows):
            for j in range(columns):
                found = spare[(r + skipped) * TILE_COLUMNS + j]
                c_flat[place + r * c_row + j] = found + (
                    c_flat[place + r * c_row + j] if adds else 0
                )
