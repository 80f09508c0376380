"""What every source of a train document says."""

from __future__ import annotations

import pathlib
from abc import abstractmethod
from collections.abc import Iterator
from typing import Annotated, Self

from pydantic import Field

from archspec.blocks.base import Fault
from archspec.schema import PositiveFloat, Schema


class SourceConfig(Schema):
    """One source of a mixture. Subclasses are final; ``train/data/KIND.py`` opens them."""

    weight: Annotated[
        PositiveFloat,
        Field(description="Share of the tokens, relative to the other sources."),
    ] = 1.0

    @property
    @abstractmethod
    def name(self) -> str:
        """The prefix of this source's metrics."""

    @property
    @abstractmethod
    def metrics(self) -> tuple[str, ...]:
        """What is measured on this source, without the prefix."""

    def located(self, folder: pathlib.Path) -> Self:
        """Return the source with its paths absolute, read from ``folder``."""
        return self

    def check(self, seq_len: int) -> Iterator[Fault]:
        """Yield every rule broken, with paths inside the source."""
        yield from ()
