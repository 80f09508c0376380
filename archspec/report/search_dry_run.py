"""What a search is about to do, before any trial."""

from __future__ import annotations

from collections.abc import Iterator

from rich.columns import Columns
from rich.console import Group
from rich.table import Table
from rich.text import Text

from archspec.report.shares import large_number, share_text
from archspec.report.tables import plain_table
from archspec.search.budget import format_amount
from archspec.search.dry_run import BudgetUse, DryRun
from archspec.units import format_seconds

_ESTIMATED = ("step_time", "decode_time")


def dry_run_view(found: DryRun) -> Group:
    """Return the report of a dry run."""
    return Group(
        Text(f"What a search over {found.name or 'the base'} is about to do", style="bold"),
        *_size_part(found),
        *map(Text, _space_lines(found)),
        Text(),
        *_budget_part(found),
        _price_table(found),
        Text("least and most: of the designs that fit, by integer programming to 0.1%"),
        *map(Text, _notes(found)),
        Text(),
        *map(Text, _time_lines(found)),
    )


def _size_part(found: DryRun) -> Iterator[Text | Columns]:
    depth = " or ".join(map(str, found.num_layers))
    bound = "" if found.counted else "at most "
    yield Text(
        f"{bound}{large_number(found.num_designs)} different designs of {depth} layers with "
        f"{found.genes} free choices:"
    )
    # A choice is never broken over two lines.
    yield Columns([Text(entry, no_wrap=True) for entry in found.legend.split(", ")], padding=(0, 2))


def _space_lines(found: DryRun) -> Iterator[str]:
    for name, sizes in found.pools.items():
        if len(sizes) > 1:
            yield f"pool {name} of {' or '.join(f'{size}²' for size in sizes)} slots"
    for key, values in found.settings.items():
        yield f"{key}: {', '.join(map(str, values))}"
    if found.num_variants > 1:
        yield f"{found.num_variants} variants of base and plan"
    if found.budgets:
        error = "" if not found.share.error else f" (standard error {found.share.error:.1%} of it)"
        yield f"{share_text(found.share)} of them fit the budgets{error}"


def _budget_part(found: DryRun) -> Iterator[Table | Text]:
    if not found.budgets:
        yield Text("no budgets")
        yield Text()
        return
    table = plain_table("budget", "limit", "rejects alone", "left by those that fit")
    for column in table.columns[1:]:
        column.justify = "right"
    for budget in found.budgets:
        side = "at most" if budget.side == "max" else "at least"
        table.add_row(
            budget.quantity,
            f"{side} {format_amount(budget.quantity, budget.limit)}",
            _rejected(budget.rejected),
            "" if budget.slack is None else f"{budget.slack:.1%}",
        )
    yield table
    yield from map(Text, _binding(found))
    yield Text()


def _rejected(share: float) -> str:
    """Write a share that is estimated where it is nearly one: a sample met no other."""
    return f"{share:.1%}" if share < 0.9995 else "nearly all" if share < 1 else "all of a sample"


def _binding(found: DryRun) -> Iterator[str]:
    most, tightest = found.rejects_most, found.tightest
    if most is not None:
        yield f"{_name(most)} rejects most designs"
    if tightest is not None and tightest.slack is not None:
        yield (
            f"{_name(tightest)} binds: designs that fit are on average {tightest.slack:.1%} from it"
        )


def _name(budget: BudgetUse) -> str:
    return f"budgets.{budget.quantity}.{budget.side}"


def _price_table(found: DryRun) -> Table:
    table = plain_table("quantity", "base", "least", "most")
    for column in table.columns[1:]:
        column.justify = "right"
    for row in found.prices:
        amounts = (format_amount(row.quantity, value) for value in (row.base, row.least, row.most))
        table.add_row(row.quantity, *amounts)
    return table


def _notes(found: DryRun) -> Iterator[str]:
    if any(row.quantity in _ESTIMATED for row in found.prices):
        yield "times are estimates: rooflines without launches and latency, so lower bounds"


def _time_lines(found: DryRun) -> Iterator[str]:
    first = ", ".join(found.hand_designs) or "none fits"
    yield f"{found.trials} trials by {found.sampler}; hand designs first: {first}"
    yield f"{found.trainings} trainings with the re-runs of finalists, at most"
    if found.time is not None and found.seconds is not None:
        yield f"one trial: about {format_seconds(found.time.seconds)} ({found.time.source})"
        yield f"all of them: about {format_seconds(found.seconds)}, one after another"
