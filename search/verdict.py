"""Whether the winner beats what a person would have tried, on fresh seeds, paired over them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict
from scipy import stats

from archspec.search.results import DesignResult, SearchResults

CONFIDENCE = 0.95
Status = Literal["beats all", "not all", "some not run again", "hand wins", "no hand", "not yet"]


class _Value(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Interval(_Value):
    """A mean over seeds with its 95% t interval; None where one value gives none.

    Attributes:
        count: Values it is the mean of.
    """

    value: float
    low: float | None
    high: float | None
    count: int


class Comparison(_Value):
    """The winner against a hand design.

    Attributes:
        name: The hand design.
        trial: Its trial.
        gain: By how much the winner is better, whatever the direction; below 0 it is worse.
        seeds: Fresh seeds that both ran with; 0 if the gain is that of the first runs.
    """

    name: str
    trial: int
    gain: Interval
    seeds: int

    @property
    def is_clear(self) -> bool:
        """Whether the interval of the gain leaves out zero."""
        low, high = self.gain.low, self.gain.high
        return low is not None and high is not None and (low > 0 or high < 0)


class Verdict(_Value):
    """Whether the search was worth it.

    Attributes:
        status: ``beats all`` if the winner is better than every hand design on fresh seeds;
            ``some not run again`` if it is better than those that were, and than the others on
            first runs; ``not all`` if some hand design is better; ``hand wins`` if the winner is
            a hand design; ``no hand`` if none fits; ``not yet`` if the winner was not run again.
        comparisons: With every hand design, the best of them first.
        freedom: Degrees of freedom of the intervals.
    """

    status: Status
    comparisons: tuple[Comparison, ...]
    freedom: int


def judge(results: SearchResults) -> Verdict:
    """Compare the winner with every hand design."""
    best = results.best
    sign = 1.0 if results.direction == "minimize" else -1.0
    others = [design for design in results.hand_designs if design is not best]
    spread, freedom = _residual(results.designs)
    comparisons = tuple(_compare(best, other, sign, spread, freedom) for other in others)
    return Verdict(
        status=_status(best, results.hand_designs, comparisons),
        comparisons=comparisons,
        freedom=freedom,
    )


def _status(
    best: DesignResult, hand: Sequence[DesignResult], comparisons: Sequence[Comparison]
) -> Status:
    if not hand:
        return "no hand"
    if best.is_hand_design:
        return "hand wins"
    if math.isnan(best.rerun_value):
        return "not yet"
    if any(found.gain.value <= 0 for found in comparisons):
        return "not all"
    again = all(found.seeds for found in comparisons)
    return "beats all" if again else "some not run again"


def _compare(
    best: DesignResult, other: DesignResult, sign: float, spread: float, freedom: int
) -> Comparison:
    again = not math.isnan(best.rerun_value) and not math.isnan(other.rerun_value)
    count = len(best.reruns) if again else 0
    if not again:
        gain = sign * (other.value - best.value)
        only = Interval(value=gain, low=None, high=None, count=1)
        return Comparison(name=other.source, trial=other.trial, gain=only, seeds=0)
    gain = sign * (other.rerun_value - best.rerun_value)
    margin = _t(freedom) * spread * math.sqrt(2 / count) if freedom else None
    return Comparison(
        name=other.source, trial=other.trial, gain=_interval(gain, margin, count), seeds=count
    )


def _interval(value: float, margin: float | None, count: int) -> Interval:
    if margin is None:
        return Interval(value=value, low=None, high=None, count=count)
    return Interval(value=value, low=value - margin, high=value + margin, count=count)


def _t(freedom: int) -> float:
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom))


def _full(designs: Sequence[DesignResult]) -> list[DesignResult]:
    """Return the designs that ran with every fresh seed."""
    return [design for design in designs if not math.isnan(design.rerun_value)]


def _residual(designs: Sequence[DesignResult]) -> tuple[float, int]:
    """Return the spread of one run once design and seed are taken off, and its freedom.

    Two-way analysis of variance over the designs that ran with the same fresh seeds: what a seed
    does to all designs alike cancels in a paired difference.
    """
    rows = [design.reruns for design in _full(designs)]
    if len(rows) < 2 or len(rows[0]) < 2:
        return math.nan, 0
    seeds = [statistics.fmean(column) for column in zip(*rows, strict=True)]
    total = statistics.fmean(seeds)
    squares = sum(
        (value - statistics.fmean(row) - seed + total) ** 2
        for row in rows
        for value, seed in zip(row, seeds, strict=True)
    )
    freedom = (len(rows) - 1) * (len(seeds) - 1)
    return math.sqrt(squares / freedom), freedom


def seed_intervals(designs: Sequence[DesignResult]) -> dict[int, Interval]:
    """Return the mean over fresh seeds of every design run again, by trial.

    The spread over seeds is pooled over these designs, as each alone has few runs.
    """
    full = _full(designs)
    freedom = sum(len(design.reruns) - 1 for design in full)
    margin = 0.0
    if freedom:
        squares = sum((len(d.reruns) - 1) * statistics.variance(d.reruns) for d in full
                      if len(d.reruns) > 1)  # fmt: skip
        margin = _t(freedom) * math.sqrt(squares / freedom)
    return {
        design.trial: _interval(
            design.rerun_value,
            margin / math.sqrt(len(design.reruns)) if freedom else None,
            len(design.reruns),
        )
        for design in full
    }
