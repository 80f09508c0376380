"""The default sampler: an exact integer program over a guess that learns from every trial."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from archspec.search.feasible import FeasibleSpace
from archspec.search.features import Scores
from archspec.search.samplers.base import History, PlacementSampler
from archspec.search.samplers.random import random_design, redraw
from archspec.search.samplers.surrogate import Surrogate
from archspec.search.space import Design

_NEIGHBOURS = 128


class MilpPlacementSampler(PlacementSampler):
    """Solves for the design that a linear guess of the loss likes best among those that fit.

    The guess is drawn anew for every proposal, in proportion to its likelihood (Thompson sampling),
    so that what is uncertain gets tried. Every third proposal is instead the most promising
    neighbour of one of the best designs, which finds what a linear guess cannot express. The first
    proposals are random.

    Args:
        num_random: Evaluated designs before the first guess.
        parents: How many of the best have their neighbours considered.
    """

    def __init__(
        self,
        allowed: FeasibleSpace,
        *,
        seed: int = 0,
        num_random: int = 8,
        parents: int = 3,
    ) -> None:
        super().__init__(allowed, seed=seed)
        self._num_random = num_random
        self._parents = parents

    def propose(self, history: History, rng: np.random.Generator) -> Design | None:
        """Return the best new design by this proposal's guess."""
        if len(history.scored) < self._num_random:
            return random_design(self.allowed, history.taken, rng)
        surrogate = Surrogate(self.allowed.space, history.scored)
        if len(history.taken) % 3 == 0:
            parents = [scored.design for scored in history.best(self._parents)]
            found = self._neighbour(parents, surrogate.mean(), history, rng)
            if found is not None:
                return found
        guess = surrogate.draw(rng)
        if self.allowed.listed is not None:
            return self._best_listed(guess, history)
        return self._optimum(guess, history, rng)

    def _best_listed(self, guess: Sequence[Scores], history: History) -> Design | None:
        """Return the new design that the guess likes best by guessing all, None if none is left."""
        listed = self.allowed.listed
        assert listed is not None, "only called for a space that is listed"
        losses = self.allowed.space.score(guess, self.allowed.listed_arrays)
        order = (listed[i] for i in np.argsort(losses, kind="stable"))
        return next((design for design in order if design not in history.taken), None)

    def _optimum(
        self, guess: Sequence[Scores], history: History, rng: np.random.Generator
    ) -> Design | None:
        """Return the design that the guess likes best, or if it is taken a new one beside it."""
        program = self.allowed.program
        design = program.best(program.objective(guess), gap=1e-3)
        if design is not None and design in history.taken:
            design = self._neighbour([design], guess, history, rng)
        return design or random_design(self.allowed, history.taken, rng)

    def _neighbour(
        self,
        parents: Sequence[Design],
        guess: Sequence[Scores],
        history: History,
        rng: np.random.Generator,
    ) -> Design | None:
        """Return the new neighbour of some designs with the least guessed loss, if any."""
        drawn = (
            redraw(self.allowed, parents[i % len(parents)], rng, layers=1 + i % 2, pool_share=0.1)
            for i in range(_NEIGHBOURS)
        )
        near = self.allowed.select(
            *self.allowed.space.arrays([d for d in drawn if d not in history.taken])
        )
        if not near:
            return None
        losses = self.allowed.space.score(guess, self.allowed.space.arrays(near))
        return near[int(np.argmin(losses))]
