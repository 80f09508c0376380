"""Medians with bands over seeds, paired tests, and what several goals are worth together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from archspec.search.features import Floats


@dataclass(frozen=True)
class Band:
    """Median and quartiles over seeds, evaluation by evaluation; infinite while nothing fits."""

    low: Floats
    median: Floats
    high: Floats


def band(curves: Sequence[Sequence[float]]) -> Band:
    """Return the band of curves of equal length, one a seed."""
    # Infinities have no means: the quartiles are values that occurred.
    low, median, high = np.quantile(np.array(curves), (0.25, 0.5, 0.75), axis=0, method="nearest")
    if len(curves) % 2 == 0:
        with np.errstate(invalid="ignore"):
            median = np.sort(np.array(curves), axis=0)[len(curves) // 2 - 1 :][:2].mean(axis=0)
    return Band(low, median, high)


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
