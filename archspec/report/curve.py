"""Curves in a terminal, drawn with braille dots: two by four to a character."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

from rich.text import Text

Points = Sequence[tuple[float, float]]

_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))  # by column, then row from the top
_BLANK = 0x2800


class Curve:
    """A series that grows without end, and keeps at most so many points by merging neighbours."""

    def __init__(self, limit: int = 512) -> None:
        """Start empty.

        Args:
            limit: Most points that are kept, even.
        """
        self._limit = limit
        self._merged = 1  # values to a point
        self._points: list[tuple[float, float]] = []
        self._last: list[tuple[float, float]] = []  # of the point in the making

    def add(self, x: float, y: float) -> None:
        """Add a value."""
        self._last.append((x, y))
        if len(self._last) < self._merged:
            return
        self._points.append(_mean(self._last))
        self._last = []
        if len(self._points) == self._limit:
            pairs = zip(self._points[::2], self._points[1::2], strict=True)
            self._points = [_mean(pair) for pair in pairs]
            self._merged *= 2

    @property
    def points(self) -> Points:
        """What is kept, the values since the last whole point included."""
        return [*self._points, *([_mean(self._last)] if self._last else [])]


def _mean(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return points[-1][0], math.fsum(y for _, y in points) / len(points)


def bounds(series: Sequence[Points]) -> tuple[float, float, float, float]:
    """Return the range of x and of y that holds all finite points, never empty."""
    points = [(x, y) for points in series for x, y in points if math.isfinite(y)]
    if not points:
        return 0.0, 1.0, 0.0, 1.0
    xs, ys = zip(*points, strict=True)
    low, high = min(ys), max(ys)
    if low == high:
        low, high = low - 0.5, high + 0.5
    return min(xs), max(*xs, min(xs) + 1e-12), low, high


def draw(series: Sequence[Points], *, width: int, height: int, styles: Sequence[str]) -> list[Text]:
    """Draw several curves into one field; where two meet, the later one has the colour.

    Args:
        series: The points of each, in order of x; those that are not finite are left out.
        width: Characters across.
        height: Lines.
        styles: A rich style for each.

    Returns:
        A text of ``width`` characters for each line, the highest first.
    """
    x_low, x_high, y_low, y_high = bounds(series)
    cells = [[0] * width for _ in range(height)]
    owners = [[""] * width for _ in range(height)]
    for points, style in zip(series, styles, strict=True):
        places = [
            (
                round((x - x_low) / (x_high - x_low) * (2 * width - 1)),
                round((y_high - y) / (y_high - y_low) * (4 * height - 1)),
            )
            for x, y in points
            if math.isfinite(y)
        ]
        for column, row in _dots(places):
            cells[row // 4][column // 2] |= _DOTS[column % 2][row % 4]
            owners[row // 4][column // 2] = style
    return [
        Text.assemble(
            *(
                (chr(_BLANK + cell) if cell else " ", style)
                for cell, style in zip(line, owner, strict=True)
            )
        )
        for line, owner in zip(cells, owners, strict=True)
    ]


def _dots(places: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield the dots of a polygon, without a gap between its points."""
    yield from places[:1]
    for (column, row), (next_column, next_row) in itertools.pairwise(places):
        steps = max(abs(next_column - column), abs(next_row - row))
        for step in range(1, steps + 1):
            share = step / steps
            yield (
                round(column + share * (next_column - column)),
                round(row + share * (next_row - row)),
            )
