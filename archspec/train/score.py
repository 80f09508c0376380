"""Metrics with the intervals that sampling questions leaves them; torch-free, so tables read it."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from archspec.train.tally import Tally


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One metric.

    The interval is what asking other questions of the same kind would move the value by; it says
    nothing of other seeds of training.

    Attributes:
        name: As in ``facts.accuracy.rare``: the source, what is measured, and of which part.
        value: Not a number where nothing was asked.
        low: Lower end of the 95% interval; None where there is none, as for chance.
        high: Upper end.
        count: Answers it is over.
        documents: Documents these are from, which the interval takes as independent.
    """

    name: str
    value: float
    low: float | None
    high: float | None
    count: int
    documents: int

    def mapped(self, name: str, function: Callable[[float], float]) -> Score:
        """Return a rising function of this metric under another name."""
        low, high = (None if end is None else function(end) for end in (self.low, self.high))
        return Score(
            name=name,
            value=function(self.value),
            low=low,
            high=high,
            count=self.count,
            documents=self.documents,
        )


def score_of(
    name: str, tally: Tally, interval: tuple[float, float], value: float | None = None
) -> Score:
    """Return a metric; ``value`` is the tally's mean unless given."""
    low, high = (None if math.isnan(end) else end for end in interval)
    return Score(
        name=name,
        value=tally.mean if value is None else value,
        low=low,
        high=high,
        count=tally.count,
        documents=tally.documents,
    )


def with_derived(
    scores: Iterable[Score], bytes_per_target: Mapping[str, float | None]
) -> list[Score]:
    """Add, after each source's ``nll``, its perplexity and, of text, bits per byte.

    Args:
        scores: Metrics of some sources.
        bytes_per_target: Of every source by name; None where targets are no text.
    """
    derived = []
    for score in scores:
        derived.append(score)
        source, _, metric = score.name.rpartition(".")
        if metric != "nll":
            continue
        derived.append(score.mapped(f"{source}.perplexity", math.exp))
        size = bytes_per_target[source]
        if size is not None:
            scale = functools.partial(operator.mul, 1 / (math.log(2) * size))
            derived.append(score.mapped(f"{source}.bits_per_byte", scale))
    return derived
