"""A kernel benchmark as tables: one for each case, and one of goals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from archspec.bench.goals import Goal, goals
from archspec.bench.results import Report, Row, size_text
from archspec.bench.statistics import Ratio
from archspec.report.tables import plain_table
from archspec.units import format_bytes, format_decimal, format_duration

TITLES = {
    "forward": "Forward: weighted sums of table rows",
    "backward": "Backward: gradients of weights and of the table (dense)",
    "step": "Step: forward, backward and Adam of a table",
    "update": "Update: Adam on the rows that were touched",
    "topk": "Selection, with scoring",
    "rank": "Selection alone, from the scores of both halves",
    "layer": "Layer: selection, look-ups, backward and update",
    "grouped": "Grouped matmul: small experts",
}
_ROOMY = 120  # columns from which intervals are shown
_BY_FLOPS = ("grouped",)


def bench_view(report: Report, *, width: int) -> Group:
    """Return everything a run found, for a terminal of ``width`` columns."""
    parts: list[RenderableType] = [Text(machine_text(report))]
    for case in report.cases:
        parts += ["", *_case_view(report.of(case), roomy=width >= _ROOMY)]
    found = goals(report)
    if found:
        parts += ["", Text("Goals", style="bold"), _goals_table(found)]
    parts += ["", Text(_notes(report, width))]
    return Group(*parts)


def machine_text(report: Report) -> str:
    """Say in a line what a run was measured on."""
    found = report.machine
    versions = ", ".join(f"{name} {of}" for name, of in found["versions"].items() if of)
    where = (
        f"driver {found['driver'].get('driver_version', 'unknown')}"
        if found["device"] == "cuda"
        else f"CPU threads: {found['threads']}"
    )
    return f"{found['name']}, {where}; {versions}"


def size_line(row: Row) -> str:
    """Write a whole size: ``tokens 2048, picks 32, slots 1M, width 256, float32, uniform``."""
    return ", ".join(
        size_text(key, value) if key in ("dtype", "skew") else f"{key} {size_text(key, value)}"
        for key, value in row.size.items()
    )


def traffic_line(row: Row) -> str:
    """Write the bytes model of a row: each reason with its bytes, largest first."""
    terms = sorted(row.traffic.items(), key=lambda term: -term[1])
    listed = ", ".join(f"{reason} {format_bytes(size)}" for reason, size in terms if size)
    return f"{format_bytes(row.bytes)} of traffic: {listed}"


def stock_names(rows: Sequence[Row]) -> tuple[str, ...]:
    """Return the stock ways of a case, in order."""
    return tuple(dict.fromkeys(timing.name for row in rows for timing in row.stock))


def rate_text(row: Row) -> str:
    """Write a row's rate: bytes a second, or FLOPs a second where those matter."""
    if row.case in _BY_FLOPS:
        return format_decimal(row.flops / row.ours.median, "FLOP/s")
    return format_decimal(row.bandwidth, "B/s")


def ratio_text(ratio: Ratio | None, *, roomy: bool) -> str:
    """Write how many times as long a stock way took: ``4.1x``, with room ``4.1x (3.9-4.4)``."""
    if ratio is None:
        return "-"
    text = f"{ratio.median:.2f}x"
    return f"{text} ({ratio.low:.2f}-{ratio.high:.2f})" if roomy else text


def _case_view(rows: Sequence[Row], *, roomy: bool) -> Iterator[RenderableType]:
    base = next((row for row in rows if not row.varied), rows[0])
    yield Text(TITLES.get(base.case, base.case), style="bold")
    yield Text(f"base: {size_line(base)}")
    if base.traffic:
        yield Text(traffic_line(base))
    names = stock_names(rows)
    rates = ("rate",) if base.case in _BY_FLOPS else ("bandwidth", "of copy")
    headers = ("", "runs on", "time", *rates, *names)
    table = plain_table(*(headers if roomy else map(_folded, headers)))
    for column in table.columns[2:]:
        column.justify = "right"
        column.no_wrap = True
    table.columns[0].no_wrap = True
    for row in rows:
        if row.ours.seconds:
            table.add_row(*_cells(row, names, roomy=roomy))
    yield table
    yield from map(Text, skipped_lines(rows))


def _folded(header: str) -> str:
    """Break a header into short lines: ``gather +``, ``einsum``."""
    return header.replace("_", "_\n").replace(" ", "\n").replace("\n+", " +")


def _cells(row: Row, names: Sequence[str], *, roomy: bool) -> Iterator[str]:
    yield row.label
    yield row.implementation
    yield format_duration(row.ours.median)
    yield rate_text(row)
    if row.case not in _BY_FLOPS:
        share = row.of_copy
        interval = f" ({share.low:.2f}-{share.high:.2f})" if roomy else ""
        yield f"{share.median:.2f}{interval}"
    for name in names:
        yield ratio_text(row.ratio(name), roomy=roomy)


def skipped_lines(rows: Sequence[Row]) -> Iterator[str]:
    """Say who did not run and why, rows of one reason together."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row.skipped is not None:
            reasons.setdefault(("everybody", row.skipped), []).append(row.label)
        for timing in row.stock:
            if timing.skipped is not None:
                reasons.setdefault((timing.name, timing.skipped), []).append(row.label)
    for (name, reason), labels in reasons.items():
        yield f"not run: {name} at {', '.join(labels)}: {reason}"


def _goals_table(found: Sequence[Goal]) -> Table:
    table = plain_table("case", "at", "what", "goal", "figure", "")
    for column in table.columns[3:5]:
        column.justify = "right"
    for goal in found:
        low_high = "" if goal.interval is None else " ({:.2f}-{:.2f})".format(*goal.interval)
        table.add_row(
            goal.case,
            goal.where,
            goal.what,
            f"{'<=' if goal.at_most else '>='} {goal.bound:.2f}",
            f"{goal.figure:.2f}{low_high}",
            "met" if goal.met else "missed",
        )
    return table


def _notes(report: Report, width: int) -> str:
    notes = [
        "A stock way's column says how many times as long as ours it took: the median of the "
        "ratios within each round.",
        "Bandwidth is the traffic of a perfect kernel over our time; `of copy` compares it with "
        "copying a large buffer in the same rounds.",
    ]
    if width < _ROOMY:
        notes.append("Intervals are shown from 120 columns on, and in the JSON.")
    else:
        sure = min((row.of_copy.confidence for row in report.rows if row.ours.seconds), default=0)
        notes.append(
            f"In parentheses, where the true median lies with a confidence of {sure:.0%} or more."
        )
    if report.quick:
        notes.append("A quick run: tiny sizes that show that everything works, and no speed.")
    return "\n".join(notes)
