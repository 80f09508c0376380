"""What all placement samplers share: only new designs that fit, and when there are none left."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from archspec.search.feasible import FeasibleSpace
from archspec.search.params import design_of, distributions, to_params
from archspec.search.space import Design


class SpaceExhaustedError(Exception):
    """Every design that keeps to the budgets has been proposed; the study can end."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A design that was evaluated, with one loss for each objective of the study.

    Less loss is better, whatever the study's directions.
    """

    design: Design
    losses: tuple[float, ...]

    @property
    def loss(self) -> float:
        """The loss in the first objective."""
        return self.losses[0]


@dataclass(frozen=True, slots=True)
class History:
    """What a study knows when it asks for the next design.

    Attributes:
        scored: Evaluated designs, oldest first.
        taken: Every design that was proposed, in whatever state its trial is.
        running: Those whose evaluation is not over, oldest first.
        spoilt: Those that were pruned, or whose loss is no finite number: bad, nobody knows how.
        signs: For each objective 1 if the study minimises it, -1 if it maximises it.
    """

    scored: Sequence[Scored]
    taken: frozenset[Design]
    running: Sequence[Design] = ()
    spoilt: Sequence[Design] = ()
    signs: tuple[int, ...] = (1,)

    def best(self, count: int) -> list[Scored]:
        """Return the designs best in the first objective, best first."""
        return sorted(self.scored, key=lambda scored: scored.loss)[:count]


class PlacementSampler(BaseSampler):
    """Proposes designs of a space that keep to its bounds and that the study has not seen.

    In the order of a trial's life: ``infer_relative_search_space`` names the parameters; at the
    first ``Trial.suggest_categorical`` of one of them
    ``sample_relative`` reads the study and calls ``propose``, and that and all further suggestions
    give the values out. Parameters that are none of the space's are drawn at random. The random
    numbers depend on (seed, number of the trial) alone, so a study that is resumed goes on with
    other suggestions than it began with.

    Subclasses implement ``propose``.
    """

    def __init__(
        self, allowed: FeasibleSpace, *, seed: int = 0, priced: Sequence[str] = ()
    ) -> None:
        """Set up a sampler without state; everything it learns it reads from the study.

        Args:
            allowed: The designs to choose from.
            seed: Of the random numbers.
            priced: Of a study with several objectives those after the first, if all of them are
                prices: the quantities, in order. They are known before anything is evaluated.

        Raises:
            ValueError: A quantity has no price.
        """
        for name in priced:
            if name not in allowed.table.quantities:
                known = ", ".join(allowed.table.quantities)
                raise ValueError(f"{name!r} has no price here; what has one: {known}")
        self.allowed = allowed
        self.seed = seed
        self.priced = tuple(priced)
        self._distributions = distributions(allowed.space)
        self._others = RandomSampler(seed=seed)

    @abstractmethod
    def propose(self, history: History, rng: np.random.Generator) -> Design | None:
        """Return a design that fits and is not in ``history.taken``, None if none is left."""

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return the parameters of the space."""
        return self._distributions

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the parameters of the next design; nothing for a trial that was enqueued.

        Raises:
            SpaceExhaustedError: If no design is left. ``study.optimize`` fails the trial and passes
                the error on; whoever asks and tells, tells that it failed.
        """
        if design_of(self.allowed.space, trial) is not None and self._distributions:
            return {}
        design = self._next(study, trial)
        if design is None:
            raise SpaceExhaustedError("every design that keeps to the budgets has been proposed")
        return to_params(self.allowed.space, design)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Draw a parameter that is none of the space's."""
        return self._others.sample_independent(study, trial, param_name, param_distribution)

    def reseed_rng(self) -> None:
        """Reseed what draws foreign parameters; proposals need it not, as trials differ."""
        self._others.reseed_rng()

    def _next(self, study: Study, trial: FrozenTrial) -> Design | None:
        rng = np.random.default_rng([self.seed, trial.number])
        return self.propose(self._history(study, trial), rng)

    def _history(self, study: Study, current: FrozenTrial) -> History:
        signs = tuple(1 if d == StudyDirection.MINIMIZE else -1 for d in study.directions)
        taken: set[Design] = set()
        scored, running, spoilt = [], [], []
        for trial in study.get_trials(deepcopy=False):
            design = design_of(self.allowed.space, trial)
            if design is None or trial.number == current.number:
                continue
            taken.add(design)
            losses = tuple(s * v for s, v in zip(signs, trial.values or (), strict=False))
            if trial.state == TrialState.COMPLETE and np.isfinite(losses).all():
                scored.append(Scored(design, losses))
            elif trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
                spoilt.append(design)
            elif trial.state in (TrialState.RUNNING, TrialState.WAITING):
                running.append(design)
        return History(scored, frozenset(taken), running, spoilt, signs)
