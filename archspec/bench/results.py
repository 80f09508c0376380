"""What a run of the benchmark yields: raw times, and the figures that follow from them.

The JSON of a report holds both; reading one back takes the raw times only.
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from archspec.bench.statistics import Ratio, paired_ratio
from archspec.errors import BenchmarkError

SCHEMA = 1

Size = Mapping[str, int | str]


@dataclass(frozen=True, kw_only=True)
class Timing:
    """One entrant's times.

    Args:
        name: ``archspec`` for ours, else the stock way.
        seconds: One a round, in the order of rounds; empty if it did not run.
        skipped: Why it did not run.
        disagrees: Whether it did not because its result is not ours.
    """

    name: str
    seconds: tuple[float, ...] = ()
    skipped: str | None = None
    disagrees: bool = False

    @property
    def median(self) -> float:
        """Median seconds."""
        return statistics.median(self.seconds)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One task, measured.

    Args:
        case: As ``forward``.
        varied: Which key of the size this row varies; empty for the case's base size.
        size: What was measured.
        implementation: Words of the implementations that carried ours out.
        traffic: Bytes that a perfect kernel moves, by reason.
        flops: Multiply-adds times 2; 0 where bytes are all that matters.
        ours: Our times.
        stock: Those of the stock ways.
        copy: Times of copying a buffer, in the same rounds.
        copy_bytes: Bytes that one copy reads and writes.
        skipped: Why the whole task did not run.
    """

    case: str
    varied: str
    size: Size
    implementation: str = ""
    traffic: Mapping[str, int] = field(default_factory=dict)
    flops: int = 0
    ours: Timing = field(default_factory=lambda: Timing(name="archspec"))
    stock: tuple[Timing, ...] = ()
    copy: Timing = field(default_factory=lambda: Timing(name="copy"))
    copy_bytes: int = 0
    skipped: str | None = None

    @property
    def bytes(self) -> int:
        """Bytes that a perfect kernel moves."""
        return sum(self.traffic.values())

    @property
    def bandwidth(self) -> float:
        """Bytes of the model a second, by our median time."""
        return self.bytes / self.ours.median

    @property
    def of_copy(self) -> Ratio:
        """Our bandwidth over that of copying in the same round."""
        scale = self.bytes / self.copy_bytes
        copied = [scale * seconds for seconds in self.copy.seconds]
        return paired_ratio(copied, self.ours.seconds)

    @property
    def rival(self) -> Timing | None:
        """The fastest stock way that ran."""
        ran = [timing for timing in self.stock if timing.seconds]
        return min(ran, key=lambda timing: timing.median, default=None)

    def timing(self, name: str) -> Timing | None:
        """Return a stock way's times, or None if it did not run."""
        return next((t for t in self.stock if t.name == name and t.seconds), None)

    def ratio(self, name: str) -> Ratio | None:
        """Return how many times as long as ours a stock way took, or None if it did not run."""
        timing = self.timing(name)
        return None if timing is None else paired_ratio(timing.seconds, self.ours.seconds)

    @property
    def label(self) -> str:
        """What tells this row from the base: ``width 512``, or ``base``."""
        if not self.varied:
            return "base"
        value = size_text(self.varied, self.size[self.varied])
        return value if self.varied in ("skew", "dtype") else f"{self.varied} {value}"


@dataclass(frozen=True, kw_only=True)
class Report:
    """A whole run.

    Args:
        machine: Device, driver, clocks, versions, threads; see :mod:`archspec.bench.machine`.
        started: ISO time.
        seconds: How long the run took.
        quick: Whether sizes were tiny, which makes the figures mean nothing.
        rows: In the order of measuring, case by case.
    """

    machine: Mapping[str, Any]
    started: str
    seconds: float
    quick: bool
    rows: tuple[Row, ...]

    @property
    def cases(self) -> tuple[str, ...]:
        """Cases in the order of measuring."""
        return tuple(dict.fromkeys(row.case for row in self.rows))

    @property
    def file_stem(self) -> str:
        """The device's name as that of a file: ``nvidia-h100-80gb-hbm3``."""
        return re.sub(r"[^a-z0-9]+", "-", str(self.machine["name"]).lower()).strip("-")

    def require_agreement(self) -> None:
        """Refuse a run in which a stock way and ours gave different results.

        Raises:
            BenchmarkError: Some did; names them all.
        """
        found = [
            f"{row.case} {row.label}: {timing.name}: {timing.skipped}"
            for row in self.rows
            for timing in row.stock
            if timing.disagrees
        ]
        if found:
            raise BenchmarkError("\n".join(found))

    def of(self, case: str) -> tuple[Row, ...]:
        """Rows of a case."""
        return tuple(row for row in self.rows if row.case == case)

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON value: raw times, and medians, rates and ratios beside them."""
        return {
            "schema": SCHEMA,
            "kind": "kernels",
            "machine": dict(self.machine),
            "started": self.started,
            "seconds": self.seconds,
            "quick": self.quick,
            "rows": [_row_dict(row) for row in self.rows],
        }


def report_json(report: Report) -> str:
    """Write a report as JSON text, each list of times on one line."""
    text = json.dumps(report.as_dict(), indent=1)
    return re.sub(r"\[\s+([^][{}]*?)\s+\]", _on_one_line, text) + "\n"


def report_from_dict(value: Mapping[str, Any]) -> Report:
    """Read what :meth:`Report.as_dict` returned.

    Raises:
        BenchmarkError: It is no such value, or of another version.
    """
    if value.get("schema") != SCHEMA or value.get("kind") != "kernels":
        raise BenchmarkError(
            f"a kernel benchmark has schema {SCHEMA} and kind 'kernels', but this file has schema "
            f"{value.get('schema')!r} and kind {value.get('kind')!r}; measure it again"
        )
    return Report(
        machine=value["machine"],
        started=value["started"],
        seconds=value["seconds"],
        quick=value["quick"],
        rows=tuple(map(_row, value["rows"])),
    )


def size_text(key: str, value: int | str) -> str:
    """Write one value of a size: ``1M`` slots, ``256`` wide, ``bfloat16``.

    >>> size_text("slots", 1 << 20), size_text("slots", 65536), size_text("width", 1024)
    ('1M', '64k', '1024')
    """
    if isinstance(value, int) and key == "slots":
        for shift, unit in ((20, "M"), (10, "k")):
            if value >= 1 << shift and value % (1 << shift) == 0:
                return f"{value >> shift}{unit}"
    return str(value)


def _on_one_line(found: re.Match[str]) -> str:
    return f"[{' '.join(found[1].split())}]"


def _timing_dict(timing: Timing) -> dict[str, Any]:
    return {
        "name": timing.name,
        "seconds": list(timing.seconds),
        "median_seconds": timing.median if timing.seconds else None,
        "skipped": timing.skipped,
        "disagrees": timing.disagrees,
    }


def _row_dict(row: Row) -> dict[str, Any]:
    measured = bool(row.ours.seconds)
    return {
        "case": row.case,
        "varied": row.varied,
        "size": dict(row.size),
        "implementation": row.implementation,
        "traffic": dict(row.traffic),
        "bytes": row.bytes,
        "flops": row.flops,
        "copy_bytes": row.copy_bytes,
        "skipped": row.skipped,
        "archspec": _timing_dict(row.ours),
        "copy": _timing_dict(row.copy),
        "stock": [
            {**_timing_dict(timing), "ratio": _ratio_dict(row.ratio(timing.name))}
            for timing in row.stock
        ],
        "bytes_per_second": row.bandwidth if measured else None,
        "flops_per_second": row.flops / row.ours.median if measured else None,
        "of_copy": _ratio_dict(row.of_copy) if measured else None,
    }


def _ratio_dict(ratio: Ratio | None) -> dict[str, float] | None:
    if ratio is None:
        return None
    return {
        "median": ratio.median,
        "low": ratio.low,
        "high": ratio.high,
        "confidence": ratio.confidence,
    }


def _row(value: Mapping[str, Any]) -> Row:
    return Row(
        case=value["case"],
        varied=value["varied"],
        size=value["size"],
        implementation=value["implementation"],
        traffic=value["traffic"],
        flops=value["flops"],
        ours=_timing(value["archspec"]),
        stock=tuple(map(_timing, value["stock"])),
        copy=_timing(value["copy"]),
        copy_bytes=value["copy_bytes"],
        skipped=value["skipped"],
    )


def _timing(value: Mapping[str, Any]) -> Timing:
    seconds: Sequence[float] = value["seconds"]
    return Timing(
        name=value["name"],
        seconds=tuple(seconds),
        skipped=value["skipped"],
        disagrees=value["disagrees"],
    )
