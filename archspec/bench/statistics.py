"""Medians of paired ratios, with an interval that assumes nothing about the noise."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

_OUTSIDE = 0.05  # most chance that the true median lies outside the interval


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """A median ratio and where the true median lies.

    Args:
        median: Of the ratios.
        low: Lower end of the interval.
        high: Upper end.
        confidence: Chance that the interval holds the true median: at least 0.95 from six ratios
            on; with fewer, the interval is their range.
    """

    median: float
    low: float
    high: float
    confidence: float


def paired_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Ratio:
    """Summarise the ratios of what was measured in the same rounds.

    Args:
        numerators: One value a round, at least one.
        denominators: As many, positive.
    """
    ratios = sorted(a / b for a, b in zip(numerators, denominators, strict=True))
    rank = _rank(len(ratios))
    return Ratio(
        median=statistics.median(ratios),
        low=ratios[rank],
        high=ratios[-1 - rank],
        confidence=1 - 2 * _chance_below(len(ratios), rank),
    )


def _rank(count: int) -> int:
    """Return how many values may be left out at either end; the sign test's order statistics."""
    rank = 0
    while 2 * _chance_below(count, rank + 1) <= _OUTSIDE:
        rank += 1
    return rank


def _chance_below(count: int, rank: int) -> float:
    """Return the chance that at most ``rank`` of ``count`` values lie below the true median."""
    return float(sum(math.comb(count, low) for low in range(rank + 1)) / 2**count)
