"""The best design so far against trials, with what random designs would have come to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from archspec.report.found.figure import NORMAL, SMALL, Picture, plain
from archspec.report.palette import BETTER, INK, QUIET
from archspec.search.findings import Findings, in_order
from archspec.search.results import DesignResult, SearchResults

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HAND = "#C08A00"


def progress_picture(results: SearchResults, findings: Findings) -> Picture:
    """Return the picture."""
    return Picture(
        name="progress",
        title="Best so far, against random designs",
        width=8.6,
        height=4.0,
        draw=lambda figure: _draw(figure, results, findings),
    )


def _draw(figure: Any, results: SearchResults, findings: Findings) -> None:
    axes = figure.subplots()
    plain(axes)
    trained = in_order(results)
    low, high = _window(results, trained, findings)
    axes.set_ylim(low, high)
    axes.set_xlim(0.3, len(trained) + 0.7)
    _chance(axes, findings)
    _points(axes, trained, low, high)
    places = range(1, len(trained) + 1)
    axes.step(
        places, findings.best_so_far, where="post", color=BETTER, linewidth=2.2, label="best so far"
    )
    first = f" at the first rung, {results.rungs[0].tokens:,} tokens" if results.rungs[1:] else ""
    better = "lower" if results.direction == "minimize" else "higher"
    axes.set_ylabel(f"{results.metric} ({better} is better)", fontsize=NORMAL, color=INK)
    axes.set_xlabel(f"designs trained{first}", fontsize=NORMAL, color=INK)
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    figure.legend(loc="outside lower left", ncols=4, frameon=False, fontsize=SMALL, labelcolor=INK)


def _window(
    results: SearchResults, trained: Sequence[DesignResult], findings: Findings
) -> tuple[float, float]:
    """Return the range of the metric to be drawn: a few bad designs may lie outside it."""
    losses = np.sort([results.sign * design.value for design in trained])
    best, usual = losses[0], float(np.quantile(losses, 0.85))
    if findings.chance is not None:
        edges = (*findings.chance.low, *findings.chance.high)
        best = min(best, *(results.sign * edge for edge in edges))
    reach = max(usual - best, 1e-9)
    ends = (
        results.sign * (best - 0.08 * reach),
        results.sign * min(losses[-1] + 0.08 * reach, usual + 0.6 * reach),
    )
    return min(ends), max(ends)


def _points(axes: Axes, trained: Sequence[DesignResult], low: float, high: float) -> None:
    """Draw each trial; one outside the window is an arrow at its edge."""
    for is_hand, colour, marker, label in (
        (False, QUIET, "o", "a design the search proposed"),
        (True, _HAND, "D", "a hand design"),
    ):
        rows = [
            (place, design.value)
            for place, design in enumerate(trained, 1)
            if design.is_hand_design == is_hand
        ]
        inside = [(x, y) for x, y in rows if low <= y <= high]
        if inside:
            across, up = zip(*inside, strict=True)
            axes.scatter(
                across, up, s=24, color=colour, marker=marker, zorder=3,
                linewidths=0, alpha=0.85, label=label,
            )  # fmt: skip
        for x, y in rows:
            if not low <= y <= high:
                edge, arrow = (high, "^") if y > high else (low, "v")
                axes.scatter([x], [edge], s=28, color=colour, marker=arrow, clip_on=False, zorder=3)
                axes.annotate(
                    f"{y:.3g}", (x, edge), (7, 0), textcoords="offset points", va="center",
                    fontsize=SMALL, color=QUIET, annotation_clip=False,
                )  # fmt: skip


def _chance(axes: Axes, findings: Findings) -> None:
    chance = findings.chance
    if chance is None:
        return
    places = np.arange(1, len(chance.middle) + 1)
    how = "measured" if chance.basis == "trials" else "estimated"
    axes.fill_between(
        places, chance.low, chance.high, color=QUIET, alpha=0.14, linewidth=0, step="post",
        label=f"eight random searches in ten ({how})",
    )  # fmt: skip
    axes.step(
        places, chance.middle, where="post", color=QUIET, linewidth=1.3, linestyle=(0, (4, 2)),
        label="the middle of these",
    )  # fmt: skip
