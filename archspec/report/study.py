"""Where a search stands, as a table."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from archspec.search.status import StudyStatus
from archspec.units import format_seconds


def study_report(status: StudyStatus) -> RenderableType:
    """Render where a search stands."""
    lines = Table.grid(padding=(0, 2))
    lines.add_row("study", Text(status.study))
    lines.add_row("trials", Text(_trials(status)))
    done, planned = status.reruns
    if planned:
        lines.add_row("re-runs", Text(f"{done} of at most {planned} for the finalists"))
    lines.add_row("pace", Text(_pace(status)))
    if status.best is not None:
        best = status.best
        design = f"{best.placement} {best.pools}".strip()
        text = f"{status.metric} {best.value:.4f}, trial {best.trial} ({best.source}): {design}"
        lines.add_row("best", Text(text))
    if not status.workers:
        return Group(lines, Text("No worker has a trial."))
    return Group(lines, Text(), _workers(status))


def _trials(status: StudyStatus) -> str:
    others = {
        name: count
        for name, count in status.counts.items()
        if count and name not in ("trained", "diverged")
    }
    text = f"{status.done} of {status.trials} done"
    if status.counts["diverged"]:
        text += f", {status.counts['diverged']} of them diverged"
    return text + "".join(f", {count} {name}" for name, count in others.items())


def _pace(status: StudyStatus) -> str:
    if status.done >= status.trials:
        return "all trials are done"
    if status.per_hour is None or status.seconds_left is None:
        return "known after the second trial"
    left = format_seconds(status.seconds_left)
    return f"{status.per_hour:.1f} trials an hour, about {left} left"


def _workers(status: StudyStatus) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("worker", "state", "at", "last beat", "done"):
        table.add_column(name, justify="right" if name == "done" else "left", no_wrap=name != "at")
    for worker in status.workers:
        beat = f"{format_seconds(worker.seconds)} ago"
        table.add_row(Text(worker.name), worker.state, Text(worker.at), beat, str(worker.done))
    return table
