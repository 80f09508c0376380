"""The designs a search chooses among: one layer for every position, one size for every pool."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from archspec.cost.pricing import Flags, Ints
from archspec.spec.dump import spec_hash
from archspec.spec.model import LayerSpec, ModelSpec
from archspec.spec.search import SearchSpec


@dataclass(frozen=True, slots=True)
class Design:
    """One point of a space, as indices; equal designs are equal once ``Space.normal`` made them.

    Attributes:
        layers: For each position the index of its choice.
        sizes: For each pool the index of its size; 0 for a pool nobody reads.
    """

    layers: tuple[int, ...]
    sizes: tuple[int, ...]


class Space:
    """What may vary around a base model.

    Attributes:
        base: Everything that does not vary.
        choices: The layers that may stand at each position.
        pools: Every pool that some choice reads, to the values its num_keys may take.
        reads: Whether a choice reads a pool, [P, L, C].
    """

    def __init__(
        self,
        base: ModelSpec,
        choices: Sequence[Sequence[LayerSpec]],
        pool_sizes: dict[str, tuple[int, ...]],
    ) -> None:
        self.base = base
        self.choices = tuple(map(tuple, choices))
        used = {b.pool_name for layers in choices for layer in layers for b in layer.blocks}
        self.pools: dict[str, tuple[int, ...]] = {
            name: pool_sizes.get(name, (pool.num_keys,))
            for name, pool in sorted(base.template_pools.items())
            if name in used
        }
        self._counts = [len(layers) for layers in self.choices]
        self._size_counts = [len(sizes) for sizes in self.pools.values()]
        self.reads: Flags = np.zeros(
            (len(self.pools), len(self.choices), max(self._counts)), dtype=np.bool_
        )
        for pool, name in enumerate(self.pools):
            for position, layers in enumerate(self.choices):
                for index, layer in enumerate(layers):
                    self.reads[pool, position, index] = any(
                        block.pool_name == name for block in layer.blocks
                    )

    @classmethod
    def of(cls, spec: SearchSpec) -> Space:
        """Return the space of a search document."""
        return cls(spec.base, spec.choices, dict(spec.pool_sizes))

    def labels(self, position: int) -> tuple[str, ...]:
        """Name the choices of a position, the blocks of a sum joined by ``+``."""
        return tuple("+".join(layer.names) for layer in self.choices[position])

    def normal(self, layers: Sequence[int], sizes: Sequence[int]) -> Design:
        """Return the design of these indices, sizes that nobody reads set to 0."""
        chosen = self.reads[:, np.arange(len(layers)), np.asarray(layers)]  # [P, L]
        kept = (int(size) if row.any() else 0 for size, row in zip(sizes, chosen, strict=True))
        return Design(tuple(map(int, layers)), tuple(kept))

    def arrays(self, designs: Sequence[Design]) -> tuple[Ints, Ints]:
        """Return designs as arrays, [N, L] and [N, P]."""
        count = len(designs)
        layers: Ints = np.array([d.layers for d in designs], dtype=np.int64)
        sizes: Ints = np.array([d.sizes for d in designs], dtype=np.int64)
        return layers.reshape(count, len(self.choices)), sizes.reshape(count, len(self.pools))

    def model(self, design: Design) -> ModelSpec:
        """Write a design out as a model; pools nobody reads are dropped."""
        layers = tuple(self.choices[i][c] for i, c in enumerate(design.layers))
        read = {block.pool_name for layer in layers for block in layer.blocks}
        pools = {
            name: self.base.template_pools[name].model_copy(update={"num_keys": sizes[index]})
            for (name, sizes), index in zip(self.pools.items(), design.sizes, strict=True)
            if name in read
        }
        return self.base.replace(layers=layers, pools=pools)

    def hash(self, design: Design) -> str:
        """Return the canonical hash of a design, that of its written-out model."""
        return spec_hash(self.model(design))

    @property
    def num_designs(self) -> int:
        """How many different designs there are, budgets aside.

        A pool of S sizes counts S times where it is read and once where it is not, that is
        1 + (S - 1) * read; the product over the pools, multiplied out.
        """
        varied = [p for p, count in enumerate(self._size_counts) if count > 1]
        return sum(
            math.prod(self._size_counts[p] - 1 for p in subset) * self._num_reading_all(subset)
            for size in range(len(varied) + 1)
            for subset in itertools.combinations(varied, size)
        )

    def _num_reading_all(self, pools: tuple[int, ...]) -> int:
        """Count the placements in which every one of ``pools`` has a reader."""
        total = 0
        for size in range(len(pools) + 1):
            for shunned in itertools.combinations(pools, size):
                total += (-1) ** size * self._num_reading_none(shunned)
        return total

    def _num_reading_none(self, pools: tuple[int, ...]) -> int:
        return math.prod(
            sum(not self.reads[list(pools), position, index].any() for index in range(count))
            for position, count in enumerate(self._counts)
        )

    def draw(self, rng: np.random.Generator, count: int) -> tuple[Ints, Ints]:
        """Draw designs uniformly among the different ones; at most ``count`` come back.

        Where a pool is not read only its first size is kept, so no design is likelier for having
        several ways to be written.
        """
        layers: Ints = rng.integers(0, self._counts, size=(count, len(self._counts)))
        sizes: Ints = rng.integers(
            0, np.array(self._size_counts, dtype=np.int64), size=(count, len(self.pools))
        )
        kept = self._is_normal(layers, sizes)
        return layers[kept], sizes[kept]

    def enumerate(self, chunk: int = 8192) -> Iterator[tuple[Ints, Ints]]:
        """Yield every design once, in arrays of at most ``chunk`` rows."""
        radices = np.array([*self._counts, *self._size_counts], dtype=np.int64)
        total = math.prod(map(int, radices))
        for start in range(0, total, chunk):
            numbers = np.arange(start, min(start + chunk, total), dtype=np.int64)
            digits: Ints = np.empty((len(numbers), len(radices)), dtype=np.int64)
            for column, radix in enumerate(radices):
                numbers, digits[:, column] = np.divmod(numbers, radix)
            layers, sizes = np.split(digits, [len(self._counts)], axis=1)
            kept = self._is_normal(layers, sizes)
            yield layers[kept], sizes[kept]

    def _is_normal(self, layers: Ints, sizes: Ints) -> Flags:
        positions = np.arange(layers.shape[1])
        kept: Flags = np.ones(len(layers), dtype=np.bool_)
        for pool, reads in enumerate(self.reads):
            kept &= reads[positions, layers].any(axis=1) | (sizes[:, pool] == 0)
        return kept
