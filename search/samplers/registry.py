"""The samplers by the name that search documents give them, as one literal table."""

from __future__ import annotations

from collections.abc import Mapping

from archspec.search.feasible import FeasibleSpace
from archspec.search.samplers.base import PlacementSampler
from archspec.search.samplers.evolution import EvolutionPlacementSampler
from archspec.search.samplers.milp import MilpPlacementSampler
from archspec.search.samplers.random import RandomPlacementSampler

SAMPLERS: Mapping[str, type[PlacementSampler]] = {
    "milp": MilpPlacementSampler,
    "evolution": EvolutionPlacementSampler,
    "random": RandomPlacementSampler,
}


def make_sampler(name: str, allowed: FeasibleSpace, *, seed: int) -> PlacementSampler:
    """Return the sampler of that name. Raises KeyError for an unknown one."""
    return SAMPLERS[name](allowed, seed=seed)
