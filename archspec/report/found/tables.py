"""Tables of a search's report as text, for a terminal and for a page alike."""

from __future__ import annotations

from collections.abc import Iterator

from archspec.report.found.figure import design_name
from archspec.report.found.shown import rank_of
from archspec.report.found.words import amount, interval
from archspec.report.tables import Cells
from archspec.search.findings import Findings
from archspec.search.importance import Effect, Importance
from archspec.search.results import SearchResults

_MOST_EFFECTS = 12


def effect_cells(results: SearchResults, found: Importance) -> Cells:
    """Return the effects that stand for themselves: blocks in all layers, sizes, settings."""
    rows = [(f"{effect.name}, all layers", effect) for effect in found.sums]
    for factor in found.factors:
        if factor.kind != "position":
            rows += [(f"{factor.name} {effect.name}", effect) for effect in factor.effects]
    return Cells(
        "Effects against the average of the choices",
        ("choice", results.metric, "95% interval", "", "designs"),
        tuple(_effect_row(results, name, effect) for name, effect in rows[:_MOST_EFFECTS]),
    )


def _effect_row(results: SearchResults, name: str, effect: Effect) -> tuple[str, ...]:
    side = "better" if results.sign * effect.value < 0 else "worse"
    return (
        name,
        f"{effect.value:+.3g}",
        f"{effect.low:+.3g} to {effect.high:+.3g}",
        side if effect.is_clear else "unclear",
        str(effect.trained),
    )


def seed_cells(results: SearchResults, findings: Findings) -> Cells:
    """Return the designs that were run again: first run, every fresh seed, mean and interval."""
    designs = [design for design in results.designs if design.was_rerun]
    return Cells(
        "Runs with fresh seeds",
        ("design", "first run", "fresh seeds", "mean and 95% interval"),
        tuple(
            (
                f"{rank_of(results, design)}  {design_name(design)}",
                amount(results.last_value(design)),
                ", ".join([*map(amount, design.reruns), *["diverged"] * design.diverged_reruns]),
                interval(found) if (found := findings.seed_intervals.get(design.trial)) else "",
            )
            for design in designs
        ),
    )


def space_cells(results: SearchResults) -> Cells:
    """Return what was searched and how."""
    return Cells("Settings", ("setting", "value"), tuple(_settings(results)))


def _settings(results: SearchResults) -> Iterator[tuple[str, str]]:
    space = results.space
    exact = "" if space.exact else f", estimated from {space.num_priced:,} drawn"
    yield "metric", f"{results.metric}, {results.direction}"
    for goal in results.goals[1:]:
        yield "further goal", f"{goal.name}, {goal.direction}"
    yield "sampler", results.sampler
    yield "designs of the space", f"{space.num_designs:,}"
    yield "within budget", f"{space.feasible_share:.3g} of them{exact}"
    yield "trained", f"{len(results.designs)} of {results.trials}, {len(results.diverged)} diverged"
    if len(results.rungs) > 1:
        yield "rungs", ", ".join(f"{rung.tokens:,} tokens" for rung in results.rungs)
    yield "seconds in trainings", f"{results.seconds:,.0f}"
