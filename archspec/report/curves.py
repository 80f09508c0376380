"""Learning curves of runs: in the terminal, as a picture, as rows."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from archspec.errors import ArchspecError
from archspec.report.curve import bounds, draw
from archspec.report.plot import FORMATS
from archspec.report.tables import plain_table
from archspec.train.curves import LearningCurve
from archspec.units import format_count, format_flops, format_seconds

# Names that every terminal has, and Paul Tol's muted scheme for pictures.
_STYLES = ("cyan", "yellow", "magenta", "green", "blue", "red")
_COLOURS = ("#332288", "#CC6677", "#117733", "#DDCC77", "#88CCEE", "#AA4499", "#44AA99", "#999933")
_AXES = {"tokens": "tokens", "flops": "training compute", "seconds": "time in steps"}
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_LINES = 16  # of the plot in a terminal


def curves_view(curves: Sequence[LearningCurve], *, width: int) -> RenderableType:
    """Draw curves for a terminal, a letter at the end of each, and a table of what they are.

    Args:
        curves: With the same metric and axis.
        width: Columns that there are.
    """
    metric, axis = curves[0].metric, curves[0].axis
    series = [curve.smoothed for curve in curves]
    first, last, low, high = bounds(series)
    marks = [f"{high:.4g}", *[""] * (_LINES - 2), f"{low:.4g}"]
    margin = max(map(len, marks))
    field = width - margin - 4
    styles = [_STYLES[place % len(_STYLES)] for place in range(len(curves))]
    lines = draw(series, width=field, height=_LINES, styles=styles)
    _letter(lines, series, styles)
    plot = Table.grid(padding=(0, 1))
    plot.add_column(justify="right", style="dim", no_wrap=True)
    plot.add_column(no_wrap=True)
    for mark, line in zip(marks, lines, strict=True):
        plot.add_row(mark, line)
    ends = f"{_amount(axis, first)} to {_amount(axis, last)}"
    plot.add_row("", Text(f"{metric} over {_AXES[axis]}, {ends}", "dim"))
    return Group(plot, "", _legend(curves, styles))


def _letter(
    lines: list[Text], series: Sequence[Sequence[tuple[float, float]]], styles: Sequence[str]
) -> None:
    """Write each curve's letter behind its last point, or in the nearest line that is free."""
    x_low, x_high, low, high = bounds(series)
    width = len(lines[0].plain)
    taken: set[tuple[int, int]] = set()
    for number, (points, style) in enumerate(zip(series, styles, strict=True)):
        x, y = points[-1]
        row = round((high - y) / (high - low) * (len(lines) - 1))
        column = round((x - x_low) / (x_high - x_low) * (width - 1)) + 1
        free = [line for line in range(len(lines)) if (line, column) not in taken]
        row = min((abs(line - row), line) for line in free or [row])[1]
        taken.add((row, column))
        plain = lines[row].plain.ljust(column)
        lines[row].pad_right(len(plain) - len(lines[row].plain))
        letter = Text(_LETTERS[number % len(_LETTERS)], f"bold {style}")
        lines[row] = lines[row][:column] + letter + lines[row][column + 1 :]


def _legend(curves: Sequence[LearningCurve], styles: Sequence[str]) -> Table:
    metric, axis = curves[0].metric, curves[0].axis
    table = plain_table("", "run", "points", _AXES[axis], f"last {metric}", "lowest", "highest")
    for column in table.columns[2:]:
        column.justify = "right"
    for number, (curve, style) in enumerate(zip(curves, styles, strict=True)):
        values = [y for _, y in curve.points]
        table.add_row(
            Text(_LETTERS[number % len(_LETTERS)], f"bold {style}"),
            Text(curve.name),
            f"{len(values):,}",
            _amount(axis, curve.points[-1][0]),
            f"{curve.smoothed[-1][1]:.4g}",
            f"{min(values):.4g}",
            f"{max(values):.4g}",
        )
    return table


def _amount(axis: str, value: float) -> str:
    write = {"tokens": format_count, "flops": format_flops, "seconds": format_seconds}[axis]
    return write(value)


def curve_rows(curves: Sequence[LearningCurve]) -> list[tuple[object, ...]]:
    """Return every point as a row, a header first; values are raw, not smoothed."""
    header = ("run", curves[0].axis, curves[0].metric)
    return [header, *((curve.name, x, y) for curve in curves for x, y in curve.points)]


def plot_curves(curves: Sequence[LearningCurve], file: str) -> None:
    """Draw curves as a picture; raw values stand pale behind smoothed ones.

    Args:
        curves: With the same metric and axis.
        file: Where to, a path that ends in .png or .svg.

    Raises:
        ArchspecError: If matplotlib is missing, or the file's ending or folder is wrong.
    """
    path = pathlib.Path(file)
    if path.suffix not in FORMATS:
        raise ArchspecError(f"--png: {file} must end in {' or '.join(FORMATS)}")
    if not path.parent.is_dir():
        raise ArchspecError(f"--png: no such folder: {path.parent}")
    figure = _figure_class()(figsize=(8, 4.8), layout="constrained")
    axes = figure.subplots()
    metric, axis = curves[0].metric, curves[0].axis
    for number, curve in enumerate(curves):
        colour = _COLOURS[number % len(_COLOURS)]
        if curve.smoothed is not curve.points:
            axes.plot(*zip(*curve.points, strict=True), color=colour, alpha=0.2, linewidth=0.8)
        marker = "o" if len(curve.points) < 40 else None
        axes.plot(
            *zip(*curve.smoothed, strict=True),
            color=colour,
            linewidth=1.8,
            marker=marker,
            markersize=3.5,
            label=curve.name,
        )
    axes.xaxis.set_major_formatter(lambda value, _: _amount(axis, value) if value else "0")
    axes.set_xlabel(_AXES[axis], fontsize=9)
    axes.set_title(metric, loc="left", fontsize=11)
    axes.tick_params(length=0, labelsize=8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize=9)
    figure.savefig(path, dpi=160, bbox_inches="tight", facecolor="white")


def _figure_class() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ArchspecError(
            "--png needs matplotlib, which is not installed: pip install 'archspec-lm[plot]'"
        ) from None
    return Figure
