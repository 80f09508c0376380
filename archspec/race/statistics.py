"""Means over seeds with intervals, paired differences to the reference, and how soon it is reached.

Intervals are Student's t over seeds at 95%, which takes the runs of a design as draws from a normal
distribution; with 3 seeds they are wide, and a test seldom speaks even where an effect is real.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from scipy import stats

from archspec.race.results import DesignResult, Point, RaceResults, RunResult
from archspec.race.settings import is_higher_better

CONFIDENCE = 0.95
WEAK = 5  # with fewer seeds a test is said to be weak


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """A mean over seeds; one value alone has no interval.

    Attributes:
        count: Values it is of.
    """

    value: float
    low: float | None
    high: float | None
    count: int

    @property
    def margin(self) -> float | None:
        """Half the interval."""
        return None if self.high is None else self.high - self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A design less the reference, seed by seed.

    Attributes:
        mean: Of the differences.
        p: Of the paired t-test, two-sided; None with fewer than two pairs.
        p_holm: Corrected for the number of designs compared (Holm).
    """

    mean: Mean
    p: float | None
    p_holm: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How soon a design gets to where the reference ended with the same seed, for good.

    Attributes:
        reached: Seeds with which it got there.
        count: Seeds compared.
        tokens: Over the seeds that reached; None if none did.
        flops: Forward and backward, likewise.
        seconds: Likewise.
        share: Tokens over those of the whole run.
        is_bound: Whether some run was there at its first evaluation, hence possibly sooner.
    """

    reached: int
    count: int
    tokens: Mean | None
    flops: Mean | None
    seconds: Mean | None
    share: Mean | None
    is_bound: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a design came to.

    Attributes:
        name: The design.
        diverged: Trainings without a result.
        metrics: Final values by metric; empty if all diverged.
        differences: To the reference, by metric; empty for the reference itself.
        reach: Of the race's metric; None for the reference, or where nothing can be compared.
        seconds: Time in training steps.
    """

    name: str
    diverged: int
    metrics: Mapping[str, Mean]
    differences: Mapping[str, Difference]
    reach: Reach | None
    seconds: Mean | None


def summarize_race(results: RaceResults) -> tuple[Summary, ...]:
    """Summarise every design, in the order of the results."""
    others = results.designs[1:]
    differences = {
        metric: compare([_paired(results.reference, design, metric) for design in others])
        for metric in results.metrics
    }
    return tuple(
        _summary(results, design, _of(differences, index - 1) if index else {})
        for index, design in enumerate(results.designs)
    )


def _of(
    differences: Mapping[str, Sequence[Difference | None]], index: int
) -> dict[str, Difference]:
    found = {metric: values[index] for metric, values in differences.items()}
    return {metric: value for metric, value in found.items() if value is not None}


def _summary(
    results: RaceResults, design: DesignResult, differences: Mapping[str, Difference]
) -> Summary:
    runs = design.finished
    is_reference = design is results.reference
    return Summary(
        name=design.name,
        diverged=len(design.runs) - len(runs),
        metrics={m: mean([run.metrics[m] for run in runs]) for m in results.metrics if runs},
        differences=differences,
        reach=None if is_reference else reach(results.reference, design, results.settings.metric),
        seconds=mean([run.seconds for run in runs]) if runs else None,
    )


def mean(values: Sequence[float]) -> Mean:
    """Return the mean of one value or more with its t interval."""
    count, value = len(values), statistics.fmean(values)
    if count == 1:
        return Mean(value=value, low=None, high=None, count=1)
    spread = statistics.stdev(values) / math.sqrt(count)
    margin = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * spread
    return Mean(value=value, low=value - margin, high=value + margin, count=count)


def compare(pairs: Sequence[Sequence[float]]) -> tuple[Difference | None, ...]:
    """Test whether each list of differences is about zero, corrected for how many lists there are.

    Returns:
        A difference for each list; None where it is empty.
    """
    tested = [paired_p(values) for values in pairs]
    corrected = holm(tested)
    return tuple(
        Difference(mean=mean(values), p=p, p_holm=p_holm) if values else None
        for values, p, p_holm in zip(pairs, tested, corrected, strict=True)
    )


def paired_p(differences: Sequence[float]) -> float | None:
    """Return the two-sided p of a mean difference of zero: Student's t on ``count - 1`` degrees.

    Differences that are all the same leave no doubt: p is 1 if they are 0, else 0.
    """
    count = len(differences)
    if count < 2:
        return None
    centre, spread = statistics.fmean(differences), statistics.stdev(differences)
    if spread == 0:
        return 0.0 if centre else 1.0
    return float(2 * stats.t.sf(abs(centre) / (spread / math.sqrt(count)), count - 1))


def holm(ps: Sequence[float | None]) -> tuple[float | None, ...]:
    """Correct p-values for their number by Holm's step-down rule; None stays None."""
    order = sorted((p, index) for index, p in enumerate(ps) if p is not None)
    corrected: list[float | None] = [None] * len(ps)
    highest = 0.0
    for place, (p, index) in enumerate(order):
        highest = max(highest, min(1.0, p * (len(order) - place)))
        corrected[index] = highest
    return tuple(corrected)


def _paired(reference: DesignResult, design: DesignResult, metric: str) -> list[float]:
    """Subtract the reference's final value from the design's, seed by seed."""
    theirs = {run.seed: run.metrics[metric] for run in reference.finished}
    return [r.metrics[metric] - theirs[r.seed] for r in design.finished if r.seed in theirs]


def reach(reference: DesignResult, design: DesignResult, metric: str) -> Reach | None:
    """Say how soon a design gets to where the reference ended, seed by seed."""
    ends = {run.seed: run.metrics[metric] for run in reference.finished}
    runs = [run for run in design.runs if run.seed in ends]
    if not runs:
        return None
    found = [
        (run, crossing)
        for run in runs
        if run.diverged is None
        for crossing in [crossing_of(run, metric, ends[run.seed])]
        if crossing is not None
    ]
    tokens = [crossing.tokens for _, crossing in found]
    return Reach(
        reached=len(found),
        count=len(runs),
        tokens=_mean_or_none(tokens),
        flops=_mean_or_none(value * design.training_flops for value in tokens),
        seconds=_mean_or_none(crossing.seconds for _, crossing in found),
        share=_mean_or_none(crossing.tokens / run.tokens for run, crossing in found),
        is_bound=any(crossing.is_first for _, crossing in found),
    )


def _mean_or_none(values: Iterable[float]) -> Mean | None:
    found = list(values)
    return mean(found) if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossing:
    """Where a curve passes a value for good.

    Attributes:
        is_first: Whether it is the first point of the curve, before which nothing is known.
    """

    tokens: float
    seconds: float
    is_first: bool


def crossing_of(run: RunResult, metric: str, target: float) -> Crossing | None:
    """Find from where on a run's metric is at least as good as ``target``, to its end.

    Straight lines between evaluations. A curve that passes the target and falls back behind it has
    not reached it, so that noise makes nobody early.
    """
    sign = 1 if is_higher_better(metric) else -1
    leads = [sign * (point.metrics[metric] - target) for point in run.curve]
    if not leads or leads[-1] < 0:
        return None
    index = max((place + 1 for place, lead in enumerate(leads) if lead < 0), default=0)
    after = run.curve[index]
    if index == 0:
        return Crossing(tokens=after.tokens, seconds=after.seconds, is_first=True)
    share = -leads[index - 1] / (leads[index] - leads[index - 1])
    return _between(run.curve[index - 1], after, share)


def _between(before: Point, after: Point, share: float) -> Crossing:
    return Crossing(
        tokens=before.tokens + share * (after.tokens - before.tokens),
        seconds=before.seconds + share * (after.seconds - before.seconds),
        is_first=False,
    )
