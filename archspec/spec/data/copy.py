"""Selective copying."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from archspec.blocks.base import Fault
from archspec.schema import Count, PositiveInt
from archspec.spec.data.base import TaskConfig, check_length


class CopySource(TaskConfig):
    """Symbols among noise, to be repeated in their order without the noise."""

    task: Literal["copy"]
    num_copied: Annotated[PositiveInt, Field(description="Symbols to copy in a document.")] = 8
    num_symbols: Annotated[
        PositiveInt,
        Field(description="Different symbols there are; chance is one in so many."),
    ] = 16
    noise: Annotated[Count, Field(description="Noise tokens among the symbols.")] = 8
    num_noise_symbols: Annotated[PositiveInt, Field(description="Different noise tokens.")] = 1

    @property
    def size(self) -> int:
        """Tokens of a document."""
        return 2 * self.num_copied + self.noise + 1

    @property
    def num_choices(self) -> int:
        """See :class:`TaskConfig`."""
        return self.num_symbols

    @property
    def asked(self) -> str:
        """See :class:`TaskConfig`."""
        return "the symbols shown before"

    def check(self, seq_len: int) -> Iterator[Fault]:
        """Yield every rule broken, with paths inside the source."""
        parts = f"num_copied={self.num_copied} twice, a mark and noise={self.noise}"
        yield from check_length(self.size, seq_len, parts)
