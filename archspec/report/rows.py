"""A summary as rows of a CSV file: exact numbers, one row per layer, pool and part."""

from __future__ import annotations

from collections.abc import Iterator

from archspec.cost.estimates import Estimates
from archspec.cost.roofline import Timing
from archspec.cost.summary import Summary
from archspec.quantities import COST_FIELDS, Cost
from archspec.report.summary import block_kinds

_TIMED = ("train", "prefill", "decode")


def summary_rows(summary: Summary, estimates: Estimates | None = None) -> Iterator[list[object]]:
    """Yield a header, every part, and the total; times where a device was given."""
    timings = _timings(estimates)
    header = [f"{name}_{what}" for name in timings for what in ("seconds", "bound")]
    yield ["part", "layer", "blocks", "size", *COST_FIELDS, *header]
    parts = {part.name: part for part in summary.parts}
    first = summary.parts[0].name
    yield _row(first, None, "", parts[first].size, parts[first].cost, timings)
    for layer in summary.layers:
        size = " + ".join(config.size() for _, config in layer.blocks)
        yield _row("layer", layer.index, block_kinds(layer), size, layer.cost, timings)
    for pool in summary.pools:
        yield _row(f"pool {pool.name}", None, "", pool.size, pool.cost, timings)
    for part in summary.parts[1:]:
        yield _row(part.name, None, "", part.size, part.cost, timings)
    yield _row("total", None, "", "", summary.total, timings)


def _timings(estimates: Estimates | None) -> dict[str, Timing]:
    if estimates is None:
        return {}
    found = zip(_TIMED, (estimates.step, estimates.prefill, estimates.decode), strict=True)
    return {name: timing for name, timing in found if timing is not None}


def _row(
    name: str, index: int | None, blocks: str, size: str, cost: Cost, timings: dict[str, Timing]
) -> list[object]:
    row: list[object] = [name, "" if index is None else index, blocks, size]
    row += [getattr(cost, field) for field in COST_FIELDS]
    for timing in timings.values():
        row += _time(timing, name, index)
    return row


def _time(timing: Timing, name: str, index: int | None) -> tuple[object, object]:
    if name == "total":
        return timing.seconds, timing.bound
    for part in timing.parts:
        if (part.name, part.index) == (name, index):
            return part.seconds, part.bound
    return "", ""
