"""Colours that all pictures share: Paul Tol's muted scheme, told apart by all forms of vision."""

from __future__ import annotations

from collections.abc import Sequence

INK, QUIET, FAINT, PAPER = "#222222", "#666666", "#DDDDDD", "#FFFFFF"
KINDS = {
    "dense": "#332288",
    "moe": "#DDCC77",
    "memory": "#CC6677",
    "shared_pool": "#AA4499",
}
OTHERS = ("#44AA99", "#999933", "#882255", "#88CCEE", "#117733")
BETTER, WORSE = "#2166AC", "#D6604D"  # the ends of a diverging scheme
POOLS = ("#117733", "#2E9BD6", "#C08A00", "#882255")


def kind_colour(kind: str) -> str:
    """Return the colour of a kind of block, the same in every picture."""
    return KINDS.get(kind) or OTHERS[sum(map(ord, kind)) % len(OTHERS)]


def mixed(colour: str, other: str, share: float) -> str:
    """Mix ``share`` of another colour into one."""
    pairs = zip(_channels(colour), _channels(other), strict=True)
    return "#" + "".join(f"{round(a + share * (b - a)):02X}" for a, b in pairs)


def ink_on(colour: str) -> str:
    """Return what is read best on a colour: ink, or paper."""
    red, green, blue = _channels(colour)
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else PAPER


def shades(colour: str, count: int) -> list[str]:
    """Return ``count`` shades of a colour, itself first and each lighter than the one before."""
    return [mixed(colour, PAPER, 0.55 * index / max(1, count - 1)) for index in range(count)]


def _channels(colour: str) -> Sequence[int]:
    return tuple(int(colour[start : start + 2], 16) for start in (1, 3, 5))
