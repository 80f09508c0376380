"""The ranks of a plan as places on axes, without any process.

Ranks are laid out as (dp_replicate, dp_shard, tp), tp innermost. The innermost ``ep`` ranks of a
dp_shard group are one fold that shares experts, the innermost ``memory`` ranks one that shares
tables; within the latter rows stand outside columns.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from archspec.blocks.base import Fault
from archspec.spec.plan import AUTO, MeshSizes, check_fold


@dataclass(frozen=True, slots=True, kw_only=True)
class Mesh:
    """Ranks along each axis."""

    dp_replicate: int = 1
    dp_shard: int = 1
    tp: int = 1
    ep: int = 1
    memory: int = 1

    @property
    def world_size(self) -> int:
        """All ranks."""
        return self.dp_replicate * self.dp_shard * self.tp

    @property
    def data_parallel(self) -> int:
        """Ranks, or groups of tp ranks, that see tokens of their own."""
        return self.dp_replicate * self.dp_shard

    def sizes(self) -> dict[str, int]:
        """Return every axis with its size."""
        return {
            "dp_replicate": self.dp_replicate,
            "dp_shard": self.dp_shard,
            "tp": self.tp,
            "ep": self.ep,
            "memory": self.memory,
        }

    def describe(self) -> str:
        """Say which axes have more than one rank, in the words of the document."""
        cut = [f"{axis} {size}" for axis, size in self.sizes().items() if size > 1]
        return ", ".join(cut) or "one rank"

    def data_rank(self, rank: int) -> int:
        """Return a rank's place along dp_shard."""
        return rank // self.tp % self.dp_shard


@dataclass(frozen=True, slots=True)
class Axis:
    """A group of ranks at equal distances, which one collective joins or one cut divides over.

    Attributes:
        name: For people, and for whoever applies it: ``tp``, ``dp_shard``, ``ep`` ...
        ranks: How many.
        stride: Distance between neighbours, in ranks of the world.
    """

    name: str
    ranks: int
    stride: int

    @property
    def span(self) -> int:
        """Ranks of the world from the first of a group to its last."""
        return (self.ranks - 1) * self.stride + 1

    def index(self, rank: int) -> int:
        """Return the place of a rank of the world in its group."""
        return rank // self.stride % self.ranks


def tp_axis(mesh: Mesh) -> Axis:
    """Return the ranks that share the work on the same tokens."""
    return Axis("tp", mesh.tp, 1)


def ep_axis(mesh: Mesh) -> Axis:
    """Return the ranks that share experts."""
    return Axis("ep", mesh.ep, mesh.tp)


def columns_axis(mesh: Mesh, columns: int) -> Axis:
    """Return the ranks with different columns of the same rows."""
    return Axis("memory_columns", columns, mesh.tp)


def rows_axis(mesh: Mesh, rows: int, columns: int) -> Axis:
    """Return the ranks with the same columns of different rows."""
    return Axis("memory_rows", rows, mesh.tp * columns)


def shard_axis(mesh: Mesh, fold: int = 1) -> Axis:
    """Return the data-parallel ranks that share a copy, the outer part of a fold of them."""
    name = "dp_shard" if fold == 1 else "dp_shard outside the fold"
    return Axis(name, mesh.dp_shard // fold, mesh.tp * fold)


def replicate_axis(mesh: Mesh) -> Axis:
    """Return the ranks with the same shard of different copies."""
    return Axis("dp_replicate", mesh.dp_replicate, mesh.tp * mesh.dp_shard)


def world_axis(mesh: Mesh) -> Axis:
    """Return all ranks."""
    return Axis("world", mesh.world_size, 1)


def resolve_mesh(sizes: MeshSizes, world_size: int | None) -> Mesh | list[Fault]:
    """Fill in what follows from the world size, or say what it breaks.

    Args:
        sizes: The mesh of a plan document that is right in itself.
        world_size: All ranks; None where the document gives every axis.
    """
    found = sizes.model_dump()
    axis = next((name for name, size in found.items() if size == AUTO), None)
    given = math.prod(found[name] for name in ("dp_replicate", "dp_shard", "tp") if name != axis)
    faults = list(_check_world(axis, given, world_size, found))
    if faults:
        return faults
    if axis is not None:
        assert world_size is not None, "an automatic axis without a world size is a fault"
        found[axis] = world_size // given
    for fold in ("ep", "memory"):
        faults += check_fold(fold, found[fold], found["dp_shard"])
    return faults or Mesh(**found)


def _check_world(
    axis: str | None, given: int, world_size: int | None, found: dict[str, int | str]
) -> Iterator[Fault]:
    product = " x ".join(
        f"{name} {found[name]}" for name in ("dp_replicate", "dp_shard", "tp") if name != axis
    )
    if world_size is None:
        if axis is not None:
            yield Fault(
                ("mesh", axis),
                f"{axis} is auto, so it follows from the world size; give --world-size, or a size "
                f"for {axis}",
            )
    elif axis is None and given != world_size:
        yield Fault(
            ("mesh",),
            f"the axes must make up the world size, but {product} = {given} and the world size is "
            f"{world_size}; change one of them, or make dp_replicate or dp_shard auto",
        )
    elif world_size % given:
        yield Fault(
            ("mesh",),
            f"the given axes must divide the world size, but {product} = {given} and the world "
            f"size is {world_size}; change one of them",
        )
