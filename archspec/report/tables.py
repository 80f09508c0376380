"""The look that all tables share: no side borders, readable without colour and in a pipe."""

from __future__ import annotations

from dataclasses import dataclass

from rich import box
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True, slots=True)
class Cells:
    """A table as text, for a terminal and for a page alike.

    Attributes:
        title: What it shows.
        headers: Of the columns; all but the first hold numbers.
    """

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def unbroken(line: str) -> Text:
    """Return a line that is not broken at the edge of the screen, so that it can be copied."""
    return Text(line, no_wrap=True, overflow="ignore")


def plain_table(*headers: str) -> Table:
    """Return an empty table with these column headers."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for header in headers:
        table.add_column(header, overflow="fold")
    return table
