"""Every kind of source, as two literal tables.

A source is found by its one key that says where the data come from; one with ``task:`` by the name
of the task.
"""

from __future__ import annotations

import functools
import operator
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Discriminator, Tag, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from archspec.errors import suggest
from archspec.schema import UNKNOWN_KEY
from archspec.spec.data.base import SourceConfig
from archspec.spec.data.copy import CopySource
from archspec.spec.data.facts import FactsSource
from archspec.spec.data.memorization import MemorizationSource
from archspec.spec.data.recall import RecallSource
from archspec.spec.data.text import HfSource, JsonlSource, ParquetSource, TextSource
from archspec.spec.data.tokens import TokensSource

# Sources of data that exist, by their key.
KEYS: dict[str, type[SourceConfig]] = {
    "tokens": TokensSource,
    "text": TextSource,
    "jsonl": JsonlSource,
    "parquet": ParquetSource,
    "hf": HfSource,
}

# Sources that are made, by the name in `task`.
TASKS: dict[str, type[SourceConfig]] = {
    "copy": CopySource,
    "facts": FactsSource,
    "memorization": MemorizationSource,
    "recall": RecallSource,
}

TASK = "task"


def _tag(value: Any) -> str | None:
    if not isinstance(value, dict):
        return _tag_of(type(value))
    given = [key for key in (*KEYS, TASK) if key in value]
    if len(given) != 1:
        return None
    kind = KEYS.get(given[0]) or TASKS.get(value[TASK])
    return None if kind is None else _tag_of(kind)


def _tag_of(kind: type) -> str:
    return f"<{kind.__name__}>"


def _check_task(value: Any) -> Any:
    """Name the near task; the union by itself could only list all keys."""
    if not isinstance(value, dict) or TASK not in value or not KEYS.keys().isdisjoint(value):
        return value
    task = value[TASK]
    if isinstance(task, str) and task in TASKS:
        return value
    message = f"unknown task {task!r}; {suggest(task, TASKS)}"
    custom = PydanticCustomError(UNKNOWN_KEY, "{message}", {"message": message})
    raise ValidationError.from_exception_data(
        "source", [InitErrorDetails(type=custom, loc=(TASK,), input=task)]
    )


if TYPE_CHECKING:
    SourceField = SourceConfig
else:
    _KINDS = (*KEYS.values(), *TASKS.values())
    SourceField = Annotated[
        functools.reduce(operator.or_, (Annotated[kind, Tag(_tag_of(kind))] for kind in _KINDS)),
        Discriminator(
            _tag,
            custom_error_type="source",
            custom_error_message="must be a map with exactly one of "
            + ", ".join(f"`{key}:`" for key in (*KEYS, TASK)),
        ),
        BeforeValidator(_check_task),
    ]
