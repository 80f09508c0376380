"""Learning rates that a family of designs shares, and how they are chosen among those tried."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from archspec.errors import DivergedError
from archspec.spec.train import TrainSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What a family is tuned by; None leaves the train document's."""

    lr: float | None = None
    table_lr: float | None = None

    def apply(self, train: TrainSpec) -> TrainSpec:
        """Return the train document with these rates."""
        optimizer = train.optimizer
        if self.table_lr is not None:
            tables = optimizer.tables.model_copy(update={"lr_multiplier": self.table_lr})
            optimizer = optimizer.model_copy(update={"tables": tables})
        if self.lr is not None:
            optimizer = optimizer.model_copy(update={"lr": self.lr})
        return train.model_copy(update={"optimizer": optimizer})

    def __str__(self) -> str:
        parts = [f"lr{self.lr:g}"] if self.lr is not None else []
        parts += [f"tables{self.table_lr:g}"] if self.table_lr is not None else []
        return "-".join(parts) or "as-given"


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRun:
    """One training of the sweep; ``value`` is None if it diverged."""

    design: str
    lr: float | None
    table_lr: float | None
    value: float | None
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepChoice:
    """What a group of designs is trained with, and what else was tried.

    Attributes:
        group: A family, or a design.
        edges: Of which rates the chosen one is the lowest or the highest tried.
    """

    group: str
    lr: float | None
    table_lr: float | None
    edges: tuple[str, ...]
    runs: tuple[SweepRun, ...]


def choose_rates(group: str, runs: Sequence[SweepRun], *, higher: bool, way: str) -> SweepChoice:
    """Choose the best rates of a group; of equal ones the first.

    Args:
        group: Its name.
        runs: Its part of the sweep.
        higher: Whether larger is better.
        way: What to do where all of them diverged, for the message.

    Raises:
        DivergedError: All of them did.
    """
    sound = [(run.value, run) for run in runs if run.value is not None]
    if not sound:
        tried = ", ".join(f"{run.lr:g}" for run in runs if run.lr is not None)
        raise DivergedError(
            f"{group}: training diverged with every learning rate of the sweep, {tried}; {way}"
        )
    pick = max if higher else min
    best = pick(sound, key=lambda pair: pair[0])[1]
    return SweepChoice(
        group=group,
        lr=best.lr,
        table_lr=best.table_lr,
        edges=tuple(_edges(best, runs)),
        runs=tuple(runs),
    )


def finite(value: float | None) -> float | None:
    """Return a value that is a number, None for any other."""
    return value if value is not None and math.isfinite(value) else None


def _edges(best: SweepRun, runs: Sequence[SweepRun]) -> Iterator[str]:
    """Say of what the best is the lowest or highest that was tried: it may lie further out."""
    for title, chosen, values in (
        ("learning rate", best.lr, {run.lr for run in runs if run.lr is not None}),
        ("table multiplier", best.table_lr, {r.table_lr for r in runs if r.table_lr is not None}),
    ):
        if chosen is not None and len(values) > 1:
            if chosen == min(values):
                yield f"lowest {title}"
            elif chosen == max(values):
                yield f"highest {title}"
