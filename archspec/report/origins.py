"""The table of a document's values with where each was written."""

from __future__ import annotations

import pathlib
from collections import Counter
from collections.abc import Iterable

import yaml
from rich.console import Group
from rich.text import Text

from archspec.errors import Place
from archspec.report.tables import plain_table
from archspec.spec.origins import Origin

DEFAULT = "default"
_OPTION = "--set"  # places on the command line have no file and no line


def origins_view(found: list[Origin]) -> Group:
    """Return one row per value, files by their last name, and their paths below."""
    files = dict.fromkeys(origin.place.file for origin in found if origin.place is not None)
    short = short_names(file for file in files if not file.startswith(_OPTION))
    table = plain_table("value", "is", "from")
    for origin in found:
        place = DEFAULT if origin.place is None else place_text(origin.place, short)
        table.add_row(origin.path, value_text(origin.value), place)
    paths = (file for file, name in short.items() if file != name)
    return Group(table, *(Text(f"{short[file]} is {file}") for file in paths))


def short_names(files: Iterable[str]) -> dict[str, str]:
    """Map every path to its last name, or to itself where two files share it."""
    names = {file: pathlib.PurePath(file).name for file in files}
    counts = Counter(names.values())
    return {file: name if counts[name] == 1 else file for file, name in names.items()}


def place_text(place: Place, short: dict[str, str]) -> str:
    """Name file and line, or the option of the command line."""
    if place.file.startswith(_OPTION):
        return place.file
    return f"{short[place.file]}:{place.line}"


def value_text(value: object) -> str:
    """Write a value on one line of YAML."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")
