"""Bars by layer: parameters, FLOPs and table bytes, stacked by attention, blocks and table rows."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from archspec.cost.breakdown import ATTENTION, EMBEDDINGS, ROWS, Bar, bars
from archspec.cost.compare import unique_names
from archspec.cost.summary import cost_context
from archspec.errors import ArchspecError
from archspec.report.palette import KINDS, kind_colour
from archspec.spec.model import ModelSpec
from archspec.units import format_bytes, format_count

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = (".png", ".svg")

_PANELS = (
    ("num_params", "parameters", format_count),
    ("flops_per_token", "FLOPs a token", format_count),
    ("table_bytes_per_token", "table bytes a token", lambda value: format_bytes(round(value))),
)
_COLOURS = {
    EMBEDDINGS: "#BBBBBB",
    ATTENTION: "#88CCEE",
    **KINDS,
    ROWS: "#117733",
}
_TALL = 2.5  # a bar so many times as high as the highest without table rows is cut
_MOST_LABELS = 34


def plot_models(
    specs: Sequence[ModelSpec], file: str, *, seq_len: int | None = None, dtype: str = "bfloat16"
) -> None:
    """Draw one column of panels for each model, panels of a row on one scale.

    Args:
        specs: The models.
        file: Where to, a path that ends in .png or .svg.
        seq_len: Tokens per sequence; default the longest that every model allows.
        dtype: Element type of tables.

    Raises:
        ArchspecError: If matplotlib is missing, or the file's ending or folder is wrong.
    """
    path = pathlib.Path(file)
    if path.suffix not in FORMATS:
        raise ArchspecError(f"--plot: {file} must end in {' or '.join(FORMATS)}")
    if not path.parent.is_dir():
        raise ArchspecError(f"--plot: no such folder: {path.parent}")
    figure = _figure(specs, seq_len or min(spec.max_seq_len for spec in specs), dtype)
    figure.savefig(path, dpi=160, bbox_inches="tight", facecolor="white")


def _figure(specs: Sequence[ModelSpec], seq_len: int, dtype: str) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ArchspecError(
            "--plot needs matplotlib, which is not installed: pip install 'archspec-lm[plot]'"
        ) from None
    models = [bars(spec, cost_context(spec, seq_len=seq_len, dtype=dtype)) for spec in specs]
    width = sum(max(4.0, 0.26 * len(model)) for model in models) + 1
    figure = Figure(figsize=(min(max(width, 7), 40), 7.6), layout="constrained")
    grid = figure.subplots(
        len(_PANELS),
        len(models),
        sharex="col",
        sharey="row",
        squeeze=False,
        gridspec_kw={"width_ratios": [max(15, len(model)) for model in models]},
    )
    names = list(unique_names([spec.name or "model" for spec in specs]))
    for column, (name, model) in enumerate(zip(names, models, strict=True)):
        for row, (quantity, _, _) in enumerate(_PANELS):
            _draw(grid[row][column], model, quantity)
        total = format_count(sum(p.cost.num_params for bar in model for p in bar.pieces))
        grid[-1][column].set_xlabel("layer", fontsize=9)
        grid[0][column].set_title(f"{name}, {total} parameters", loc="left", fontsize=11)
    for row, (quantity, title, write) in enumerate(_PANELS):
        _scale(grid[row], models, quantity, write)
        grid[row][0].set_ylabel(title)
    _legend(figure, models)
    return figure


def _draw(axes: Axes, model: tuple[Bar, ...], quantity: str) -> None:
    for position, bar in enumerate(model):
        bottom = 0
        for piece in bar.pieces:
            height = getattr(piece.cost, quantity)
            if height:
                axes.bar(position, height, 0.82, bottom=bottom, color=_colour(piece.kind))
            bottom += height
    step = -(-len(model) // _MOST_LABELS)
    shown = [
        (position, bar.label)
        for position, bar in enumerate(model)
        if bar.index is None or bar.index % step == 0
    ]
    axes.set_xticks([position for position, _ in shown], [label for _, label in shown])
    for label in axes.get_xticklabels():
        if not label.get_text().isdigit():
            label.set(rotation=35, ha="right", rotation_mode="anchor")
    axes.tick_params(axis="x", length=0, labelsize=8)
    axes.tick_params(axis="y", length=0, labelsize=8)
    axes.set_xlim(-0.7, len(model) - 0.3)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)


def _scale(
    row: Sequence[Axes], models: Sequence[tuple[Bar, ...]], quantity: str, write: Any
) -> None:
    """Choose the height of a row; bars far beyond the others are cut and say their value."""
    from matplotlib.ticker import MultipleLocator

    heights = [[_height(bar.pieces, quantity) for bar in model] for model in models]
    plain = max(
        _height((p for p in bar.pieces if p.kind != ROWS), quantity)
        for model in models
        for bar in model
    )
    highest = max(height for model in heights for height in model)
    cut = plain * 1.6 if plain and highest > _TALL * plain else None
    top = max(4, cut or highest) * 1.06
    for axes, model in zip(row, heights, strict=True):
        axes.set_ylim(0, top)
        axes.yaxis.set_major_formatter(lambda value, _: write(value))
        if "bytes" in quantity:
            axes.yaxis.set_major_locator(MultipleLocator(2 ** math.floor(math.log2(top / 3))))
        for position, height in enumerate(model):
            if cut is not None and height > top:
                _mark_cut(axes, position, top, write(height))


def _mark_cut(axes: Axes, position: int, top: float, text: str) -> None:
    """Break a bar below its top, and write what it would reach."""
    for offset in (0.86, 0.885):
        axes.plot(
            [position - 0.5, position + 0.5],
            [top * (offset - 0.012), top * (offset + 0.012)],
            color="white",
            linewidth=2.2,
        )
    axes.text(position, top * 1.015, text, ha="center", va="bottom", fontsize=8)


def _height(pieces: Iterable[Any], quantity: str) -> int:
    return sum(getattr(piece.cost, quantity) for piece in pieces)


def _colour(kind: str) -> str:
    return _COLOURS.get(kind) or kind_colour(kind)


def _legend(figure: Any, models: Sequence[tuple[Bar, ...]]) -> None:
    from matplotlib.patches import Patch

    used = {piece.kind for model in models for bar in model for piece in bar.pieces}
    order = [*(kind for kind in _COLOURS if kind in used), *sorted(used - _COLOURS.keys())]
    patches = [Patch(color=_colour(kind), label=kind.replace("_", " ")) for kind in order]
    figure.legend(
        handles=patches, loc="outside lower center", ncols=len(patches), frameon=False, fontsize=9
    )
