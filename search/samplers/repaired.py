"""Optuna's own samplers, repaired: what they suggest becomes the nearest new design that fits."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from optuna.samplers import BaseSampler, NSGAIISampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from archspec.search.feasible import FeasibleSpace
from archspec.search.params import design_of, distributions, nearest_design
from archspec.search.samplers.base import History, PlacementSampler
from archspec.search.samplers.random import random_design
from archspec.search.space import Design


class RepairedSampler(PlacementSampler):
    """Passes on what another sampler suggests, moved to the nearest new design that fits.

    The other sampler reads the same study, so it learns from the designs that were evaluated, never
    from what it had suggested. It is made anew for every trial, from (seed, number of the trial),
    and hence has no state. Until it has enough to learn from, designs are random.

    Subclasses implement ``make``.

    Args:
        num_random: Evaluated designs before the first that the other sampler suggests.
    """

    def __init__(
        self,
        allowed: FeasibleSpace,
        *,
        seed: int = 0,
        priced: Sequence[str] = (),
        num_random: int = 10,
    ) -> None:
        super().__init__(allowed, seed=seed, priced=priced)
        self._num_random = num_random

    @abstractmethod
    def make(self, seed: int) -> BaseSampler:
        """Return the other sampler with its random numbers at their start."""

    def propose(self, history: History, rng: np.random.Generator) -> Design | None:
        """Return a random new design; the other sampler is asked only within a study."""
        return random_design(self.allowed, history.taken, rng)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, Any]
    ) -> dict[str, Any]:
        """As all samplers do; an enqueued trial belongs to a generation of the other one, too."""
        if design_of(self.allowed.space, trial) is not None:
            self._suggested(study, trial)
            return {}
        return super().sample_relative(study, trial, search_space)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Let the other sampler note on the trial what it wants to know later."""
        self._other(trial).after_trial(study, trial, state, values)

    def _next(self, study: Study, trial: FrozenTrial) -> Design | None:
        history = self._history(study, trial)
        rng = np.random.default_rng([self.seed, trial.number])
        suggested = self._suggested(study, trial)
        if len(history.scored) < self._num_random:
            return self.propose(history, rng)
        wanted = nearest_design(self.allowed.space, suggested)
        if wanted in self.allowed and wanted not in history.taken:
            return wanted
        return self.allowed.program.nearest(wanted, rng, excluded=history.taken)

    def _suggested(self, study: Study, trial: FrozenTrial) -> dict[str, Any]:
        """Return a value for every parameter, in whatever combination."""
        other = self._other(trial)
        known = distributions(self.allowed.space)
        together = other.infer_relative_search_space(study, trial)
        together = {name: kind for name, kind in together.items() if name in known}
        found = other.sample_relative(study, trial, together)
        for name, kind in known.items():
            if name not in found:
                found[name] = other.sample_independent(study, trial, name, kind)
        return found

    def _other(self, trial: FrozenTrial) -> BaseSampler:
        return self.make(int(np.random.default_rng([self.seed, trial.number]).integers(2**31)))


class TpePlacementSampler(RepairedSampler):
    """Optuna's ``TPESampler``, repaired."""

    def make(self, seed: int) -> BaseSampler:
        """Without its constant liar: trials in parallel differ because designs are new."""
        return TPESampler(seed=seed, constant_liar=False)


class Nsga2PlacementSampler(RepairedSampler):
    """Optuna's ``NSGAIISampler``, repaired.

    Args:
        population: Designs of a generation; the first generation is random.
    """

    def __init__(
        self,
        allowed: FeasibleSpace,
        *,
        seed: int = 0,
        priced: Sequence[str] = (),
        population: int = 20,
    ) -> None:
        super().__init__(allowed, seed=seed, priced=priced, num_random=population)
        self._population = population

    def make(self, seed: int) -> BaseSampler:
        """With generations small enough for the number of trainings people can afford."""
        return NSGAIISampler(seed=seed, population_size=self._population)
