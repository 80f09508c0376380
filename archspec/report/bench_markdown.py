"""A kernel benchmark as a section of docs/kernels.md."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from archspec.bench.goals import Goal, goals
from archspec.bench.results import Report, Row
from archspec.errors import BenchmarkError
from archspec.report.bench import (
    TITLES,
    machine_text,
    rate_text,
    ratio_text,
    size_line,
    skipped_lines,
    stock_names,
    traffic_line,
)
from archspec.units import format_duration

_COMMANDS = {"cpu": "make bench-kernels", "cuda": "make bench-gpu"}


def write_into(page: str, report: Report) -> str:
    """Return a page with a run's tables between the marks of its device.

    Raises:
        BenchmarkError: The page lacks the marks.
    """
    device = report.machine["device"]
    start, end = f"<!-- tables: {device} -->", f"<!-- end of tables: {device} -->"
    before, opened, rest = page.partition(start)
    _, closed, after = rest.partition(end)
    if not opened or not closed:
        raise BenchmarkError(f"the page must hold {start!r} and then {end!r}; put them in")
    return f"{before}{start}\n\n{bench_markdown(report)}\n\n{end}{after}"


def bench_markdown(report: Report) -> str:
    """Write a run as Markdown: machine, goals, then a table for each case."""
    lines = [
        f"Measured by `{_COMMANDS[report.machine['device']]}` on {report.started[:10]}: "
        f"{machine_text(report)}.",
    ]
    found = goals(report)
    if found:
        lines += ["", *_goals_lines(found)]
    for case in report.cases:
        lines += ["", *_case_lines(report.of(case))]
    return "\n".join(lines)


def _goals_lines(found: Sequence[Goal]) -> Iterator[str]:
    yield "| goal | at | wanted | found | |"
    yield "|---|---|---:|---:|---|"
    for goal in found:
        interval = "" if goal.interval is None else " ({:.2f} to {:.2f})".format(*goal.interval)
        yield _line(
            f"{goal.case}: {goal.what}",
            goal.where,
            f"{'at most' if goal.at_most else 'at least'} {goal.bound:.2f}",
            f"{goal.figure:.2f}{interval}",
            "met" if goal.met else "**missed**",
        )


def _case_lines(rows: Sequence[Row]) -> Iterator[str]:
    base = next((row for row in rows if not row.varied), rows[0])
    names = stock_names(rows)
    yield f"### {TITLES.get(base.case, base.case)}"
    yield ""
    yield f"Base: {size_line(base)}."
    if base.traffic:
        yield f"A perfect kernel moves {traffic_line(base)}."
    yield ""
    yield _line("", "runs on", "time", "rate", "of copying", *names)
    yield "|---|---|" + "---:|" * (3 + len(names))
    for row in rows:
        if row.ours.seconds:
            yield _line(
                row.label,
                row.implementation,
                format_duration(row.ours.median),
                rate_text(row),
                f"{row.of_copy.median:.2f}",
                *(ratio_text(row.ratio(name), roomy=True) for name in names),
            )
    not_run = list(skipped_lines(rows))
    if not_run:
        yield ""
        yield from (f"- {line}" for line in not_run)


def _line(*cells: str) -> str:
    return f"| {' | '.join(_escaped(cells))} |"


def _escaped(cells: Iterable[str]) -> Iterator[str]:
    return (cell.replace("|", "\\|") for cell in cells)
