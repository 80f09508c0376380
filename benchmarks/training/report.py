"""What a run yields: raw times, and the ratios that follow from them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from archspec.bench.results import Timing
from archspec.bench.statistics import Ratio, paired_ratio
from archspec.errors import BenchmarkError
from benchmarks.training.tasks import Size

SCHEMA = 1
KIND = "training"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One task, measured.

    Args:
        case: As ``dense``.
        label: As ``256 x 6``.
        size: Every size; ``tokens`` is what a step takes.
        dtype: Name in torch.
        threads: Of torch.
        ours: Our times.
        others: Those of everybody else.
        skipped: Why the whole task did not run.
    """

    case: str
    label: str
    size: Size
    dtype: str
    threads: int
    ours: Timing
    others: tuple[Timing, ...] = ()
    skipped: str | None = None

    @property
    def rival(self) -> Timing | None:
        """The fastest of the others that ran."""
        ran = [timing for timing in self.others if timing.seconds]
        return min(ran, key=lambda timing: timing.median, default=None)

    @property
    def tokens_per_second(self) -> float:
        """Of ours, by the median step."""
        return int(self.size["tokens"]) / self.ours.median

    def ratio(self, name: str) -> Ratio | None:
        """Return how many times as long as ours somebody took, or None where it did not run."""
        found = next((t for t in self.others if t.name == name and t.seconds), None)
        return None if found is None else paired_ratio(found.seconds, self.ours.seconds)


@dataclass(frozen=True, kw_only=True)
class Report:
    """A whole run.

    Args:
        machine: See :mod:`archspec.bench.machine`; ``versions`` has the other libraries' too.
        started: ISO time.
        seconds: How long it took.
        quick: Whether sizes were tiny, which makes the figures mean nothing.
        rows: In the order of measuring.
    """

    machine: Mapping[str, Any]
    started: str
    seconds: float
    quick: bool
    rows: tuple[Row, ...]

    def of(self, case: str) -> tuple[Row, ...]:
        """Rows of a case that ran."""
        return tuple(row for row in self.rows if row.case == case and row.ours.seconds)

    def require_agreement(self) -> None:
        """Refuse a run in which two sides did not do the same work.

        Raises:
            BenchmarkError: Names every such pair.
        """
        wrong = [
            f"{row.case} {row.label}: {timing.name}: {timing.skipped}"
            for row in self.rows
            for timing in row.others
            if timing.disagrees
        ]
        if wrong:
            raise BenchmarkError("\n".join(wrong))


def same_size(one: Row, other: Row) -> bool:
    """Say whether two rows differ in nothing but who ran beside ours."""
    return all(
        getattr(one, name) == getattr(other, name) for name in ("case", "label", "dtype", "threads")
    )


def one_for_each_size(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Return the first row of each size."""
    return tuple(
        row
        for place, row in enumerate(rows)
        if not any(same_size(row, earlier) for earlier in rows[:place])
    )


def threads_text(row: Row) -> str:
    """Write how many threads a row ran on."""
    return f"{row.threads} thread{'' if row.threads == 1 else 's'}"


def report_json(report: Report) -> str:
    """Write a report as JSON, a row on each line."""
    head = {**asdict(report), "rows": []}
    rows = ",\n ".join(json.dumps(asdict(row)) for row in report.rows)
    text = json.dumps({"schema": SCHEMA, "kind": KIND, **head}, indent=1)
    return text.replace('"rows": []', f'"rows": [\n {rows}\n ]') + "\n"


def report_from_json(text: str) -> Report:
    """Read what :func:`report_json` wrote.

    Raises:
        BenchmarkError: It is no such text, or of another version.
    """
    value = json.loads(text)
    if (value.get("schema"), value.get("kind")) != (SCHEMA, KIND):
        raise BenchmarkError(
            f"a benchmark of training has schema {SCHEMA} and kind {KIND!r}, but this file has "
            f"schema {value.get('schema')!r} and kind {value.get('kind')!r}; measure it again"
        )
    rows = tuple(map(_row, value["rows"]))
    keys = ("machine", "started", "seconds", "quick")
    return Report(**{key: value[key] for key in keys}, rows=rows)


def _row(value: Mapping[str, Any]) -> Row:
    timings: Sequence[Mapping[str, Any]] = value["others"]
    return Row(**{**value, "ours": _timing(value["ours"]), "others": tuple(map(_timing, timings))})


def _timing(value: Mapping[str, Any]) -> Timing:
    return Timing(**{**value, "seconds": tuple(value["seconds"])})
