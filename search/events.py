"""What a search reports while it runs; views subclass the listener."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from archspec.search.results import BudgetResult, DesignResult, SearchResults, SpaceResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is about to happen.

    Attributes:
        done: Trainings that an earlier session finished.
        trainings: Trainings planned in all, re-runs of finalists included.
    """

    out: Path
    metric: str
    direction: str
    sampler: str
    space: SpaceResult
    budgets: tuple[BudgetResult, ...]
    hand_designs: tuple[str, ...]
    trials: int
    done: int
    trainings: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A training begins.

    Attributes:
        stage: ``trial``, or ``re-run`` for a finalist with a fresh seed.
        number: Of this stage, from 1.
        planned: How many this stage has.
        worker: Who trains, ``host:pid``; empty for this process.
    """

    stage: str
    number: int
    planned: int
    placement: str
    pools: str
    source: str
    worker: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A training is over.

    Attributes:
        started: What began it.
        value: The objective; None if training diverged.
        seconds: How long it took.
        prices: What the design costs.
        best: The best design so far, by first runs.
        done: Trainings finished in all sessions.
        trainings: Trainings planned.
        seconds_left: Estimate, from the trainings so far, their tokens and how many run at once.
    """

    started: Started
    value: float | None
    seconds: float
    prices: dict[str, int]
    best: DesignResult | None
    done: int
    trainings: int
    seconds_left: float


class Listener:
    """Hears of a search's events in order; this one ignores them."""

    def on_plan(self, event: Plan) -> None:
        """Hear what is about to happen."""

    def on_start(self, event: Started) -> None:
        """Hear that a training begins."""

    def on_finish(self, event: Finished) -> None:
        """Hear that a training is over."""

    def on_drop(self, event: Started) -> None:
        """Hear that a training was cut short; its design is tried again later."""

    def on_notice(self, text: str) -> None:
        """Hear what went wrong and was dealt with."""

    def on_end(self, results: SearchResults) -> None:
        """Hear what the search found."""
