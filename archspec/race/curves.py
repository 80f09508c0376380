"""A design's learning curve: the mean over its seeds at every evaluation, with intervals."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from archspec.race.results import DesignResult
from archspec.race.statistics import mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A metric along the way, one entry per evaluation.

    Attributes:
        tokens: Seen until then.
        flops: Spent until then, forward and backward.
        seconds: Mean time in training steps until then.
        low: Lower end of the 95% interval; the mean itself with one seed.
        high: Upper end.
    """

    tokens: tuple[float, ...]
    flops: tuple[float, ...]
    seconds: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


def curve_of(design: DesignResult, metric: str) -> Curve | None:
    """Average the curves of the runs that finished; None if there is none."""
    runs = design.finished
    if not runs:
        return None
    points = list(zip(*(run.curve for run in runs), strict=True))
    means = [mean([point.metrics[metric] for point in same]) for same in points]
    tokens = tuple(float(same[0].tokens) for same in points)
    return Curve(
        tokens=tokens,
        flops=tuple(value * design.training_flops for value in tokens),
        seconds=tuple(statistics.fmean(point.seconds for point in same) for same in points),
        mean=tuple(value.value for value in means),
        low=tuple(value.value if value.low is None else value.low for value in means),
        high=tuple(value.value if value.high is None else value.high for value in means),
    )
