"""Choosing without repetition, for many documents at once."""

from __future__ import annotations

import numpy as np

from archspec.train.data.stream import Integers, Words, below


def distinct(words: Words, bound: int) -> Integers:
    """Map each row of words, [rows, count], to ``count`` different integers in ``[0, bound)``.

    The first steps of the Fisher-Yates shuffle (Knuth, volume 2, 3.4.2, algorithm P): every order
    of every choice is equally likely, but for the bias of :func:`below`.
    """
    rows, count = words.shape
    assert count <= bound, f"{count} different numbers below {bound}"
    order = np.tile(np.arange(bound), (rows, 1))
    row = np.arange(rows)
    for place in range(count):
        other = place + below(words[:, place], bound - place)
        order[row, place], order[row, other] = order[row, other], order[row, place].copy()
    return order[:, :count]


def scattered(words: Words, count: int) -> Integers:
    """Choose ``count`` of as many places as a row has words, in rising order; [rows, count]."""
    chosen = np.argsort(words, axis=1, kind="stable")[:, :count]
    return np.sort(chosen, axis=1)
