"""What a race found: the designs, the metric with differences, and what may be said of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.constrain import Constrain
from rich.table import Table
from rich.text import Text

from archspec.race.directory import Race, widths_text
from archspec.race.results import DesignResult, RaceResults
from archspec.race.settings import is_higher_better
from archspec.race.statistics import WEAK, Difference, Mean, Reach, Summary, summarize_race
from archspec.report.race_view import choice_text
from archspec.report.tables import Cells, plain_table
from archspec.units import format_count, format_seconds

_READABLE = 100  # columns of running text


def race_report(results: RaceResults) -> Group:
    """Return the tables of a race and what may be said of it."""
    parts: list[RenderableType] = []
    for cells in race_tables(results):
        parts += [Text(cells.title, style="bold"), _table(cells), Text()]
    story = Table.grid(padding=(0, 1, 0, 0))
    for sentence in race_notes(results):
        story.add_row("•", Text(sentence))
    return Group(*parts, Constrain(story, _READABLE))


def race_tables(results: RaceResults) -> tuple[Cells, ...]:
    """Return the designs; the race's metric; every other metric."""
    summaries = summarize_race(results)
    others = [metric for metric in results.metrics if metric != results.settings.metric]
    return (
        _designs(results, summaries),
        _metric(results, summaries),
        *(_other(summaries, metric) for metric in others),
    )


def plan_report(race: Race, trainings: int, estimate: str) -> Group:
    """Return the matched designs and what racing them takes, before anything is trained."""
    table = plain_table("design", "entry", "hidden_dim", "FLOPs/token", "of first")
    for column in table.columns[2:]:
        column.justify = "right"
    first = race.entrants[0].flops_per_token
    for entrant in race.entrants:
        before, after = entrant.hidden_dims_before, entrant.hidden_dims
        changed = f"{widths_text(before)} -> {widths_text(after)}" if before != after else ""
        same = widths_text(after) if after else ""
        table.add_row(
            entrant.name,
            entrant.entry,
            changed or same,
            f"{entrant.flops_per_token:,}",
            f"{entrant.flops_per_token / first:.4f}x",
        )
    tokens = format_count(race.train.num_steps * race.train.batch_tokens)
    line = (
        f"{trainings} trainings, those that count of {tokens} tokens in {race.train.num_steps} "
        f"steps; {estimate}"
    )
    return Group(table, Text(), Constrain(Text(line), _READABLE))


def _table(cells: Cells) -> Table:
    table = plain_table(*cells.headers)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in cells.rows:
        table.add_row(*map(Text, row))
    return table


def _designs(results: RaceResults, summaries: Sequence[Summary]) -> Cells:
    rows = [
        _design_row(design, summary)
        for design, summary in zip(results.designs, summaries, strict=True)
    ]
    return Cells(
        f"{format_count(results.tokens)} tokens each, {results.settings.seeds} seeds",
        ("design", "params", "active", "FLOPs", "of first", "lr", "tables", "time"),
        tuple(rows),
    )


def _design_row(design: DesignResult, summary: Summary) -> tuple[str, ...]:
    mark = " *" if design.entry == "as is" else ""
    return (
        design.name,
        format_count(design.num_params),
        format_count(design.num_active_params),
        format_count(design.flops_per_token),
        f"{design.flops_ratio:.3f}x{mark}",
        f"{design.lr:g}",
        f"{design.table_lr:g}x" if design.num_table_params else "",
        format_seconds(summary.seconds.value) if summary.seconds else "",
    )


def _metric(results: RaceResults, summaries: Sequence[Summary]) -> Cells:
    metric = results.settings.metric
    rows = [_metric_row(summary, metric) for summary in summaries]
    better = "higher" if is_higher_better(metric) else "lower"
    return Cells(
        f"{metric} ({better} is better), and how soon the first design's end was reached",
        ("design", metric, "less first", "p", "tokens", "FLOPs", "time"),
        tuple(rows),
    )


def _metric_row(summary: Summary, metric: str) -> tuple[str, ...]:
    difference = summary.differences.get(metric)
    return (
        summary.name,
        _value(summary, metric),
        _difference(difference),
        _p(difference),
        *_reach(summary.reach),
    )


def _other(summaries: Sequence[Summary], metric: str) -> Cells:
    rows = [
        (
            s.name,
            _value(s, metric),
            _difference(s.differences.get(metric)),
            _p(s.differences.get(metric)),
        )
        for s in summaries
    ]
    better = "higher" if is_higher_better(metric) else "lower"
    title = f"{metric} ({better} is better)"
    return Cells(title, ("design", metric, "less first", "p"), tuple(rows))


def _value(summary: Summary, metric: str) -> str:
    value = summary.metrics.get(metric)
    if value is None:
        return "diverged"
    return mean_text(value) + (f", {summary.diverged} diverged" if summary.diverged else "")


def mean_text(value: Mean, *, sign: str = "") -> str:
    """Write a mean with half its interval, ``0.731 ±0.012``."""
    margin = "" if value.margin is None else f" ±{value.margin:.3f}"
    return f"{value.value:{sign}.4f}{margin}" if sign else f"{value.value:.4f}{margin}"


def _difference(difference: Difference | None) -> str:
    return "" if difference is None else mean_text(difference.mean, sign="+")


def _p(difference: Difference | None) -> str:
    if difference is None or difference.p_holm is None:
        return ""
    return "<0.001" if difference.p_holm < 0.001 else f"{difference.p_holm:.3f}"


def _reach(reach: Reach | None) -> tuple[str, str, str]:
    if reach is None:
        return ("", "", "")
    if not (reach.tokens and reach.flops and reach.seconds and reach.share):
        return ("not reached", "", "")
    bound = "<" if reach.is_bound else ""
    some = f" ({reach.reached} of {reach.count})" if reach.reached < reach.count else ""
    margin = f" ±{reach.share.margin:.0%}" if reach.share.margin is not None else ""
    return (
        f"{bound}{reach.share.value:.0%}{margin}{some}",
        f"{bound}{format_count(reach.flops.value)}",
        f"{bound}{format_seconds(reach.seconds.value)}",
    )


def race_notes(results: RaceResults) -> Iterator[str]:
    """Say how numbers are meant, what was tuned, and what was checked."""
    seeds, others = results.settings.seeds, len(results.designs) - 1
    first = results.reference.name
    if seeds > 1:
        yield (
            f"± is half the 95% interval over {seeds} seeds (Student's t). p is of the paired "
            f"t-test against {first}, by seed"
            + (f", corrected for {others} comparisons (Holm)." if others > 1 else ".")
        )
    if seeds < WEAK:
        yield (
            f"With {seeds} seeds this test is weak: a large p does not mean that there is no "
            "difference."
            if seeds > 1
            else "With 1 seed there are no intervals and no test: differences may be chance."
        )
    yield (
        f"Tokens, FLOPs (forward and backward) and time are what a design needed to get, for good, "
        f"to where {first} ended with the same seed; tokens as a share of the run."
    )
    if any(design.entry == "as is" for design in results.designs):
        yield "* entered on purpose without matching its FLOPs."
    for choice in results.sweep:
        yield f"Tuned: {choice_text(choice)}."
    if not results.sweep:
        yield "Nothing was tuned: every design has the train document's learning rate."
    checked = "; ".join(f"{check.name} ({check.detail})" for check in results.checks)
    yield f"Fairness checked: {checked}."
