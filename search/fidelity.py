"""With how much, and at which learning rate, a design is judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from archspec.spec.train import Schedule, TrainSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Fidelity:
    """How thoroughly a design is judged; outcomes of two fidelities are not comparable.

    Attributes:
        tokens: Tokens of the training; None for those of the train document.
        lr: Peak learning rate, None for that of the train document.
    """

    tokens: int | None = None
    lr: float | None = None

    def apply(self, train: TrainSpec) -> TrainSpec:
        """Return the train document at this fidelity.

        Warm-up and decay keep their share of the run, so every training goes through its whole
        schedule. A cosine that has ended cannot be lengthened: a longer training starts anew.
        """
        optimizer = train.optimizer
        if self.lr is not None:
            optimizer = optimizer.model_copy(update={"lr": self.lr})
        tokens = train.tokens if self.tokens is None else self.tokens
        tables = optimizer.tables
        if tables.schedule is not None:
            tables = tables.model_copy(
                update={"schedule": rescaled(tables.schedule, tokens, train.tokens)}
            )
        return train.model_copy(
            update={
                "tokens": tokens,
                "schedule": rescaled(train.schedule, tokens, train.tokens),
                "optimizer": optimizer.model_copy(update={"tables": tables}),
            }
        )

    def plain(self) -> Mapping[str, Any]:
        """Return what is set, by name."""
        given = {"tokens": self.tokens, "lr": self.lr}
        return {name: value for name, value in given.items() if value is not None}

    def __str__(self) -> str:
        return "".join(f"-{name}{value!r}" for name, value in self.plain().items())


def rescaled(schedule: Schedule, tokens: int, before: int) -> Schedule:
    """Return a schedule of the same shape for a run of ``tokens`` instead of ``before``."""
    if tokens == before:
        return schedule
    warmup = schedule.warmup_tokens * tokens // before
    decay = schedule.decay_tokens
    if decay is not None:
        decay = max(1, decay * tokens // before)
    return schedule.model_copy(update={"warmup_tokens": warmup, "decay_tokens": decay})
