"""Every rule between a model and a mesh, before anything is built."""

from __future__ import annotations

from collections.abc import Iterator

from archspec.blocks.base import BlockConfig, Fault
from archspec.blocks.layout import EP, MEMORY_COLUMNS, MEMORY_ROWS, TP, AxisSizes
from archspec.blocks.pool import sharding as pool_sharding
from archspec.blocks.registry import sharding_of
from archspec.compiler.plan.faults import PlanFault
from archspec.compiler.plan.mesh import Mesh
from archspec.compiler.plan.sections import equal_layers
from archspec.errors import Path, suggest
from archspec.spec.model import LayerSpec, ModelSpec
from archspec.spec.plan import PlanSpec, TablePlan


def check_sharding(spec: ModelSpec, plan: PlanSpec, mesh: Mesh) -> Iterator[PlanFault]:
    """Yield every rule that cutting this model over this mesh breaks."""
    for name in plan.pools:
        if name not in spec.pools:
            known = suggest(name, spec.pools) if spec.pools else "the model has no pools"
            yield PlanFault(f"unknown pool {name!r}; {known}", plan_path=("pools", name))
    yield from _check_frame(spec, mesh)
    for layer, indices in equal_layers(spec).items():
        yield from _check_layer(indices[0], layer, spec, plan, mesh)
    for name, pool in spec.pools.items():
        sizes = table_sizes(mesh, plan.table_plan(name))
        for fault in pool_sharding.faults(pool, spec.d_model, sizes):
            yield _placed(fault, ("pools", name), mesh)


def table_sizes(mesh: Mesh, held: TablePlan) -> AxisSizes:
    """Return the axes that may cut a table that is held so."""
    sizes = {TP: mesh.tp, EP: mesh.ep}
    if held.is_folded(mesh.memory):
        counts = held.counts(mesh.memory)
        sizes |= {MEMORY_ROWS: counts.rows, MEMORY_COLUMNS: counts.columns}
    return sizes


def _check_frame(spec: ModelSpec, mesh: Mesh) -> Iterator[PlanFault]:
    if spec.vocab_size < mesh.tp:
        yield PlanFault(
            f"tp <= vocab_size must hold, but vocab_size={spec.vocab_size} and tp={mesh.tp}; lower "
            "tp: it cuts the vocabulary",
            ("vocab_size",),
            ("mesh", "tp"),
        )


def _check_layer(
    index: int, layer: LayerSpec, spec: ModelSpec, plan: PlanSpec, mesh: Mesh
) -> Iterator[PlanFault]:
    sizes = table_sizes(mesh, plan.tables)
    for fault in layer.attention.sharding_faults(spec.d_model, sizes):
        name = layer.attention_name
        yield _placed(fault, ("attention", name) if name else ("attention",), mesh)
    for name, block in zip(layer.names, layer.blocks, strict=True):
        for fault in sharding_of(block.type).faults(block, spec.scope, sizes):
            yield _placed(fault, _block_path(index, name, block, spec), mesh)


def _block_path(index: int, name: str, block: BlockConfig, spec: ModelSpec) -> Path:
    """Return where a block is declared: its template, or its layer if the layer changes it."""
    return ("blocks", name) if spec.templates.get(name) == block else ("layers", index)


def _placed(fault: Fault, prefix: Path, mesh: Mesh) -> PlanFault:
    return PlanFault(fault.message, (*prefix, *fault.path), _plan_path(fault, mesh))


def _plan_path(fault: Fault, mesh: Mesh) -> Path:
    """Name the axis that a fault is about: the first that its message gives a number for."""
    for axis in ("tp", "ep", "memory"):
        if f"{axis}={mesh.sizes()[axis]}" in fault.message or f"lower {axis}" in fault.message:
            return ("mesh", axis)
    return ("mesh",)
