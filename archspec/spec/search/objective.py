"""What a design is judged by."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from archspec.schema import PositiveInt, Schema


class Objective(Schema):
    """What a design is judged by: a short training."""

    train: Annotated[str, Field(description="Path of the train document, from this file.")]
    metric: Annotated[str, Field(description="A metric of it, such as facts.nll.")]
    direction: Annotated[Literal["minimize", "maximize"], Field(description="Which is better.")] = (
        "minimize"
    )
    seeds: Annotated[PositiveInt, Field(description="Trainings per design, averaged.")] = 1
