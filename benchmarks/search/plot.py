"""A run as figures: medians over seeds with their intervals, against evaluations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from archspec.search.features import Floats
from benchmarks.search.campaign import TABLE, TWO_GOALS
from benchmarks.search.problems import CASES
from benchmarks.search.report import Report
from benchmarks.search.statistics import Band, band

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colour-blind safe (Tol, muted): ours warm or full, Optuna's raw samplers dashed.
_STYLES = {
    "milp": ("#CC3311", "-", "milp (default)"),
    "evolution": ("#117733", "-", "evolution"),
    "tpe": ("#332288", "-", "tpe, repaired"),
    "nsga2": ("#AA4499", "-", "nsga2, repaired"),
    "random": ("#777777", "-", "random feasible"),
    "optuna tpe": ("#332288", "--", "Optuna TPE, constraints"),
    "optuna nsga2": ("#AA4499", "--", "Optuna NSGA-II, constraints"),
}
_GREY, _LINES = "#444444", "#E4E4E4"


def plot(report: Report, folder: Path) -> None:
    """Draw a run into PNG files of a folder."""
    _regrets(report).savefig(folder / "search-regret.png", dpi=160, facecolor="white")
    _volumes(report).savefig(folder / "search-volume.png", dpi=160, facecolor="white")
    if report.table is not None:
        _trained(report).savefig(folder / "search-table.png", dpi=160, facecolor="white")


def _regrets(report: Report) -> Figure:
    """Draw the first case large, the others small beside it."""
    from matplotlib.figure import Figure

    cases = [case for case in CASES if report.samplers(case.name)]
    figure = Figure(figsize=(13.2, 7.2), layout="constrained")
    grid = figure.add_gridspec(6, 5)
    large = figure.add_subplot(grid[:, :3])
    _draw(large, report, cases[0].name, lambda name: report.band(cases[0].name, name))
    large.set_title(f"{cases[0].structure.capitalize()}, noise {cases[0].noise:g}", **_title(12))
    large.set_ylabel("regret, in standard deviations of designs that fit", color=_GREY)
    large.set_xlabel("evaluations", color=_GREY)
    for place, case in enumerate(cases[1:]):
        row, column = divmod(place, 2)
        axes = figure.add_subplot(grid[2 * row : 2 * row + 2, 3 + column])
        _draw(axes, report, case.name, lambda name, case=case: report.band(case.name, name))
        axes.set_title(f"{case.structure}, noise {case.noise:g}", **_title(9.5))
        axes.tick_params(labelsize=8)
    _legend(figure, report, cases[0].name)
    return figure


def _title(size: float) -> dict[str, Any]:
    return {"loc": "left", "fontsize": size, "color": "#222222"}


def _volumes(report: Report) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 4.6), layout="constrained")
    axes = figure.add_subplot()

    def shares(name: str) -> Band:
        return band([result.volumes for result in report.of(TWO_GOALS, name)])

    _draw(axes, report, TWO_GOALS, shares)
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_title("Hypervolume of loss and FLOPs, as a share of the exact front's", **_title(11))
    axes.set_xlabel("evaluations", color=_GREY)
    _legend(figure, report, TWO_GOALS)
    return figure


def _trained(report: Report) -> Figure:
    from matplotlib.figure import Figure

    assert report.table is not None, "drawn only with a table"
    figure = Figure(figsize=(8.4, 4.6), layout="constrained")
    axes = figure.add_subplot()
    axes.axhspan(0, report.table.noise, color="#F3EBC8", linewidth=0)
    axes.text(
        0.99, report.table.noise, "one standard deviation of the noise ",
        ha="right", va="bottom", fontsize=8, color=_GREY, transform=axes.get_yaxis_transform(),
    )  # fmt: skip
    _draw(axes, report, TABLE, lambda name: report.band(TABLE, name))
    axes.set_title(
        f"Regret in {report.table.metric} on {report.table.designs} trained models", **_title(11)
    )
    axes.set_xlabel("evaluations", color=_GREY)
    _legend(figure, report, TABLE)
    return figure


def _draw(axes: Axes, report: Report, case: str, band_of: Callable[[str], Band]) -> None:
    """Draw the band of every sampler, ours last and on top."""
    tops, longest = [], 1
    for name in sorted(report.samplers(case), key=lambda name: name == "milp"):
        found, (color, dashes, _) = band_of(name), _STYLES[name]
        steps = np.arange(1, len(found.median) + 1)
        ours = name == "milp"
        axes.plot(steps, _finite(found.median), dashes, color=color, linewidth=_width(name))
        if ours or name in ("random", "optuna tpe"):
            low, high = _finite(found.low), _finite(found.high)
            axes.fill_between(steps, low, high, color=color, alpha=0.16 if ours else 0.09, lw=0)
        begin = found.median[np.isfinite(found.median)]
        tops.append(begin[0] if len(begin) else 0.0)
        longest = len(steps)
    axes.set_xlim(1, longest)
    axes.set_ylim(0, 1.04 * max(tops) or 1.0)
    axes.grid(axis="y", color=_LINES, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color("#999999")
    axes.tick_params(length=0, labelcolor=_GREY)


def _finite(values: Floats) -> Floats:
    return np.where(np.isfinite(values), values, np.nan)


def _width(name: str) -> float:
    return 2.4 if name == "milp" else 1.4


def _legend(figure: Figure, report: Report, case: str) -> None:
    from matplotlib.lines import Line2D

    given = report.samplers(case)
    handles = [
        Line2D(
            [], [], color=color, linestyle=dashes, label=label, lw=2.4 if name == "milp" else 1.4
        )
        for name, (color, dashes, label) in _STYLES.items()
        if name in given
    ]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=9,
        labelcolor="#222222",
    )  # fmt: skip
