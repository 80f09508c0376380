"""The search document as people write it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from archspec.schema import Count, PositiveInt, Schema
from archspec.spec.search.budgets import Budgets
from archspec.spec.search.objective import ObjectiveField
from archspec.spec.search.proxy import Proxy
from archspec.spec.search.rungs import Rung
from archspec.spec.search.vary import Vary


class SearchDocument(Schema):
    """A placement search."""

    archspec: Annotated[Literal[1], Field(description="Version of the language.")]
    kind: Annotated[Literal["search"], Field(description="The kind of document.")]
    base: Annotated[str, Field(description="Path of the base model, from this file.")]
    plan: Annotated[
        str | None,
        Field(description="Path of the plan that bytes and times are counted under."),
    ] = None
    hardware: Annotated[
        str | None,
        Field(
            description="The device that times are for: a bundled one by name, any other by path; "
            "default that of the plan."
        ),
    ] = None
    world_size: Annotated[
        PositiveInt | None,
        Field(description="All ranks, where the plan says auto."),
    ] = None
    vary: Annotated[Vary, Field(description="What may change.")]
    budgets: Annotated[Budgets, Field(description="What every design keeps to.")] = Budgets()
    objective: Annotated[ObjectiveField, Field(description="How a design is judged.")]
    rungs: Annotated[
        list[Rung],
        Field(
            description="Many designs for few tokens, the best for more. Results of two rungs are "
            "never compared; a rung trains from the start, as a schedule that has ended cannot "
            "be lengthened. Empty: every design for the tokens of the train document."
        ),
    ] = Field(default_factory=list)
    proxy: Annotated[
        Proxy | None,
        Field(
            description="A small model that is trained in place of every design; budgets hold for "
            "the design itself."
        ),
    ] = None
    trials: Annotated[
        PositiveInt, Field(description="Designs that are trained, those of the first rung.")
    ] = 24
    finalists: Annotated[
        Count,
        Field(description="Best designs that are trained again with two fresh seeds."),
    ] = 3
    hand_finalists: Annotated[
        Count,
        Field(
            description="Best hand designs that are trained again with them, and go along on every "
            "rung; with all of them the verdict rests on fresh seeds alone."
        ),
    ] = 1
    sampler: Annotated[
        Literal["milp", "evolution", "random", "exhaustive", "tpe", "nsga2"],
        Field(
            description="How designs are proposed; all of them propose only new designs that fit. "
            "tpe and nsga2 are Optuna's, repaired."
        ),
    ] = "milp"
    seed: Annotated[Count, Field(description="Seed of the sampler.")] = 0
