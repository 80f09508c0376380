"""Tables of block types and of the keys one type takes."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_core import PydanticUndefined
from rich.console import Group
from rich.table import Table
from rich.text import Text

from archspec.blocks.base import BlockConfig
from archspec.report.tables import plain_table


@dataclass(frozen=True)
class FieldRow:
    """One key of a document, as people need to know it."""

    key: str
    type: str
    default: str
    meaning: str


def kinds_table(rows: Mapping[str, str]) -> Group:
    """Return the table of block types and their one-line meaning."""
    table = plain_table("type", "what it is")
    for name, meaning in rows.items():
        table.add_row(name, _flat(meaning))
    return Group(table, Text("`archspec kinds TYPE` shows the keys of a type."))


def fields_table(config: type[BlockConfig]) -> Group:
    """Return the table of a block type's keys."""
    table: Table = plain_table("key", "type", "default", "meaning")
    for row in describe_fields(config):
        table.add_row(row.key, row.type, row.default, row.meaning)
    return Group(Text(_flat(config.__doc__ or "")), Text(""), table)


def describe_fields(config: type[BlockConfig]) -> list[FieldRow]:
    """Return one row for each key, required ones first."""
    rows = [
        FieldRow(
            key=name,
            type=type_words(field.annotation),
            default="required" if field.is_required() else _words(field.default),
            meaning=field.description or "",
        )
        for name, field in config.model_fields.items()
        if name != "type"
    ]
    return sorted(rows, key=lambda row: row.default != "required")


def type_words(annotation: Any) -> str:
    """Say what values a type annotation admits.

    >>> type_words(typing.Literal["none", "swilu"]), type_words(int | None)
    ('none | swilu', 'integer | null')
    """
    if typing.get_origin(annotation) is typing.Literal:
        return " | ".join(map(str, typing.get_args(annotation)))
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is typing.Annotated:
        return type_words(arguments[0])
    if arguments:
        return " | ".join(map(type_words, arguments))
    names = {int: "integer", float: "number", bool: "true | false", str: "text", type(None): "null"}
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _words(default: Any) -> str:
    if default is None or default is PydanticUndefined:
        return "null"
    return str(default).lower() if isinstance(default, bool) else str(default)


def _flat(docstring: str) -> str:
    """Join the lines of each paragraph, so that the terminal wraps them."""
    paragraphs = (" ".join(part.split()) for part in docstring.replace("``", "`").split("\n\n"))
    return "\n\n".join(paragraphs)
