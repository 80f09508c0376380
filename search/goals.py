"""What a trial is worth in every goal of a search."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

from archspec.errors import ObjectiveError
from archspec.spec.search.objective import Goal


class Judged(Protocol):
    """What a judgement left: an outcome, or the result of a trial."""

    @property
    def value(self) -> float:
        """The judged metric."""
        ...

    @property
    def metrics(self) -> Mapping[str, float]:
        """Everything that was measured."""
        ...


def goal_values(
    goals: Sequence[Goal], judged: Judged, prices: Mapping[str, int]
) -> tuple[float, ...]:
    """Return the value of each goal, the judged metric first.

    Args:
        goals: Those of the search.
        judged: What a training of the design left.
        prices: What it costs, by quantity.

    Raises:
        ObjectiveError: A further metric was not measured.
    """
    found = [judged.value]
    for goal in goals[1:]:
        values: Mapping[str, float] = prices if goal.source == "price" else judged.metrics
        value = values.get(goal.name, math.nan)
        if not math.isfinite(value):
            measured = ", ".join(sorted(judged.metrics))
            raise ObjectiveError(
                f"objective.also.{goal.name}: has no value for this design; measured were "
                f"{measured}"
            )
        found.append(float(value))
    return tuple(found)
