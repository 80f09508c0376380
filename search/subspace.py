"""The designs of one variant: one choice for every gene, within the rules between layers."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import numpy as np

from archspec.cost.pricing import Flags, Ints
from archspec.search.graph import PlacementGraph, Rules
from archspec.spec.model import LayerSpec, ModelSpec
from archspec.spec.search.variant import Variant, contains


class Subspace:
    """One variant of a space. G genes, L layers, C choices at most, P pools, S sizes.

    Attributes:
        variant: What is set.
        genes: The layers that each gene stands for; one each, where none are tied.
        choices: For each gene what may stand in the first of its layers.
        gene_of: The gene of each layer, [L].
        reads: Whether a choice reads a pool, [P, G, C].
    """

    def __init__(self, variant: Variant, pools: Mapping[str, tuple[int, ...]]) -> None:
        self.variant = variant
        self.genes = variant.genes
        self.choices = tuple(variant.choices[layers[0]] for layers in self.genes)
        self.pools = pools
        self.gene_of: Ints = np.zeros(len(variant.choices), dtype=np.int64)
        for gene, layers in enumerate(self.genes):
            self.gene_of[list(layers)] = gene
        shape = (len(self.genes), self.width)
        self.reads: Flags = np.zeros((len(pools), *shape), dtype=np.bool_)
        for pool, name in enumerate(pools):
            for gene, choices in enumerate(self.choices):
                for index, layer in enumerate(choices):
                    self.reads[pool, gene, index] = name in _pools_of(layer)

    @property
    def base(self) -> ModelSpec:
        """Everything that does not vary in this variant."""
        return self.variant.base

    @property
    def width(self) -> int:
        """The most choices of any gene."""
        return max(map(len, self.choices))

    @functools.cached_property
    def labels(self) -> tuple[tuple[str, ...], ...]:
        """The names of every gene's choices; the blocks of a sum are joined by ``+``."""
        return tuple(self._labels(choices) for choices in self.choices)

    def _labels(self, choices: tuple[LayerSpec, ...]) -> tuple[str, ...]:
        """Name choices; the attention is only named where it tells two apart."""
        blocks = ["+".join(layer.names) for layer in choices]
        if len(set(blocks)) == len(blocks):
            return tuple(blocks)
        names = (layer.attention_name for layer in choices)
        return tuple(f"{block}@{name}" for block, name in zip(blocks, names, strict=True))

    def expand(self, layers: Ints) -> Ints:
        """Return the choice of every layer, [N, L], from that of every gene, [N, G]."""
        return layers[:, self.gene_of]

    def layers(self, genes: tuple[int, ...]) -> tuple[LayerSpec, ...]:
        """Return what stands in every layer."""
        rows = zip(self.variant.choices, self.gene_of.tolist(), strict=True)
        return tuple(choices[genes[gene]] for choices, gene in rows)

    def read(self, layers: Ints) -> Flags:
        """Tell which pools some layer of each placement reads, [N, P]."""
        chosen: Flags = self.reads[:, np.arange(layers.shape[1]), layers]  # [P, N, G]
        return np.asarray(chosen.any(axis=2).T)

    @functools.cached_property
    def counted(self) -> Ints:
        """For each count rule in how many of a gene's layers a choice counts, [R, G, C]."""
        rules = self.variant.counts
        found: Ints = np.zeros((len(rules), len(self.genes), self.width), dtype=np.int64)
        for number, rule in enumerate(rules):
            for index, choices in enumerate(self.variant.choices):
                for choice, layer in enumerate(choices):
                    found[number, self.gene_of[index], choice] += contains(layer, rule.name)
        return found

    @functools.cached_property
    def sides(self) -> tuple[Flags, Flags]:
        """Whether a choice is the first, and the second, of each forbidden pair, [F, L, C]."""
        shape = (len(self.variant.forbidden), len(self.variant.choices), self.width)
        firsts, seconds = np.zeros(shape, dtype=np.bool_), np.zeros(shape, dtype=np.bool_)
        for number, (first, second) in enumerate(self.variant.forbidden):
            for index, choices in enumerate(self.variant.choices):
                for choice, layer in enumerate(choices):
                    firsts[number, index, choice] = contains(layer, first)
                    seconds[number, index, choice] = contains(layer, second)
        return firsts, seconds

    def keeps_rules(self, layers: Ints) -> Flags:
        """Tell for each placement, [N, G], whether it keeps the rules between layers."""
        kept: Flags = np.ones(len(layers), dtype=np.bool_)
        genes = np.arange(layers.shape[1])
        for rule, counted in zip(self.variant.counts, self.counted, strict=True):
            counts = counted[genes, layers].sum(axis=1)
            kept &= (counts >= rule.least) & (rule.most is None or counts <= rule.most)
        if self.variant.forbidden:
            placed, positions = self.expand(layers), np.arange(len(self.gene_of))
            for first, second in zip(*self.sides, strict=True):
                beside = first[positions, placed][:, :-1] & second[positions, placed][:, 1:]
                kept &= ~beside.any(axis=1)
        return kept

    @functools.cached_property
    def graph(self) -> PlacementGraph:
        """All placements that keep the rules."""
        firsts, seconds = (self._bits(side) for side in self.sides)
        pairs = zip(self.gene_of.tolist(), self.gene_of.tolist()[1:], strict=False)
        return PlacementGraph(
            Rules(
                num_choices=tuple(map(len, self.choices)),
                reads=self.reads,
                num_sizes=tuple(map(len, self.pools.values())),
                counted=self.counted,
                limits=tuple((rule.least, rule.most) for rule in self.variant.counts),
                firsts=firsts,
                seconds=seconds,
                neighbours=frozenset(pairs) if self.variant.forbidden else frozenset(),
            )
        )

    def _bits(self, side: Flags) -> tuple[tuple[int, ...], ...]:
        """Return for each gene and choice the forbidden pairs it is a side of, as bits.

        All layers of a gene are on the same sides: tied layers share what rules can name.
        """
        found = [[0] * self.width for _ in self.genes]
        for number, index, choice in np.argwhere(side).tolist():
            found[self.gene_of[index]][choice] |= 1 << number
        return tuple(map(tuple, found))


def _pools_of(layer: LayerSpec) -> set[str]:
    return {block.pool_name for block in layer.blocks if block.pool_name is not None}
