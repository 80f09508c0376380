"""Scores and their ids as one sortable word, and the best of many such keys, in Triton.

A key holds the bits of an fp32 score above those of an id, so that one comparison decides score
descending, then id ascending. Read as a double, this word is ordered by itself: sign, exponent and
leading mantissa bits of the score stand where a double has its own, and an infinity of fp32 is a
finite double. A double is compared by the fp64 units, which are otherwise idle, in one instruction;
a 64-bit integer takes two of the integer units, which limit the sort. On GPUs with few fp64 units
keys are integers.

The sort is Batcher's bitonic one (1968), cut short: once blocks of ``top`` keys are sorted, down
and up in turn, the larger of each two keys at one place of two blocks are the best of both blocks.
"""

from __future__ import annotations

import triton
import triton.language as tl
from triton import constexpr_function


@constexpr_function
def log2(n):
    """Return the base-2 logarithm of a power of two."""
    return int(n).bit_length() - 1


@constexpr_function
def _ones(rank):
    return [1] * rank


@constexpr_function
def _cube(rank):
    return [2] * rank


@constexpr_function
def _only_axis(rank, axis):
    return [2 if i == axis else 1 for i in range(rank)]


@triton.jit
def pack_keys(scores, ids, AS_DOUBLES: tl.constexpr):
    """Make keys, as doubles or integers, of fp32 scores and int32 ids from 0.

    A zero loses its sign. A NaN becomes the one without sign and payload, larger than all numbers,
    and stays below the doubles that are NaN.
    """
    bits = (scores + 0.0).to(tl.int32, bitcast=True)
    bits = tl.where((bits & 0x7FFFFFFF) > 0x7F800000, 0x7FC00000, bits)
    # Of two negative doubles the one with the larger low word is the smaller.
    low = ids ^ ~(bits >> 31)
    word = (bits.to(tl.int64) << 32) | low.to(tl.uint32, bitcast=True).to(tl.int64)
    if AS_DOUBLES:
        keys = word.to(tl.float64, bitcast=True)
    else:
        keys = word ^ ((word >> 63) & 0x7FFFFFFFFFFFFFFF)
    return keys


@triton.jit
def unpack_keys(keys):
    """Return the scores and ids of keys."""
    if keys.dtype == tl.float64:
        word = keys.to(tl.int64, bitcast=True)
    else:
        word = keys ^ ((keys >> 63) & 0x7FFFFFFFFFFFFFFF)
    bits = (word >> 32).to(tl.int32)
    return bits.to(tl.float32, bitcast=True), word.to(tl.int32) ^ ~(bits >> 31)


@triton.jit
def top_keys(keys, TOP: tl.constexpr, LOW: tl.constexpr):
    """Return the ``TOP`` largest keys of each row, best first.

    Args:
        keys: [rows, columns], powers of two.
        TOP: A power of two, at most columns.
        LOW: Of the bits of a column's number, those from LOW to log2(TOP) tell the lane and the
            others the register. Elsewhere the result is the same, and slower.

    Returns:
        [rows, TOP].
    """
    ROWS: tl.constexpr = keys.shape[0]
    RANK: tl.constexpr = log2(keys.numel)
    LOG_COLUMNS: tl.constexpr = log2(keys.shape[1])
    LOG_TOP: tl.constexpr = log2(TOP)
    keys = keys.reshape(_cube(RANK))
    for stage in tl.static_range(1, LOG_TOP + 1):
        keys = _merge(keys, stage, stage == LOG_COLUMNS, LOW, LOG_TOP)
    for stage in tl.static_range(LOG_TOP + 1, LOG_COLUMNS + 1):
        keys = tl.max(keys, axis=RANK - stage)
        keys = _merge(keys, LOG_TOP, stage == LOG_COLUMNS, LOW, LOG_TOP)
    return keys.reshape([ROWS, TOP])


@triton.jit
def _merge(
    keys, STAGES: tl.constexpr, IS_LAST: tl.constexpr, LOW: tl.constexpr, HIGH: tl.constexpr
):
    """Sort bitonic blocks of ``2 ** STAGES`` keys, down where it is the last time, else in turn."""
    RANK: tl.constexpr = log2(keys.numel)
    down = tl.full(_ones(RANK), 1, tl.int1) if IS_LAST else _bit(STAGES, RANK)
    for i in tl.static_range(1, STAGES + 1):
        keys = _exchange(keys, down, STAGES - i, STAGES - i < LOW or STAGES - i >= HIGH)
    return keys


@triton.jit
def _exchange(keys, down, BIT: tl.constexpr, IN_REGISTERS: tl.constexpr):
    """Order each pair of keys whose numbers differ in ``BIT``."""
    RANK: tl.constexpr = log2(keys.numel)
    words = keys.to(tl.int64, bitcast=True)
    # The sum of a pair less one of them; the compiler sees through it.
    others = tl.sum(words, axis=RANK - 1 - BIT, keep_dims=True) - words
    others = others.to(keys.dtype, bitcast=True)
    is_right = _bit(BIT, RANK)
    if IN_REGISTERS:
        # One comparison, left with right, serves both keys of a pair.
        swaps = tl.where(is_right, others > keys, keys > others) ^ down
    else:
        swaps = (keys > others) ^ (is_right ^ down)
    return tl.where(swaps, others, keys)


@triton.jit
def _bit(BIT: tl.constexpr, RANK: tl.constexpr):
    return (tl.arange(0, 2) == 1).reshape(_only_axis(RANK, RANK - 1 - BIT))
