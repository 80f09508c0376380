"""Fixed pairs to be memorised."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from archspec.blocks.base import Fault
from archspec.schema import Count, PositiveInt
from archspec.spec.data.base import TaskConfig, check_length


class MemorizationSource(TaskConfig):
    """Keys that each have one fixed value, both of one token."""

    SIZE: ClassVar[int] = 2  # tokens of a pair

    task: Literal["memorization"]
    num_keys: Annotated[PositiveInt, Field(description="Pairs in the world.")] = 256
    num_values: Annotated[
        PositiveInt,
        Field(description="Possible values; chance is one in so many."),
    ] = 256
    seed: Annotated[Count, Field(description="Seed of the world, apart from the run's.")] = 0

    @property
    def num_choices(self) -> int:
        """See :class:`TaskConfig`."""
        return self.num_values

    @property
    def asked(self) -> str:
        """See :class:`TaskConfig`."""
        return f"{self.num_keys:,} pairs"

    def check(self, seq_len: int) -> Iterator[Fault]:
        """Yield every rule broken, with paths inside the source."""
        yield from check_length(self.SIZE, seq_len, "key and value")
