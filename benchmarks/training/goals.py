"""What training is held to, and what a run found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from archspec.bench.statistics import Ratio
from benchmarks.training.report import Report, Row

MANY_EXPERTS = 64
SMALL_EXPERT = 128


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A goal in one row.

    Args:
        row: Where.
        rival: Whom ours was compared with: the fastest that ran.
        ratio: Its time over ours.
        bound: Least ratio.
        by_noise: Whether the bound may be missed by less than the noise.
    """

    row: Row
    rival: str
    ratio: Ratio
    bound: float
    by_noise: bool

    @property
    def met(self) -> bool:
        """Whether the ratio reaches the bound."""
        return (self.ratio.high if self.by_noise else self.ratio.median) >= self.bound


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A goal, and every row that it is about.

    Args:
        words: What is wanted, as a sentence without its end.
        verdicts: One a row; none where nobody ran that could be compared with.
    """

    words: str
    verdicts: tuple[Verdict, ...]

    @property
    def missed(self) -> tuple[Verdict, ...]:
        """Rows that fall short."""
        return tuple(verdict for verdict in self.verdicts if not verdict.met)


def goals(report: Report) -> tuple[Goal, ...]:
    """Return every goal, with what the run found."""
    moe = report.of("moe")
    small = [row for row in moe if _has_many_small_experts(row)]
    return (
        Goal(
            words="Dense training is not slower than Llama in transformers, beyond noise",
            verdicts=tuple(_verdicts(report.of("dense"), 1.0, by_noise=True)),
        ),
        Goal(
            words="A mixture of experts is at least as fast as the fastest way of transformers, "
            "beyond noise",
            verdicts=tuple(_verdicts(moe, 1.0, by_noise=True)),
        ),
        Goal(
            words=f"With {MANY_EXPERTS} experts of at most {SMALL_EXPERT} it is 1.2 times as fast",
            verdicts=tuple(_verdicts(small, 1.2)),
        ),
        Goal(
            words="A memory layer is at least twice as fast as the package product-key-memory, in "
            "the faster of its two ways",
            verdicts=tuple(_verdicts(report.of("memory"), 2.0)),
        ),
    )


def growth(report: Report, name: str) -> tuple[Row, Row, float] | None:
    """Say how many times as long the largest table takes as the smallest that somebody ran with.

    Args:
        report: The run.
        name: A stock way, or an empty string for ours.
    """
    times: dict[int, tuple[Row, float]] = {}
    for row in report.of("slots"):
        found = [t for t in (row.others if name else (row.ours,)) if t.seconds]
        if found and (not name or found[0].name == name):
            times.setdefault(int(row.size["slots"]), (row, found[0].median))
    if len(times) < 2:
        return None
    (small, before), (large, after) = times[min(times)], times[max(times)]
    return small, large, after / before


def _verdicts(
    rows: tuple[Row, ...] | list[Row], bound: float, *, by_noise: bool = False
) -> Iterator[Verdict]:
    for row in rows:
        if row.rival is not None:
            name = row.rival.name
            ratio = row.ratio(name)
            assert ratio is not None, "the rival ran"
            yield Verdict(row=row, rival=name, ratio=ratio, bound=bound, by_noise=by_noise)


def _has_many_small_experts(row: Row) -> bool:
    size = row.size
    return int(size["num_experts"]) >= MANY_EXPERTS and int(size["hidden_dim"]) <= SMALL_EXPERT
