"""Features of designs that add up over layers, so that a linear guess of them is a program's score.

What stands where, on a grid of relative positions so that models of different depth share it; how
many layers have each choice, which carries over from one position to the next; which pools exist at
which size; what is set in the variant. Where all variants are equally deep the grid is the layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from archspec.cost.pricing import Flags, Ints
from archspec.search.subspace import Subspace

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scores:
    """A linear score of the designs of one variant. G genes, C choices, S sizes.

    Attributes:
        layers: Of each choice of each gene, [G, C].
        pools: For each pool that of having it at each size, [S].
        offset: Of the variant itself.
    """

    layers: Floats
    pools: Sequence[Floats] = ()
    offset: float = 0.0

    def of(self, layers: Ints, sizes: Ints, read: Flags) -> Floats:
        """Return the scores of designs, [N].

        Args:
            layers: [N, G].
            sizes: [N, P].
            read: Which pools are read, [N, P].
        """
        total: Floats = self.layers[np.arange(layers.shape[1]), layers].sum(axis=1) + self.offset
        for pool, scores in enumerate(self.pools):
            total += scores[sizes[:, pool]] * read[:, pool]
        return total


class Features:
    """The features of a space; K places of the grid, B labels.

    Attributes:
        size: How many features there are.
        labels: The names of all choices; of each place of the grid the features go in this order.
        groups: Features of each kind, in their order: ``position``, ``count``, ``pool``,
            ``setting``.
    """

    def __init__(self, parts: Sequence[Subspace]) -> None:
        self._parts = parts
        self.labels = list(dict.fromkeys(
            label for part in parts for labels in part.labels for label in labels
        ))  # fmt: skip
        self._places = max(len(part.gene_of) for part in parts)
        self._pool_sizes = [len(sizes) for sizes in parts[0].pools.values()]
        self._settings = list(dict.fromkeys(
            item for part in parts for item in part.variant.settings.items()
        ))  # fmt: skip
        self.groups = {
            "position": self._places * len(self.labels),
            "count": len(self.labels),
            "pool": sum(self._pool_sizes),
            "setting": len(self._settings),
        }
        self.size = sum(self.groups.values())
        self._own = [self._choice_features(part) for part in parts]  # of each [G, C, K * B + B]

    def _choice_features(self, part: Subspace) -> Floats:
        """Return what each choice of each gene adds to the first two groups of features."""
        depth, labels = len(part.gene_of), len(self.labels)
        places = np.zeros((len(part.genes), part.width, self._places, labels))
        counts = np.zeros((len(part.genes), part.width, labels))
        for gene, names in enumerate(part.labels):
            for choice, name in enumerate(names):
                label = self.labels.index(name)
                for layer in part.genes[gene]:
                    places[gene, choice, :, label] += _hat(layer, depth, self._places)
                counts[gene, choice, label] = len(part.genes[gene]) / np.sqrt(depth)
        flat = places.reshape(*counts.shape[:2], -1)
        return np.concatenate([flat, counts], axis=2)

    def of(self, variant: int, layers: Ints, sizes: Ints, read: Flags) -> Floats:
        """Return the features of designs of one variant, [N, F].

        Args:
            variant: Its index.
            layers: [N, G].
            sizes: [N, P].
            read: Which pools are read, [N, P].
        """
        own = self._own[variant]
        found = np.zeros((len(layers), self.size))
        genes, width, start = own.shape
        chosen = np.zeros((len(layers), genes * width))
        np.put_along_axis(chosen, layers[:, :genes] + width * np.arange(genes), 1.0, axis=1)
        found[:, :start] = chosen @ own.reshape(-1, start)
        for pool, count in enumerate(self._pool_sizes):
            found[:, start : start + count] = np.eye(count)[sizes[:, pool]] * read[:, [pool]]
            start += count
        found[:, start:] = self._setting_features(variant)
        return found

    def scores(self, weights: Floats) -> list[Scores]:
        """Return for each variant the score of its designs that ``features @ weights`` is."""
        start = self.groups["position"] + self.groups["count"]
        ends = np.cumsum(self._pool_sizes, dtype=np.int64)
        pools = np.split(weights[start:], ends)[: len(self._pool_sizes)]
        settings = weights[self.size - len(self._settings) :]
        return [
            Scores(own @ weights[:start], pools, float(self._setting_features(index) @ settings))
            for index, own in enumerate(self._own)
        ]

    def _setting_features(self, variant: int) -> Floats:
        given = set(self._parts[variant].variant.settings.items())
        return np.array([item in given for item in self._settings], dtype=np.float64)


def _hat(layer: int, depth: int, places: int) -> Floats:
    """Share a layer between the two places of the grid nearest to its relative position."""
    at = (layer + 0.5) / depth * places - 0.5
    below = int(np.floor(at))
    found = np.zeros(places)
    found[min(max(below, 0), places - 1)] += 1 - (at - below)
    found[min(below + 1, places - 1)] += at - below
    return found
