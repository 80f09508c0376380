"""The ranks as meshes: one root, and views of it in which a fold of ``dp_shard`` is an axis.

Ranks are laid out as (dp_replicate, dp_shard, tp), tp innermost. ``ep`` and ``memory`` fold
dp_shard: neighbouring ranks of a dp_shard group form one fold, and what is left of the axis is the
fold's outer part. All views share the root, so that FSDP can put its axes and theirs together; this
file alone touches the private calls of ``DeviceMesh`` that this takes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from archspec.compiler.plan.mesh import Mesh

ROOT_AXES = ("dp_replicate", "dp_shard", "tp")


@dataclass(frozen=True)
class Meshes:
    """The root mesh and its views, each made once.

    Attributes:
        sizes: What was asked for.
        root: (dp_replicate, dp_shard, tp).
    """

    sizes: Mesh
    root: DeviceMesh
    _views: dict[tuple[str, ...], DeviceMesh] = field(default_factory=dict)

    @property
    def data(self) -> DeviceMesh:
        """What FSDP shards over; with the replicas of HSDP in front where there are any."""
        return self.root["dp_replicate", "dp_shard"] if self._replicas else self.root["dp_shard"]

    @property
    def tp(self) -> DeviceMesh:
        """The tensor-parallel axis."""
        return self.root["tp"]

    @property
    def _replicas(self) -> bool:
        return self.sizes.dp_replicate > 1

    @property
    def _experts(self) -> DeviceMesh:
        outer = self.sizes.dp_shard // self.sizes.ep
        return self._unfold((outer, self.sizes.ep), ("ep_outer", "ep"))

    @property
    def experts(self) -> DeviceMesh:
        """Over which experts and their inner width are laid: (ep, tp)."""
        return self._experts["ep", "tp"]

    @property
    def expert_data(self) -> DeviceMesh:
        """What FSDP shards experts over: the outer part of the fold."""
        if self._replicas:
            return self._experts["dp_replicate", "ep_outer"]
        return self._experts["ep_outer"]

    def memory(self, rows: int, columns: int) -> MemoryMesh:
        """Return the view in which a fold of ``rows * columns`` ranks holds a table."""
        outer = self.sizes.dp_shard // (rows * columns)
        names = tuple(f"memory_{part}_{rows}x{columns}" for part in ("outer", "rows", "columns"))
        return MemoryMesh(self._unfold((outer, rows, columns), names), rows=rows, columns=columns)

    @property
    def data_group(self) -> dist.ProcessGroup:
        """All ranks that see different tokens."""
        if not self._replicas:
            return self.root["dp_shard"].get_group()
        key = ("data",)
        if key not in self._views:
            self._views[key] = self.data._flatten("data")
        return self._views[key].get_group()

    def _unfold(self, sizes: Sequence[int], names: Sequence[str]) -> DeviceMesh:
        assert math.prod(sizes) == self.sizes.dp_shard, "a fold divides its axis"
        # A dict, not functools.cached_property, whose lock ranks in threads would wait for.
        key = tuple(names)
        if key not in self._views:
            self._views[key] = self.root._unflatten("dp_shard", tuple(sizes), key)
        return self._views[key]


@dataclass(frozen=True, slots=True)
class MemoryMesh:
    """A view (dp_replicate, outer, rows, columns, tp) of the ranks, for one way to cut a table."""

    view: DeviceMesh
    rows: int
    columns: int

    @property
    def _names(self) -> tuple[str, ...]:
        assert self.view.mesh_dim_names is not None, "views are made with names"
        return self.view.mesh_dim_names

    @property
    def table(self) -> DeviceMesh:
        """Over which the table is laid: (rows, tp, columns), columns being cut by tp first."""
        _, _, rows, columns, tp = self._names
        return DeviceMesh._concatenate([self.view[rows], self.view[tp], self.view[columns]])

    @property
    def row_group(self) -> dist.ProcessGroup:
        """Ranks that hold the same columns of different rows."""
        return self.view[self._names[2]].get_group()

    @property
    def column_group(self) -> dist.ProcessGroup:
        """Ranks that hold different columns of the same rows."""
        return self.view[self._names[3]].get_group()

    @property
    def replica_groups(self) -> tuple[dist.ProcessGroup, ...]:
        """Ranks that hold the same part of the table, as groups to sum over one after another."""
        return tuple(
            self.view[name].get_group() for name in self._names[:2] if self.view[name].size() > 1
        )


def build_meshes(sizes: Mesh, device: str) -> Meshes:
    """Lay the ranks of the default process group out.

    Args:
        sizes: The axes, which make up the number of ranks.
        device: Type of the devices, ``cpu`` or ``cuda``.
    """
    shape = (sizes.dp_replicate, sizes.dp_shard, sizes.tp)
    return Meshes(sizes, init_device_mesh(device, shape, mesh_dim_names=ROOT_AXES))
