"""Saved scores solved for other budgets: proposals, and what a grid of budgets allows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.constrain import Constrain
from rich.table import Table
from rich.text import Text

from archspec.errors import ArchspecError
from archspec.report.found.figure import NORMAL, SMALL, new_figure, plain
from archspec.report.palette import BETTER, INK, PAPER
from archspec.report.race_plot import COLOURS
from archspec.report.search import short_name
from archspec.report.tables import plain_table
from archspec.search.additive import AdditiveModel
from archspec.search.budget import format_amount
from archspec.search.results import SearchResults
from archspec.search.solve import Proposal, Solution, SweepPoint

_READABLE = 100


def solution_report(results: SearchResults, model: AdditiveModel, solution: Solution) -> Group:
    """Return the proposals under new budgets, and how far their values can be believed."""
    limits = "; ".join(
        f"{limit.quantity} at {'most' if limit.side == 'max' else 'least'} "
        f"{format_amount(limit.quantity, limit.limit)}"
        for limit in solution.limits
    )
    return Group(
        Text(f"Best by the fit under {limits or 'no budget'}", style="bold"),
        _table(solution),
        Text(f"{results.space.legend}; ± is the 95% interval of the prediction", "dim"),
        Text(),
        *(Constrain(Text(note), _READABLE) for note in _notes(results, model, solution)),
    )


def _table(solution: Solution) -> Table:
    limits = [limit for limit in solution.limits if limit.side == "max"]
    table = plain_table(
        "#", "design", "predicted", "measured",
        *(short_name(limit.quantity) for limit in limits),
    )  # fmt: skip
    for column in (table.columns[0], *table.columns[2:]):
        column.justify, column.no_wrap = "right", True
    rows = [(str(number), found) for number, found in enumerate(solution.proposals, 1)]
    best = solution.best_trained
    if best is not None:
        rows.append(("best", best))
    for name, found in rows:
        table.add_row(
            name,
            " ".join(filter(None, (found.placement, found.pools))),
            _predicted(found),
            _measured(found),
            *(f"{found.prices[b.quantity] / max(1, b.limit):.0%}" for b in limits),
        )
    return table


def _predicted(found: Proposal) -> str:
    return f"{found.predicted:#.4g} ± {found.high - found.predicted:.2g}"


def _measured(found: Proposal) -> str:
    return "" if found.measured is None else f"{found.measured:#.4g}, trial {found.trial}"


def _notes(results: SearchResults, model: AdditiveModel, solution: Solution) -> Iterator[str]:
    share = max(model.explained, 0.0)
    yield (
        f"Predicted {results.metric} is a sum over layers, fitted to {len(results.designs)} "
        f"trained designs; it predicts {share:.0%} of the differences between designs left out of "
        f"it. One training differs from it by {model.noise:.2g} more (standard deviation)."
    )
    new = sum(found.trial is None for found in solution.proposals)
    if new:
        yield (
            f"{new} of these were never trained: a prediction of the best is the likeliest to be "
            "too good, so train them before anything rests on it."
        )
    yield from _beyond(results, solution.proposals)
    best = ", the last row is the best of them" if solution.best_trained else ""
    yield f"{solution.num_trained} trained designs keep to these budgets{best}."
    if len(results.goals) > 1:
        yield f"Further goals are not solved for: {', '.join(g.name for g in results.goals[1:])}."


def _beyond(results: SearchResults, proposals: Sequence[Proposal]) -> Iterator[str]:
    """Warn of predictions that are better than anything that was measured."""
    best = min(results.sign * design.value for design in results.designs)
    if any(results.sign * found.predicted < best for found in proposals):
        yield (
            f"Predictions better than {results.sign * best:#.4g}, the best that was measured, are "
            "guesses: a sum does not know that each further layer of a block brings less."
        )


def sweep_report(results: SearchResults, points: Sequence[SweepPoint]) -> Group:
    """Return a table of what each combination of budgets allows."""
    quantities = list(points[0].budgets)
    table = plain_table(*quantities, "predicted best", "trained", "design")
    for column in table.columns[:-1]:
        column.justify, column.no_wrap = "right", True
    refusals = dict.fromkeys(point.refusal for point in points if point.refusal is not None)
    for point in points:
        table.add_row(*(point.budgets[name] or "none" for name in quantities), *_cells(point))
    return Group(
        Text(f"{results.metric} by budget, predicted from saved scores", style="bold"),
        table,
        Text(f"{results.space.legend}; ± is the 95% interval of the prediction", "dim"),
        *(Constrain(Text(note), _READABLE) for note in _beyond(results, _bests(points))),
        *(Constrain(Text(f"• {refusal}"), _READABLE) for refusal in refusals),
    )


def _bests(points: Sequence[SweepPoint]) -> list[Proposal]:
    return [point.solution.proposals[0] for point in points if point.solution is not None]


def _cells(point: SweepPoint) -> tuple[str, str, str]:
    if point.solution is None:
        return "no design", "", ""
    best, trained = point.solution.proposals[0], point.solution.best_trained
    return (
        _predicted(best),
        "none" if trained is None else f"{trained.measured:#.4g}",
        " ".join(filter(None, (best.placement, best.pools))),
    )


def sweep_rows(points: Sequence[SweepPoint]) -> list[tuple[object, ...]]:
    """Return every point as a row, a header first, numbers exact."""
    quantities = list(points[0].budgets)
    header = (
        *quantities,
        *(f"{name}_limit" for name in quantities),
        "predicted", "low", "high", "best_trained", "trial", "placement", "pools", "spec_hash",
    )  # fmt: skip
    return [header, *(_row(point, quantities) for point in points)]


def _row(point: SweepPoint, quantities: Sequence[str]) -> tuple[object, ...]:
    given = [point.budgets[name] or "none" for name in quantities]
    if point.solution is None:
        return (*given, *[""] * (len(quantities) + 8))
    best, trained = point.solution.proposals[0], point.solution.best_trained
    limits = {limit.quantity: limit.limit for limit in point.solution.limits if limit.side == "max"}
    return (
        *given,
        *(limits.get(name, "") for name in quantities),
        best.predicted,
        best.low,
        best.high,
        "" if trained is None else trained.measured,
        "" if trained is None else trained.trial,
        best.placement,
        best.pools,
        best.spec_hash,
    )


def plot_sweep(results: SearchResults, points: Sequence[SweepPoint], file: str) -> None:
    """Draw predicted best and best trained against the first budget, a line for each of the rest.

    Raises:
        ArchspecError: If matplotlib is missing, or the file's ending or folder is wrong.
    """
    path = Path(file)
    if path.suffix not in (".png", ".svg"):
        raise ArchspecError(f"--png: {file} must end in .png or .svg")
    if not path.parent.is_dir():
        raise ArchspecError(f"--png: no such folder: {path.parent}")
    figure = new_figure(8.6, 4.6, "--png")
    axes = figure.subplots()
    plain(axes)
    first, *others = points[0].budgets
    groups: dict[str, list[SweepPoint]] = {}
    for point in points:
        if point.solution is not None:
            name = ", ".join(f"{other} {point.budgets[other] or 'none'}" for other in others)
            groups.setdefault(name, []).append(point)
    for place, (name, group) in enumerate(groups.items()):
        colour = BETTER if len(groups) == 1 else COLOURS[place % len(COLOURS)]
        _draw_group(axes, first, group, name, colour)
    axes.xaxis.set_major_formatter(lambda value, _: format_amount(first, round(value)))
    axes.set_xlabel(f"{first}, at most", fontsize=NORMAL, color=INK)
    better = "lower" if results.direction == "minimize" else "higher"
    axes.set_ylabel(f"{results.metric} ({better} is better)", fontsize=NORMAL, color=INK)
    figure.legend(loc="outside lower left", ncols=2, frameon=False, fontsize=SMALL, labelcolor=INK)
    figure.savefig(path, dpi=160, facecolor=PAPER)


def _draw_group(axes: Any, first: str, group: Sequence[SweepPoint], name: str, colour: str) -> None:
    """Draw predictions with their intervals, and the best trained designs as diamonds."""
    rows = [(_limit(point, first), point.solution) for point in group]
    known = sorted(
        ((limit, solution) for limit, solution in rows if limit is not None and solution),
        key=lambda row: row[0],
    )
    best = [solution.proposals[0] for _, solution in known]
    axes.errorbar(
        [limit for limit, _ in known],
        [found.predicted for found in best],
        [found.high - found.predicted for found in best],
        fmt="-o", color=colour, markersize=5, linewidth=1.8, elinewidth=1.0, capsize=3,
        label=f"predicted best, 95% interval{f', {name}' if name else ''}",
    )  # fmt: skip
    trained = [
        (limit, solution.best_trained.measured)
        for limit, solution in known
        if solution.best_trained is not None
    ]
    if trained:
        across, up = zip(*trained, strict=True)
        axes.plot(
            across, up, "D", color=colour, markerfacecolor="none", markersize=8,
            label=f"best trained{f', {name}' if name else ''}",
        )  # fmt: skip


def _limit(point: SweepPoint, quantity: str) -> int | None:
    assert point.solution is not None, "only asked for where there is one"
    limits = point.solution.limits
    return next((b.limit for b in limits if (b.quantity, b.side) == (quantity, "max")), None)
