"""What is asked of a race, and what is raced."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from archspec.errors import RunError, suggest
from archspec.spec.model import ModelSpec
from archspec.spec.train import TrainSpec

Entry = Literal["reference", "matched", "as is"]
MOST_SEEDS = 1000  # the seed of the sweep lies beyond


@dataclass(frozen=True, slots=True, kw_only=True)
class RaceSettings:
    """How designs are compared.

    Attributes:
        seeds: Trainings of each design, with seeds that follow one another.
        metric: What the race is about; rates are chosen by it.
        match_flops: ``first``, ``none``, a number of FLOPs per token or the path of a spec.
        round_to: Matched inner widths are multiples of it.
        rates: Learning rates that every family tries; empty for no sweep.
        table_rates: Multipliers of the tables' rate, tried with each rate.
        sweep_each: Sweep every design and not every family.
        sweep_share: Tokens of a run of the sweep over those of the race.
        points: Evaluations along the way, where the train document does not say.
        device: As of ``archspec train``.
        threads: Of each training.
    """

    seeds: int = 3
    metric: str = "loss"
    match_flops: str = "first"
    round_to: int = 8
    rates: tuple[float, ...] = ()
    table_rates: tuple[float, ...] = ()
    sweep_each: bool = False
    sweep_share: float = 1.0
    points: int = 20
    device: str = "cpu"
    threads: int = 1

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger value of the metric wins."""
        return is_higher_better(self.metric)

    def check(self, train: TrainSpec) -> None:
        """Check the settings for a train document. Raises RunError."""
        if self.metric not in train.metrics:
            raise RunError(
                f"--metric {self.metric}: the train document has no such metric; "
                f"{suggest(self.metric, train.metrics)}"
            )
        if not 1 <= self.seeds <= MOST_SEEDS:
            raise RunError(f"--seeds must be between 1 and {MOST_SEEDS}, but is {self.seeds}")
        for option, least, value in (("points", 1, self.points), ("round-to", 1, self.round_to)):
            if value < least:
                raise RunError(f"--{option} must be at least {least}, but is {value}")
        if not 0 < self.sweep_share <= 1:
            raise RunError(
                f"--sweep-share must be more than 0 and at most 1, but is {self.sweep_share}"
            )
        for option, rates in (("lr", self.rates), ("table-lr", self.table_rates)):
            wrong = [rate for rate in rates if not (math.isfinite(rate) and rate > 0)]
            if wrong:
                raise RunError(f"--{option} must be positive numbers, but one is {wrong[0]}")
            if len(set(rates)) < len(rates):
                raise RunError(f"--{option} must differ, but are {', '.join(map(str, rates))}")


@dataclass(frozen=True, kw_only=True)
class Entrant:
    """One design of a race.

    Attributes:
        name: Its name in tables and folders; none occurs twice.
        source: The path that it was read from.
        spec: The design as it is trained.
        family: Kinds of its blocks; a family shares its learning rate.
        entry: The reference; matched to its FLOPs; or as it is.
        flops_per_token: Of ``spec``, forward.
        flops_before: Of the design as given.
        hidden_dims: Inner widths of its dense blocks.
        hidden_dims_before: As given.
    """

    name: str
    source: str
    spec: ModelSpec
    family: str
    entry: Entry
    flops_per_token: int
    flops_before: int
    hidden_dims: tuple[int, ...]
    hidden_dims_before: tuple[int, ...]


def is_higher_better(metric: str) -> bool:
    """Tell whether a larger value of a metric is better: that of accuracies, not of losses."""
    return "accuracy" in metric.split(".")
