"""Use of slots and load of experts as bars; the bars are characters, and need no colour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from rich.table import Table
from rich.text import Text

from archspec.report.tables import plain_table
from archspec.train.events import ExpertUse, TableUse, Usage

Use = TypeVar("Use", TableUse, ExpertUse)

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_HEIGHTS = " ▁▂▃▄▅▆▇█"
_BAR = 12  # characters
_HEADER = 3  # lines of a table beside its rows, the one before it included
_EVEN, _UNEVEN = "green", "bold yellow"
_LOW = 0.3  # evenness below which a figure stands out


def usage_tables(usage: Usage | None, *, width: int, lines: int) -> list[Table]:
    """Draw a report of use: a table for tables, one for experts.

    Args:
        usage: The report, if there is one.
        width: Columns that there are.
        lines: Lines that there are; what does not fit is counted in words.
    """
    if usage is None:
        return []
    rows = lines - _HEADER * (bool(usage.tables) + bool(usage.experts))
    blocks = min(len(usage.experts), max(1, rows // 2))
    found = []
    if usage.tables:
        found.append(_slots(_worst(usage.tables, rows - blocks), len(usage.tables), width))
    if usage.experts:
        found.append(_experts(_worst(usage.experts, blocks), len(usage.experts), width))
    return found


def _worst(uses: Sequence[Use], rows: int) -> Sequence[Use]:
    """Return what fits: all, in order, or the most uneven ones and room to say how many more."""
    if len(uses) <= max(1, rows):
        return uses
    return sorted(uses, key=lambda use: use.entropy)[: max(1, rows - 1)]


def bar(share: float, width: int = _BAR) -> str:
    """Draw a share from 0 to 1 as a bar of eighths; what is not nothing is seen."""
    eighths = round(share * width * 8)
    if share > 0:
        eighths = max(1, eighths)
    full, rest = divmod(min(eighths, width * 8), 8)
    return ("█" * full + (_EIGHTHS[rest] if rest else "")).ljust(width)


def skyline(load: Sequence[float], width: int) -> str:
    """Draw a column for each expert, the busiest as high as a line; neighbours join if too many."""
    step = -(-len(load) // width)
    groups = [load[start : start + step] for start in range(0, len(load), step)]
    means = [sum(group) / len(group) for group in groups]
    top = max(means) or 1.0
    return "".join(
        _HEIGHTS[max(1, round(mean / top * 8))] if mean else _HEIGHTS[0] for mean in means
    )


def _slots(shown: Sequence[TableUse], count: int, width: int) -> Table:
    table = plain_table("slots used", "touched", "", "even", "entropy", "top 1%", "dead")
    for column in table.columns[2:]:
        column.justify = "right"
    for column in table.columns:
        column.no_wrap, column.overflow = True, "ellipsis"
    table.columns[0].max_width = width - 52
    for use in shown:
        table.add_row(
            Text(_table_name(use, shown)),
            bar(use.touched),
            f"{use.touched:.1%}",
            f"{use.even:.1%}",
            _graded(use.entropy),
            f"{use.top1:.1%}",
            f"{use.dead:.1%}",
        )
    _count_rest(table, count - len(shown))
    return table


def _table_name(use: TableUse, shown: Sequence[TableUse]) -> str:
    """Name a table; below it, a reader needs no more than its own name."""
    if use.reader is None:
        return use.name
    below = any(other.name == use.name and other.reader is None for other in shown)
    return f"  by {use.reader}" if below else f"{use.name} by {use.reader}"


def _experts(shown: Sequence[ExpertUse], count: int, width: int) -> Table:
    table = plain_table("load of experts", "each", "busiest", "entropy", "idle")
    for column in table.columns[2:]:
        column.justify = "right"
    for column in table.columns:
        column.no_wrap, column.overflow = True, "ellipsis"
    table.columns[0].max_width = width - 52
    for use in shown:
        table.add_row(
            Text(use.name),
            skyline(use.load, 24),
            f"{use.imbalance:.2f}x",
            _graded(use.entropy),
            f"{use.dead} of {len(use.load)}",
        )
    _count_rest(table, count - len(shown))
    return table


def _count_rest(table: Table, count: int) -> None:
    if count > 0:
        table.add_row(Text(f"and {count} more", "dim"))


def _graded(entropy: float) -> Text:
    """Write an entropy; what is low has a mark, for those without colour."""
    low = entropy < _LOW
    return Text(f"! {entropy:.2f}" if low else f"{entropy:.2f}", _UNEVEN if low else _EVEN)
