"""A kernel benchmark as curves: bandwidth over width, and times over the size of the table."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from archspec.bench.results import Report, Row, Timing, size_text
from archspec.errors import ArchspecError
from archspec.report.bench import machine_text, stock_names
from archspec.report.plot import FORMATS
from archspec.units import format_decimal, format_duration

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OURS = "archspec"
_OUR_COLOUR = "#CC6677"
# Paul Tol's muted scheme, as in plot.py; a stock way keeps its colour in all panels.
_COLOURS = ("#332288", "#88CCEE", "#117733", "#DDCC77", "#AA4499", "#44AA99", "#999933")
_COPY_COLOUR = "#777777"


@dataclass(frozen=True, kw_only=True)
class _Panel:
    case: str
    key: str
    title: str
    y_label: str
    is_bandwidth: bool


_PANELS = (
    _Panel(
        case="forward",
        key="width",
        title="Forward: bandwidth over width",
        y_label="bytes a second",
        is_bandwidth=True,
    ),
    _Panel(
        case="step",
        key="slots",
        title="Forward, backward, Adam: time over slots",
        y_label="time",
        is_bandwidth=False,
    ),
    _Panel(
        case="topk",
        key="num_keys",
        title="Selection with scoring: time over keys",
        y_label="time",
        is_bandwidth=False,
    ),
)


def require_plot_path(file: str) -> None:
    """Check a path before hours of measuring.

    Raises:
        ArchspecError: If matplotlib is missing, or the file's ending or folder is wrong.
    """
    path = pathlib.Path(file)
    if path.suffix not in FORMATS:
        raise ArchspecError(f"--png: {file} must end in {' or '.join(FORMATS)}")
    if not path.parent.is_dir():
        raise ArchspecError(f"--png: no such folder: {path.parent}")
    _figure_class()


def plot_bench(report: Report, file: str) -> None:
    """Draw a panel for every sweep that the run has at least two sizes of.

    Args:
        report: The run.
        file: Where to, a path that ends in .png or .svg.

    Raises:
        ArchspecError: As :func:`require_plot_path`; or there is nothing to draw.
    """
    require_plot_path(file)
    panels = [panel for panel in _PANELS if len(_swept(report, panel)) > 1]
    if not panels:
        wanted = ", ".join(f"{panel.case} over {panel.key}" for panel in _PANELS)
        raise ArchspecError(f"--png: nothing to draw; it needs two sizes of one of: {wanted}")
    figure = _figure_class()(figsize=(5.2 * len(panels), 4.6), layout="constrained")
    grid = figure.subplots(1, len(panels), squeeze=False)[0]
    colours = _colours([name for panel in panels for name in stock_names(report.of(panel.case))])
    for axes, panel in zip(grid, panels, strict=True):
        _draw(axes, panel, _swept(report, panel), colours)
    figure.suptitle(machine_text(report), fontsize=8, color="#555555", x=0.01, ha="left")
    _legend(figure, grid)
    figure.savefig(file, dpi=160, bbox_inches="tight", facecolor="white")


def _figure_class() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ArchspecError(
            "--png needs matplotlib, which is not installed: pip install 'archspec-lm[plot]'"
        ) from None
    return Figure


def _swept(report: Report, panel: _Panel) -> list[Row]:
    """Return the rows along a panel's axis, smallest first."""
    rows = [
        row for row in report.of(panel.case) if row.varied in ("", panel.key) and row.ours.seconds
    ]
    return sorted(rows, key=lambda row: int(row.size[panel.key]))


def _draw(axes: Axes, panel: _Panel, rows: Sequence[Row], colours: dict[str, str]) -> None:
    from matplotlib.ticker import LogLocator

    if panel.is_bandwidth:
        copied = [row.copy_bytes / row.copy.median for row in rows]
        positions = [int(row.size[panel.key]) for row in rows]
        axes.plot(positions, copied, "--", color=_COPY_COLOUR, linewidth=1.2, label="copying")
    for name in stock_names(rows):
        _line(axes, panel, [(row, row.timing(name)) for row in rows], colours[name], name)
    _line(axes, panel, [(row, row.ours) for row in rows], _OUR_COLOUR, OURS)
    axes.set_xscale("log", base=2)
    if panel.is_bandwidth:
        axes.set_ylim(bottom=0)
    else:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ticks = [int(row.size[panel.key]) for row in rows]
    axes.set_xticks(ticks, [size_text(panel.key, tick) for tick in ticks])
    axes.minorticks_off()
    write = (lambda value: format_decimal(value, "B/s")) if panel.is_bandwidth else format_duration
    axes.yaxis.set_major_formatter(lambda value, _: write(value))
    axes.set_title(panel.title, loc="left", fontsize=11)
    axes.set_xlabel(panel.key.replace("_", " "), fontsize=9)
    axes.set_ylabel(panel.y_label, fontsize=9)
    axes.tick_params(length=0, labelsize=8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)


def _line(
    axes: Axes,
    panel: _Panel,
    timings: Sequence[tuple[Row, Timing | None]],
    colour: str,
    label: str,
) -> None:
    points = [(row, timing) for row, timing in timings if timing is not None]
    if not points:
        return
    axes.plot(
        [int(row.size[panel.key]) for row, _ in points],
        [row.bytes / t.median if panel.is_bandwidth else t.median for row, t in points],
        marker="o",
        markersize=4.5 if label == OURS else 3.5,
        linewidth=2.2 if label == OURS else 1.3,
        color=colour,
        label=label,
    )


def _colours(names: Sequence[str]) -> dict[str, str]:
    unique = dict.fromkeys(names)
    return {name: _COLOURS[place % len(_COLOURS)] for place, name in enumerate(unique)}


def _legend(figure: Any, grid: Sequence[Axes]) -> None:
    found: dict[str, Any] = {}
    for axes in grid:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    order = sorted(found, key=lambda label: label != OURS)
    figure.legend(
        handles=[found[label] for label in order],
        labels=order,
        loc="outside lower center",
        ncols=min(len(order), 4 if len(grid) == 1 else 9),
        frameon=False,
        fontsize=9,
    )
