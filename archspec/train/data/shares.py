"""Which source each row of a run comes from: stated shares, kept in every stretch of rows."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from archspec.train.data.stream import Integers, random_words

# 2^64 over the golden ratio: multiples of it spread evenly, and so does each source over the rows.
GOLDEN = 0x9E3779B97F4A7C15
RANGE = 2**64


class Owners:
    """Gives every row of an endless run to a source.

    Row n stands at the fraction ``n / golden ratio + offset``, modulo 1, and each source has an
    interval of fractions as long as its share. All of it is integers, so how many rows a source has
    had before any row is known exactly and at once.

    Attributes:
        shares: The share of rows of each source.

    Args:
        weights: One positive number for each source.
        seed: Draws the offset.
    """

    def __init__(self, weights: Sequence[float], *, seed: int) -> None:
        total = sum(weights)
        self.shares = tuple(weight / total for weight in weights)
        ends = [round(share * RANGE) for share in itertools.accumulate(self.shares)]
        self._bounds = [0, *(min(end, RANGE - 1) for end in ends[:-1]), RANGE]
        self._offset = int(random_words(seed, "data/owners", 0, 1)[0])

    def of(self, start: int, stop: int) -> Integers:
        """Return the source of each row from ``start`` to before ``stop``."""
        row = np.arange(start, stop, dtype=np.uint64)
        fraction = row * np.uint64(GOLDEN) + np.uint64(self._offset)  # wraps around
        inner = np.array(self._bounds[1:-1], dtype=np.uint64)
        return np.searchsorted(inner, fraction, side="right").astype(np.int64)

    def count(self, source: int, rows: int) -> int:
        """Return how many of the first ``rows`` rows are those of a source."""
        return self._below(self._bounds[source + 1], rows) - self._below(self._bounds[source], rows)

    def _below(self, bound: int, rows: int) -> int:
        """Count the fractions below ``bound``: x mod m < c just if floor(x/m) > floor((x-c)/m)."""
        here = sum_of_floors(rows, RANGE, GOLDEN, self._offset)
        return here - sum_of_floors(rows, RANGE, GOLDEN, self._offset - bound)


def sum_of_floors(count: int, divisor: int, slope: int, start: int) -> int:
    """Return the sum of ``(slope * i + start) // divisor`` over i below ``count``.

    Exact, in as many rounds as Euclid's algorithm takes for slope and divisor: the lattice points
    under a line, its axes exchanged in each round.
    """
    total = 0
    while count:
        total += start // divisor * count + slope // divisor * (count * (count - 1) // 2)
        slope, start = slope % divisor, start % divisor
        top = slope * count + start
        if top < divisor:
            break
        # Points under the line, counted by rows of the lattice instead of columns.
        count, start = top // divisor, top % divisor
        divisor, slope = slope, divisor
    return total
