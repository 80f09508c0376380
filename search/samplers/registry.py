"""The samplers by the name that search documents give them, as one literal table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from archspec.search.feasible import FeasibleSpace
from archspec.search.samplers.base import PlacementSampler
from archspec.search.samplers.evolution import EvolutionPlacementSampler
from archspec.search.samplers.exhaustive import ExhaustivePlacementSampler
from archspec.search.samplers.milp import MilpPlacementSampler
from archspec.search.samplers.random import RandomPlacementSampler
from archspec.search.samplers.repaired import Nsga2PlacementSampler, TpePlacementSampler
from archspec.spec.search.spec import SearchSpec

SAMPLERS: Mapping[str, type[PlacementSampler]] = {
    "milp": MilpPlacementSampler,
    "evolution": EvolutionPlacementSampler,
    "random": RandomPlacementSampler,
    "exhaustive": ExhaustivePlacementSampler,
    "tpe": TpePlacementSampler,
    "nsga2": Nsga2PlacementSampler,
}


def make_sampler(
    name: str, allowed: FeasibleSpace, *, seed: int, priced: Sequence[str] = ()
) -> PlacementSampler:
    """Return the sampler of that name; KeyError for an unknown one.

    Args:
        name: A key of ``SAMPLERS``.
        allowed: The designs to choose from.
        seed: Of the random numbers.
        priced: The study's objectives after the first as quantities, if all of them are prices.
    """
    return SAMPLERS[name](allowed, seed=seed, priced=priced)


def sampler_of(spec: SearchSpec, allowed: FeasibleSpace) -> PlacementSampler:
    """Return the sampler of a search document. Raises SamplerError."""
    others = spec.goals[1:]
    known = all(goal.source == "price" for goal in others)
    priced = [goal.name for goal in others] if known else ()
    return make_sampler(spec.sampler, allowed, seed=spec.seed, priced=priced)
