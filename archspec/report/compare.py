"""The table of several models side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from archspec.cost.compare import Comparison, Quantity
from archspec.report.tables import plain_table
from archspec.units import format_bytes, format_count, format_duration

_TITLE_WIDTH, _MODEL_WIDTH = 25, 18  # columns that a quantity's title and one model take

_FORMATS: Mapping[str, Callable[[float], str]] = {
    "count": format_count,
    "FLOPs": format_count,
    "bytes": lambda value: format_bytes(round(value)),
    "seconds": format_duration,
    "tokens/s": lambda value: f"{format_count(value)}/s",
    "share": lambda value: f"{value:.1%}",
}


def comparison_view(comparison: Comparison, *, width: int = 80) -> Group:
    """Return the models side by side, in several tables if they do not fit beside each other.

    Args:
        comparison: The models; the first leads every table.
        width: Columns of the terminal.
    """
    others = list(range(1, len(comparison.names)))
    room = max(1, (width - _TITLE_WIDTH - _MODEL_WIDTH) // _MODEL_WIDTH)
    parts: list[RenderableType] = []
    for start in range(0, max(1, len(others)), room):
        parts += [_table(comparison, [0, *others[start : start + room]]), Text("")]
    return Group(*parts, *map(Text, comparison.conventions))


def _table(comparison: Comparison, models: list[int]) -> Table:
    table = plain_table("")
    for model in models:
        table.add_column(comparison.names[model], justify="right", overflow="fold", max_width=12)
        if model:
            table.add_column("", justify="right", style="dim")
    for quantity in comparison.quantities:
        table.add_row(quantity.title, *_cells(quantity, models))
    return table


def _cells(quantity: Quantity, models: list[int]) -> Iterator[str]:
    write = _FORMATS[quantity.unit]
    for model in models:
        value, ratio = quantity.values[model], quantity.ratios[model]
        yield write(value)
        if model:
            yield "" if ratio is None else _ratio(ratio)


def _ratio(ratio: float) -> str:
    places = 2 if ratio < 10 else 1 if ratio < 100 else 0
    return f"{ratio:.{places}f}x"


def comparison_rows(comparison: Comparison) -> Iterator[list[object]]:
    """Yield the rows of a CSV file: values first, then ratios."""
    names = comparison.names
    yield ["quantity", "unit", *names, *(f"{name} / {names[0]}" for name in names[1:])]
    for quantity in comparison.quantities:
        ratios = ["" if ratio is None else ratio for ratio in quantity.ratios[1:]]
        yield [quantity.key, quantity.unit, *map(_plain, quantity.values), *ratios]


def _plain(value: float) -> object:
    """Write whole numbers as such."""
    return int(value) if value == int(value) else value
