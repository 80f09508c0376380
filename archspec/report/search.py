"""What a search found: a ranked table, then sentences for people who never ran one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from rich.console import Group
from rich.constrain import Constrain
from rich.table import Table
from rich.text import Text

from archspec.report.tables import plain_table
from archspec.search.budget import format_amount
from archspec.search.results import (
    Agreement,
    BudgetResult,
    DesignResult,
    SearchResults,
    SpaceResult,
    agreement,
    seed_noise,
)

MOST_ROWS = 30
_READABLE = 100  # columns of running text
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
        _table(results),
        *map(Text, _table_notes(results)),
        Text(),
        Constrain(story, _READABLE),
        Text(),
        *map(Text, _next_steps(out)),
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
        yield (
            f"{space.feasible_share:.2g} of all designs fit"
            if (0 < space.feasible_share < 0.01)
            else f"{space.feasible_share:.0%} of them fit every budget"
        )


def budget_use(prices: dict[str, int], budgets: tuple[BudgetResult, ...]) -> str:
    """Write how much of each upper limit a design uses, ``98% 71%``."""
    return " ".join(
        f"{prices[budget.quantity] / budget.limit:.0%}"
        for budget in budgets
        if budget.side == "max" and budget.limit
    )


def _bound(budget: BudgetResult) -> str:
    side = "at most" if budget.side == "max" else "at least"
    return f"{budget.quantity} {side} {format_amount(budget.quantity, budget.limit)}"


def _table(results: SearchResults) -> Table:
    limits = [budget for budget in results.budgets if budget.side == "max"]
    table = plain_table(
        "#",
        "design",
        "from",
        "first",
        "again",
        *(["accuracy"] if _accuracy(results.best) is not None else []),
        *(_SHORT[budget.quantity] for budget in limits),
    )
    table.columns[1].no_wrap = len(results.best.placement) < 40
    for column in (table.columns[0], *table.columns[3:]):
        column.justify = "right"
    for number, design in enumerate(results.designs[:MOST_ROWS], 1):
        accuracy = _accuracy(design)
        table.add_row(
            str(number),
            " ".join(filter(None, (design.placement, design.pools))),
            design.source,
            f"{design.value:#.4g}",
            _reruns(design),
            *([f"{accuracy:.1%}"] if accuracy is not None else []),
            *(f"{design.prices[budget.quantity] / max(1, budget.limit):.0%}" for budget in limits),
        )
    return table


def _table_notes(results: SearchResults) -> Iterator[str]:
    hidden = len(results.designs) - MOST_ROWS
    if hidden > 0:
        yield f"and {hidden} more in results.json"
    yield results.space.legend
    limits = [_SHORT[b.quantity] for b in results.budgets if b.side == "max"]
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
    yield _won(results)
    yield from _against_hand(results)
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
        text += f"; the {again} finalists were trained again with fresh seeds"
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
    pools = f" ({best.pools})" if best.pools else ""
    return (
        f"Best: {best.placement}{pools}, {name}: {results.metric} {best.value:.4f} on its first "
        f"run{seeds} ({better} is better)."
    )


def _against_hand(results: SearchResults) -> Iterator[str]:
    """Compare with the best hand design, on re-runs where both have them."""
    hand = next(iter(results.hand_designs), None)
    best = results.best
    if hand is None:
        yield "No hand design fits the budgets, so there is none to compare with."
        return
    if best.is_hand_design:
        yield (
            "The search did not beat the hand designs: the best of them is the winner. More "
            "trials may change that."
        )
        return
    again = not math.isnan(best.rerun_value) and not math.isnan(hand.rerun_value)
    ours, theirs = (d.rerun_value if again else d.value for d in (best, hand))
    basis = "with fresh seeds" if again else "on first runs"
    text = (
        f"The best hand design, '{hand.source}', reaches {theirs:.4f} {basis}: the search wins by "
        f"{abs(theirs - ours):.4f}."
    )
    noise = seed_noise(results.designs)
    if again and noise is not None:
        # The mean of two runs has 1/√2 of one run's noise, the difference of two such means √2 of
        # that: the noise of a single run.
        verdict = "well above" if abs(theirs - ours) > 2 * noise else "not clearly above"
        text += f" That is {verdict} the {noise:.4f} by which a design's runs differ by luck."
    yield text


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
    found: Agreement | None = agreement(results.designs)
    if found is None:
        return
    share = found.kept / found.pairs
    if share == 1:
        verdict = "the two rankings agree"
    elif share > 0.5:
        verdict = "the rankings agree in part, so neighbours in the table may well trade places"
    else:
        verdict = "the rankings disagree: these designs are too close for single runs to order them"
    rank = "" if found.spearman is None else f" (rank correlation {found.spearman:.2f})"
    yield (
        f"First runs and re-runs put {found.kept} of {found.pairs} pairs of finalists in the same "
        f"order{rank}: {verdict}."
    )


def _next_steps(out: Path) -> Iterator[str]:
    yield f"Written to {out}:"
    yield "  best.yaml     the winner, a model document like any other"
    yield "  pareto.csv    designs that none beats in metric, FLOPs and parameters at once"
    yield "  results.json  every design with its metrics and prices"
    yield "  report.txt    this text"
    yield f"Next: archspec summary {out}/best.yaml"
