"""What is legal in a plan and yet seldom meant."""

from __future__ import annotations

from collections.abc import Iterator

from archspec.compiler.plan.lookups import experts, lookups
from archspec.compiler.plan.mesh import Mesh, tp_axis
from archspec.compiler.plan.sections import Section, gathered_bytes, spans
from archspec.spec.hardware import HardwareSpec
from archspec.spec.model import ModelSpec
from archspec.spec.plan import PlanSpec, TablePlan
from archspec.units import format_bytes

LARGE_COPY = 0.1  # of a device's memory, from which a whole table on it is worth a word
PADDING = 1.5  # gathered over real elements, from which padding is


def plan_warnings(
    spec: ModelSpec,
    plan: PlanSpec,
    mesh: Mesh,
    sections: tuple[Section, ...],
    hardware: HardwareSpec | None,
) -> Iterator[str]:
    """Yield everything that is worth a second look, in one line each."""
    yield from _ignored(spec, plan, mesh)
    for section in sections:
        yield from _empty_pieces(section, mesh)
    yield from _padding(sections)
    if hardware is not None:
        yield from _crossing(mesh, hardware)
        yield from _large_copies(sections, plan, hardware)


def _ignored(spec: ModelSpec, plan: PlanSpec, mesh: Mesh) -> Iterator[str]:
    """Yield settings that change nothing."""
    if mesh.ep > 1 and not any(experts(spec)):
        yield f"mesh.ep={mesh.ep} changes nothing: the model has no mixture of experts"
    folded = any(look.rows * look.columns > 1 for look in lookups(spec, plan, mesh))
    if mesh.memory > 1 and not folded:
        yield f"mesh.memory={mesh.memory} changes nothing: no table is folded"
    held = {"tables": plan.tables, **{f"pools.{name}": one for name, one in plan.pools.items()}}
    for path, table in held.items():
        if table.shard != TablePlan().shard and not table.is_folded(mesh.memory):
            yield f"{path}.shard changes nothing: its tables are units of FSDP, cut by rows"


def _empty_pieces(section: Section, mesh: Mesh) -> Iterator[str]:
    """Yield experts and tables whose pieces leave some ranks without any."""
    last = mesh.world_size - 1
    place = section.name if not section.layers else f"layers {spans(section.layers)}"
    for one in section.parameters:
        for cut in one.cuts:
            whole, ranks = one.length_before(cut), cut.axis.ranks
            empty = ranks - -(-whole // -(-whole // ranks))
            if empty and not one.local_numel(last):
                yield (
                    f"{place}: {one.name} has {whole} pieces for {cut.axis.name}={ranks}: "
                    f"{empty} of these ranks hold none; use a divisor of {whole}"
                )


def _padding(sections: tuple[Section, ...]) -> Iterator[str]:
    """Yield how much of what FSDP gathers is padding, where that is much."""
    for section in sections:
        gathered = sum(one.gathered_numel for one in section.parameters)
        real = sum(one.used_numel for one in section.parameters if one.fsdp is not None)
        if real and gathered > PADDING * real:
            place = section.name if not section.layers else f"layers {spans(section.layers)}"
            yield (
                f"{place}: FSDP gathers {gathered / real:.1f} times the elements there are, for "
                "its pieces are padded to one size; use fewer ranks in dp_shard and more in "
                "dp_replicate"
            )


def _crossing(mesh: Mesh, hardware: HardwareSpec) -> Iterator[str]:
    nodes, axis = hardware.node_devices, tp_axis(mesh)
    if nodes is not None and axis.span > nodes:
        yield (
            f"mesh.tp={mesh.tp} crosses nodes of {nodes} devices: every layer waits for the "
            f"network several times; use tp of at most {nodes}"
        )


def _large_copies(
    sections: tuple[Section, ...], plan: PlanSpec, hardware: HardwareSpec
) -> Iterator[str]:
    """Yield tables that a rank holds whole, always or while they are gathered."""
    for section in sections:
        place = section.name if not section.layers else f"layers {spans(section.layers)}"
        for one in section.parameters:
            if not one.table:
                continue
            whole = not any(cut.axis.name.startswith("memory") for cut in one.cuts)
            held = one.local_bytes(0) if one.folded else gathered_bytes(one, plan.precision)
            if whole and held > LARGE_COPY * hardware.memory_bytes:
                how = "on every rank" if one.folded else "gathered on every rank in each pass"
                yield (
                    f"{place}: {one.name} is whole {how}, {format_bytes(held)} of "
                    f"{format_bytes(hardware.memory_bytes)}; use mesh.memory > 1"
                )
