"""Many designs near some others at once: layers changed, exchanged, moved by one."""

from __future__ import annotations

import numpy as np

from archspec.cost.pricing import Ints
from archspec.search.space import Rows, Space

_POOL_SHARE, _VARIANT_SHARE = 0.1, 0.1


class Neighbourhood:
    """Draws neighbours of designs. An exchange keeps counts, and so mostly keeps to budgets."""

    def __init__(self, space: Space) -> None:
        self._space = space
        codes = {name: index for index, name in enumerate(space.feature_map.labels)}
        self._codes, self._choices, self._free = [], [], []
        for part in space.parts:
            code: Ints = np.zeros((len(part.genes), part.width), dtype=np.int64)
            choice: Ints = np.full((len(part.genes), len(codes)), -1, dtype=np.int64)
            for gene, labels in enumerate(part.labels):
                for index, label in enumerate(labels):
                    code[gene, index], choice[gene, codes[label]] = codes[label], index
            self._codes.append(code)
            self._choices.append(choice)
            self._free.append(np.flatnonzero([len(labels) > 1 for labels in part.labels]))

    def around(self, rows: Rows, count: int, rng: np.random.Generator) -> Rows:
        """Draw ``count`` neighbours of random ones of ``rows``; some may break rules or bounds."""
        drawn = rows.take(rng.integers(len(rows.variants), size=count))
        if len(self._space.parts) > 1:
            drawn = self._other_variants(drawn, rng)
        layers, sizes = drawn.layers.copy(), drawn.sizes.copy()
        for part, index, here in self._space.by_variant(drawn.variants):
            found = self._moved(index, layers[here, : len(part.genes)], rng)
            layers[here, : len(part.genes)] = found
            for pool, values in enumerate(self._space.pools.values()):
                redrawn = rng.random(len(here)) < _POOL_SHARE
                sizes[here[redrawn], pool] = rng.integers(len(values), size=redrawn.sum())
            sizes[here] *= part.read(found)
        return Rows(layers, sizes, drawn.variants)

    def _other_variants(self, rows: Rows, rng: np.random.Generator) -> Rows:
        designs = self._space.designs(rows)
        for index in np.flatnonzero(rng.random(len(designs)) < _VARIANT_SHARE):
            variant = int(rng.integers(len(self._space.parts)))
            designs[index] = self._space.carried(designs[index], variant)
        return self._space.arrays(designs)

    def _moved(self, variant: int, layers: Ints, rng: np.random.Generator) -> Ints:
        """Apply one move to each placement, [N, G]."""
        free = self._free[variant]
        if not len(free):
            return layers
        moves = rng.choice(4, size=len(layers), p=(0.3, 0.25, 0.35, 0.1))
        for count in (1, 2):
            here = np.flatnonzero(moves == count - 1)
            for _ in range(count):
                genes = rng.choice(free, size=len(here))
                choices = np.array([len(c) for c in self._space.parts[variant].choices])[genes]
                layers[here, genes] = (rng.random(len(here)) * choices).astype(np.int64)
        self._exchange(variant, layers, np.flatnonzero(moves == 2), rng)
        self._shift(variant, layers, np.flatnonzero(moves == 3), rng)
        return layers

    def _exchange(self, variant: int, layers: Ints, here: Ints, rng: np.random.Generator) -> None:
        """Exchange what two genes have, where each has the other's choice."""
        one, other = rng.choice(self._free[variant], size=(2, len(here)))
        codes, choices = self._codes[variant], self._choices[variant]
        first = choices[one, codes[other, layers[here, other]]]
        second = choices[other, codes[one, layers[here, one]]]
        both = (first >= 0) & (second >= 0)
        layers[here[both], one[both]] = first[both]
        layers[here[both], other[both]] = second[both]

    def _shift(self, variant: int, layers: Ints, here: Ints, rng: np.random.Generator) -> None:
        """Move a stretch of genes by one, the gene that is in the way to its other end."""
        free, codes, choices = self._free[variant], self._codes[variant], self._choices[variant]
        for row in here:
            start, end = np.sort(rng.integers(len(free), size=2))
            genes = free[start : end + 1]
            before = np.roll(genes, rng.choice((-1, 1)))
            moved = choices[genes, codes[before, layers[row, before]]]
            if (moved >= 0).all():
                layers[row, genes] = moved
