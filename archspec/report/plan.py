"""A plan as tables: what a rank holds, what it sends, how long a step takes."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from archspec.compiler.plan.collectives import Collective
from archspec.compiler.plan.make import BuildPlan, conventions
from archspec.compiler.plan.memory import RankMemory
from archspec.compiler.plan.parameters import PlannedParameter
from archspec.compiler.plan.sections import Section, spans
from archspec.compiler.plan.timing import StepTime, collective_seconds
from archspec.report.tables import plain_table
from archspec.units import format_bytes, format_count, format_duration

_WIDE = 100  # columns from which whole shapes stand beside the pieces of a rank


def plan_view(found: BuildPlan, *, width: int) -> Group:
    """Return parameters, memory, collectives and time of a plan, with conventions below.

    Args:
        found: The plan.
        width: Columns there are.
    """
    parameters = _parameters_table(found, whole=width >= _WIDE)
    parts: list[RenderableType] = [Text(_title(found), style="bold"), parameters]
    parts += [Text(""), _memory_table(found), *map(Text, _capacity(found))]
    if found.collectives:
        parts += [Text(""), _collectives_table(found)]
    parts += [Text(line) for line in _step_lines(found)]
    if found.warnings:
        parts += [Text(""), *(Text(f"warning: {line}", style="yellow") for line in found.warnings)]
    return Group(*parts, Text(""), *map(Text, conventions(found)))


def _title(found: BuildPlan) -> str:
    name = found.spec.name or "model"
    ranks, params = found.mesh.world_size, format_count(found.num_params)
    return f"{name}, {params} parameters, on {ranks:,} ranks: {found.mesh.describe()}"


def _parameters_table(found: BuildPlan, *, whole: bool) -> Table:
    """Return every parameter, equal layers once; the largest rank's piece, the smallest's if less.

    ``a/b`` in the column of cuts says that b ranks of the axis a cut; the dimension stands behind.
    """
    shape = ("shape",) if whole else ()
    table = plain_table("parameter", *shape, "cut by (dimension)", "on a rank", "bytes")
    table.columns[-1].justify = "right"
    for section in found.sections:
        table.add_row(_heading(section), style="bold")
        for one in section.parameters:
            shape = (_shape(one.shape),) if whole else ()
            table.add_row(f"  {one.name}", *shape, *_cells(one, found.mesh.world_size - 1))
    return table


def _heading(section: Section) -> str:
    if not section.layers:
        return section.name
    word = "layer" if section.count == 1 else f"{section.count} layers:"
    return f"{word} {spans(section.layers)}"


def _cells(one: PlannedParameter, last: int) -> Iterator[str]:
    axes = [f"{_short(cut.axis.name)}/{cut.axis.ranks} ({cut.dim})" for cut in one.all_cuts]
    yield ", ".join(axes) or "nothing"
    largest, smallest = one.local_shape(0), one.local_shape(last)
    yield _shape(largest) if largest == smallest else f"{_shape(largest)} to {_shape(smallest)}"
    yield format_bytes(one.local_bytes(0))


def _short(axis: str) -> str:
    return axis.replace("dp_shard outside the fold", "outer dp_shard").replace("memory_", "")


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _memory_table(found: BuildPlan) -> Table:
    table = plain_table("memory", "largest rank", "smallest rank", "share")
    for column in table.columns[1:]:
        column.justify = "right"
    smallest = found.smallest.as_dict()
    for name, size in found.largest.as_dict().items():
        if size or smallest[name]:
            share = size / found.largest.total
            cells = (format_bytes(size), format_bytes(smallest[name]), f"{share:.1%}")
            table.add_row(name.replace("_", " "), *cells)
    table.add_section()
    table.add_row("total", *_totals(found.largest, found.smallest), "", style="bold")
    return table


def _totals(*ranks: RankMemory) -> Iterator[str]:
    for memory in ranks:
        yield format_bytes(memory.total)


def _capacity(found: BuildPlan) -> Iterator[str]:
    device = found.hardware
    if device is None:
        yield "No device is named, so nothing is said about capacity and time; give --hardware."
        return
    verb = "Fits" if found.fits else "Does not fit"
    share = found.largest.total / device.memory_bytes
    yield f"{verb} {device.name}: {share:.0%} of {format_bytes(device.memory_bytes)}."


def _collectives_table(found: BuildPlan) -> Table:
    table = plain_table("collectives of a step", "kind", "ranks", "count", "sent", "time")
    for column in table.columns[2:]:
        column.justify = "right"
    for one in found.collectives:
        table.add_row(
            f"{one.purpose} ({_short(one.axis.name)})",
            one.kind,
            f"{one.axis.ranks:,}",
            f"{one.count}",
            format_bytes(one.sent_bytes),
            _seconds(one, found),
        )
    table.caption = "* runs beside computing"
    table.caption_justify = "left"
    return table


def _seconds(one: Collective, found: BuildPlan) -> str:
    if found.time is None or found.hardware is None:
        return ""
    seconds = collective_seconds(one, found.hardware)
    return format_duration(seconds if seconds >= 1e-9 else 0) + ("*" if one.overlaps else " ")


def _step_lines(found: BuildPlan) -> Iterator[str]:
    if found.memory_bytes_per_token:
        yield (
            f"Look-ups in folded tables: {format_bytes(found.memory_bytes_per_token)} sent per "
            "token, however many slots."
        )
    if found.time is not None:
        yield from _time_lines(found.time)
    elif found.untimed:
        yield f"No time: {found.untimed}"


def _time_lines(time: StepTime) -> Iterator[str]:
    yield (
        f"A step takes {format_duration(time.seconds)}: computing "
        f"{format_duration(time.computing)}, beside it {format_duration(time.overlapped)} of "
        f"collectives, then {format_duration(time.waiting)} of waiting."
    )
    yield f"{format_count(time.tokens_per_second)} tokens/s on all ranks, MFU {time.mfu:.1%}."
