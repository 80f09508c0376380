"""Every parameter of a model as a plan lays it out: which axes cut it, and what a rank holds."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
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


@dataclass(frozen=True, slots=True)
class Cut:
    """One dimension, cut over one axis."""

    axis: Axis
    dim: int


@dataclass(frozen=True, kw_only=True)
class PlannedParameter:
    """One parameter under a plan.

    Attributes:
        name: Its name in the model, or in the layer, pool or frame it is listed for.
        shape: All of it.
        dtype: How its pieces are kept.
        cuts: What tp and the folds cut, in the order of cutting, with more than one rank each.
        fsdp: The data-parallel ranks that cut what is left, and gather it before use; None for
            folded tables, and for what no gradient moves.
        table: Its rows are those of a value table.
        folded: A table in pieces that are never gathered.
        trains: It has a gradient.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    cuts: tuple[Cut, ...]
    fsdp: Axis | None
    table: bool
    folded: bool
    trains: bool

    @property
    def numel(self) -> int:
        """Elements of all of it."""
        return math.prod(self.shape)

    def gathered_shape(self, rank: int) -> tuple[int, ...]:
        """Return the shape that a rank uses: what tp and the folds leave it."""
        return self._cut(rank, self.cuts)

    def local_shape(self, rank: int) -> tuple[int, ...]:
        """Return the shape of what a rank of the world holds."""
        shape = list(self.gathered_shape(rank))
        if self.fsdp is not None:
            dim = self._fsdp_dim(tuple(shape), self.fsdp)
            start, stop = chunk(shape[dim], self.fsdp.ranks, self.fsdp.index(rank))
            shape[dim] = stop - start
        return tuple(shape)

    def local_numel(self, rank: int) -> int:
        """Return the elements that a rank holds."""
        return math.prod(self.local_shape(rank))

    def local_bytes(self, rank: int) -> int:
        """Return the bytes that a rank holds."""
        return self.local_numel(rank) * DTYPE_BYTES[self.dtype]

    @functools.cached_property
    def used_numel(self) -> int:
        """Elements that rank 0 uses."""
        return math.prod(self.gathered_shape(0))

    @functools.cached_property
    def gathered_numel(self) -> int:
        """Elements that FSDP brings together on rank 0, with its padding; none without FSDP."""
        return 0 if self.fsdp is None else self.local_numel(0) * self.fsdp.ranks

    @property
    def all_cuts(self) -> tuple[Cut, ...]:
        """Every cut of rank 0's piece, that of FSDP last."""
        if self.fsdp is None or self.fsdp.ranks == 1:
            return self.cuts
        return (*self.cuts, Cut(self.fsdp, self._fsdp_dim(self.gathered_shape(0), self.fsdp)))

    def length_before(self, cut: Cut) -> int:
        """Return the length of the dimension of one of ``cuts``, as that finds it on rank 0."""
        before = self.cuts[: self.cuts.index(cut)]
        return self._cut(0, before)[cut.dim]

    def _fsdp_dim(self, shape: tuple[int, ...], axis: Axis) -> int:
        return fsdp_dim(shape, axis.ranks, {cut.dim for cut in self.cuts}) if shape[0] else 0

    def _cut(self, rank: int, cuts: tuple[Cut, ...]) -> tuple[int, ...]:
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
    fold = mesh.ep if EP in layout.shard else 1
    return PlannedParameter(
        name=name,
        shape=layout.shape,
        dtype=plan.precision.tables if layout.table else plan.precision.params,
        cuts=tuple(Cut(axes[axis], dim) for axis, dim in layout.cuts(sizes).items()),
        fsdp=None if folded or not layout.trains else shard_axis(mesh, fold),
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
