"""How alike the losses of two designs are before any is known: parts that a surrogate weighs.

Additive parts, which an integer program can optimise: what stands where, the same smoothed over
neighbouring depths, the same of what choices have in common, how many layers have each choice,
pools and settings. Parts that are not: what stands next to what, that each further layer of a kind
brings less, at which depth each kind begins, interactions of any two choices, and a rest that only
knows how many layers two designs differ in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from archspec.cost.pricing import Ints
from archspec.search.features import Floats, Scores
from archspec.search.kinds import shared_kinds
from archspec.search.space import Rows, Space

ADDITIVE = ("position", "smooth", "kind", "count", "pool", "setting")
LINEAR = (*ADDITIVE, "neighbours", "saturation", "begun")
PARTS = (*LINEAR, "pairs", "near")
_REFERENCE = 512  # designs drawn to center and scale each part
_SMOOTH = 0.08  # standard deviation of the smoothing, as a share of the depth
_NEAR = 0.35  # length scale of the last part, as a share of the distance of random designs


@dataclass(frozen=True, slots=True)
class Encoded:
    """N designs as features. The parts that are linear in theirs are covariances as they are.

    Attributes:
        linear: Features of each linear part, centered, of unit length on average, [N, F].
        place: What stands where, and pools and settings, [N, D]: the others compare these.
    """

    linear: dict[str, Floats]
    place: Floats

    def __len__(self) -> int:
        return len(self.place)

    def take(self, kept: Ints) -> Encoded:
        """Return some of the designs."""
        return Encoded({name: f[kept] for name, f in self.linear.items()}, self.place[kept])

    def joined(self, other: Encoded) -> Encoded:
        """Return these designs and others after them."""
        linear = {name: np.concatenate([f, other.linear[name]]) for name, f in self.linear.items()}
        return Encoded(linear, np.concatenate([self.place, other.place]))


@dataclass(frozen=True, slots=True)
class Weighted:
    """N designs as features whose products add up to the linear parts of a weighted covariance.

    Attributes:
        linear: The additive ones come first, [N, F].
        place: As of ``Encoded``.
        shares: The weights, by part.
        additive: How many columns are additive.
    """

    linear: Floats
    place: Floats
    shares: Mapping[str, float]
    additive: int


class Covariance:
    """The parts of the covariance over a space's designs.

    Each part has variance 1 on average over the space, so that weights are variances.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self._labels = space.feature_map.labels
        self._shared = shared_kinds(space.parts, self._labels)
        self._kinds: Floats = np.concatenate([np.eye(len(self._labels)), self._shared], axis=1)
        self._depth = max(len(part.gene_of) for part in space.parts)
        steps = np.arange(self._depth)
        blur = np.exp(-0.5 * ((steps[:, None] - steps) / (_SMOOTH * self._depth)) ** 2)
        self._blur: Floats = blur / np.sqrt((blur**2).sum(axis=0))
        self._means = dict.fromkeys([*LINEAR, "place"], 0.0)
        self._scales = dict.fromkeys([*LINEAR, "place"], 1.0)
        raw = self._features(space.draw(np.random.default_rng(0), _REFERENCE))
        self._means = {name: found.mean(axis=0) for name, found in raw.items()}
        for name, found in raw.items():
            length = float(((found - self._means[name]) ** 2).sum(axis=1).mean())
            self._scales[name] = length**-0.5 if length > 0 else 0.0

    def encode(self, rows: Rows) -> Encoded:
        """Return designs as features."""
        found = {
            name: (features - self._means[name]) * self._scales[name]
            for name, features in self._features(rows).items()
        }
        return Encoded({name: found[name] for name in LINEAR}, found["place"])

    def _features(self, rows: Rows) -> dict[str, Floats]:
        """Return features as they are, by part."""
        groups = self._space.feature_map.groups
        columns = np.split(self._space.features(rows), np.cumsum(list(groups.values()))[:-1], 1)
        found = dict(zip(groups, columns, strict=True))
        grid = found["position"].reshape(-1, self._depth, len(self._labels))
        smooth = np.matmul(self._blur.T, grid)
        found["smooth"] = smooth.reshape(len(grid), -1)
        found["kind"] = (smooth @ self._shared).reshape(len(grid), -1)
        begun = np.maximum.accumulate(np.minimum(grid @ self._kinds, 1.0), axis=1)
        found["begun"] = begun.reshape(len(grid), -1)
        found["place"] = np.concatenate([found[k] for k in ("position", "pool", "setting")], 1)
        found["neighbours"], found["saturation"] = self._counts(rows)
        return found

    def _counts(self, rows: Rows) -> tuple[Floats, Floats]:
        """Count neighbours, [N, B * B], and layers so that a k-th one adds log(1 + 1 / k)."""
        number, labels = len(rows.variants), len(self._labels)
        pairs: Floats = np.zeros((number, labels * labels))
        steps: Floats = np.zeros((number, self._kinds.shape[1], self._depth))
        added = np.sqrt(np.log1p(1 / np.arange(1, self._depth + 1)))
        for part, _, here in self._space.by_variant(rows.variants):
            placed = self._placed(part.labels, part.expand(rows.layers[here, : len(part.genes)]),
                                  part.gene_of)  # fmt: skip
            beside = placed[:, :-1] * labels + placed[:, 1:]
            np.add.at(pairs, (here[:, None], beside), 1.0)
            counts = self._kinds[placed].sum(axis=1)
            steps[here] = added * (counts[:, :, None] >= np.arange(1, self._depth + 1))
        return pairs, steps.reshape(number, -1)

    def _placed(self, labels: tuple[tuple[str, ...], ...], layers: Ints, gene_of: Ints) -> Ints:
        """Return the index of the label of every layer, [N, L]."""
        codes: Ints = np.zeros((len(labels), max(map(len, labels))), dtype=np.int64)
        for gene, names in enumerate(labels):
            codes[gene, : len(names)] = [self._labels.index(name) for name in names]
        return codes[gene_of, layers]

    def parts(self, one: Encoded, other: Encoded) -> Floats:
        """Return each part's covariance of two sets of designs, [J, N, M], as in ``PARTS``."""
        linear = [one.linear[name] @ other.linear[name].T for name in LINEAR]
        return np.stack([*linear, *self._nonlinear(one, other)])

    def weighted(self, encoded: Encoded, weights: Floats) -> Weighted:
        """Return designs under weights of all parts."""
        shares = dict(zip(PARTS, weights, strict=True))
        additive = sum(encoded.linear[name].shape[1] for name in ADDITIVE)
        linear = [encoded.linear[name] * shares[name] ** 0.5 for name in LINEAR]
        return Weighted(np.concatenate(linear, axis=1), encoded.place, shares, additive)

    def total(self, one: Weighted, other: Weighted) -> Floats:
        """Return the weighted sum of all parts, [N, M]."""
        pairs, near = self._nonlinear(one, other)
        found: Floats = one.linear @ other.linear.T
        found += one.shares["pairs"] * pairs
        found += one.shares["near"] * near
        return found

    @staticmethod
    def variances(designs: Weighted) -> Floats:
        """Return the weighted variance of each design, [N]."""
        found: Floats = np.einsum("nf,nf->n", designs.linear, designs.linear)
        lengths = np.einsum("nd,nd->n", designs.place, designs.place)
        found += designs.shares["pairs"] * lengths**2 + designs.shares["near"]
        return found

    @staticmethod
    def _nonlinear(one: Encoded | Weighted, other: Encoded | Weighted) -> tuple[Floats, Floats]:
        product = one.place @ other.place.T
        lengths = (one.place**2).sum(axis=1)[:, None] + (other.place**2).sum(axis=1)
        # Of two random designs the squared distance is 2, as lengths are 1 and products 0.
        distances = np.sqrt(np.maximum(lengths - 2 * product, 0.0) / 2)
        return product**2, np.exp(-distances / _NEAR)

    def scores(self, weights: Floats, shares: Mapping[str, float]) -> list[Scores]:
        """Return the linear score of each variant that weights of the additive features are.

        Args:
            weights: One for each additive column of ``Weighted``.
            shares: Those of ``Weighted``.
        """
        groups = self._space.feature_map.groups
        derived = {"smooth": groups["position"], "kind": self._depth * self._shared.shape[1]}
        widths = [(groups | derived)[name] for name in ADDITIVE]
        pieces = np.split(weights, np.cumsum(widths)[:-1])
        found = {
            name: piece * shares[name] ** 0.5 * self._scales[name]
            for name, piece in zip(ADDITIVE, pieces, strict=True)
        }
        blurred = found["smooth"].reshape(self._depth, -1)
        blurred = blurred + found["kind"].reshape(self._depth, -1) @ self._shared.T
        found["position"] = found["position"] + (self._blur @ blurred).ravel()
        return self._space.feature_map.scores(np.concatenate([found[name] for name in groups]))
