"""Evolution: children of the best designs, repaired where they break a budget."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from archspec.search.feasible import FeasibleSpace
from archspec.search.pareto import best_first
from archspec.search.samplers.base import History, PlacementSampler
from archspec.search.samplers.random import random_design, redraw
from archspec.search.space import Design

_TRIES = 32


class EvolutionPlacementSampler(PlacementSampler):
    """Crosses and mutates the best designs so far; the first ones are random.

    With several objectives the best are those of the first non-dominated fronts, where a front is
    too large its loneliest (NSGA-II, Deb et al. 2002).

    Args:
        num_random: Evaluated designs before the first child.
        parents: How many of the best may have children.
    """

    def __init__(
        self,
        allowed: FeasibleSpace,
        *,
        seed: int = 0,
        priced: Sequence[str] = (),
        num_random: int = 8,
        parents: int = 8,
    ) -> None:
        super().__init__(allowed, seed=seed, priced=priced)
        self._num_random = num_random
        self._parents = parents

    def propose(self, history: History, rng: np.random.Generator) -> Design | None:
        """Return a new child that fits, a random design if the parents have no new children."""
        if len(history.scored) < self._num_random:
            return random_design(self.allowed, history.taken, rng)
        losses = np.array([scored.losses for scored in history.scored])
        chosen = best_first(losses)[: self._parents].tolist()
        parents = [history.scored[index].design for index in chosen]
        child = parents[0]
        for _ in range(_TRIES):
            child = self._child(parents, rng)
            if child not in history.taken and child in self.allowed:
                return child
        return self.allowed.program.nearest(child, rng, excluded=history.taken)

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
