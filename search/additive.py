"""What adds up: a Bayesian linear fit of results to features of designs, in the results' own unit.

Where the samplers' surrogate ranks designs, this one is read by people: it predicts values with an
uncertainty, says what each choice adds, and how well it predicts designs it has not seen. How much
the groups of features may matter and how large the noise is are not chosen but averaged over, each
setting of a grid in proportion to its evidence (its marginal likelihood).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from archspec.cost.pricing import Flags
from archspec.search.features import Floats

_POSITION = (0.0, 0.3, 0.6, 1.2)  # of all positions together, in standard deviations of the values
_COUNT = (0.0, 0.4, 1.2)
_OTHER = (0.1, 0.5, 1.5)  # of each pool's sizes and each setting
_NOISE = (0.03, 0.07, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9, 1.0)
_NEGLIGIBLE = 1e-3  # evidence below this share of the best setting's is left out
_FENCE = 3.0  # interquartile ranges from the quartiles; values beyond are drawn in to there
FEWEST = 8  # values that can be fitted


@dataclass(frozen=True, slots=True)
class Estimate:
    """What something is likely to be.

    Attributes:
        mean: The expectation.
        deviation: Its standard deviation.
    """

    mean: float
    deviation: float

    @property
    def low(self) -> float:
        """Lower end of the 95% interval."""
        return self.mean - 1.96 * self.deviation

    @property
    def high(self) -> float:
        """Upper end of the 95% interval."""
        return self.mean + 1.96 * self.deviation


@dataclass(frozen=True, slots=True)
class _Setting:
    """The fit under one setting of the grid; r singular values, F features.

    Attributes:
        share: Of the evidence.
        prior: Standard deviation of each feature's weight, [F].
        right: Right singular vectors of the scaled features, [r, F].
        left: Left ones, [N, r].
        kept: How much of each singular direction the values decide, 0 to 1, [r].
        singular: Singular values, [r].
        weights: Most likely weights, [F].
        noise: Standard deviation of what the features do not explain.
    """

    share: float
    prior: Floats
    right: Floats
    left: Floats
    kept: Floats
    singular: Floats
    weights: Floats
    noise: float

    def variances(self, rows: Floats) -> Floats:
        """Return the variance of ``rows @ weights``, [R]."""
        scaled = rows * self.prior
        decided: Floats = (scaled @ self.right.T) ** 2 @ self.kept
        left: Floats = np.maximum((scaled**2).sum(axis=1) - decided, 0.0)
        return left


class AdditiveModel:
    """Values of designs as sums over their features, fitted.

    Attributes:
        clipped: How many values lay so far out that they were drawn in to the fence.
        explained: Share of the variance that is predicted for designs left out of the fit, one
            at a time; below 0 where the mean would predict better.
        noise: Standard deviation of what the features do not explain, luck and interactions.
    """

    def __init__(
        self, features: Floats, values: Sequence[float], groups: Mapping[str, int], depth: int
    ) -> None:
        """Fit.

        Args:
            features: Of the designs, [N, F].
            values: What was measured, at least ``FEWEST``.
            groups: How many features of each kind there are, as ``Features.groups``.
            depth: Layers, among which the positions' scale is divided.
        """
        assert len(values) >= FEWEST, f"{len(values)} values are too few to fit"
        drawn_in, self.clipped = _drawn_in(np.asarray(values, dtype=np.float64))
        self._center = features.mean(axis=0)
        self._features = features - self._center
        self._mean = float(drawn_in.mean())
        self._unit = float(drawn_in.std()) or 1.0
        self._values = (drawn_in - self._mean) / self._unit
        self._settings = self._fit(groups, depth)
        self.noise = self._unit * math.sqrt(sum(s.share * s.noise**2 for s in self._settings))
        self._left_out, self._leverage = self._leave_out()
        rest = self._values - self._left_out
        without = self._values * len(rest) / (len(rest) - 1)  # the mean of the others is left
        self.explained = 1.0 - float((rest**2).sum() / max((without**2).sum(), 1e-12))

    def _fit(self, groups: Mapping[str, int], depth: int) -> list[_Setting]:
        found: list[tuple[float, _Setting]] = []
        others = (
            _OTHER
            if any(n for name, n in groups.items() if name not in ("position", "count"))
            else (0.0,)
        )
        basis, triangle = np.linalg.qr(self._features)  # so that the rest costs F³, and not F² N
        for position, count, other in itertools.product(_POSITION, _COUNT, others):
            scales = {"position": position / math.sqrt(depth), "count": count}
            prior = np.repeat([scales.get(name, other) for name in groups], [*groups.values()])
            left, singular, right = np.linalg.svd(triangle * prior, full_matrices=False)
            left = basis @ left
            seen = left.T @ self._values
            for noise in _NOISE:
                kept = singular**2 / (singular**2 + noise**2)
                weights = prior * (right.T @ (singular / (singular**2 + noise**2) * seen))
                evidence = self._evidence(singular, seen, noise)
                setting = _Setting(0.0, prior, right, left, kept, singular, weights, noise)
                found.append((evidence, setting))
        best = max(evidence for evidence, _ in found)
        shares = [(math.exp(e - best), s) for e, s in found if e - best > math.log(_NEGLIGIBLE)]
        total = sum(share for share, _ in shares)
        return [
            _Setting(
                share / total, s.prior, s.right, s.left, s.kept, s.singular, s.weights, s.noise
            )
            for share, s in shares
        ]

    def _evidence(self, singular: Floats, seen: Floats, noise: float) -> float:
        """Return the log of the marginal likelihood; the mean takes one degree of freedom."""
        unseen = max(float(self._values @ self._values - seen @ seen), 0.0)
        spread = singular**2 + noise**2
        hidden = len(self._values) - 1 - int((singular > 1e-9).sum())
        fit = float((seen**2 / spread).sum()) + unseen / noise**2
        size = float(np.log(spread[singular > 1e-9]).sum()) + hidden * math.log(noise**2)
        return -0.5 * (fit + size)

    @property
    def weights(self) -> Floats:
        """The most likely weights, averaged over the settings, [F], in the values' unit."""
        total: Floats = sum(
            (s.share * s.weights for s in self._settings), np.zeros(self._features.shape[1])
        )
        return self._unit * total

    def contrasts(self, rows: Floats) -> list[Estimate]:
        """Return what linear combinations of features come to, such as differences of designs.

        Args:
            rows: [R, F].
        """
        return self._estimates(rows, 0.0)

    def predict(self, features: Floats) -> list[Estimate]:
        """Return what designs would reach on average over seeds, each with its uncertainty."""
        return self._estimates(features - self._center, self._mean)

    def _estimates(self, rows: Floats, offset: float) -> list[Estimate]:
        mean = rows @ self.weights
        second = sum(
            (s.share * (s.variances(rows) + (rows @ s.weights) ** 2) for s in self._settings),
            np.zeros(len(rows)),
        )
        variance = np.maximum(second * self._unit**2 - mean**2, 0.0)
        pairs = zip(mean.tolist(), np.sqrt(variance).tolist(), strict=True)
        return [Estimate(offset + value, deviation) for value, deviation in pairs]

    def draw(self, features: Floats, rng: np.random.Generator, count: int) -> Floats:
        """Return values that trainings of designs might reach, [count, N].

        Every row has weights and noise of its own, drawn with the likelihood they have.
        """
        rows = features - self._center
        found = np.empty((count, len(features)))
        chosen = rng.choice(len(self._settings), size=count, p=[s.share for s in self._settings])
        for number, index in enumerate(chosen.tolist()):
            setting = self._settings[index]
            drawn = rng.normal(size=rows.shape[1])
            seen = setting.right @ drawn  # Only what the values decide is less uncertain.
            shrink = seen * (1.0 - np.sqrt(np.maximum(1.0 - setting.kept, 0.0)))
            weights = setting.weights + setting.prior * (drawn - setting.right.T @ shrink)
            luck = setting.noise * rng.normal(size=len(features))
            found[number] = self._mean + self._unit * (rows @ weights + luck)
        return found

    def _leave_out(self) -> tuple[Floats, Floats]:
        """Return predictions of each value by a fit without it, and its mean leverage, [N] each."""
        count = len(self._values)
        predicted, leverage = np.zeros(count), np.zeros(count)
        for s in self._settings:
            own = np.minimum((s.left**2) @ s.kept + 1.0 / count, 1.0 - 1e-9)
            fitted = self._features @ s.weights
            predicted += s.share * (self._values - (self._values - fitted) / (1.0 - own))
            leverage += s.share * own
        return predicted, leverage

    def decided(self, rows: Floats, chosen: Sequence[int]) -> float:
        """Return the share of the variance that one choice decides, by shuffling it.

        Left-out designs are predicted with their own choice and with every other design's: exact
        over all shuffles. Half of what the squared error grows by is the choice's share of the
        variance, where effects add up and choices are independent of each other.

        Args:
            rows: Features that each alternative adds, [C, F].
            chosen: The alternative of each design, -1 for a design that has none of them.

        Returns:
            About 0, or below, for what decides nothing.
        """
        picked = np.asarray(chosen)
        having = np.flatnonzero(picked >= 0)
        if len(having) < 2:
            return 0.0
        frequency = np.bincount(picked[having], minlength=len(rows)) / len(having)
        rest = (self._values - self._left_out)[having]
        own = self._own_scores(rows, having)  # [n, C], by the fit without each design
        change = own - own[np.arange(len(having)), picked[having]][:, None]
        worse = ((rest[:, None] - change) ** 2 @ frequency - rest**2).sum() / len(self._values)
        return float(0.5 * worse / max((self._values**2).mean(), 1e-12))

    def _own_scores(self, rows: Floats, having: np.ndarray) -> Floats:
        """Return what alternatives add by the fits that leave out one design each, [n, C]."""
        found: Floats = np.zeros((len(having), len(rows)))
        for s in self._settings:
            own = np.minimum((s.left**2) @ s.kept + 1.0 / len(self._values), 1.0 - 1e-9)
            errors = (self._values - self._features @ s.weights) / (1.0 - own)
            scaled = (rows * s.prior) @ s.right.T  # [C, r]
            gain = s.singular / (s.singular**2 + s.noise**2)
            pull = (s.left[having] * gain) @ scaled.T  # [n, C]
            found += s.share * ((rows @ s.weights)[None] - pull * errors[having, None])
        return found


def _drawn_in(values: Floats) -> tuple[Floats, int]:
    """Draw values far outside in to the fence, so that one bad design does not decide the fit."""
    low, high = np.quantile(values, [0.25, 0.75])
    reach = _FENCE * (high - low)
    if reach == 0.0:
        return values, 0
    far: Flags = (values < low - reach) | (values > high + reach)
    return np.clip(values, low - reach, high + reach), int(far.sum())
