"""Sums over answers that add up over batches and ranks, and the intervals they give.

Answers of one document are not independent: the model may have understood the document or not. So
documents are the unit of sampling, and an interval rests on how they differ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from archspec.train.data.stream import Integers

COVERAGE = 0.95
_QUANTILE = (1 + COVERAGE) / 2
_NORMAL = 1.959963984540054  # the normal distribution's at _QUANTILE


@dataclass(frozen=True, slots=True)
class Tally:
    """Values of answers, summed within documents (s, over n answers each) and then over these.

    Attributes:
        moments: [6], the number of documents and the sums of n, s, n ** 2, n * s and s ** 2.
    """

    moments: NDArray[np.float64]

    @classmethod
    def of(cls, values: NDArray[np.float64], documents: Integers) -> Self:
        """Sum up answers, [answers], each of the document of that number, [answers]."""
        _, place = np.unique(documents, return_inverse=True)
        n = np.bincount(place).astype(np.float64)
        s = np.bincount(place, weights=values, minlength=len(n))
        return cls(np.array([len(n), n.sum(), s.sum(), n @ n, n @ s, s @ s]))

    @classmethod
    def empty(cls) -> Self:
        """Return the tally of no answers."""
        return cls(np.zeros(6))

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.moments + other.moments)

    @property
    def documents(self) -> int:
        """Documents with an answer."""
        return round(float(self.moments[0]))

    @property
    def count(self) -> int:
        """Answers."""
        return round(float(self.moments[1]))

    @property
    def mean(self) -> float:
        """Mean of the values; not a number without answers."""
        return float(self.moments[2] / self.moments[1]) if self.count else math.nan

    @property
    def variance(self) -> float:
        """Of the mean, as a ratio of two sums over sampled documents; not a number for less than 2.

        Cochran, Sampling Techniques (1977), 2.11: the mean square of s - mean * n, linear in the
        sums' errors.
        """
        documents = self.documents
        if documents < 2:
            return math.nan
        return documents / (documents - 1) * self._squares / self.count**2

    @property
    def _squares(self) -> float:
        """Sum over documents of (s - mean * n) ** 2; rounding must not make it negative."""
        _, _, _, nn, ns, ss = self.moments
        return max(0.0, float(ss - 2 * self.mean * ns + self.mean**2 * nn))

    def interval(self) -> tuple[float, float]:
        """Return Student's interval of the mean, with a degree of freedom less than documents."""
        if self.documents < 2:
            return math.nan, math.nan
        half = float(stdtrit(self.documents - 1, _QUANTILE)) * math.sqrt(self.variance)
        return self.mean - half, self.mean + half

    def share_interval(self) -> tuple[float, float]:
        """Return Wilson's interval of a share, the values being 0 and 1.

        Wilson (1927), over an effective number of answers: as many as would vary like this if they
        were independent, and never more than there are (Kish's design effect; Franco et al., J.
        Survey Stat. Methodol. 7 (2019), compare such intervals). Where all answers agree nothing
        tells how documents hang together, so each of them counts once.
        """
        if not self.count:
            return math.nan, math.nan
        share, spread = self.mean, self.mean * (1 - self.mean)
        answers = float(self.documents)
        if spread > 0:
            effect = self._squares / (self.count * spread)
            answers = self.count / max(1.0, effect)
        z2 = _NORMAL**2 / answers
        middle = (share + z2 / 2) / (1 + z2)
        half = math.sqrt(z2 * (spread + z2 / 4)) / (1 + z2)
        return max(0.0, middle - half), min(1.0, middle + half)


def sum_interval(tallies: list[Tally], weights: list[float]) -> tuple[float, float]:
    """Return the normal interval of a weighted sum of independent means."""
    mean = sum(w * tally.mean for w, tally in zip(weights, tallies, strict=True))
    variance = sum(w**2 * tally.variance for w, tally in zip(weights, tallies, strict=True))
    half = _NORMAL * math.sqrt(variance)
    return mean - half, mean + half
