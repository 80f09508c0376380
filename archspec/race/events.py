"""What a race reports while it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from archspec.race.settings import Entrant, RaceSettings
from archspec.race.trainings import Training
from archspec.train.rates import SweepChoice


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A race begins, or goes on.

    Attributes:
        steps: Optimizer steps of all trainings, of which ``done_steps`` lie behind.
        trainings: How many trainings there are, of which ``done`` are finished.
    """

    entrants: tuple[Entrant, ...]
    settings: RaceSettings
    trainings: int
    done: int
    steps: int
    done_steps: int
    jobs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where one training stands."""

    step: int
    num_steps: int
    loss: float


class Listener:
    """Hears of a race's events in order. This one ignores them."""

    def on_plan(self, event: Plan) -> None:
        """Hear what is about to happen."""

    def on_start(self, training: Training) -> None:
        """Hear that a training begins or goes on."""

    def on_progress(self, training: Training, progress: Progress) -> None:
        """Hear where a training stands, now and then."""

    def on_finish(self, training: Training, value: float | None) -> None:
        """Hear of a finished training and the race's metric; None if it diverged."""

    def on_choice(self, choices: Sequence[SweepChoice]) -> None:
        """Hear which rates the sweep chose."""
