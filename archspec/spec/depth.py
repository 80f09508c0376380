"""Sizes that change over depth: a map in place of a whole number, one number for each layer."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, Field

from archspec.blocks.base import Fault
from archspec.schema import PositiveInt, Schema


class DepthRange(Schema):
    """A size that goes evenly from one layer to another, in the layers where it stands."""

    from_: Annotated[
        PositiveInt,
        Field(alias="from", description="Size in the first of the layers."),
    ]
    to: Annotated[PositiveInt, Field(description="Size in the last of them.")]
    round_to: Annotated[
        PositiveInt,
        Field(description="Sizes between are rounded to the nearest multiple of this, halves up."),
    ] = 1

    def check(self) -> Iterator[Fault]:
        """Yield the ends that rounding would move."""
        for key, value in (("from", self.from_), ("to", self.to)):
            if value % self.round_to:
                below = value // self.round_to * self.round_to
                yield Fault(
                    (key,),
                    f"round_to must divide {key}, but {key}={value} and round_to={self.round_to}; "
                    f"use {below or self.round_to} or {below + self.round_to}",
                )

    def at(self, rank: int, count: int) -> int:
        """Return the size in the ``rank``-th of ``count`` layers, in whole numbers throughout."""
        steps = count - 1
        twice = 2 * (self.from_ * steps + (self.to - self.from_) * rank)
        unit = 2 * steps * self.round_to
        return (twice + unit // 2) // unit * self.round_to


def depth_keys(config: type[BaseModel], raw: Mapping[str, Any]) -> list[str]:
    """Return the keys that hold a map where ``config`` wants a whole number."""
    return [
        key
        for key, value in raw.items()
        if isinstance(value, dict) and key in config.model_fields and takes_range(config, key)
    ]


def takes_range(config: type[BaseModel], key: str) -> bool:
    """Tell whether a key is a whole number, and may hence be a map over depth."""
    annotation = config.model_fields[key].annotation
    return annotation is int or int in typing.get_args(annotation)
