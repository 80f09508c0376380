"""What every source of a train document says."""

from __future__ import annotations

import pathlib
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from archspec.blocks.base import Fault
from archspec.schema import PositiveFloat, Schema

BYTES = "bytes"  # what makes token ids of text, where no tokenizer does


class SourceConfig(Schema):
    """One source of a mixture. Subclasses are final; ``train/data`` opens them."""

    name: Annotated[
        str,
        Field(
            description="Prefix of this source's metrics; by default the task, or the name of the "
            "file without its suffix."
        ),
    ] = ""
    weight: Annotated[
        PositiveFloat,
        Field(description="Share of the tokens, relative to the other sources."),
    ] = 1.0

    @property
    def codec(self) -> str | None:
        """What text is made into token ids by: a tokenizer file or bytes; None if unknown."""
        return None

    @property
    @abstractmethod
    def metrics(self) -> tuple[str, ...]:
        """What is measured on this source, without the prefix."""

    @classmethod
    @abstractmethod
    def default_name(cls, values: Mapping[str, Any]) -> object:
        """Return the name of a source that gives none, from keys that nobody has checked yet."""

    def located(self, folder: pathlib.Path) -> Self:
        """Return the source with its paths absolute, read from ``folder``."""
        return self

    def check(self, seq_len: int) -> Iterator[Fault]:
        """Yield every rule broken, with paths inside the source."""
        yield from ()

    @model_validator(mode="before")
    @classmethod
    def _fill_name(cls, value: Any) -> Any:
        if not isinstance(value, dict) or value.get("name"):
            return value
        name = cls.default_name(value)
        return {**value, "name": name} if isinstance(name, str) else value


class TaskConfig(SourceConfig):
    """A source that is made from its settings alone, and asks questions with one right answer."""

    @classmethod
    def default_name(cls, values: Mapping[str, Any]) -> object:
        """Return the task."""
        return values.get("task")

    @property
    def codec(self) -> str:
        """Bytes: tasks are in the built-in vocabulary."""
        return BYTES

    @property
    def metrics(self) -> tuple[str, ...]:
        """What is measured on this source, without the prefix."""
        return ("accuracy", "nll")

    @property
    @abstractmethod
    def num_choices(self) -> int:
        """Answers to choose from; chance is one in so many."""

    @property
    @abstractmethod
    def asked(self) -> str:
        """What is asked for, in words that follow a number."""


def check_length(size: int, seq_len: int, parts: str) -> Iterator[Fault]:
    """Yield a fault if a document does not fit a sequence; ``parts`` says what it is made of."""
    if size > seq_len:
        yield Fault(
            (),
            f"a document takes {size} tokens ({parts}), but seq_len={seq_len}; raise seq_len",
        )
