"""What a search found: a ranked table, then sentences for people who never ran one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from rich.console import Group
from rich.constrain import Constrain
from rich.table import Table
from rich.text import Text

from archspec.report.found.words import (
    agreement_sentence,
    rank_sentences,
    stage_sentences,
    verdict_sentences,
)
from archspec.report.shares import share_text
from archspec.report.tables import plain_table, unbroken
from archspec.search.budget import format_amount
from archspec.search.pareto import front_values
from archspec.search.results import (
    BudgetResult,
    DesignResult,
    SearchResults,
    SpaceResult,
    agreement,
    seed_noise,
)
from archspec.search.share import Share
from archspec.search.verdict import judge
from archspec.spec.search.objective import Goal
from archspec.units import format_count

MOST_ROWS = 30
_READABLE = 100  # columns of running text
_SHORT_PLACEMENT = 24  # characters; longer ones may be broken
_SHORT = {
    "flops_per_token": "FLOPs",
    "num_params": "params",
    "num_active_params": "active",
    "table_bytes_per_token": "table",
    "device_bytes": "device",
    "kv_bytes_per_token": "cache",
    "train_flops": "training",
    "step_time": "step",
    "decode_time": "decoding",
}


def search_report(results: SearchResults, out: Path) -> Group:
    """Return the table of designs and the story of the search.

    Args:
        results: What was found.
        out: The run directory, as the user named it.
    """
    story = Table.grid(padding=(0, 1, 0, 0))
    for sentence in _sentences(results):
        story.add_row("•", sentence)
    return Group(
        Text(f"What {results.metric} the designs of {results.name} reached", style="bold"),
        design_table(results),
        *map(Text, table_notes(results)),
        Text(),
        Constrain(story, _READABLE),
        Text(),
        *map(unbroken, _next_steps(out)),
    )


def space_lines(space: SpaceResult, budgets: tuple[BudgetResult, ...]) -> Iterator[str]:
    """Say how large the space is and what the budgets leave of it."""
    yield f"{space.num_designs:,} different designs of {space.num_layers} layers: {space.legend}"
    for name in _varied(space):
        yield f"pool {name} of {' or '.join(f'{size}²' for size in space.pools[name])} slots"
    basis = "" if space.exact else f", estimated from {space.num_priced:,} random designs"
    for budget in budgets:
        yield f"{_bound(budget)} rejects {budget.rejected:.0%} of them{basis}"
    if budgets:
        share = share_text(Share(space.feasible_share or None, exact=space.exact))
        yield f"{share} of them fit every budget"


def budget_use(budgets: tuple[BudgetResult, ...], prices: dict[str, int] | None = None) -> str:
    """Write how much of each upper limit a design uses, or without prices the header above it."""
    cells = []
    for budget in budgets:
        if budget.side == "max" and budget.limit:
            name = short_name(budget.quantity)
            text = name if prices is None else f"{prices[budget.quantity] / budget.limit:.0%}"
            cells.append(f"{text:>{max(len(name), 4)}}")
    return "  ".join(cells)


def short_name(quantity: str) -> str:
    """Return what a column of a quantity is called."""
    return _SHORT.get(quantity, quantity)


def _bound(budget: BudgetResult) -> str:
    side = "at most" if budget.side == "max" else "at least"
    return f"{budget.quantity} {side} {format_amount(budget.quantity, budget.limit)}"


def design_table(results: SearchResults) -> Table:
    """Return the ranked designs: values at every rung, re-runs, further goals, use of budgets."""
    limits = [budget for budget in results.budgets if budget.side == "max"]
    named = {budget.quantity for budget in limits}
    others = [goal for goal in results.goals[1:] if goal.name not in named]
    rungs = [format_count(rung.tokens) for rung in results.rungs]
    plain = len(results.goals) < 2 and len(rungs) < 2
    shows_accuracy = plain and _accuracy(results.best) is not None
    table = plain_table(
        "#",
        "design",
        "from",
        *(rungs if len(rungs) > 1 else ["first"]),
        "again",
        *(["accuracy"] if shows_accuracy else []),
        *(short_name(goal.name) for goal in others),
        *(short_name(budget.quantity) for budget in limits),
    )
    table.columns[1].no_wrap = len(results.best.placement) < _SHORT_PLACEMENT
    for column in (table.columns[0], *table.columns[3:]):
        column.justify, column.no_wrap = "right", True
    for number, design in enumerate(results.designs[:MOST_ROWS], 1):
        accuracy = _accuracy(design)
        table.add_row(
            str(number),
            " ".join(filter(None, (design.placement, design.pools))),
            design.source,
            *_rung_values(results, design),
            _reruns(design),
            *(["" if accuracy is None else f"{accuracy:.1%}"] if shows_accuracy else []),
            *(_goal(results, design, goal) for goal in others),
            *(f"{design.prices[budget.quantity] / max(1, budget.limit):.0%}" for budget in limits),
        )
    return table


def _rung_values(results: SearchResults, design: DesignResult) -> list[str]:
    values = [f"{value:#.4g}" for value in results.rung_values(design)]
    return [*values, *[""] * (len(results.rungs) - len(values))]


def _goal(results: SearchResults, design: DesignResult, goal: Goal) -> str:
    value = front_values(results, design)[results.goals.index(goal)]
    return format_amount(goal.name, round(value)) if goal.source == "price" else f"{value:#.4g}"


def table_notes(results: SearchResults) -> Iterator[str]:
    """Say what is not in the table, and what its columns are."""
    hidden = len(results.designs) - MOST_ROWS
    if hidden > 0:
        yield f"and {hidden} more in results.json"
    yield results.space.legend
    if len(results.rungs) > 1:
        yield "under each number of tokens: results of that rung, never compared with another's"
    limits = [short_name(b.quantity) for b in results.budgets if b.side == "max"]
    if limits:
        yield f"{' and '.join(limits)}: how much of the budget a design uses"


def _reruns(design: DesignResult) -> str:
    if not design.was_rerun:
        return ""
    return "diverged" if math.isnan(design.rerun_value) else f"{design.rerun_value:#.4g}"


def _accuracy(design: DesignResult) -> float | None:
    """Return the accuracy that was measured beside the objective, if any."""
    names = [name for name in design.metrics if name.endswith(".accuracy")]
    return design.metrics[names[0]] if names else None


def _sentences(results: SearchResults) -> Iterator[str]:
    yield _searched(results)
    yield _trained(results)
    yield from stage_sentences(results)
    yield _won(results)
    yield from verdict_sentences(results, judge(results))
    yield from _against_dense(results)
    yield from _against_chance(results)
    yield from _trust(results)


def _searched(results: SearchResults) -> str:
    space = results.space
    counted = (
        "" if space.exact else f" (estimated from {space.num_priced:,} designs drawn at random)"
    )
    text = (
        f"Searched: which block stands in each of {space.num_layers} layers"
        + "".join(f" and how large the pool {name} is" for name in _varied(space))
        + f", {space.num_designs:,} different designs."
    )
    rejected = [f"{_bound(b)} rejects {b.rejected:.0%}" for b in results.budgets]
    if rejected:
        share = f"{space.feasible_share:.0%}" if space.feasible_share >= 0.01 else "under 1%"
        text += f" The budgets leave {share} of them{counted}: {', '.join(rejected)}."
    return text


def _varied(space: SpaceResult) -> list[str]:
    return [name for name, sizes in space.pools.items() if len(sizes) > 1]


def _trained(results: SearchResults) -> str:
    hand = len(results.hand_designs)
    again = len(results.finalists)
    text = (
        f"Trained: {len(results.designs)} designs, all within budget and no two alike; {hand} of "
        "them are designs that a person would try first"
    )
    if again:
        finalists = "the finalist was" if again == 1 else f"the {again} finalists were"
        text += f"; {finalists} trained again with fresh seeds"
    text += "."
    if results.diverged:
        text += f" {len(results.diverged)} more diverged: {'; '.join(results.diverged)}."
    if results.exhausted:
        text += " There are no other designs within budget, so the search ended early."
    return text


def _won(results: SearchResults) -> str:
    best = results.best
    better = "less" if results.direction == "minimize" else "more"
    name = "found by the search" if not best.is_hand_design else f"the hand design '{best.source}'"
    again = best.rerun_value
    seeds = "" if math.isnan(again) else f", {again:.4f} on average over fresh seeds"
    first = "on its first run"
    if len(results.rungs) > 1:  # values of two rungs are not of one scale
        first = f"{first} of {format_count(results.rungs[-1].tokens)} tokens"
    pools = f" ({best.pools})" if best.pools else ""
    return (
        f"Best: {best.placement}{pools}, {name}: {results.metric} "
        f"{results.last_value(best):.4f} {first}{seeds} ({better} is better)."
    )


def _against_dense(results: SearchResults) -> Iterator[str]:
    if results.uniform_dense is None:
        yield "A model of dense blocks alone was not among the trained designs."
        return
    dense = next(d for d in results.designs if d.spec_hash == results.uniform_dense)
    if dense is results.best:
        return
    yield (
        f"All-dense reaches {dense.value:.4f} on its first run, the winner {results.best.value:.4f}"
        f": a difference of {abs(dense.value - results.best.value):.4f}."
    )


def _against_chance(results: SearchResults) -> Iterator[str]:
    accuracy = _accuracy(results.best)
    names = [name for name in results.best.metrics if name.endswith(".chance")]
    if accuracy is None or not names:
        return
    chance = results.best.metrics[names[0]]
    yield (
        f"The winner recalls {accuracy:.1%} of the facts; guessing would give {chance:.1%}, so it "
        f"is {accuracy / chance:.0f} times better than chance."
    )


def _trust(results: SearchResults) -> Iterator[str]:
    """Say how far the order by first runs can be believed."""
    noise, found = seed_noise(results.designs), agreement(results)
    if noise is not None:
        yield f"One design's runs differ by {noise:.4f} by luck."
    if found is not None:
        yield agreement_sentence("First runs and re-runs", "finalists", found)
    yield from rank_sentences(results)


def _next_steps(out: Path) -> Iterator[str]:
    yield f"Written to {out}:"
    yield "  best.yaml     the winner, a model document like any other"
    yield "  pareto/       designs that none beats in everything, as model documents"
    yield "  pareto.csv    the same as a table"
    yield "  results.json  every design with its metrics and prices"
    yield "  report.txt    this text"
    yield f"Next: archspec report {out} --html {out}/report.html"
    yield f"      archspec summary {out}/best.yaml"
