"""Which choices matter: effects by position and block, and their sums with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from archspec.report.found.figure import NORMAL, SMALL, Picture, bare, plain
from archspec.report.palette import BETTER, FAINT, INK, QUIET, WORSE
from archspec.search.importance import Effect, Importance
from archspec.search.results import SearchResults

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HEAD, _FOOT = 0.8, 0.75  # inches


def choices_picture(results: SearchResults, found: Importance) -> Picture:
    """Return the picture: a heat map, layers down and blocks across, and two panels beside it."""
    rows = len(found.positions)
    height = 0.3 if rows <= 16 else 0.22 if rows <= 32 else 0.16
    least = 0.27 * len(interval_rows(found))
    return Picture(
        name="choices",
        title="Which choices matter",
        width=10.4,
        height=_HEAD + _FOOT + max(height * rows, least, 1.6),
        draw=lambda figure: _draw(figure, results, found),
    )


def interval_rows(found: Importance) -> list[tuple[str, Effect]]:
    """Return the effects that have an interval each: sums of blocks, sizes, values of settings."""
    rows = [(f"{effect.name}, all layers", effect) for effect in found.sums]
    for factor in found.factors:
        if factor.kind != "position":
            rows += [(f"{factor.name} {effect.name}", effect) for effect in factor.effects]
    return rows


def _draw(figure: Any, results: SearchResults, found: Importance) -> None:
    blocks = max(len(found.sums), 2)
    heat, weights, sums = figure.subplots(1, 3, width_ratios=[0.62 * blocks + 0.4, 2.0, 3.6])
    _heat(heat, results, found)
    _weights(weights, found)
    _intervals(sums, results, interval_rows(found))


def _heat(axes: Axes, results: SearchResults, found: Importance) -> None:
    """Colour every choice at every position: the deeper, the larger its effect."""
    from matplotlib.patches import Rectangle

    bare(axes)
    names = [effect.name for effect in found.sums]
    largest = max((abs(e.value) for f in found.positions for e in f.effects), default=0) or 1.0
    for row, factor in enumerate(found.positions):
        for effect in factor.effects:
            column = names.index(effect.name)
            better = results.sign * effect.value < 0
            axes.add_patch(
                Rectangle(
                    (column - 0.47, row - 0.46),
                    0.94,
                    0.92,
                    facecolor=BETTER if better else WORSE,
                    alpha=0.06 + 0.94 * abs(effect.value) / largest,
                    linewidth=0,
                )
            )
            if effect.is_clear:
                axes.plot([column], [row], "o", color=INK, markersize=3.2)
    axes.set_xlim(-0.55, len(names) - 0.45)
    axes.set_ylim(len(found.positions) - 0.4, -0.6)
    axes.set_xticks(range(len(names)), names)
    axes.tick_params(axis="x", labeltop=True, labelbottom=False, labelcolor=INK, labelsize=SMALL)
    for label in axes.get_xticklabels():
        label.set(rotation=30, ha="left", va="bottom", rotation_mode="anchor")
    step = 1 if len(found.positions) <= 32 else 2
    axes.set_yticks(range(0, len(found.positions), step), [f.name for f in found.positions[::step]])
    axes.set_ylabel("layer", fontsize=NORMAL, color=INK)
    axes.set_xlabel(
        f"blue: better, red: worse; deepest {largest:.3g}\ndot: the interval leaves out 0",
        fontsize=SMALL,
        color=QUIET,
    )


def _weights(axes: Axes, found: Importance) -> None:
    plain(axes)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color=FAINT, linewidth=0.7)
    weights = [max(factor.weight, 0.0) for factor in found.positions]
    axes.barh(range(len(weights)), weights, height=0.62, color=QUIET)
    axes.set_ylim(len(weights) - 0.4, -0.6)
    axes.set_yticks([])
    axes.set_xlim(0, max([*weights, 0.02]) * 1.08)
    axes.locator_params(axis="x", nbins=3)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_title("how much the layer decides", fontsize=SMALL, color=INK, loc="left")
    axes.set_xlabel("share of the variance", fontsize=SMALL, color=QUIET)


def _intervals(axes: Axes, results: SearchResults, rows: Sequence[tuple[str, Effect]]) -> None:
    plain(axes)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color=FAINT, linewidth=0.7)
    axes.axvline(0, color=INK, linewidth=0.9)
    for place, (_, effect) in enumerate(rows):
        better = results.sign * effect.value < 0
        colour = (BETTER if better else WORSE) if effect.is_clear else QUIET
        axes.plot([effect.low, effect.high], [place, place], color=colour, linewidth=2.2)
        axes.plot([effect.value], [place], "o", color=colour, markersize=6)
    axes.set_ylim(max(len(rows), 3) - 0.4, -0.6)
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.tick_params(axis="y", labelcolor=INK)
    axes.yaxis.tick_right()
    axes.locator_params(axis="x", nbins=5)
    axes.set_title("effect, with its 95% interval", fontsize=SMALL, color=INK, loc="left")
    side = "left" if results.direction == "minimize" else "right"
    axes.set_xlabel(f"{results.metric}; better to the {side}", fontsize=SMALL, color=QUIET)
