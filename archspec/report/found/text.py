"""The report of a search in a terminal, 80 columns or more, in colour or without."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.constrain import Constrain
from rich.table import Table
from rich.text import Text

from archspec.report.curve import Points, bounds, draw
from archspec.report.found.grid import effect_lines, placement_lines
from archspec.report.found.tables import effect_cells, seed_cells
from archspec.report.found.words import (
    chance_sentences,
    choice_sentences,
    front_sentences,
    stage_sentences,
    state,
    trust_sentences,
    verdict_sentences,
)
from archspec.report.search import design_table, space_lines, table_notes
from archspec.report.tables import Cells, plain_table, unbroken
from archspec.search.budget import format_amount
from archspec.search.findings import Findings
from archspec.search.results import SearchResults

_READABLE = 100  # columns of running text
_LINES = 10  # of the plot
_BAR = 24  # characters


def run_report(results: SearchResults, findings: Findings, out: Path, *, width: int) -> Group:
    """Return everything that a search found, or found so far.

    Args:
        results: Of the search.
        findings: What they mean.
        out: The run directory, as the user named it.
        width: Columns that there are.
    """
    parts: list[RenderableType] = [*_head(results, findings, out), Text()]
    for title, content in _sections(results, findings, width):
        parts += [Text(title, style="bold"), *content, Text()]
    parts += [*map(unbroken, _next_steps(out, findings))]
    return Group(*parts)


def _head(results: SearchResults, findings: Findings, out: Path) -> Iterator[RenderableType]:
    yield Text(f"What the search of {results.name or out} found", style="bold")
    yield Text(state(results, findings), style="" if findings.is_finished else "yellow")
    if not findings.is_finished and not findings.is_running:
        yield unbroken(f"go on with archspec search --resume {out}")
    yield _list([*verdict_sentences(results, findings.verdict)])
    yield Text()
    for line in space_lines(results.space, results.budgets):
        yield Text(line, "dim")


def _sections(
    results: SearchResults, findings: Findings, width: int
) -> Iterator[tuple[str, Sequence[RenderableType]]]:
    notes = [Text(note) for note in table_notes(results)]
    yield f"Designs by {results.metric}", [design_table(results), *notes]
    yield (
        "Best so far, against random designs",
        [*_curve(results, findings, width), _list([*chance_sentences(results, findings)])],
    )
    if results.best.layers:
        yield "What stands in each layer", [*placement_lines(results, width)]
    found = findings.importance
    content: list[RenderableType] = []
    if found is not None and found.positions:
        content += [*effect_lines(results, found, width)]
        content += [
            Text("+ better, - worse, ⊕ ⊖ by much; · the interval includes 0", "dim"),
            Text(),
        ]
        content += [_table(effect_cells(results, found))]
    content += [_list([*choice_sentences(found)])]
    yield "Which choices matter", content
    if any(budget.side == "max" for budget in results.budgets):
        yield "Budgets that the winner uses", [_budgets(results)]
    trust = [
        *front_sentences(results, findings),
        *stage_sentences(results),
        *trust_sentences(results, findings),
    ]
    again = seed_cells(results, findings)
    yield "Seeds and front", [*([_table(again)] if again.rows else []), _list(trust)]


def _list(sentences: Sequence[str]) -> RenderableType:
    story = Table.grid(padding=(0, 1, 0, 0))
    for sentence in sentences:
        story.add_row("•", Text(sentence))
    return Constrain(story, _READABLE)


def _table(cells: Cells) -> Table:
    table = plain_table(*cells.headers)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in cells.rows:
        table.add_row(*map(Text, row))
    return table


def _curve(results: SearchResults, findings: Findings, width: int) -> Iterator[Text]:
    """Draw the best so far, and dotted what random designs would have come to."""
    best = _steps(findings.best_so_far)
    chance = [] if findings.chance is None else _steps(findings.chance.middle)
    series = [*([point] for point in chance[::2]), best]  # points alone: the line looks dotted
    _, last, low, high = bounds(series)
    labels = [f"{high:.4g}", *[""] * (_LINES - 2), f"{low:.4g}"]
    margin = max(map(len, labels))
    styles = [*["dim"] * (len(series) - 1), "cyan"]
    size = min(width, _READABLE) - margin - 2
    for label, line in zip(
        labels, draw(series, width=size, height=_LINES, styles=styles), strict=True
    ):
        yield Text.assemble((f"{label:>{margin}} ", "dim"), line)
    dotted = "; dotted: the middle of random searches" if chance else ""
    yield Text(
        f"{'':>{margin}} {results.metric}, line: best of the first {last:.0f} designs{dotted}",
        "dim",
    )


def _steps(values: Sequence[float]) -> Points:
    points: list[tuple[float, float]] = []
    for place, value in enumerate(values, 1):
        if points:
            points.append((place, points[-1][1]))
        points.append((place, value))
    return points


def _budgets(results: SearchResults) -> Table:
    table = Table.grid(padding=(0, 2))
    for budget in results.budgets:
        if budget.side != "max" or not budget.limit:
            continue
        used = results.best.prices[budget.quantity]
        share = used / budget.limit
        filled = round(share * _BAR)
        table.add_row(
            budget.quantity,
            Text.assemble(("█" * filled, "cyan"), ("░" * (_BAR - filled), "dim")),
            Text(f"{share:.0%}", justify="right"),
            f"{format_amount(budget.quantity, used)} of "
            f"{format_amount(budget.quantity, budget.limit)}",
        )
    return table


def _next_steps(out: Path, findings: Findings) -> Iterator[str]:
    yield f"As a page:       archspec report {out} --html {out}/report.html"
    if findings.is_finished:
        yield f"The winner:      archspec summary {out}/best.yaml"
    yield f"Other budgets:   archspec study solve {out} --budget flops_per_token=0.9x"
