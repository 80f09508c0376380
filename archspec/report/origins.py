"""The table of a document's values with where each was written."""

from __future__ import annotations

import yaml
from rich.table import Table

from archspec.errors import Place
from archspec.report.tables import plain_table
from archspec.spec.origins import Origin

DEFAULT = "default"


def origins_table(found: list[Origin]) -> Table:
    """Return one row per value."""
    table = plain_table("value", "is", "from")
    for origin in found:
        table.add_row(origin.path, value_text(origin.value), origin_text(origin))
    return table


def origin_text(origin: Origin) -> str:
    """Name file and line, the option on the command line, or the default."""
    return DEFAULT if origin.place is None else place_text(origin.place)


def place_text(place: Place) -> str:
    """Name file and line; an option of the command line has no lines."""
    has_line = place.line and not place.file.startswith("--set")
    return f"{place.file}:{place.line}" if has_line else place.file


def value_text(value: object) -> str:
    """Write a value on one line of YAML."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")
