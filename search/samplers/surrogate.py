"""A linear guess of the loss from which block stands where, with its uncertainty.

The features of ``search.features`` are linear in the variables of the integer program, so the
program optimises the guess exactly.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import norm, rankdata

from archspec.search.features import Floats, Scores
from archspec.search.samplers.base import Scored
from archspec.search.space import Space

_PRIORS = {"position": 1.0, "count": 0.5, "pool": 1.0, "setting": 1.0}  # standard deviations
_NOISE = 0.3  # standard deviation of what the features cannot explain, in units of the losses'


class Surrogate:
    """Bayesian ridge regression of losses on the features of designs."""

    def __init__(self, space: Space, scored: Sequence[Scored]) -> None:
        """Fit all evaluated designs.

        Losses enter as normal scores of their ranks, so that one bad design does not outweigh the
        differences between good ones.
        """
        self._space = space
        features = space.features([s.design for s in scored])
        self._center = features.mean(axis=0)
        self._prior = _prior(space)
        centered = (features - self._center) * self._prior
        losses = _normal_scores(np.array([s.loss for s in scored]))
        # The dual form: as many unknowns as designs, which are fewer than the features.
        kernel = centered @ centered.T + _NOISE**2 * np.eye(len(scored))
        self._centered = centered
        self._losses = losses
        self._inverse = np.linalg.inv(kernel)

    def mean(self) -> list[Scores]:
        """Return the most likely guess, as scores of each variant."""
        return self._guess(self._centered.T @ (self._inverse @ self._losses))

    def draw(self, rng: np.random.Generator) -> list[Scores]:
        """Return a guess drawn with the likelihood it has after the designs seen.

        By Matheron's rule: draw from the prior, then correct by what it gets wrong on the designs.
        """
        weights = rng.normal(size=self._centered.shape[1])
        noise = _NOISE * rng.normal(size=len(self._losses))
        wrong = self._losses - self._centered @ weights - noise
        return self._guess(weights + self._centered.T @ (self._inverse @ wrong))

    def _guess(self, weights: Floats) -> list[Scores]:
        return self._space.feature_map.scores(weights * self._prior)


def _prior(space: Space) -> Floats:
    groups = space.feature_map.groups
    return np.repeat([_PRIORS[name] for name in groups], list(groups.values()))


def _normal_scores(losses: Floats) -> Floats:
    """Replace each loss by the normal quantile of its rank; ties share theirs."""
    return np.asarray(norm.ppf((rankdata(losses) - 0.5) / len(losses)), dtype=np.float64)
