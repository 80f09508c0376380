"""What a study has shown of the loss: a Gaussian process whose parts are weighed by the evidence.

The parts are those of ``samplers.covariance``. Their weights, and the noise, are those of greatest
likelihood under a prior, so that a loss that adds up over layers is learned from few designs and
one that does not is not mistaken for it.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from archspec.cost.pricing import Ints
from archspec.search.features import Floats, Scores
from archspec.search.samplers.covariance import PARTS, Covariance, Encoded, Weighted

# The most likely variance of each part and of the noise, in units of the losses', before any trial.
_PRIOR = {
    "position": 0.3, "smooth": 0.2, "kind": 0.2, "count": 0.2, "pool": 0.1, "setting": 0.1,
    "neighbours": 0.1, "saturation": 0.2, "begun": 0.4, "pairs": 0.05, "near": 0.05, "noise": 0.05,
}  # fmt: skip
_FIRM = 1.0  # how firm that prior is; as a shape of inverse gamma distributions
_FIRM_NOISE = 0.1
_LEVEL = 4.0  # variance of what all designs have in common
_WEIGHED, _KEPT = 160, 320  # designs that the weights are fitted to, and that predictions rest on
_ROUNDS = 25


class Surrogate:
    """A Gaussian process fitted to some designs, in which less is better.

    Attributes:
        noise: Variance of a loss around the design's own.
    """

    def __init__(self, covariance: Covariance, designs: Encoded, losses: Floats) -> None:
        """Weigh the parts of the covariance and condition on the losses.

        Args:
            covariance: Of the space.
            designs: Evaluated designs, oldest first, [N].
            losses: Theirs, [N].
        """
        self._covariance = covariance
        self._scale = Scale.of(losses)
        values = self._scale.standardised(losses)
        chosen = _spread(values, _WEIGHED)
        found = _weigh(covariance, designs.take(chosen), values[chosen])
        self._weights, self.noise = found[:-1], float(found[-1])
        kept = _spread(values, _KEPT)
        self._condition(designs.take(kept), values[kept])

    def _condition(self, designs: Encoded, values: Floats) -> None:
        self._designs, self._values = designs, values
        self._known = self._covariance.weighted(designs, self._weights)
        noise = self.noise * np.eye(len(designs))
        inverse = np.linalg.inv(self._total(self._known, self._known) + noise)
        self._inverse: Floats = np.asarray(inverse, dtype=np.float64)
        self._solved: Floats = self._inverse @ values

    def believe(self, designs: Encoded) -> None:
        """Take designs that are being evaluated for certain to come out as expected.

        What is learned from them is then not sought twice; their means stay as they are.
        """
        values = self.predict(designs)[0]
        self._condition(self._designs.joined(designs), np.concatenate([self._values, values]))

    def predict(self, designs: Encoded) -> tuple[Floats, Floats]:
        """Return mean and standard deviation of designs' losses, noise aside, [N] each."""
        asked = self._covariance.weighted(designs, self._weights)
        across = self._total(asked, self._known)
        variances = self._covariance.variances(asked) + _LEVEL
        variances -= ((across @ self._inverse) * across).sum(axis=1)
        return across @ self._solved, np.sqrt(np.maximum(variances, 1e-12))

    def draw(self, rng: np.random.Generator) -> list[Scores]:
        """Return the additive parts of the loss, drawn with the likelihood they have (Thompson).

        By Matheron's rule: draw from the prior, then correct by what it gets wrong on the designs.
        """
        features = self._features
        weights: Floats = np.asarray(rng.normal(size=features.shape[1]))
        drawn = features @ weights + self._rest_root @ rng.normal(size=len(features))
        weights = weights + features.T @ (self._inverse @ (self._values - drawn))
        return self._covariance.scores(weights, self._known.shares)

    def trainings(self, designs: Encoded, rng: np.random.Generator, count: int) -> Floats:
        """Return losses that designs may come to if they are trained, luck included, [count, N].

        Every row is one way in which all of them together may turn out.
        """
        asked = self._covariance.weighted(designs, self._weights)
        across = self._total(asked, self._known)
        among = self._total(asked, asked)
        among -= across @ self._inverse @ across.T
        among[np.diag_indices_from(among)] += self.noise + 1e-9
        root = np.linalg.cholesky(among)
        drawn: Floats = across @ self._solved + rng.normal(size=(count, len(designs))) @ root.T
        return self._scale.losses(drawn)

    def mean(self) -> list[Scores]:
        """Return the most likely additive parts of the loss."""
        return self._covariance.scores(self._features.T @ self._solved, self._known.shares)

    @property
    def _features(self) -> Floats:
        return self._known.linear[:, : self._known.additive]

    def _total(self, one: Weighted, other: Weighted) -> Floats:
        return self._covariance.total(one, other) + _LEVEL

    @functools.cached_property
    def _rest_root(self) -> Floats:
        """A root of the covariance of all that is not additive, noise included."""
        among = self._total(self._known, self._known)
        among -= self._features @ self._features.T
        among[np.diag_indices_from(among)] += self.noise + 1e-9
        return np.asarray(np.linalg.cholesky(among), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Scale:
    """Scales losses by how the better half spreads, and dampens the worst.

    That a design is bad matters, not how bad; beyond two standard deviations growth is logarithmic.

    Attributes:
        middle: The median loss.
        spread: Of the better half, as of a normal distribution; 0 if all losses are equal.
    """

    middle: float
    spread: float

    @classmethod
    def of(cls, losses: Floats) -> Scale:
        """Return the scale of losses."""
        middle, good = np.quantile(losses, [0.5, 0.1])
        spread = (middle - good) / 1.2816  # of a normal distribution from its median to its tenth
        return cls(float(middle), float(spread if spread > 0 else losses.std()))

    def standardised(self, losses: Floats) -> Floats:
        """Return losses on the scale."""
        if not self.spread > 0:
            return np.zeros(len(losses))
        values: Floats = (losses - self.middle) / self.spread
        return np.asarray(np.minimum(values, 2) + np.log1p(np.maximum(values - 2, 0.0)))

    def losses(self, values: Floats) -> Floats:
        """Return the losses that have these values on the scale."""
        plain = np.minimum(values, 2) + np.expm1(np.maximum(values - 2, 0.0))
        return np.asarray(self.middle + self.spread * plain)


def _spread(values: Floats, most: int) -> Ints:
    """Choose the better half, and of the others some that are spread evenly over time."""
    if len(values) <= most:
        return np.arange(len(values))
    best = np.argsort(values, kind="stable")[: most // 2]
    others = np.setdiff1d(np.arange(len(values)), best)
    some = others[np.linspace(0, len(others) - 1, most - len(best)).astype(np.int64)]
    return np.sort(np.concatenate([best, some]))


def _weigh(covariance: Covariance, designs: Encoded, values: Floats) -> Floats:
    """Return the most likely variances of the parts, and of the noise last.

    A fixed point of the gradient of log likelihood plus log prior: each step multiplies a variance
    by the root of what raises it over what lowers it, so none turns negative.
    """
    number = len(values)
    parts = np.concatenate([covariance.parts(designs, designs), np.eye(number)[None]])
    prior = np.array(list(_PRIOR.values()))
    firm = np.array([_FIRM] * len(PARTS) + [_FIRM_NOISE])
    flat = parts.reshape(len(parts), -1)
    weights = prior.copy()
    for _ in range(_ROUNDS):
        among = (weights @ flat).reshape(number, number) + _LEVEL
        inverse = np.linalg.inv(among)
        solved = inverse @ values
        raises = flat @ np.outer(solved, solved).ravel() / 2
        lowers = flat @ inverse.ravel() / 2
        raises += (firm + 1) * prior / weights**2
        lowers += (firm + 1) / weights
        weights = weights * np.sqrt(raises / lowers)
    return weights
