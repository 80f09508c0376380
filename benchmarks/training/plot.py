"""A run as two panels: the fastest of the others over ours, and step times over slots."""

from __future__ import annotations

from typing import TYPE_CHECKING

from archspec.bench.results import size_text
from archspec.units import format_duration
from benchmarks.training.report import Report, Row, one_for_each_size, threads_text
from benchmarks.training.slots import STOCK

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_OURS = "#CC6677"
_OTHERS = ("#332288", "#117733")
_CASES = {"dense": "#332288", "moe": "#DDCC77", "memory": "#117733"}
_WORDS = {"dense": "Llama", "moe": "transformers' fastest", "memory": "product-key-memory"}


def plot(report: Report, file: str) -> None:
    """Draw a run into a PNG."""
    from matplotlib.figure import Figure

    rows = [row for case in _CASES for row in report.of(case) if row.rival is not None]
    figure = Figure(figsize=(12.4, 1.6 + 0.24 * max(12, len(rows))), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    _draw_ratios(left, rows)
    _draw_slots(right, report)
    for axes in (left, right):
        axes.tick_params(length=0, labelsize=8)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.set_axisbelow(True)
    figure.savefig(file, dpi=160, facecolor="white")


def _draw_ratios(axes: Axes, rows: list[Row]) -> None:
    seen = set()
    for place, row in enumerate(rows):
        assert row.rival is not None, "rows without a rival were left out"
        ratio = row.ratio(row.rival.name)
        assert ratio is not None, "the rival ran"
        axes.barh(
            place,
            ratio.median,
            xerr=[[ratio.median - ratio.low], [ratio.high - ratio.median]],
            color=_CASES[row.case],
            ecolor="#555555",
            label=None if row.case in seen else f"{row.case}: {_WORDS[row.case]}",
        )
        seen.add(row.case)
    names = [f"{row.label}, {row.dtype}, {threads_text(row)}" for row in rows]
    axes.set_yticks(range(len(rows)), names)
    axes.invert_yaxis()
    axes.axvline(1, color="#555555", linewidth=1)
    axes.grid(axis="x", color="#DDDDDD", linewidth=0.6)
    axes.set_title("Their step over ours; right of 1, ours is faster", loc="left", fontsize=11)
    if seen:
        axes.legend(frameon=False, fontsize=8)


def _draw_slots(axes: Axes, report: Report) -> None:
    from matplotlib.ticker import LogLocator

    rows = sorted(report.of("slots"), key=lambda row: int(row.size["slots"]))
    ours = [(row, row.ours.median) for row in one_for_each_size(rows)]
    _curve(axes, ours, "archspec", _OURS)
    for name, colour in zip(STOCK, _OTHERS, strict=True):
        found = [
            (row, timing.median)
            for row in rows
            for timing in row.others
            if timing.name == name and timing.seconds
        ]
        _curve(axes, found, name, colour)
    axes.set_title("A small model's step over slots", loc="left", fontsize=11)
    if not rows:
        return
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ticks = sorted({int(row.size["slots"]) for row in rows})
    axes.set_xticks(ticks, [size_text("slots", tick) for tick in ticks])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(lambda value, _: format_duration(value))
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    axes.legend(frameon=False, fontsize=8)


def _curve(axes: Axes, points: list[tuple[Row, float]], label: str, colour: str) -> None:
    if points:
        places, times = [int(row.size["slots"]) for row, _ in points], [time for _, time in points]
        axes.plot(places, times, marker="o", markersize=4, label=label, color=colour)
