"""Causal attention on a CPU, forward and backward, in fp32 and in tiles that stay in registers.

A thread has whole heads. It takes some queries at a time with all keys that these see, whose logits
are a strip that fits the cache: a softmax is two passes over it, and no logits are ever stored.
Gradients make the strip anew, from the logarithms of the sums. What is not seen is not multiplied,
up to the width of a block.

Arrays are flat. Those that come and go are of fp32, or of bf16 as the upper halves of fp32, in
uint16; all that is between is fp32. ``sizes`` are tokens, heads, kv_heads, width and value_width,
the widths whole numbers of ``TILE_COLUMNS``.
"""

from __future__ import annotations

import numpy as np

from archspec.kernels.intrinsics import (
    LANES,
    TILE_COLUMNS,
    TILE_ROWS,
    exponentiate,
    largest_of,
    multiply_tile,
)
from archspec.kernels.jit import compiled, compiled_any_order

BLOCK = 64  # queries, whose strip with 1,024 keys takes 256 KiB
_UNSEEN = np.float32(-1e30)  # a logit whose exponential is nothing
_HALF = np.uint32(16)  # bits of a number of 32


@compiled
def attend_heads(start, stop, query, key, value, result, logsum, sizes, scale):
    """Attend with key heads from start to stop, counted through the batch.

    Args:
        start: First head.
        stop: After the last.
        query: [batch, tokens, heads, width].
        key: [batch, tokens, kv_heads, width].
        value: [batch, tokens, kv_heads, value_width].
        result: [batch, tokens, heads, value_width], is written.
        logsum: [batch, heads, tokens] fp32, is written: logarithms of the sums of exponentials.
        sizes: As above.
        scale: Factor on the logits, positive.
    """
    tokens, heads, kv_heads, width, value_width = sizes
    padded = _round_up(tokens, TILE_COLUMNS)
    key_turned = _panels(tokens, width)
    value_panels = _panels(value_width, padded)
    keys, values = _rows(padded, width), _rows(padded, value_width)
    query_block, found = _rows(BLOCK, width), _rows(BLOCK, value_width)
    strip, step = _strip(padded)
    sums = np.empty(BLOCK, np.float32)
    group = heads // kv_heads
    for unit in range(start, stop):
        row, kv_head = unit // kv_heads, unit % kv_heads
        at = row * tokens * kv_heads + kv_head
        _read_rows(keys, key, at * width, kv_heads * width, tokens, width)
        _fill_turned(key_turned, keys, width, tokens)
        _read_rows(values, value, at * value_width, kv_heads * value_width, tokens, value_width)
        _fill(value_panels, values, value_width, tokens, padded)
        for head in range(kv_head * group, (kv_head + 1) * group):
            for top in range(0, tokens, BLOCK):
                rows = min(BLOCK, tokens - top)
                height, seen = _round_up(rows, TILE_ROWS), _round_up(top + rows, TILE_COLUMNS)
                first = (row * tokens + top) * heads + head
                _read_rows(query_block, query, first * width, heads * width, rows, width)
                _multiply(
                    height, seen, width, query_block, width, 1, key_turned, strip, step, False
                )
                to = (row * heads + head) * tokens + top
                for r in range(rows):
                    sums[r], logsum[to + r] = _softmax(strip, r * step, top + r + 1, seen, scale)
                _multiply(
                    height,
                    value_width,
                    seen,
                    strip,
                    step,
                    1,
                    value_panels,
                    found,
                    value_width,
                    False,
                )
                for r in range(rows):
                    place, one = (first + r * heads) * value_width, np.float32(1)
                    _write(result, place, found, r * value_width, value_width, one / sums[r])


@compiled
def attend_heads_backward(
    start, stop, query, key, value, grad, logsum, grad_query, grad_key, grad_value, sizes, scale
):
    """Write the gradients of :func:`attend_heads`; ``grad`` is that of its result."""
    tokens, heads, kv_heads, width, value_width = sizes
    padded = _round_up(tokens, TILE_COLUMNS)
    key_turned, value_turned = _panels(tokens, width), _panels(tokens, value_width)
    key_panels = _panels(width, padded)
    keys, values = _rows(padded, width), _rows(padded, value_width)
    key_sums, value_sums = _rows(padded, width), _rows(padded, value_width)
    space = _block_space(padded, width, value_width)
    found = space[0]
    group, one = heads // kv_heads, np.float32(1)
    for unit in range(start, stop):
        row, kv_head = unit // kv_heads, unit % kv_heads
        at = row * tokens * kv_heads + kv_head
        _read_rows(keys, key, at * width, kv_heads * width, tokens, width)
        _fill_turned(key_turned, keys, width, tokens)
        _fill(key_panels, keys, width, tokens, padded)
        _read_rows(values, value, at * value_width, kv_heads * value_width, tokens, value_width)
        _fill_turned(value_turned, values, value_width, tokens)
        key_sums[:] = 0
        value_sums[:] = 0
        panels, sums = (key_turned, value_turned, key_panels), (key_sums, value_sums)
        for head in range(kv_head * group, (kv_head + 1) * group):
            for top in range(0, tokens, BLOCK):
                rows = min(BLOCK, tokens - top)
                first = (row * tokens + top) * heads + head
                at_sums = (row * heads + head) * tokens + top
                places = (top, rows, first, at_sums)
                _block_backward(places, query, grad, logsum, panels, sums, space, sizes, scale)
                for r in range(rows):
                    place = (first + r * heads) * width
                    _write(grad_query, place, found, r * width, width, one)
        for token in range(tokens):
            place = at + token * kv_heads
            _write(grad_key, place * width, key_sums, token * width, width, one)
            _write(
                grad_value, place * value_width, value_sums, token * value_width, value_width, one
            )


@compiled
def _block_backward(places, query, grad, logsum, panels, sums, space, sizes, scale):
    """Add what a block of queries gives to the gradients of keys and values; find its own."""
    top, rows, first, at_sums = places
    _, heads, _, width, value_width = sizes
    key_turned, value_turned, key_panels = panels
    key_sums, value_sums = sums
    found, query_block, grad_block, query_panels, grad_panels, shares, slopes, step = space
    height, seen = _round_up(rows, TILE_ROWS), _round_up(top + rows, TILE_COLUMNS)
    _read_rows(query_block, query, first * width, heads * width, rows, width)
    _read_rows(grad_block, grad, first * value_width, heads * value_width, rows, value_width)
    _fill(query_panels, query_block, width, height, height)
    _fill(grad_panels, grad_block, value_width, height, height)
    _multiply(height, seen, width, query_block, width, 1, key_turned, shares, step, False)
    _multiply(
        height, seen, value_width, grad_block, value_width, 1, value_turned, slopes, step, False
    )
    for r in range(rows):
        logsum_here = logsum[at_sums + r]
        _softmax_backward(shares, slopes, r * step, top + r + 1, seen, scale, logsum_here)
    shares[rows * step : height * step] = 0
    slopes[rows * step : height * step] = 0
    _multiply(
        seen, value_width, height, shares, 1, step, grad_panels, value_sums, value_width, True
    )
    _multiply(seen, width, height, slopes, 1, step, query_panels, key_sums, width, True)
    _multiply(height, width, seen, slopes, step, 1, key_panels, found, width, False)


@compiled
def _block_space(padded, width, value_width):
    """Return room for what :func:`_block_backward` finds on its way, its result first."""
    shares, step = _strip(padded)
    slopes, _ = _strip(padded)
    query_panels, grad_panels = _panels(width, BLOCK), _panels(value_width, BLOCK)
    blocks = _rows(BLOCK, width), _rows(BLOCK, width), _rows(BLOCK, value_width)
    return (*blocks, query_panels, grad_panels, shares, slopes, step)


@compiled
def _round_up(number, multiple):
    return -(-number // multiple) * multiple


@compiled
def _rows(count, width):
    return np.empty(count * width, np.float32)


@compiled
def _strip(padded):
    """Return room for [BLOCK, padded] and its row step, off the powers of two that caches fear."""
    step = padded + LANES
    return np.empty(BLOCK * step, np.float32), step


@compiled
def _panels(columns, depth):
    """Return room for [depth, columns], ``TILE_COLUMNS`` columns at a time."""
    count = _round_up(columns, TILE_COLUMNS) // TILE_COLUMNS
    return np.empty((count, depth * TILE_COLUMNS), np.float32)


@compiled
def _softmax(strip, first, count, seen, scale):
    """Make ``count`` logits exponentials, and zeros of the rest up to ``seen``.

    Returns:
        Their sum, and its logarithm, which takes in what was subtracted before.
    """
    whole = _round_up(count, LANES)
    strip[first + count : first + whole] = _UNSEEN
    largest = largest_of(strip, first, whole) * scale
    total = exponentiate(strip, first, whole, scale, largest)
    strip[first + count : first + seen] = 0
    return total, largest + np.log(total)


@compiled_any_order
def _softmax_backward(shares, slopes, first, count, seen, scale, logsum):
    """Make logits shares, and the gradients of shares those of unscaled logits; zeros beyond."""
    whole = _round_up(count, LANES)
    shares[first + count : first + whole] = _UNSEEN
    exponentiate(shares, first, whole, scale, logsum)
    share, slope = shares[first : first + count], slopes[first : first + count]
    mean = np.float32(0)
    for j in range(count):
        mean += share[j] * slope[j]
    for j in range(count):
        slope[j] = share[j] * (slope[j] - mean) * scale
    shares[first + count : first + seen] = 0
    slopes[first + count : first + seen] = 0


@compiled
def _multiply(height, columns, depth, a_flat, a_row, a_step, panels, c_flat, c_row, adds):
    """Set or increase c, [height, columns], by a, [height, depth], times panels.

    With a come the steps from row to row and column to column, with c that from row to row.
    """
    for number in range(columns // TILE_COLUMNS):
        panel = panels[number]
        for top in range(0, height, TILE_ROWS):
            place = top * c_row + number * TILE_COLUMNS
            multiply_tile(
                a_flat, top * a_row, a_row, a_step, panel, depth, c_flat, place, c_row, adds
            )


# Below, loops run over slices, whose indices are never negative: they become whole vectors.


@compiled
def _read_rows(block, flat, begin, step, rows, width):
    """Copy rows that lie ``step`` apart, and add zeros up to whole tiles."""
    for r in range(rows):
        _read(block, r * width, flat, begin + r * step, width)
    block[rows * width : _round_up(rows, TILE_ROWS) * width] = 0


@compiled
def _fill(panels, flat, width, rows, depth):
    """Cut [rows, width] into panels of columns, with zeros up to ``depth`` rows."""
    for number in range(panels.shape[0]):
        panel, left = panels[number], number * TILE_COLUMNS
        for r in range(rows):
            into = panel[r * TILE_COLUMNS : (r + 1) * TILE_COLUMNS]
            found = flat[r * width + left : (r + 1) * width]
            for j in range(TILE_COLUMNS):
                into[j] = found[j]
        panel[rows * TILE_COLUMNS : depth * TILE_COLUMNS] = 0


@compiled
def _fill_turned(panels, flat, width, rows):
    """Cut the transpose of [rows, width] into panels, with zeros beyond the rows."""
    for number in range(panels.shape[0]):
        panel, top = panels[number], number * TILE_COLUMNS
        if top + TILE_COLUMNS > rows:
            panel[:] = 0
        for j in range(min(TILE_COLUMNS, rows - top)):
            found = flat[(top + j) * width : (top + j + 1) * width]
            for k in range(width):
                panel[k * TILE_COLUMNS + j] = found[k]


@compiled
def _read(target, to, source, begin, count):
    """Copy neighbours to fp32."""
    into, found = target[to : to + count], source[begin : begin + count]
    if source.itemsize == 2:
        bits = into.view(np.uint32)
        for j in range(count):
            bits[j] = np.uint32(found[j]) << _HALF
    else:
        for j in range(count):
            into[j] = found[j]


@compiled
def _write(target, to, source, begin, count, factor):
    """Copy neighbours from fp32, times a factor, which also stays in the source."""
    into, found = target[to : to + count], source[begin : begin + count]
    for j in range(count):
        found[j] *= factor
    if target.itemsize == 2:  # rounded to the nearest, or the even one of two
        bits = found.view(np.uint32)
        for j in range(count):
            is_odd = (bits[j] >> _HALF) & np.uint32(1)
            rounded = (bits[j] + np.uint32(0x7FFF) + is_odd) >> _HALF
            into[j] = np.uint16(0x7FC0) if found[j] != found[j] else np.uint16(rounded)
    else:
        for j in range(count):
            into[j] = found[j]
