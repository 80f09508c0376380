"""Learning curves of a race: a metric over tokens, FLOPs and time, means with bands over seeds."""

from __future__ import annotations

import io
import pathlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from archspec.errors import ArchspecError
from archspec.race.curves import Curve, curve_of
from archspec.race.results import RaceResults
from archspec.race.settings import Entry, is_higher_better
from archspec.units import format_count, format_seconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Paul Tol's muted scheme, as in plot.py, its lightest two darker because they are written in too.
# The reference is grey, what is compared with it coloured.
COLOURS = ("#CC6677", "#332288", "#117733", "#C08A00", "#2E9BD6", "#AA4499", "#44AA99", "#882255")
REFERENCE_COLOUR = "#555555"
_LABEL_GAP = 0.052  # between two labels, as a share of an axis's height


@dataclass(frozen=True, kw_only=True)
class _Axis:
    title: str
    read: Callable[[Curve], Sequence[float]]
    write: Callable[[float], str]


_AXES = (
    _Axis(title="tokens", read=lambda curve: curve.tokens, write=format_count),
    _Axis(title="FLOPs, forward and backward", read=lambda curve: curve.flops, write=format_count),
    _Axis(title="time in training steps", read=lambda curve: curve.seconds, write=format_seconds),
)


def require_path(file: str, option: str, endings: Sequence[str]) -> None:
    """Check a path before hours of training.

    Raises:
        ArchspecError: If matplotlib is missing, or the file's ending or folder is wrong.
    """
    path = pathlib.Path(file)
    if path.suffix not in endings:
        raise ArchspecError(f"{option}: {file} must end in {' or '.join(endings)}")
    if not path.parent.is_dir():
        raise ArchspecError(f"{option}: no such folder: {path.parent}")
    _figure_class(option)


def plot_race(results: RaceResults, file: str) -> None:
    """Draw the race's metric over tokens, FLOPs and time.

    Args:
        results: The race.
        file: Where to, a path that ends in .png or .svg.

    Raises:
        ArchspecError: As :func:`require_path`.
    """
    require_path(file, "--png", (".png", ".svg"))
    figure = draw(results, results.settings.metric)
    figure.savefig(file, dpi=160, bbox_inches="tight", facecolor="white")


def svg_of(results: RaceResults, metric: str) -> str:
    """Draw a metric as an SVG element for a page, its text as text."""
    import matplotlib as mpl

    text = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": metric}):
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        draw(results, metric).savefig(text, format="svg", bbox_inches="tight", metadata=nothing)
    picture = re.sub(r"^.*?(?=<svg)", "", text.getvalue(), flags=re.S)
    return re.sub(r'<g id="[^"]*"', "<g", picture)  # several pictures on a page share these names


def draw(results: RaceResults, metric: str) -> Any:
    """Return a figure with three panels that share their metric."""
    curves = {design.name: curve_of(design, metric) for design in results.designs}
    figure = _figure_class("--png")(figsize=(13.5, 4.7), layout="constrained")
    grid = figure.subplots(1, len(_AXES), sharey=True)
    colours = colours_of(results)
    for axes, axis in zip(grid, _AXES, strict=True):
        for design in results.designs:
            curve = curves[design.name]
            if curve is not None:
                _line(axes, axis, curve, colours[design.name], _dash(design.entry))
        _style(axes, axis)
    better = "higher" if is_higher_better(metric) else "lower"
    grid[0].set_ylabel(f"{metric} ({better} is better)", fontsize=10)
    _label_ends(grid[-1], {n: c for n, c in curves.items() if c is not None}, colours)
    _mark_reference(grid, curves[results.reference.name])
    figure.suptitle(_title(results), fontsize=9, color="#555555", x=0.005, ha="left")
    return figure


def colours_of(results: RaceResults) -> dict[str, str]:
    """Give every design its colour, the same in all pictures."""
    others = [design.name for design in results.designs[1:]]
    found = {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(others)}
    return {results.reference.name: REFERENCE_COLOUR, **found}


def _figure_class(option: str) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ArchspecError(
            f"{option} needs matplotlib, which is not installed: pip install 'archspec-lm[plot]'"
        ) from None
    return Figure


def _line(axes: Axes, axis: _Axis, curve: Curve, colour: str, style: Any) -> None:
    positions = axis.read(curve)
    axes.fill_between(positions, curve.low, curve.high, color=colour, alpha=0.16, linewidth=0)
    axes.plot(
        positions,
        curve.mean,
        color=colour,
        linewidth=2.0,
        linestyle=style,
        solid_capstyle="round",
    )
    axes.plot(positions[-1:], curve.mean[-1:], "o", color=colour, markersize=4.5)


def _style(axes: Axes, axis: _Axis) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(lambda value, _: _tick(axis.write(value)) if value > 0 else "0")
    axes.set_xlim(left=0)
    axes.set_xlabel(axis.title, fontsize=10)
    axes.tick_params(length=0, labelsize=8.5)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis="y", color="#E3E3E3", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.margins(y=0.05)


def _dash(entry: Entry) -> Any:
    """Dash the designs whose FLOPs are not matched; they may then lie on another's line."""
    return (0, (3, 1.5)) if entry == "as is" else "-"


def _tick(text: str) -> str:
    """Leave out zeros behind the point, ``40.0 k`` as ``40 k``."""
    return re.sub(r"(\.[0-9]*?)0+(?= )", r"\1", text).replace(". ", " ")


def _label_ends(axes: Axes, curves: dict[str, Curve], colours: dict[str, str]) -> None:
    """Write each design's name to the right of the panels at the height where it ended."""
    low, high = axes.get_ylim()
    ends = {name: (curve.mean[-1] - low) / (high - low) for name, curve in curves.items()}
    for name, height in zip(
        sorted(ends, key=lambda name: ends[name]), spread(sorted(ends.values())), strict=True
    ):
        axes.annotate(
            f"{name}  {curves[name].mean[-1]:.3f}",
            xy=(1.0, height),
            xytext=(8, 0),
            xycoords="axes fraction",
            textcoords="offset points",
            color=colours[name],
            fontsize=9.5,
            fontweight="bold",
            va="center",
            annotation_clip=False,
        )


def spread(heights: Sequence[float], gap: float = _LABEL_GAP) -> list[float]:
    """Move heights, lowest first, apart until no two are nearer than ``gap``.

    Neighbours that are too near become a group, centred where its members wanted to be.
    """
    groups: list[list[float]] = []  # wanted heights; a group stands centred on their mean
    for height in heights:
        groups.append([height])
        while len(groups) > 1 and _bottom(groups[-1], gap) - _top(groups[-2], gap) < gap:
            groups[-2:] = [groups[-2] + groups[-1]]
    return [_bottom(group, gap) + gap * place for group in groups for place in range(len(group))]


def _bottom(group: Sequence[float], gap: float) -> float:
    return sum(group) / len(group) - gap * (len(group) - 1) / 2


def _top(group: Sequence[float], gap: float) -> float:
    return sum(group) / len(group) + gap * (len(group) - 1) / 2


def _mark_reference(grid: Sequence[Axes], curve: Curve | None) -> None:
    """Draw a line where the reference ended: where others cross it, they have reached it."""
    if curve is not None:
        for axes in grid:
            axes.axhline(
                curve.mean[-1], color=REFERENCE_COLOUR, linewidth=0.8, linestyle=(0, (2, 3))
            )


def _title(results: RaceResults) -> str:
    seeds = results.settings.seeds
    bands = f"bands: 95% intervals over {seeds} seeds" if seeds > 1 else "1 seed, no intervals"
    apart = any(design.entry == "as is" for design in results.designs)
    dashed = "; dashed: FLOPs not matched" if apart else ""
    return (
        f"{format_count(results.tokens)} tokens a run; lines: means, {bands}{dashed}; dotted: "
        f"where {results.reference.name} ended"
    )
