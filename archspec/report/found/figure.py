"""What all pictures of a search share: a figure, the look of its axes, and its form in a page."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from archspec.errors import ArchspecError
from archspec.report.palette import FAINT, INK, PAPER, QUIET
from archspec.search.results import DesignResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Colours that a page exchanges in the dark.
_THEMED = {INK: "ink", QUIET: "quiet", FAINT: "faint", PAPER: "paper"}
SMALL, NORMAL = 8.0, 9.5  # points


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture that can be drawn alone or beside others.

    Attributes:
        name: Of its file, without an ending.
        title: What it shows, in words.
        width: In inches, like ``height``.
        draw: Draws it into a matplotlib figure or a part of one.
    """

    name: str
    title: str
    width: float
    height: float
    draw: Callable[[Any], None]


def new_figure(width: float, height: float, option: str) -> Any:
    """Return an empty figure. Raises ArchspecError if matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ArchspecError(
            f"{option} needs matplotlib, which is not installed: pip install 'archspec-lm[plot]'"
        ) from None
    return Figure(figsize=(width, height), layout="constrained", facecolor=PAPER)


def svg_text(picture: Picture) -> str:
    """Draw a picture as an SVG element for a page.

    Text stays text, ids are the picture's own, and the themed colours become the page's variables.
    """
    figure = new_figure(picture.width, picture.height, "--html")
    import matplotlib as mpl

    picture.draw(figure)
    text = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": picture.name}):
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(text, format="svg", transparent=True, metadata=nothing)
    svg = re.sub(r"^.*?(?=<svg)", "", text.getvalue(), flags=re.S)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # several pictures on a page share these names
    svg = re.sub(r'(<svg[^>]*?) (?:width|height)="[^"]*"', r"\1", svg)
    svg = re.sub(r'(<svg[^>]*?) (?:width|height)="[^"]*"', r"\1", svg)
    for colour, name in _THEMED.items():
        svg = re.sub(re.escape(colour), f"var(--{name})", svg, flags=re.I)
    return re.sub(r"font(?:-family)?: ([\d.]+px) [^;\"]*", r"font: \1 var(--font)", svg)


def plain(axes: Axes) -> None:
    """Give axes the look that all share: no frame, pale lines across, small quiet numbers."""
    axes.tick_params(length=0, labelsize=SMALL, labelcolor=QUIET)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)
    axes.grid(axis="y", color=FAINT, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.set_facecolor("none")


def bare(axes: Axes) -> None:
    """Take everything from axes but what is drawn into them."""
    axes.set_facecolor("none")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=SMALL, labelcolor=QUIET)


def design_name(design: DesignResult) -> str:
    """Name a design: a hand design as people know it, another by its trial."""
    return design.source if design.is_hand_design else f"trial {design.trial}"
