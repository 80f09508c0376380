"""What the kernels are held to, beside what a run found.

On CUDA the goals are shares of the copy bandwidth that the same rounds measured, for uniform
look-ups in a table far larger than the cache; on CPU they are ratios to the stock ways.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from archspec.bench.results import Report, Row, size_text
from archspec.bench.statistics import Ratio

# Least bytes of a row, and the share of the copy bandwidth that the forward must then reach.
_FORWARD_SHARES = ((1024, 0.90), (512, 0.85), (256, 0.75), (128, 0.55))
_SHARES = {"backward": 0.65, "update": 0.60}


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A goal and the figure it is compared with.

    Args:
        case: As ``forward``.
        where: Label of the row, or of the rows.
        what: What is compared, as ``of copying``.
        bound: Least figure, or the greatest if ``at_most``.
        figure: What was measured.
        interval: Where the true figure lies, if that is known.
        at_most: Whether less is better.
    """

    case: str
    where: str
    what: str
    bound: float
    figure: float
    interval: tuple[float, float] | None = None
    at_most: bool = False

    @property
    def met(self) -> bool:
        """Whether the figure reaches the bound."""
        return self.figure <= self.bound if self.at_most else self.figure >= self.bound


def goals(report: Report) -> tuple[Goal, ...]:
    """Return every goal that a run's rows have a figure for; none for a quick run."""
    if report.quick:
        return ()
    rows = [row for row in report.rows if row.ours.seconds]
    found = _cuda_goals(rows) if report.machine["device"] == "cuda" else _cpu_goals(rows)
    return tuple(found)


def _cuda_goals(rows: Iterable[Row]) -> Iterator[Goal]:
    for row in rows:
        share = _share(row)
        if share is not None and row.size["skew"] == "uniform":
            yield _goal(row, "of copying", share, row.of_copy)
        if row.varied:
            continue
        if row.case == "forward":
            yield from _against(row, "F.embedding_bag", 4.0)
        if row.case == "topk":
            yield from _against(row, "three torch.topk", 5.0)


def _share(row: Row) -> float | None:
    if row.case == "forward" and row.varied in ("", "width", "dtype"):
        element = 4 if row.size["dtype"] == "float32" else 2
        row_bytes = int(row.size["width"]) * element
        return next((share for least, share in _FORWARD_SHARES if row_bytes >= least), None)
    return None if row.varied else _SHARES.get(row.case)


def _cpu_goals(rows: Iterable[Row]) -> Iterator[Goal]:
    rows = list(rows)
    for row in rows:
        if row.case == "forward" and not row.varied:
            yield from _against(row, "gather + einsum", 4.0)
            yield from _against(row, "F.embedding_bag", 1.0)
        if row.case == "step" and not row.varied:
            yield from _against(row, "fused AdamW", 2.0)
        if row.case == "step" and row.varied in ("", "slots"):
            yield from _against_rival(row)
        if row.case == "rank" and not row.varied:
            yield from _against(row, "three torch.topk", 1.5)
    yield from _growth(rows, "step", "slots", 1 << 20, 1 << 24, 1.6)
    yield from _growth(rows, "layer", "num_keys", 1024, 4096, 4.0)


def _against(row: Row, name: str, bound: float) -> Iterator[Goal]:
    ratio = row.ratio(name)
    if ratio is not None:
        yield _goal(row, f"times {name}", bound, ratio)


def _against_rival(row: Row) -> Iterator[Goal]:
    if row.rival is not None:
        yield from _against(row, row.rival.name, 1.0)


def _growth(
    rows: Iterable[Row], case: str, key: str, small: int, large: int, bound: float
) -> Iterator[Goal]:
    """Compare the times of two sizes; they were not measured in the same rounds."""
    times = {
        row.size[key]: statistics.median(row.ours.seconds)
        for row in rows
        if row.case == case and row.varied in ("", key)
    }
    if small in times and large in times:
        yield Goal(
            case=case,
            where=f"{key} {size_text(key, small)} to {size_text(key, large)}",
            what="times as long",
            bound=bound,
            figure=times[large] / times[small],
            at_most=True,
        )


def _goal(row: Row, what: str, bound: float, ratio: Ratio) -> Goal:
    return Goal(
        case=row.case,
        where=row.label,
        what=what,
        bound=bound,
        figure=ratio.median,
        interval=(ratio.low, ratio.high),
    )
