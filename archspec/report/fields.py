"""The keys of a schema as rows: name, type in words, default, meaning."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

_NAMES = {
    int: "integer",
    float: "number",
    str: "text",
    bool: "true | false",
    type(None): "null",
    Any: "anything",
}


@dataclass(frozen=True)
class FieldRow:
    """One key of a document, as people need to know it."""

    key: str
    type: str
    default: str
    meaning: str


def field_rows(schema: type[BaseModel]) -> list[FieldRow]:
    """Return one row for each key, required ones first."""
    rows = [
        FieldRow(
            key=name,
            type=type_words(field.annotation),
            default=_default(field),
            meaning=field.description or "",
        )
        for name, field in schema.model_fields.items()
    ]
    return sorted(rows, key=lambda row: row.default != "required")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None or value is PydanticUndefined:
        return "null"
    if isinstance(value, BaseModel):
        return "its defaults"
    if value in ({}, [], ""):
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def type_words(annotation: Any) -> str:
    """Say what values a type annotation admits.

    >>> type_words(typing.Literal["none", "swilu"]), type_words(int | None)
    ('none | swilu', 'integer | null')
    >>> type_words(dict[str, list[int]])
    'map of name to list of integer'
    """
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return type_words(arguments[0])
    if origin is typing.Literal:
        return " | ".join(map(str, arguments))
    if origin is list:
        return f"list of {_bracketed(arguments[0])}"
    if origin is dict:
        key = "index" if arguments[0] is int else "name"
        return f"map of {key} to {_bracketed(arguments[1])}"
    if origin in (typing.Union, types.UnionType):
        return " | ".join(dict.fromkeys(map(type_words, arguments)))
    return _NAMES[annotation] if annotation in _NAMES else str(annotation.__name__)


def _bracketed(annotation: Any) -> str:
    words = type_words(annotation)
    return f"({words})" if " | " in words else words


def nested_schemas(schema: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Yield every schema below this one, each once, in order of first use."""
    found: dict[type[BaseModel], None] = {}
    _collect(schema, found)
    yield from list(found)[1:]


def _collect(annotation: Any, found: dict[type[BaseModel], None]) -> None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if annotation not in found:
            found[annotation] = None
            for field in annotation.model_fields.values():
                _collect(field.annotation, found)
        return
    for argument in typing.get_args(annotation):
        _collect(argument, found)
