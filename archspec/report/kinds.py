"""Tables of block types and of the keys one type takes."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel
from rich.console import Group
from rich.table import Table
from rich.text import Text

from archspec.report.fields import FieldRow, field_rows
from archspec.report.tables import plain_table


def kinds_table(rows: Mapping[str, str]) -> Group:
    """Return the table of types and their one-line meaning."""
    table = plain_table("type", "what it is")
    for name, meaning in rows.items():
        table.add_row(name, flatten(meaning))
    return Group(table, Text("`archspec kinds TYPE` shows the keys of a type."))


def fields_table(config: type[BaseModel]) -> Group:
    """Return the table of a type's keys."""
    table: Table = plain_table("key", "type", "default", "meaning")
    for row in describe_fields(config):
        table.add_row(row.key, row.type, row.default, row.meaning)
    return Group(Text(flatten(config.__doc__ or "")), Text(""), table)


def describe_fields(config: type[BaseModel]) -> list[FieldRow]:
    """Return the rows of a type's keys, without the `type` itself."""
    return [row for row in field_rows(config) if row.key != "type"]


def flatten(docstring: str) -> str:
    """Join the lines of each paragraph, so that the terminal wraps them."""
    paragraphs = (" ".join(part.split()) for part in docstring.replace("``", "`").split("\n\n"))
    return "\n\n".join(paragraphs)
