"""Every parameter of a model as a plan lays it out: which axes cut it, and what a rank holds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from archspec.blocks.layout import (
    EP,
    MEMORY_COLUMNS,
    MEMORY_ROWS,
    TP,
    ParameterLayout,
    chunk,
    fsdp_dim,
)
from archspec.blocks.pool import sharding as pool_sharding
from archspec.compiler.plan.layouts import layer_layouts, model_layouts
from archspec.compiler.plan.mesh import (
    Axis,
    Mesh,
    columns_axis,
    ep_axis,
    rows_axis,
    shard_axis,
    tp_axis,
)
from archspec.quantities import DTYPE_BYTES
from archspec.spec.model import LayerSpec, ModelSpec
from archspec.spec.plan import PlanSpec, TablePlan

FOLDED_AXES = (EP, MEMORY_ROWS, MEMORY_COLUMNS)


@dataclass(frozen=True, slots=True)
class Cut:
    """One dimension, cut over one axis."""

    axis: Axis
    dim: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedParameter:
    """One parameter under a plan.

    Attributes:
        name: Its name in the model, or in the layer, pool or frame it is listed for.
        shape: All of it.
        dtype: How its shards are kept.
        cuts: What cuts it, in the order of cutting; FSDP last, with more than one rank each.
        gathered: Data-parallel ranks bring it together before use (FSDP).
        table: Its rows are those of a value table.
        folded: A table in pieces that are never gathered.
        trains: It has a gradient.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    cuts: tuple[Cut, ...]
    gathered: bool
    table: bool
    folded: bool
    trains: bool

    @property
    def numel(self) -> int:
        """Elements of all of it."""
        return math.prod(self.shape)

    def local_shape(self, rank: int) -> tuple[int, ...]:
        """Return the shape of what a rank of the world holds."""
        return self._shape(rank, self.cuts)

    def local_numel(self, rank: int) -> int:
        """Return the elements that a rank holds."""
        return math.prod(self.local_shape(rank))

    def local_bytes(self, rank: int) -> int:
        """Return the bytes that a rank holds."""
        return self.local_numel(rank) * DTYPE_BYTES[self.dtype]

    def gathered_numel(self) -> int:
        """Return the elements once data-parallel ranks have gathered it, padding included."""
        if not self.gathered:
            return self.local_numel(0)
        cut = self._fsdp_cut()
        return self.local_numel(0) * (1 if cut is None else cut.axis.ranks)

    def fsdp_axis(self) -> Axis | None:
        """Return the axis over which it is gathered, None if it is not cut by FSDP."""
        cut = self._fsdp_cut()
        return None if cut is None else cut.axis

    def _fsdp_cut(self) -> Cut | None:
        last = self.cuts[-1] if self.cuts else None
        return last if last and self.gathered and last.axis.name.startswith("dp_shard") else None

    def _shape(self, rank: int, cuts: tuple[Cut, ...]) -> tuple[int, ...]:
        shape = list(self.shape)
        for cut in cuts:
            start, stop = chunk(shape[cut.dim], cut.axis.ranks, cut.axis.index(rank))
            shape[cut.dim] = stop - start
        return tuple(shape)


def plan_parameter(
    name: str, layout: ParameterLayout, plan: PlanSpec, mesh: Mesh, table: TablePlan | None
) -> PlannedParameter:
    """Apply a plan to one parameter.

    Args:
        name: Its name.
        layout: How axes may cut it.
        plan: Precision.
        mesh: The ranks.
        table: How the table is held that the parameter belongs to, None for any other parameter.
    """
    folded = table is not None and MEMORY_ROWS in layout.shard and table.is_folded(mesh.memory)
    axes = _axes(mesh, table if folded else None)
    sizes = {axis: found.ranks for axis, found in axes.items()}
    cuts = [Cut(axes[axis], dim) for axis, dim in layout.cuts(sizes).items()]
    if not folded:
        fold = mesh.ep if EP in layout.shard else 1
        cuts += _fsdp_cuts(layout, cuts, shard_axis(mesh, fold))
    return PlannedParameter(
        name=name,
        shape=layout.shape,
        dtype=plan.precision.tables if layout.table else plan.precision.params,
        cuts=tuple(cuts),
        gathered=not folded,
        table=layout.table,
        folded=folded,
        trains=layout.trains,
    )


def _axes(mesh: Mesh, folded: TablePlan | None) -> dict[str, Axis]:
    axes = {TP: tp_axis(mesh), EP: ep_axis(mesh)}
    if folded is not None:
        counts = folded.counts(mesh.memory)
        axes[MEMORY_ROWS] = rows_axis(mesh, counts.rows, counts.columns)
        axes[MEMORY_COLUMNS] = columns_axis(mesh, counts.columns)
    return axes


def _fsdp_cuts(layout: ParameterLayout, cuts: list[Cut], axis: Axis) -> Iterator[Cut]:
    if axis.ranks == 1:
        return
    shape = list(layout.shape)
    for cut in cuts:
        start, stop = chunk(shape[cut.dim], cut.axis.ranks, 0)
        shape[cut.dim] = stop - start
    yield Cut(axis, fsdp_dim(tuple(shape), axis.ranks, {cut.dim for cut in cuts}))


def plan_layouts(
    layouts: Mapping[str, ParameterLayout], plan: PlanSpec, mesh: Mesh, table: TablePlan | None
) -> tuple[PlannedParameter, ...]:
    """Apply a plan to parameters; ``table`` says how those of tables are held."""
    return tuple(
        plan_parameter(name, layout, plan, mesh, table if layout.table else None)
        for name, layout in layouts.items()
    )


def plan_layer(
    layer: LayerSpec, spec: ModelSpec, plan: PlanSpec, mesh: Mesh
) -> tuple[PlannedParameter, ...]:
    """Apply a plan to the parameters of one layer, named within it."""
    return plan_layouts(layer_layouts(layer, spec), plan, mesh, plan.tables)


def plan_pool(
    name: str, spec: ModelSpec, plan: PlanSpec, mesh: Mesh
) -> tuple[PlannedParameter, ...]:
    """Apply a plan to the parameters of a pool, named within it."""
    layouts = pool_sharding.layout(spec.pools[name], spec.d_model)
    return plan_layouts(layouts, plan, mesh, plan.table_plan(name))


def plan_model(spec: ModelSpec, plan: PlanSpec, mesh: Mesh) -> dict[str, PlannedParameter]:
    """Apply a plan to every parameter of a model, by its name there; slower than layer by layer."""
    pools = {f"pools.{name}.": plan.table_plan(name) for name in spec.pools}
    return {
        name: plan_parameter(
            name,
            layout,
            plan,
            mesh,
            next((found for prefix, found in pools.items() if name.startswith(prefix)), plan.tables)
            if layout.table
            else None,
        )
        for name, layout in model_layouts(spec).items()
    }
