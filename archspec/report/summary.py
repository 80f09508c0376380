"""The terminal summary of a model: a row per run of equal layers, parts, totals, conventions."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

from rich.console import Group
from rich.text import Text

from archspec.cost.summary import LayerCost, Summary
from archspec.quantities import FREE, Cost
from archspec.report.tables import plain_table
from archspec.units import format_bytes, format_count, format_flops

if TYPE_CHECKING:
    from archspec.cost.verify import Verification

_WIDE = 110  # from here on a table shows exact numbers


def summary_table(summary: Summary, *, unfold: bool = False, width: int = 80) -> Group:
    """Return the summary as a table with its conventions below.

    Args:
        summary: The books of a model.
        unfold: One row per layer instead of one per run of equal layers.
        width: Columns of the terminal; wide ones get exact numbers.
    """
    table = plain_table("layer", "block", "size", *_headers())
    for column in table.columns[3:]:
        column.justify = "right"
    exact = width >= _WIDE
    for row in _rows(summary, unfold=unfold):
        table.add_row(*row[:3], *_numbers(row[3], exact=exact))
    table.add_section()
    table.add_row("total", "", "", *_numbers(summary.total, exact=exact), style="bold")
    return Group(Text(_title(summary), style="bold"), table, *map(Text, _notes(summary)))


def verification_lines(verification: Verification) -> Group:
    """Say whether the built model agrees with the books, quantity by quantity."""
    rows = (
        ("parameters", verification.counted_params, verification.built_params),
        (
            "FLOPs per token, attention in full",
            verification.counted_flops_per_token,
            verification.built_flops_per_token,
        ),
    )
    lines = [Text("Checked against the model built on the meta device:", style="bold")]
    for name, counted, built in rows:
        verdict = "equal" if counted == built else f"DIFFERS from the books' {counted:,}"
        lines.append(Text(f"  {name}: {_exact(built)}, {verdict}"))
    return Group(*lines)


def _exact(value: Fraction | int) -> str:
    return f"{int(value):,}" if value == int(value) else f"{float(value):,.3f}"


def _headers() -> tuple[str, ...]:
    return ("params", "active", "FLOPs/tok", "table/tok")


def _numbers(cost: Cost, *, exact: bool) -> tuple[str, ...]:
    if exact:
        return (
            f"{cost.num_params:,}",
            f"{cost.num_active_params:,}",
            f"{cost.flops_per_token:,}",
            f"{cost.table_bytes_per_token:,} B",
        )
    return (
        format_count(cost.num_params),
        format_count(cost.num_active_params),
        format_count(cost.flops_per_token),
        format_bytes(cost.table_bytes_per_token),
    )


def _title(summary: Summary) -> str:
    name = summary.name or "model"
    layers = len(summary.layers)
    return f"{name}: {layers} layer{'s' * (layers != 1)}, hash {summary.spec_hash[:12]}"


def _rows(summary: Summary, *, unfold: bool) -> Iterator[tuple[str, str, str, Cost]]:
    """Yield label, block, size and cost of every row; rows add up to the total.

    Attention stands before the blocks where the layers differ in it.
    """
    first, *rest = summary.parts
    several = len({layer.attention for layer in summary.layers}) > 1
    yield "", first.name, first.size, first.cost
    for run in layer_runs(summary.layers, unfold=unfold):
        kinds = block_kinds(run[0])
        sizes = " + ".join(config.size() for _, config in run[0].blocks)
        name, attention = run[0].attention
        if several:
            kinds, sizes = f"{name or attention.type}; {kinds}", f"{attention.size()}; {sizes}"
        yield span(run), kinds, sizes, sum((layer.cost for layer in run), FREE)
    for pool in summary.pools:
        readers = summary.readers[pool.name]
        yield _readers(readers), f"pool {pool.name}", pool.size, pool.cost
    for part in rest:
        yield "", part.name, part.size, part.cost


def layer_runs(layers: Iterable[LayerCost], *, unfold: bool) -> Iterator[list[LayerCost]]:
    """Yield runs of neighbours that differ in nothing but their index, or every layer by itself."""
    run: list[LayerCost] = []
    for layer in layers:
        if run and (unfold or not layer.same_kind(run[0])):
            yield run
            run = []
        run.append(layer)
    if run:
        yield run


def span(run: list[LayerCost]) -> str:
    """Name the layers of a run: ``3`` or ``4-10``."""
    first, last = run[0].index, run[-1].index
    return f"{first}" if first == last else f"{first}-{last}"


def block_kinds(layer: LayerCost) -> str:
    """Name the types of a layer's blocks."""
    return " + ".join(config.type for _, config in layer.blocks)


def _readers(readers: tuple[int, ...]) -> str:
    text = ",".join(map(str, readers))
    return text if len(text) <= 12 else f"{len(readers)} layers"


def _notes(summary: Summary) -> Iterator[str]:
    total = summary.total
    yield (
        f"{total.num_params:,} parameters stored, {total.num_active_params:,} active per token, "
        f"{format_flops(total.flops_per_token)} and {format_bytes(total.table_bytes_per_token)} of "
        "table rows per token."
    )
    if any(len(list(group)) > 1 for _, group in itertools.groupby(summary.layers, _kind)):
        yield "Rows add up to the total; a row of several layers is their sum."
    if summary.pools:
        yield "A pool's rows are stored once, however many layers read them."
    yield from summary.conventions


def _kind(layer: LayerCost) -> tuple[object, ...]:
    return (layer.attention, layer.blocks, layer.cost)
