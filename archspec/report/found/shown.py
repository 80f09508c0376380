"""Which designs a report shows one by one, and the colours of what stands in their layers."""

from __future__ import annotations

import math
from collections.abc import Mapping

from archspec.report.palette import PAPER, POOLS, kind_colour, mixed, shades
from archspec.search.results import DesignResult, SearchResults

_MOST, _MOST_ALONE = 8, 5


def shown_designs(results: SearchResults) -> list[DesignResult]:
    """Return the finalists, best first; before there are any the best and the best hand design."""
    finalists = results.finalists[:_MOST]
    if finalists:
        return list(finalists)
    hand = [design for design in results.hand_designs if design in results.top][:1]
    shown = [*results.top[:_MOST_ALONE], *hand]
    return list({design.trial: design for design in shown}.values())


def shown_value(results: SearchResults, design: DesignResult) -> float:
    """Return the mean over fresh seeds, or the first run of a design that has none."""
    again = design.rerun_value
    return results.last_value(design) if math.isnan(again) else again


def rank_of(results: SearchResults, design: DesignResult) -> int:
    """Return the place of a design in the ranking, from 1."""
    return next(n for n, other in enumerate(results.designs, 1) if other.trial == design.trial)


def choice_colours(results: SearchResults) -> dict[str, tuple[str, ...]]:
    """Return the colours of every choice, one for each of its blocks; shades within one kind."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for name, choice in results.space.choices.items():
        alike.setdefault(choice.kinds, []).append(name)
    found: dict[str, tuple[str, ...]] = {}
    for kinds, names in alike.items():
        columns = [shades(kind_colour(kind), len(names)) for kind in kinds]
        found.update(zip(names, zip(*columns, strict=True), strict=True))
    return {name: found[name] for name in results.space.choices}


def pool_colours(results: SearchResults) -> Mapping[str, str]:
    """Return the colour of every pool; beyond the fourth the colours repeat, paler."""
    names = list(results.space.pools)
    return {
        name: mixed(POOLS[place % len(POOLS)], PAPER, 0.45 * (place // len(POOLS) % 2))
        for place, name in enumerate(names)
    }
