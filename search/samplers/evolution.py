"""Evolution: children of the best designs, repaired where they break a budget."""

from __future__ import annotations

import numpy as np

from archspec.search.feasible import FeasibleSpace
from archspec.search.samplers.base import History, PlacementSampler
from archspec.search.samplers.random import random_design, redraw
from archspec.search.space import Design

_TRIES = 32


class EvolutionPlacementSampler(PlacementSampler):
    """Crosses and mutates the best designs so far; the first ones are random.

    Args:
        num_random: Evaluated designs before the first child.
        parents: How many of the best may have children.
    """

    def __init__(
        self,
        allowed: FeasibleSpace,
        *,
        seed: int = 0,
        num_random: int = 8,
        parents: int = 8,
    ) -> None:
        super().__init__(allowed, seed=seed)
        self._num_random = num_random
        self._parents = parents

    def propose(self, history: History, rng: np.random.Generator) -> Design | None:
        """Return a new child that fits, a random design if the parents have no new children."""
        if len(history.scored) < self._num_random:
            return random_design(self.allowed, history.taken, rng)
        parents = [scored.design for scored in history.best(self._parents)]
        child = parents[0]
        for _ in range(_TRIES):
            child = self._child(parents, rng)
            if child not in history.taken and child in self.allowed:
                return child
        repaired = self.allowed.program.nearest(child, rng)
        if repaired is not None and repaired not in history.taken:
            return repaired
        return random_design(self.allowed, history.taken, rng)

    def _child(self, parents: list[Design], rng: np.random.Generator) -> Design:
        """Cross two parents, the better ones more often, and mutate one layer on average."""
        shares = 1.0 / np.arange(1, len(parents) + 1)
        mother, father = (
            parents[i] for i in rng.choice(len(parents), size=2, p=shares / shares.sum())
        )
        child = mother
        if rng.random() < 0.5:
            child = self._cross(mother, father, rng)
        return redraw(self.allowed, child, rng, layers=1 + int(rng.poisson(0.5)), pool_share=0.15)

    def _cross(self, mother: Design, father: Design, rng: np.random.Generator) -> Design:
        def pick(pair: tuple[int, int]) -> int:
            return pair[int(rng.integers(2))]

        father = self.allowed.space.carried(father, mother.variant)
        layers = [pick(pair) for pair in zip(mother.layers, father.layers, strict=True)]
        sizes = [pick(pair) for pair in zip(mother.sizes, father.sizes, strict=True)]
        return self.allowed.space.normal(layers, sizes, mother.variant)
