"""The trainings of a race: which design, with which seed and rates, in which folder."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from archspec.race.settings import MOST_SEEDS, Entrant, RaceSettings
from archspec.spec.train import TrainSpec
from archspec.train.rates import Rates

Stage = Literal["sweep", "race"]


@dataclass(frozen=True, kw_only=True)
class Training:
    """One training.

    Attributes:
        key: Its run directory, from the race's.
        title: For people.
        design: Name of the entrant.
        spec: Path of its spec, from the race's directory.
        train: Everything, its own seed and rates included.
        stage: Whether it chooses rates or counts.
        rates: Those of ``train``, as the sweep names them.
    """

    key: str
    title: str
    design: str
    spec: str
    train: TrainSpec
    stage: Stage
    rates: Rates


def with_points(train: TrainSpec, points: int) -> TrainSpec:
    """Return the train document with evaluations along the way, if it has none."""
    if train.evaluation.every_steps is not None:
        return train
    every = math.ceil(train.num_steps / points)
    return train.model_copy(
        update={"evaluation": train.evaluation.model_copy(update={"every_steps": every})}
    )


def race_seeds(train: TrainSpec, seeds: int) -> tuple[int, ...]:
    """Return the seeds that every design runs with."""
    return tuple(range(train.seed, train.seed + seeds))


def sweep_seed(train: TrainSpec) -> int:
    """Return the seed of the sweep, which no run of the race has, however many are added."""
    return train.seed + MOST_SEEDS


def race_trainings(
    entrants: Sequence[Entrant],
    train: TrainSpec,
    settings: RaceSettings,
    rates: Mapping[str, Rates],
) -> Iterator[Training]:
    """List the trainings that count: all designs with one seed before any with the next.

    Args:
        entrants: The designs.
        train: The race's train document.
        settings: How many seeds.
        rates: The rates of each design by its name.
    """
    for seed in race_seeds(train, settings.seeds):
        for entrant in entrants:
            seeded = train.model_copy(update={"seed": seed})
            yield Training(
                key=f"runs/{entrant.name}/seed{seed}",
                title=f"{entrant.name}, seed {seed}",
                design=entrant.name,
                spec=spec_path(entrant.name),
                train=rates[entrant.name].apply(seeded),
                stage="race",
                rates=rates[entrant.name],
            )


def sweep_training(
    entrant: Entrant, train: TrainSpec, settings: RaceSettings, rates: Rates
) -> Training:
    """Return the training that tries some rates: measured once, at its end."""
    tokens = max(train.batch_tokens, round(train.tokens * settings.sweep_share))
    at_end = train.evaluation.model_copy(update={"every_steps": None})
    plain = train.model_copy(
        update={
            "tokens": tokens,
            "seed": sweep_seed(train),
            "evaluation": at_end,
            "checkpoint": train.checkpoint.model_copy(update={"keep": 1}),
        }
    )
    return Training(
        key=f"sweep/{entrant.name}/{rates}",
        title=f"{entrant.name}, {str(rates).replace('-', ' ')}",
        design=entrant.name,
        spec=spec_path(entrant.name),
        train=rates.apply(plain),
        stage="sweep",
        rates=rates,
    )


def spec_path(name: str) -> str:
    """Return where a design's spec is, from the race's directory."""
    return f"specs/{name}.yaml"
