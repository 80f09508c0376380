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
        priced: The study's objectives after the first, if there are any, as quantities.
    """
    return SAMPLERS[name](allowed, seed=seed, priced=priced)
