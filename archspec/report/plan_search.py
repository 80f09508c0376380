"""The meshes of a search as a table, and why others were dropped."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from archspec.compiler.plan.search import Candidate, MeshSearch
from archspec.report.tables import plain_table
from archspec.spec.hardware import HardwareSpec
from archspec.units import format_count, format_duration

_AXES = ("dp_replicate", "dp_shard", "tp", "ep", "memory")
_HEADERS = ("copies", "shard", "tp", "ep", "mem")


def mesh_search_view(found: MeshSearch, hardware: HardwareSpec, *, top: int) -> Group:
    """Return the fastest meshes and the rejections.

    Args:
        found: The search.
        hardware: The device.
        top: How many meshes to show.
    """
    shown = found.candidates[:top]
    title = (
        f"{found.tried:,} meshes, {len(found.candidates):,} work on {hardware.name}; the fastest "
        f"{len(shown)}:"
    )
    parts: list[RenderableType] = [Text(title, style="bold"), _candidates(shown, hardware)]
    if found.rejections:
        parts += [Text(""), _rejections(found)]
    note = (
        "copies, shard, mem: mesh.dp_replicate, dp_shard, memory. Ranked by tokens per second, an "
        "estimate; recompute is the least under which a mesh fits. tp stays within a node."
    )
    return Group(*parts, Text(""), Text(note))


def _candidates(shown: tuple[Candidate, ...], hardware: HardwareSpec) -> Table:
    table = plain_table(*_HEADERS, "recompute", "step", "tokens/s", "MFU", "memory")
    for index in (0, 1, 2, 3, 4, 6, 7, 8, 9):
        table.columns[index].justify = "right"
    for one in shown:
        sizes = one.mesh.sizes()
        table.add_row(
            *(str(sizes[axis]) for axis in _AXES),
            one.recompute,
            format_duration(one.time.seconds),
            format_count(one.time.tokens_per_second),
            f"{one.time.mfu:.1%}",
            f"{one.memory.total / hardware.memory_bytes:.0%}",
        )
    return table


def _rejections(found: MeshSearch) -> Table:
    table = plain_table("dropped", "because", "for instance")
    table.columns[0].justify = "right"
    for one in found.rejections:
        table.add_row(f"{one.count:,}", one.reason, one.example)
    return table
