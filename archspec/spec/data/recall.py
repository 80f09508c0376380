"""In-context recall."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from archspec.blocks.base import Fault
from archspec.schema import Count, PositiveInt
from archspec.spec.data.base import TaskConfig, check_length


class RecallSource(TaskConfig):
    """Pairs of key and value, drawn anew in every document, then keys whose values are asked."""

    task: Literal["recall"]
    num_pairs: Annotated[PositiveInt, Field(description="Pairs shown in a document.")] = 8
    num_queries: Annotated[
        PositiveInt | None,
        Field(description="Pairs asked for after that, each once; null: all."),
    ] = None
    num_keys: Annotated[PositiveInt, Field(description="Different keys there are.")] = 64
    num_values: Annotated[
        PositiveInt,
        Field(description="Different values there are; chance is one in so many."),
    ] = 64
    noise: Annotated[
        Count,
        Field(description="Noise tokens of a document, anywhere but inside a pair."),
    ] = 0
    num_noise_symbols: Annotated[PositiveInt, Field(description="Different noise tokens.")] = 16

    @property
    def num_asked(self) -> int:
        """Queries of a document."""
        return self.num_queries or self.num_pairs

    @property
    def size(self) -> int:
        """Tokens of a document."""
        return 2 * (self.num_pairs + self.num_asked) + self.noise

    @property
    def num_choices(self) -> int:
        """See :class:`TaskConfig`."""
        return self.num_values

    @property
    def asked(self) -> str:
        """See :class:`TaskConfig`."""
        return "the values shown before"

    def check(self, seq_len: int) -> Iterator[Fault]:
        """Yield every rule broken, with paths inside the source."""
        yield from check_length(
            self.size,
            seq_len,
            f"num_pairs={self.num_pairs}, {self.num_asked} queries and noise={self.noise}",
        )
        for name, value, bound, most in (
            ("num_pairs", self.num_pairs, "num_keys", self.num_keys),
            ("num_queries", self.num_asked, "num_pairs", self.num_pairs),
        ):
            if value > most:
                yield Fault(
                    (name,),
                    f"{name} <= {bound} must hold, since none comes twice, but {name}={value} and "
                    f"{bound}={most}; lower {name} or raise {bound}",
                )
