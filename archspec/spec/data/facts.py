"""Facts to be memorised."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from archspec.blocks.base import Fault
from archspec.schema import Count, PositiveInt
from archspec.spec.data.base import SourceConfig


class FactsSource(SourceConfig):
    """Subject-relation-object triples over reserved entity tokens, to be memorised."""

    TOKENS_PER_FACT: ClassVar[int] = 4  # subject (2), relation, object

    task: Literal["facts"]
    num_facts: Annotated[PositiveInt, Field(description="Triples in the world.")] = 4096
    num_relations: Annotated[
        PositiveInt,
        Field(description="Relations; every subject has an object for each of them."),
    ] = 8
    num_objects: Annotated[
        PositiveInt,
        Field(description="Possible objects; chance is one in so many."),
    ] = 256
    seed: Annotated[Count, Field(description="Seed of the world, apart from the run's.")] = 0

    @property
    def metrics(self) -> tuple[str, ...]:
        """What is measured on this source, without the prefix."""
        return ("accuracy", "nll")

    @classmethod
    def default_name(cls, values: Mapping[str, Any]) -> object:
        """Return the task."""
        return values.get("task")

    def check(self, seq_len: int) -> Iterator[Fault]:
        """Yield every rule broken, with paths inside the source."""
        if seq_len < self.TOKENS_PER_FACT:
            yield Fault(
                (),
                f"a fact takes {self.TOKENS_PER_FACT} tokens, but seq_len={seq_len}; raise seq_len",
            )
