"""What a race yields: raw values only. What follows from them is computed by ``statistics``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from archspec.errors import RunError
from archspec.race.settings import Entry, RaceSettings
from archspec.train.files import read_json
from archspec.train.rates import SweepChoice

SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One evaluation along the way.

    Attributes:
        seconds: Spent in training steps until then; evaluations and checkpoints apart.
    """

    step: int
    tokens: int
    seconds: float
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """One training of one design.

    Attributes:
        key: Its run directory, from the race's.
        diverged: Why it has no result; None if it has one.
        steps: Steps done.
        num_steps: Steps asked for.
        tokens: Tokens seen.
        seconds: Spent in training steps, in all sessions.
        metrics: The last evaluation.
        curve: Every evaluation, the last included.
        data_order: Hash over every batch in the order of steps.
        data: Hash of each source by name.
        settings: Hash of the train document, seed and tuned rates apart.
    """

    key: str
    seed: int
    diverged: str | None
    steps: int
    num_steps: int
    tokens: int
    seconds: float
    metrics: Mapping[str, float]
    curve: tuple[Point, ...]
    data_order: str
    data: Mapping[str, str]
    settings: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DesignResult:
    """One design and its trainings, in the order of seeds.

    Attributes:
        flops_ratio: FLOPs per token over those of the reference.
        training_flops: FLOPs of a token, forward and backward.
        lr: The rate it was trained with; ``table_lr`` the multiplier of its tables.
    """

    name: str
    source: str
    spec_hash: str
    family: str
    entry: Entry
    flops_per_token: int
    flops_before: int
    flops_ratio: float
    training_flops: int
    hidden_dims: tuple[int, ...]
    hidden_dims_before: tuple[int, ...]
    num_params: int
    num_active_params: int
    num_table_params: int
    lr: float
    table_lr: float
    runs: tuple[RunResult, ...]

    @property
    def finished(self) -> tuple[RunResult, ...]:
        """The trainings that did not diverge."""
        return tuple(run for run in self.runs if run.diverged is None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One condition of a fair race, and whether it held."""

    name: str
    held: bool
    detail: str


Direction = Literal["minimize", "maximize"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RaceResults:
    """A race, complete or as far as it got; the first design is the reference.

    Attributes:
        train: The train document as plain values.
        metrics: Every metric that was measured.
        jobs: Trainings at a time: more share the machine's memory, and wall times grow.
    """

    settings: RaceSettings
    train: Mapping[str, Any]
    metrics: tuple[str, ...]
    tokens: int
    designs: tuple[DesignResult, ...]
    sweep: tuple[SweepChoice, ...]
    checks: tuple[Check, ...]
    jobs: int
    machine: Mapping[str, str]

    @property
    def reference(self) -> DesignResult:
        """The design that the others are compared with."""
        return self.designs[0]


def as_dict(results: RaceResults) -> dict[str, Any]:
    """Return the results as plain values, with what follows from them under ``summary``."""
    from archspec.race.statistics import summarize_race

    summary = [asdict(row) for row in summarize_race(results)]
    return {"archspec_race": SCHEMA, **asdict(results), "summary": summary}


def to_json(results: RaceResults) -> str:
    """Write results as JSON."""
    return json.dumps(as_dict(results), indent=1, allow_nan=False) + "\n"


def load_results(path: Path) -> RaceResults:
    """Read results back; what follows from them is computed anew. Raises RunError."""
    content = read_json(path)
    schema = content.pop("archspec_race", None)
    if schema != SCHEMA:
        raise RunError(f"{path}: holds no race's results of version {SCHEMA}")
    content.pop("summary", None)
    try:
        return TypeAdapter(RaceResults).validate_python(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise RunError(f"{path}: is damaged: {place}: {first['msg']}") from None
