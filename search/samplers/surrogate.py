"""A linear guess of the loss from which block stands where, with its uncertainty.

Features of a design: which choice each position has; how many layers have each choice, which
carries over from one position to the next; which pools exist at which size. All are linear in the
variables of the integer program, so the program optimises the guess exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, rankdata

from archspec.cost.pricing import Flags, Ints
from archspec.search.program import Floats
from archspec.search.samplers.base import Scored
from archspec.search.space import Design, Space

_PRIOR_POSITION, _PRIOR_COUNT, _PRIOR_POOL = 1.0, 0.5, 1.0  # prior standard deviations
_NOISE = 0.3  # standard deviation of what the features cannot explain, in units of the losses'


@dataclass(frozen=True)
class Guess:
    """One linear guess: a score per position and choice, and per pool and size."""

    layers: Floats
    pools: list[Floats]

    def losses(self, layers: Ints, sizes: Ints, reads: Flags) -> Floats:
        """Return the guessed losses of designs given as arrays.

        Args:
            layers: [N, L].
            sizes: [N, P].
            reads: Whether a choice reads a pool, [P, L, C].
        """
        positions = np.arange(layers.shape[1])
        total: Floats = self.layers[positions, layers].sum(axis=1)
        for pool, scores in enumerate(self.pools):
            total += scores[sizes[:, pool]] * reads[pool][positions, layers].any(axis=1)
        return total


class Surrogate:
    """Bayesian ridge regression of losses on the features of designs."""

    def __init__(self, space: Space, scored: Sequence[Scored]) -> None:
        """Fit all evaluated designs.

        Losses enter as normal scores of their ranks, so that one bad design does not outweigh the
        differences between good ones.
        """
        self._space = space
        self._shape = (len(space.choices), space.reads.shape[2])
        features = self._features([s.design for s in scored])
        self._center = features.mean(axis=0)
        centered = (features - self._center) * self._prior()
        losses = _normal_scores(np.array([s.loss for s in scored]))
        # The dual form: as many unknowns as designs, which are fewer than the features.
        kernel = centered @ centered.T + _NOISE**2 * np.eye(len(scored))
        self._centered = centered
        self._losses = losses
        self._inverse = np.linalg.inv(kernel)

    def mean(self) -> Guess:
        """Return the most likely guess."""
        return self._guess(self._centered.T @ (self._inverse @ self._losses))

    def draw(self, rng: np.random.Generator) -> Guess:
        """Return a guess drawn with the likelihood it has after the designs seen.

        By Matheron's rule: draw from the prior, then correct by what it gets wrong on the designs.
        """
        weights = rng.normal(size=self._centered.shape[1])
        noise = _NOISE * rng.normal(size=len(self._losses))
        wrong = self._losses - self._centered @ weights - noise
        return self._guess(weights + self._centered.T @ (self._inverse @ wrong))

    def _guess(self, weights: Floats) -> Guess:
        scaled = weights * self._prior()
        cells = self._shape[0] * self._shape[1]
        own = scaled[:cells].reshape(self._shape)
        counts = scaled[cells : cells + self._shape[1]]
        rest = scaled[cells + self._shape[1] :]
        ends = np.cumsum([len(sizes) for sizes in self._space.pools.values()], dtype=np.int64)
        pools = np.split(rest, ends)[:-1]
        return Guess(own + counts / np.sqrt(self._shape[0]), pools)

    def _features(self, designs: Sequence[Design]) -> Floats:
        layers, sizes = self._space.arrays(designs)
        own = np.eye(self._shape[1])[layers]  # [N, L, C]
        blocks = [own.reshape(len(designs), -1), own.sum(axis=1) / np.sqrt(self._shape[0])]
        positions = np.arange(self._shape[0])
        for pool, values in enumerate(self._space.pools.values()):
            read = self._space.reads[pool][positions, layers].any(axis=1)
            blocks.append(np.eye(len(values))[sizes[:, pool]] * read[:, None])
        return np.concatenate(blocks, axis=1)

    def _prior(self) -> Floats:
        cells, choices = self._shape[0] * self._shape[1], self._shape[1]
        sizes = sum(len(values) for values in self._space.pools.values())
        return np.repeat([_PRIOR_POSITION, _PRIOR_COUNT, _PRIOR_POOL], [cells, choices, sizes])


def _normal_scores(losses: Floats) -> Floats:
    """Replace each loss by the normal quantile of its rank; ties share theirs."""
    return np.asarray(norm.ppf((rankdata(losses) - 0.5) / len(losses)), dtype=np.float64)
