"""The variables of a variant's integer program.

One binary variable says that a gene takes an option, that is a choice together with the sizes of
the pools it reads; another that a pool exists at a size. More are added for what is no plain sum.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from archspec.search.subspace import Subspace

Genes = tuple[tuple[int, ...], tuple[int, ...]]  # choices of the genes, sizes of the pools
Row = tuple[Mapping[int, float], float, float]  # coefficients, least, most


@dataclass(frozen=True, slots=True)
class Option:
    """A choice of a gene, with the size of every pool it reads as (pool, size)."""

    gene: int
    choice: int
    sizes: tuple[tuple[int, int], ...]


class Variables:
    """Numbers of variables.

    Attributes:
        options: The first variables.
        members: The options of each gene.
        pools: The variables of each pool's sizes.
        count: How many there are.
    """

    def __init__(self, part: Subspace) -> None:
        self.part = part
        self.options = list(_options(part))
        self.members: list[list[int]] = [[] for _ in part.genes]
        for index, option in enumerate(self.options):
            self.members[option.gene].append(index)
        self._index = {option: i for i, option in enumerate(self.options)}
        self.pools: list[range] = []
        self.count = len(self.options)
        for sizes in part.pools.values():
            self.pools.append(range(self.count, self.count + len(sizes)))
            self.count += len(sizes)

    def new(self) -> int:
        """Return the number of a further variable."""
        self.count += 1
        return self.count - 1

    def of(self, genes: Genes) -> list[int]:
        """Return the variables that are 1 in a design, those of peaks aside."""
        options = self.chosen(genes)
        pools = {key for option in options for key in self.options[option].sizes}
        return [*options, *(self.pools[pool][size] for pool, size in pools)]

    def chosen(self, genes: Genes) -> list[int]:
        """Return the options that make up a design."""
        found = []
        for gene, choice in enumerate(genes[0]):
            read = np.flatnonzero(self.part.reads[:, gene, choice])
            sizes = tuple((int(pool), genes[1][pool]) for pool in read)
            found.append(self._index[Option(gene, choice, sizes)])
        return found


def _options(part: Subspace) -> Iterator[Option]:
    sizes = [range(len(values)) for values in part.pools.values()]
    for gene, layers in enumerate(part.choices):
        for choice in range(len(layers)):
            read = [int(pool) for pool in np.flatnonzero(part.reads[:, gene, choice])]
            for combination in itertools.product(*(sizes[pool] for pool in read)):
                yield Option(gene, choice, tuple(zip(read, combination, strict=True)))
