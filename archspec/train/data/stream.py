"""Random words that depend on a seed, a name and a counter, and on nothing else.

Only Philox's raw output is used: numpy promises it for good, unlike its distributions.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
Integers = NDArray[np.int64]

WORDS_PER_BLOCK = 4  # that Philox makes of one counter


def random_words(seed: int, name: str, counter: int, count: int) -> Words:
    """Return ``count`` independent 64-bit words of one counter value."""
    # The counter fills the upper half of Philox's 256 bits, so no two values share a word.
    return np.random.Philox(key=_key(seed, name), counter=counter << 128).random_raw(count)


def words_from(seed: int, name: str, first: int, count: int) -> Words:
    """Return ``count`` words of one endless sequence, from word ``first`` on.

    The sequence is that of :func:`random_words` with counter 0.
    """
    block, before = divmod(first, WORDS_PER_BLOCK)
    philox = np.random.Philox(key=_key(seed, name), counter=block)
    return philox.random_raw(before + count)[before:]


def _key(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:16], "little")


def below(words: Words, bound: int) -> Integers:
    """Map words to integers in ``[0, bound)``, with a bias of at most bound / 2^32."""
    scaled = (words >> np.uint64(32)) * np.uint64(bound) >> np.uint64(32)
    return scaled.astype(np.int64)


def permutation(seed: int, name: str, size: int) -> Integers:
    """Return the numbers below ``size`` in random order."""
    return np.argsort(random_words(seed, name, 0, size), kind="stable")
