"""The finalists layer by layer: layers down, designs across, pools as connected marks."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from archspec.report.found.figure import NORMAL, SMALL, Picture, bare, design_name
from archspec.report.found.shown import (
    choice_colours,
    pool_colours,
    rank_of,
    shown_designs,
    shown_value,
)
from archspec.report.palette import FAINT, INK, PAPER, QUIET, ink_on
from archspec.search.results import DesignResult, SearchResults

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMN, _MARGIN, _HEAD, _FOOT = 1.15, 0.7, 0.85, 0.55  # inches
_CELL = 0.52  # of a column's width; what is left holds the marks of the pools


def placement_picture(results: SearchResults) -> Picture:
    """Return the picture of the designs that ``shown_designs`` names."""
    designs = shown_designs(results)
    depth = max(len(design.layers) for design in designs)
    row = 0.3 if depth <= 16 else 0.22 if depth <= 32 else 0.16
    return Picture(
        name="placement",
        title="What stands in each layer",
        width=max(6.4, _MARGIN + _COLUMN * len(designs)),
        height=_HEAD + _FOOT + row * depth,
        draw=lambda figure: _draw(figure, results, designs, row),
    )


def _draw(figure: Any, results: SearchResults, designs: Sequence[DesignResult], row: float) -> None:
    axes = figure.subplots()
    bare(axes)
    depth = max(len(design.layers) for design in designs)
    axes.set_xlim(-0.5, max(len(designs), (6.4 - _MARGIN) / _COLUMN) - 0.3)
    axes.set_ylim(depth - 0.4, -0.6 - 0.7 / row)
    axes.set_xticks([])
    step = 1 if depth <= 24 else 4
    axes.set_yticks(range(0, depth, step), [str(layer) for layer in range(0, depth, step)])
    axes.text(-0.56, -0.75, "layer", ha="right", fontsize=SMALL, color=QUIET)
    for place, design in enumerate(designs):
        _head(axes, results, design, place)
        _cells(axes, results, design, place, row)
        _pools(axes, results, design, place)
    _legend(figure, results, designs)


def _head(axes: Axes, results: SearchResults, design: DesignResult, place: int) -> None:
    name = textwrap.shorten(design_name(design), 17, placeholder="…")
    centre = place - 0.5 + _CELL / 2
    lines = f"{name}\n{shown_value(results, design):#.4g}"
    axes.annotate(
        f"{rank_of(results, design)}", (centre, -0.7), (0, 30), textcoords="offset points",
        ha="center", va="bottom", fontsize=NORMAL + 2, fontweight="bold", color=INK,
    )  # fmt: skip
    axes.annotate(
        lines, (centre, -0.7), (0, 2), textcoords="offset points", ha="center", va="bottom",
        fontsize=SMALL, color=INK if design.is_hand_design else QUIET, linespacing=1.25,
        fontstyle="italic" if design.is_hand_design else "normal",
    )  # fmt: skip


def _cells(
    axes: Axes, results: SearchResults, design: DesignResult, place: int, row: float
) -> None:
    """Draw a cell for each layer: its colours side by side, its letter above them."""
    from matplotlib.patches import Rectangle

    colours = choice_colours(results)
    size = min(NORMAL, 72 * row * 0.55)
    for layer, name in enumerate(design.layers):
        own = colours.get(name, (FAINT,))
        part = _CELL / len(own)
        for index, colour in enumerate(own):
            corner = (place - 0.5 + index * part, layer - 0.46)
            axes.add_patch(Rectangle(corner, part, 0.92, facecolor=colour, edgecolor="none"))
        choice = results.space.choices.get(name)
        axes.text(
            place - 0.5 + _CELL / 2,
            layer + 0.02,
            choice.letter if choice else "?",
            ha="center",
            va="center",
            fontsize=size,
            color=_fixed(ink_on(own[0])),
            fontweight="bold",
        )


def _fixed(colour: str) -> str:
    """Return a colour a shade off the themed ones, which stays as it is in the dark."""
    return "#FEFEFE" if colour == PAPER else "#212121"


def _pools(axes: Axes, results: SearchResults, design: DesignResult, place: int) -> None:
    """Mark the readers of each pool beside their cells and join them by a line."""
    colours = pool_colours(results)
    used = [pool for pool in colours if _readers(results, design, pool)]
    for index, pool in enumerate(used):
        readers = _readers(results, design, pool)
        across = place - 0.5 + _CELL + 0.1 + 0.13 * index
        axes.plot(
            [across] * len(readers),
            readers,
            "-o",
            color=colours[pool],
            markersize=5,
            linewidth=1.6,
            solid_capstyle="round",
        )


def _readers(results: SearchResults, design: DesignResult, pool: str) -> list[int]:
    choices = results.space.choices
    return [
        layer
        for layer, name in enumerate(design.layers)
        if name in choices and pool in choices[name].pools
    ]


def _legend(figure: Any, results: SearchResults, designs: Sequence[DesignResult]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    used = {name for design in designs for name in design.layers}
    handles: list[Any] = [
        Patch(color=own[0], label=f"{results.space.choices[name].letter}  {name}")
        for name, own in choice_colours(results).items()
        if name in used
    ]
    handles += [
        Line2D([], [], marker="o", color=colour, label=f"reads pool {pool}")
        for pool, colour in pool_colours(results).items()
        if any(_readers(results, design, pool) for design in designs)
    ]
    figure.legend(
        handles=handles,
        loc="outside lower left",
        ncols=min(len(handles), 5),
        frameon=False,
        fontsize=SMALL,
        labelcolor=INK,
        handlelength=1.4,
    )
