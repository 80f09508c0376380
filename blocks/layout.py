"""How parameters may be cut over the axes of a mesh: data beside the blocks, free of torch.

Axes that a layout names:

- ``tp``: ranks that see the same tokens and share the work on each of them.
- ``ep``: ranks with tokens of their own that share the experts.
- ``memory_rows``, ``memory_columns``: ranks with tokens of their own that share a table, by its
  rows or by its columns; together they are the fold ``memory``, columns innermost.

What data parallelism (FSDP) cuts on top is the same for every parameter, see ``fsdp_dim``.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from archspec.blocks.base import BlockConfig, CostContext, Fault, ModelScope
from archspec.quantities import Cost

TP = "tp"
EP = "ep"
MEMORY_ROWS = "memory_rows"
MEMORY_COLUMNS = "memory_columns"
AXES = (TP, EP, MEMORY_ROWS, MEMORY_COLUMNS)

AxisSizes = Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterLayout:
    """The shape of one parameter and the dimension that each axis cuts.

    Attributes:
        shape: All of it, as a model on one device has it.
        shard: Dimension by axis, the axis that cuts first standing first.
        heads: Pieces that ``tp`` must not cut, along its dimension; where tp does not divide them,
            every tp rank holds all of them. None where it may cut anywhere.
        table: Its rows are those of a value table.
        trains: It has a gradient.
    """

    shape: tuple[int, ...]
    shard: Mapping[str, int] = field(default_factory=dict)
    heads: int | None = None
    table: bool = False
    trains: bool = True

    def cuts(self, sizes: AxisSizes) -> dict[str, int]:
        """Return the axes that do cut the parameter in a mesh of ``sizes``; absent ones have 1."""
        whole = self.heads is not None and self.heads % sizes.get(TP, 1) != 0
        return {
            axis: dim
            for axis, dim in self.shard.items()
            if sizes.get(axis, 1) > 1 and not (axis == TP and whole)
        }

    def local_shape(self, sizes: AxisSizes, coordinate: Mapping[str, int]) -> tuple[int, ...]:
        """Return the shape on one rank, before FSDP cuts it further.

        Args:
            sizes: Ranks of every axis; absent ones have 1.
            coordinate: The rank's place on every axis that has more than one.
        """
        shape = list(self.shape)
        for axis, dim in self.cuts(sizes).items():
            start, stop = chunk(shape[dim], sizes[axis], coordinate[axis])
            shape[dim] = stop - start
        return tuple(shape)


Layouts = Mapping[str, ParameterLayout]


@dataclass(frozen=True, slots=True, kw_only=True)
class RankCost:
    """What one rank computes and keeps of a part whose work tp ranks share.

    Attributes:
        cost: Per token; its parameters are those that tp leaves a rank.
        kept_bytes: Activations per token that selective recompute keeps.
    """

    cost: Cost
    kept_bytes: int


class Sharding(Protocol):
    """What a kind's ``sharding.py`` offers."""

    def layout(self, config: BlockConfig, scope: ModelScope, /) -> Layouts:
        """Return the layout of every parameter, by its name in the module."""

    def faults(
        self, config: BlockConfig, scope: ModelScope, sizes: AxisSizes, /
    ) -> Iterator[Fault]:
        """Yield every rule that these axes break; paths are relative to the config."""

    def rank_cost(self, config: BlockConfig, context: CostContext, tp: int, /) -> RankCost:
        """Price what one of ``tp`` ranks does, if the axes break no rule."""


def chunk(length: int, parts: int, index: int) -> tuple[int, int]:
    """Return start and stop of one of ``parts`` pieces, the last ones smaller or empty.

    As ``torch.chunk`` cuts, padded with empty pieces.

    >>> [chunk(10, 4, index) for index in range(4)], chunk(2, 4, 3)
    ([(0, 3), (3, 6), (6, 9), (9, 10)], (2, 2))
    """
    size = math.ceil(length / parts)
    return min(index * size, length), min((index + 1) * size, length)


def fsdp_dim(shape: tuple[int, ...], ranks: int, taken: Collection[int] = ()) -> int:
    """Return the dimension along which data-parallel ranks cut what is left of a parameter.

    The first one, unless it has fewer rows than there are ranks: they would hold padding, which
    FSDP gathers like everything else. Then one that the ranks divide, for along other dimensions
    FSDP cuts evenly only: uncut ones before those that another axis cuts, then the largest.

    Args:
        shape: What the other axes leave of the parameter on one rank.
        ranks: How many cut it.
        taken: Dimensions that another axis cuts.

    >>> fsdp_dim((1024, 64), 16), fsdp_dim((2, 4, 256, 64), 16), fsdp_dim((2, 3), 16)
    (0, 2, 0)
    """
    even = [dim for dim, length in enumerate(shape) if dim and length % ranks == 0]
    if shape[0] >= ranks or not even:
        return 0
    return max(even, key=lambda dim: (dim not in taken, shape[dim], -dim))


def linear(
    rows: int, columns: int, *, bias: bool = False, tp: int | None = None, heads: int | None = None
) -> dict[str, ParameterLayout]:
    """Return the layouts of a projection's ``weight`` and ``bias``.

    Args:
        rows: Width of the result.
        columns: Width of the input.
        bias: Whether there is one; it is cut with the rows, and added once where tp cuts columns.
        tp: The dimension that tp cuts: 0 the result, 1 the input.
        heads: Pieces of that dimension that stay whole.
    """
    cut = {} if tp is None else {TP: tp}
    found = {"weight": ParameterLayout(shape=(rows, columns), shard=cut, heads=heads)}
    if bias:
        shard = {TP: 0} if tp == 0 else {}
        found["bias"] = ParameterLayout(shape=(rows,), shard=shard, heads=heads)
    return found


def vector(length: int) -> ParameterLayout:
    """Return the layout of a vector that every rank of the other axes holds in full."""
    return ParameterLayout(shape=(length,))


def within(prefix: str, layouts: Layouts) -> dict[str, ParameterLayout]:
    """Return layouts under the name of the module that owns them."""
    return {f"{prefix}.{name}": layout for name, layout in layouts.items()}


def whole(layouts: Layouts) -> dict[str, ParameterLayout]:
    """Return layouts that no axis cuts."""
    return {name: replace(layout, shard={}) for name, layout in layouts.items()}


def divides(path: tuple[str, ...], name: str, value: int, axis: str, size: int) -> Iterator[Fault]:
    """Yield a fault unless ``size`` ranks of an axis divide a count.

    Args:
        path: Where the count stands in the config.
        name: What it is called.
        value: The count.
        axis: The axis that cuts it.
        size: Ranks of the axis.
    """
    if value % size:
        yield Fault(
            path,
            f"{axis} must divide {name}, but {name}={value} and {axis}={size}; use a divisor of "
            f"{value} as {axis}, or make {name} {_next_multiple(value, size)}",
        )


def _next_multiple(value: int, size: int) -> int:
    return math.ceil(value / size) * size
