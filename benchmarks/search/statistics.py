"""Medians with intervals over seeds, paired tests, and what several goals are worth together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from archspec.search.features import Floats

_LEVEL = 0.95


@dataclass(frozen=True)
class Band:
    """Median and its 95% interval over seeds, evaluation by evaluation; infinite without a fit."""

    low: Floats
    median: Floats
    high: Floats


def band(curves: Sequence[Sequence[float]]) -> Band:
    """Return the band of curves of equal length, one a seed, [N, T] to [T] each.

    The interval is that between two order statistics, which holds the median of any distribution
    with at least 95% (Conover 1999, 3.2); with fewer than six seeds no two are so far apart, and it
    is that between the least and the most.
    """
    values = np.sort(np.array(curves, dtype=np.float64), axis=0)
    number = len(values)
    rank = _interval_rank(number)
    with np.errstate(invalid="ignore"):  # the mean of two infinities
        median = values[[(number - 1) // 2, number // 2]].mean(axis=0)
    return Band(values[rank], median, values[number - 1 - rank])


def _interval_rank(number: int) -> int:
    """Return how many of so many values are left out below the interval of the median."""
    rank, tail = 0, 0.0
    while rank < (number - 1) // 2:
        tail += math.comb(number, rank) / 2**number
        if tail + math.comb(number, rank + 1) / 2**number > (1 - _LEVEL) / 2:
            break
        rank += 1
    return rank


@dataclass(frozen=True)
class SignTest:
    """How often one is below the other on the same problem.

    Attributes:
        wins: Seeds where the first is lower.
        losses: Seeds where it is higher; equal ones count for neither.
        chance: Probability of a difference as clear as this or clearer if both were equally good:
            two-sided, exact.
    """

    wins: int
    losses: int
    chance: float


def sign_test(ours: Sequence[float], theirs: Sequence[float]) -> SignTest:
    """Compare values pair by pair; less is better."""
    wins = sum(a < b for a, b in zip(ours, theirs, strict=True))
    losses = sum(a > b for a, b in zip(ours, theirs, strict=True))
    number = wins + losses
    tail = sum(math.comb(number, k) for k in range(max(wins, losses), number + 1))
    return SignTest(wins, losses, min(1.0, 2 * tail / 2**number))


def gained(points: Sequence[Sequence[float]], limits: Sequence[float]) -> float:
    """Return the hypervolume of designs over limits on their price, per limit.

    A loss of 0, the mean of designs that fit, is worth nothing.

    Args:
        points: Of each design what was observed, its true loss, and its price.
        limits: For each of them the design that looks best within it counts, with its true loss.
    """
    total = 0.0
    for limit in limits:
        within = [point for point in points if point[2] <= limit]
        if within:
            total += max(0.0, -min(within)[1])
    return total / len(limits)
