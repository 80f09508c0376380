"""The designs a search chooses among: a variant, a choice for every gene, sizes of the pools."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from archspec.cost.pricing import Flags, Ints
from archspec.search.features import Features, Floats, Scores
from archspec.search.subspace import Subspace
from archspec.spec.dump import spec_hash
from archspec.spec.model import LayerSpec, ModelSpec
from archspec.spec.search.spec import SearchSpec
from archspec.spec.search.variant import Variant


@dataclass(frozen=True, slots=True)
class Design:
    """One point of a space, as indices; equal designs are equal once ``Space.normal`` made them.

    Attributes:
        layers: For each gene of its variant the index of its choice; a gene is one layer, or
            several that are tied.
        sizes: For each pool the index of its size; 0 for a pool nobody reads.
        variant: The index of its variant.
    """

    layers: tuple[int, ...]
    sizes: tuple[int, ...]
    variant: int = 0


class Rows(NamedTuple):
    """N designs as arrays.

    Attributes:
        layers: Index of the choice of each gene, [N, G]; 0 for genes that a variant lacks.
        sizes: Index of the size of each pool, [N, P].
        variants: Index of the variant, [N].
    """

    layers: Ints
    sizes: Ints
    variants: Ints

    def take(self, kept: Flags | Ints) -> Rows:
        """Return some of the designs."""
        return Rows(self.layers[kept], self.sizes[kept], self.variants[kept])


class Space:
    """What may vary around a base model.

    Attributes:
        variants: What is set outside layers and pools, one entry for each combination.
        parts: The designs of each variant.
        pools: Every pool that some choice reads, to the values its num_keys may take.
        num_genes: The most genes of any variant.
    """

    def __init__(
        self, variants: Sequence[Variant], pool_sizes: Mapping[str, tuple[int, ...]]
    ) -> None:
        self.variants = tuple(variants)
        self.pools = dict(sorted(_pools(self.variants, pool_sizes).items()))
        self.parts = tuple(Subspace(variant, self.pools) for variant in self.variants)
        self.num_genes = max(len(part.genes) for part in self.parts)

    @classmethod
    def of(cls, spec: SearchSpec) -> Space:
        """Return the space of a search document."""
        return cls(spec.variants, spec.pool_sizes)

    @property
    def base(self) -> ModelSpec:
        """The base of the first variant."""
        return self.parts[0].base

    @property
    def choices(self) -> tuple[tuple[LayerSpec, ...], ...]:
        """What may stand in each gene of the first variant."""
        return self.parts[0].choices

    @property
    def reads(self) -> Flags:
        """Whether a choice of the first variant reads a pool, [P, G, C]."""
        return self.parts[0].reads

    @property
    def settings(self) -> dict[str, tuple[object, ...]]:
        """What varies outside layers and pools: key to the values it takes."""
        found: dict[str, dict[object, None]] = {}
        for variant in self.variants:
            for key, value in variant.settings.items():
                found.setdefault(key, {})[value] = None
        return {key: tuple(values) for key, values in found.items()}

    def labels(self, gene: int, variant: int = 0) -> tuple[str, ...]:
        """Name the choices of a gene, the blocks of a sum joined by ``+``."""
        return self.parts[variant].labels[gene]

    def normal(self, layers: Sequence[int], sizes: Sequence[int], variant: int = 0) -> Design:
        """Return the design of these indices; genes that the variant lacks are dropped.

        Sizes of pools that nobody reads are set to 0.
        """
        part = self.parts[int(variant)]
        placed = np.asarray(layers, dtype=np.int64)[: len(part.genes)]
        read = part.read(placed[None])[0]
        kept = (int(size) if used else 0 for size, used in zip(sizes, read, strict=True))
        return Design(tuple(placed.tolist()), tuple(kept), int(variant))

    def arrays(self, designs: Sequence[Design]) -> Rows:
        """Return designs as arrays."""
        layers: Ints = np.zeros((len(designs), self.num_genes), dtype=np.int64)
        sizes: Ints = np.zeros((len(designs), len(self.pools)), dtype=np.int64)
        for row, design in enumerate(designs):
            layers[row, : len(design.layers)] = design.layers
            sizes[row] = design.sizes
        variants: Ints = np.array([design.variant for design in designs], dtype=np.int64)
        return Rows(layers, sizes, variants)

    def designs(self, rows: Rows) -> list[Design]:
        """Return the designs of arrays."""
        return [self.normal(*row) for row in zip(*(a.tolist() for a in rows), strict=True)]

    def by_variant(self, variants: Ints) -> Iterator[tuple[Subspace, int, Ints]]:
        """Yield every variant that occurs: its designs, its index, and the rows where it does."""
        for index in np.unique(variants).tolist():
            yield self.parts[index], index, np.flatnonzero(variants == index)

    def model(self, design: Design) -> ModelSpec:
        """Write a design out as a model; pools nobody reads are dropped."""
        part = self.parts[design.variant]
        layers = tuple(_plainly_named(layer) for layer in part.layers(design.layers))
        read = {block.pool_name for layer in layers for block in layer.blocks}
        pools = {
            name: part.base.template_pools[name].model_copy(update={"num_keys": sizes[index]})
            for (name, sizes), index in zip(self.pools.items(), design.sizes, strict=True)
            if name in read
        }
        return part.base.replace(layers=layers, pools=pools)

    def hash(self, design: Design) -> str:
        """Return the canonical hash of a design, that of its written-out model."""
        return spec_hash(self.model(design))

    @functools.cached_property
    def num_designs(self) -> int:
        """How many different designs keep the rules between layers, budgets aside.

        An upper bound unless ``is_counted``.
        """
        return sum(part.graph.num_designs for part in self.parts)

    @property
    def is_counted(self) -> bool:
        """Whether ``num_designs`` is exact: no rule had too many states to be counted with."""
        return all(part.graph.exact for part in self.parts)

    def draw(self, rng: np.random.Generator, count: int) -> Rows:
        """Draw designs that keep the rules, uniformly among the different ones.

        Fewer than ``count`` come back only from a space that is not ``is_counted``.
        """
        numbers = [part.graph.num_designs for part in self.parts]
        total = sum(numbers)
        if not total:
            return self._rows([])
        drawn = rng.multinomial(count, [number / total for number in numbers])
        batches = []
        for index, part in enumerate(self.parts):
            if drawn[index]:
                layers, sizes = part.graph.uniform.draw(rng, int(drawn[index]))
                batches.append((index, layers, sizes))
        rows = self._ruled(self._rows(batches))
        return rows.take(rng.permutation(len(rows.variants))) if len(self.parts) > 1 else rows

    def enumerate(self, chunk: int = 8192) -> Iterator[Rows]:
        """Yield every design that keeps the rules once, in arrays of at most ``chunk`` rows."""
        for index, part in enumerate(self.parts):
            for layers, sizes in part.graph.enumerate(chunk):
                yield self._ruled(self.rows(index, layers, sizes))

    def rows(self, variant: int, layers: Ints, sizes: Ints) -> Rows:
        """Return designs of one variant, [N, G] and [N, P], as those of the space."""
        return self._rows([(variant, layers, sizes)])

    def _rows(self, batches: Sequence[tuple[int, Ints, Ints]]) -> Rows:
        """Join designs of several variants."""
        count = sum(len(layers) for _, layers, _ in batches)
        rows = Rows(
            np.zeros((count, self.num_genes), dtype=np.int64),
            np.zeros((count, len(self.pools)), dtype=np.int64),
            np.zeros(count, dtype=np.int64),
        )
        start = 0
        for index, layers, sizes in batches:
            here = slice(start, start + len(layers))
            rows.layers[here, : layers.shape[1]] = layers
            rows.sizes[here], rows.variants[here] = sizes, index
            start += len(layers)
        return rows

    def _ruled(self, rows: Rows) -> Rows:
        """Drop designs that break a rule the graphs lack."""
        return rows if self.is_counted else rows.take(self.keeps_rules(rows))

    def keeps_rules(self, rows: Rows) -> Flags:
        """Tell for each design whether it keeps the rules between layers."""
        kept: Flags = np.ones(len(rows.variants), dtype=np.bool_)
        for part, _, here in self.by_variant(rows.variants):
            kept[here] = part.keeps_rules(rows.layers[here, : len(part.genes)])
        return kept

    @functools.cached_property
    def feature_map(self) -> Features:
        """What surrogates learn from: features that add up over layers, in every variant."""
        return Features(self.parts)

    def features(self, designs: Sequence[Design] | Rows) -> Floats:
        """Return the features of designs, [N, F]; see ``feature_map`` for what they are."""
        rows = designs if isinstance(designs, Rows) else self.arrays(designs)
        found: Floats = np.empty((len(rows.variants), self.feature_map.size))
        for part, index, here in self.by_variant(rows.variants):
            layers = rows.layers[here, : len(part.genes)]
            found[here] = self.feature_map.of(index, layers, rows.sizes[here], part.read(layers))
        return found

    def carried(self, design: Design, variant: int) -> Design:
        """Return the design of another variant that is most like one, by relative depth.

        A choice that the other variant lacks at a gene is replaced by its first.
        """
        if variant == design.variant:
            return design
        here, there = self.parts[design.variant], self.parts[variant]
        genes = here.gene_of.tolist()
        chosen = []
        for layers, labels in zip(there.genes, there.labels, strict=True):
            at = (2 * layers[0] + 1) * len(genes) // (2 * len(there.gene_of))
            label = here.labels[genes[at]][design.layers[genes[at]]]
            chosen.append(labels.index(label) if label in labels else 0)
        return self.normal(chosen, design.sizes, variant)

    def score(self, scores: Sequence[Scores], rows: Rows) -> Floats:
        """Return linear scores, given for each variant, of designs, [N]."""
        found: Floats = np.empty(len(rows.variants))
        for part, index, here in self.by_variant(rows.variants):
            layers = rows.layers[here, : len(part.genes)]
            found[here] = scores[index].of(layers, rows.sizes[here], part.read(layers))
        return found


def _pools(
    variants: Sequence[Variant], pool_sizes: Mapping[str, tuple[int, ...]]
) -> dict[str, tuple[int, ...]]:
    """Return the sizes of every pool that some choice reads."""
    found = {}
    for variant in variants:
        layers = {layer for choices in variant.choices for layer in choices}
        used = {block.pool_name for layer in layers for block in layer.blocks}
        for name, pool in variant.base.template_pools.items():
            if name in used:
                found[name] = pool_sizes.get(name, (pool.num_keys,))
    return found


def _plainly_named(layer: LayerSpec) -> LayerSpec:
    """Name blocks of given sizes so that they can be keys of a document: ``ffn_hidden_dim_128``."""
    names = tuple(re.sub(r"\W+", "_", name).strip("_") for name in layer.names)
    return layer if names == layer.names else dataclasses.replace(layer, names=names)
