"""The ``objective`` section of a search document: what designs are judged by."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from archspec.errors import Path, suggest
from archspec.schema import PositiveFloat, PositiveInt, Schema
from archspec.spec.train import TrainSpec

Direction = Literal["minimize", "maximize"]
Report = Iterator[tuple[Path, str]]

_CODE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
NO_CODE = (
    "a document never names code, since files from others must be safe to run; write "
    "`kind: user` here, and give the function on the command line, --objective module:function"
)


def refuse_code(value: Any) -> Any:
    """Pass an objective on unless it, or a value of it, names a function. Raises ValueError."""
    named: list[Any] = [value]
    if isinstance(value, dict):
        named = [item for key, item in value.items() if key not in ("train", "metric")]
    for item in named:
        if isinstance(item, str) and _CODE.fullmatch(item):
            raise ValueError(f"{item!r} is code: {NO_CODE}")
    return value


class Objective(Schema):
    """What a design is judged by: a short training, unless `kind` says otherwise.

    Attributes are those of the document; ``law`` is checked by ``check_objective``.
    """

    kind: Annotated[
        Literal["train", "predicted", "user"],
        Field(
            description="train: a short training; predicted: a published law of the loss, for "
            "sizes only; user: the function that --objective names on the command line."
        ),
    ] = "train"
    train: Annotated[str, Field(description="Path of the train document, from this file.")]
    metric: Annotated[
        str,
        Field(description="What is improved: a metric of the training, such as facts.nll."),
    ] = "loss"
    direction: Annotated[Direction, Field(description="Which is better.")] = "minimize"
    seeds: Annotated[PositiveInt, Field(description="Trainings per design, averaged.")] = 1
    also: Annotated[
        dict[str, Direction],
        Field(
            description="Further goals, each a price or another metric, with its direction. The "
            "search then looks for the designs that none beats in all goals (the Pareto front)."
        ),
    ] = Field(default_factory=dict)
    sweep: Annotated[
        list[PositiveFloat],
        Field(
            description="Factors on optimizer.lr that every family of designs (the kinds of blocks "
            "used) tries once, with its first design at the first rung; the best is used for all "
            "of the family. Empty: the train document's rate."
        ),
    ] = Field(default_factory=list)
    law: Annotated[
        Literal["dense", "moe"] | None,
        Field(
            description="For `predicted`: dense (Besiroglu et al., arXiv 2404.10102) or moe "
            "(Ludziejewski et al., arXiv 2502.05172)."
        ),
    ] = None


ObjectiveField = Annotated[Objective, BeforeValidator(refuse_code)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """One thing that a search improves.

    Attributes:
        name: A metric or a price.
        source: Where its value is found.
    """

    name: str
    direction: Direction
    source: Literal["metric", "price"] = "metric"

    @property
    def sign(self) -> float:
        """What turns its values into losses, of which less is better."""
        return 1.0 if self.direction == "minimize" else -1.0


def goals(objective: Objective, prices: Sequence[str]) -> tuple[Goal, ...]:
    """Return the goals of a checked objective, the judged metric first.

    Args:
        objective: The section.
        prices: Names of everything that is priced.
    """
    first = Goal(name=objective.metric, direction=objective.direction)
    others = (
        Goal(name=name, direction=direction, source="price" if name in prices else "metric")
        for name, direction in objective.also.items()
    )
    return (first, *others)


def check_objective(objective: Objective, train: TrainSpec, prices: Sequence[str]) -> Report:
    """Yield what is wrong with an objective over its train document, with paths below it."""
    trained = objective.kind == "train"
    known = {"train": train.metrics, "predicted": ("loss",), "user": None}[objective.kind]
    if known is not None and objective.metric not in known:
        yield (
            ("metric",),
            f"unknown metric {objective.metric!r}; {suggest(objective.metric, known)}",
        )
    for name in objective.also:
        if name == objective.metric:
            yield ("also", name), f"{name!r} is the metric itself; remove one of the two"
        elif name not in prices and known is not None and name not in known:
            message = f"unknown goal {name!r}; {suggest(name, [*prices, *known])}"
            yield ("also", name), message
    for key, given, wanted in (
        ("sweep", bool(objective.sweep), "train"),
        ("seeds", objective.seeds > 1, "train or user"),
        ("law", objective.law is not None, "predicted"),
    ):
        if given and objective.kind not in wanted.split(" or "):
            yield (
                (key,),
                f"{key} is a setting of kind: {wanted}, but kind={objective.kind}; remove it",
            )
    if objective.kind == "predicted" and objective.law is None:
        yield ("law",), "kind: predicted needs a law; add `law: dense` or `law: moe`"
    if trained and len(set(objective.sweep)) < len(objective.sweep):
        yield ("sweep",), f"factors must differ, but are {objective.sweep}"
