"""How often each fact is seen: Zipf's law over facts in random order, with exact probabilities."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from archspec.train.data.stream import Integers, Words, below, permutation

_BITS = 53  # of a word that a draw reads: what a double holds exactly


class Frequencies:
    """The chance of each of ``size`` items at every draw.

    The item of rank r is drawn in proportion to r ** -skew. Ranks are a permutation of the items
    drawn from ``seed``, so they tell nothing of the item.

    Attributes:
        rank: [size], the rank of each item, 0 for the commonest.
        probability: [size], exactly what :meth:`draw` gives: multiples of 2^-53, or 1 / size
            without skew, but for the bias of :func:`archspec.train.data.stream.below`.
    """

    def __init__(self, size: int, *, skew: float, seed: int, name: str) -> None:
        self._size = size
        self._skew = skew
        if skew == 0:
            self.rank = np.arange(size)
            self.probability = np.full(size, 1 / size)
            return
        self._by_rank = permutation(seed, name, size)
        self.rank = np.argsort(self._by_rank)
        self._ends = _ends(np.arange(1, size + 1, dtype=np.float64) ** -skew)
        self.probability = np.diff(self._ends, prepend=np.uint64(0))[self.rank] / 2.0**_BITS

    def draw(self, words: Words) -> Integers:
        """Turn each word into an item."""
        if self._skew == 0:
            return below(words, self._size)
        places = np.searchsorted(self._ends, words >> np.uint64(64 - _BITS), side="right")
        return self._by_rank[places]

    def bucket(self, count: int) -> Integers:
        """Part the items into ``count`` equal shares, 0 for the rarest; returns [size]."""
        return count - 1 - self.rank * count // self._size


def _ends(weights: NDArray[np.float64]) -> Words:
    """Return where the stretch of each item ends in [0, 2^53]; none is empty."""
    whole = 2**_BITS - len(weights)
    ends: Words = np.floor(np.cumsum(weights) / weights.sum() * whole).astype(np.uint64)
    ends[-1] = whole
    ends += np.arange(1, len(weights) + 1, dtype=np.uint64)
    return ends
