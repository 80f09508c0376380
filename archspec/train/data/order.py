"""The order in which the windows of a source are read: all of them once an epoch, drawn anew.

A permutation of a trillion windows is not listed but computed: a Feistel network permutes the
numbers of as many bits as are needed, and a result beyond the last window goes through it again
until it is none (cycle walking: Black and Rogaway, "Ciphers with Arbitrary Finite Domains", 2002).
"""

from __future__ import annotations

import numpy as np

from archspec.train.data.stream import Integers, Words, random_words

ROUNDS = 6  # an even number, so that halves of unequal width end where they began


class EpochOrder:
    """A permutation of ``range(size)`` for every epoch, which depends on seed and name alone.

    Args:
        name: Of the source.
        size: Windows of an epoch.
        slack: Tokens by which the windows of an epoch may be moved together.
    """

    def __init__(self, name: str, *, size: int, slack: int) -> None:
        assert size > 0, "an epoch has windows"
        self._name = name
        self._size = size
        self._slack = slack

    def windows(self, first: int, count: int, *, seed: int) -> tuple[Integers, Integers]:
        """Return which windows the rows from ``first`` on read.

        Returns:
            Their numbers, [count], and by how many tokens each is moved, [count].
        """
        windows = np.empty(count, dtype=np.int64)
        moved = np.empty(count, dtype=np.int64)
        done = 0
        while done < count:
            epoch, place = divmod(first + done, self._size)
            here = min(count - done, self._size - place)
            keys = random_words(seed, f"order/{self._name}", epoch, ROUNDS + 1)
            places = np.arange(place, place + here, dtype=np.uint64)
            windows[done : done + here] = permute(places, self._size, keys[:ROUNDS])
            moved[done : done + here] = int(keys[ROUNDS]) % (self._slack + 1)
            done += here
        return windows, moved


def permute(numbers: Words, size: int, keys: Words) -> Words:
    """Send numbers below ``size`` to numbers below ``size``, no two of them to one.

    Args:
        numbers: [count].
        size: How many numbers there are.
        keys: A random word for each round; they choose the permutation.
    """
    bits = max(2, (size - 1).bit_length())
    result = _feistel(numbers, bits, keys)
    outside = np.flatnonzero(result >= np.uint64(size))
    while len(outside):  # less than half of all numbers of so many bits are outside
        result[outside] = _feistel(result[outside], bits, keys)
        outside = outside[result[outside] >= np.uint64(size)]
    return result


def _feistel(numbers: Words, bits: int, keys: Words) -> Words:
    low_bits, high_bits = bits // 2, bits - bits // 2
    high, low = numbers >> np.uint64(low_bits), numbers & _ones(low_bits)
    for key in keys:
        high, low = low, high ^ (_mixed(low ^ key) & _ones(high_bits))
        low_bits, high_bits = high_bits, low_bits
    return (high << np.uint64(low_bits)) | low


def _ones(bits: int) -> np.uint64:
    return np.uint64((1 << bits) - 1)


def _mixed(words: Words) -> Words:
    """Let every bit depend on every other: the finaliser of SplitMix64 (Steele et al., 2014)."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
