"""From a model and a plan to a ``BuildPlan``: everything that can be known before building."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from archspec.compiler.plan.checks import check_sharding
from archspec.compiler.plan.collectives import (
    Collective,
    Step,
    memory_bytes_per_token,
    step_collectives,
)
from archspec.compiler.plan.faults import PlanError, PlanFault
from archspec.compiler.plan.memory import (
    Held,
    RankMemory,
    TableOptimizer,
    copies_bytes,
    dispatch_bytes,
    exchange_bytes,
    rank_memory,
    touched_shares,
)
from archspec.compiler.plan.mesh import Mesh, resolve_mesh
from archspec.compiler.plan.parameters import Cut, plan_model
from archspec.compiler.plan.sections import Section, counted, plan_sections, total_numel
from archspec.compiler.plan.timing import StepTime, step_time
from archspec.compiler.plan.warnings import plan_warnings
from archspec.compiler.plan.work import activation_bytes, head_share, layer_share, step_work
from archspec.cost.summary import cost_context
from archspec.cost.training import training_flops
from archspec.cost.work import PartWork, Work
from archspec.errors import ArchspecError
from archspec.spec.hardware import HardwareSpec
from archspec.spec.model import ModelSpec
from archspec.spec.plan import PlanSpec
from archspec.units import format_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildPlan:
    """A model laid over a mesh, as data.

    Attributes:
        mesh: Every axis, sizes that were ``auto`` filled in.
        seq_len: Tokens of a sequence.
        micro_tokens: Tokens of one rank in one forward pass; tp ranks share them.
        table_optimizer: How tables are updated.
        sections: Every parameter, those of equal layers once.
        num_params: Of the whole model.
        largest: Bytes of rank 0, which holds most of everything.
        smallest: Bytes of the last rank, which holds least.
        collectives: Of one step of one micro-batch.
        time: The step's, None where there is no device, or its document lacks a bandwidth.
        untimed: Why there is no time although there is a device.
        warnings: What is legal and seldom meant.
    """

    spec: ModelSpec
    plan: PlanSpec
    mesh: Mesh
    hardware: HardwareSpec | None
    seq_len: int
    micro_tokens: int
    table_optimizer: TableOptimizer
    sections: tuple[Section, ...]
    num_params: int
    largest: RankMemory
    smallest: RankMemory
    collectives: tuple[Collective, ...]
    time: StepTime | None
    untimed: str
    warnings: tuple[str, ...]

    @property
    def fits(self) -> bool | None:
        """Tell whether the largest rank fits its device, None without one."""
        return None if self.hardware is None else self.largest.total <= self.hardware.memory_bytes

    @property
    def memory_bytes_per_token(self) -> float:
        """Bytes that a rank sends for look-ups, per token; the same for any number of slots."""
        return memory_bytes_per_token(self.collectives, self.micro_tokens)

    def local_shapes(self, rank: int) -> dict[str, tuple[int, ...]]:
        """Return the exact shape of what a rank holds of every parameter, by its name.

        Raises:
            ValueError: If there is no such rank.
        """
        if not 0 <= rank < self.mesh.world_size:
            raise ValueError(f"rank must be below {self.mesh.world_size}, but is {rank}")
        planned = plan_model(self.spec, self.plan, self.mesh)
        return {name: one.local_shape(rank) for name, one in planned.items()}

    def local_bytes(self, rank: int) -> int:
        """Return the bytes of all parameters that a rank holds."""
        return sum(one.local_bytes(rank) * count for one, count in counted(self.sections))

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values, for JSON."""
        return {
            "model": self.spec.name,
            "num_params": self.num_params,
            "world_size": self.mesh.world_size,
            "mesh": self.mesh.sizes(),
            "hardware": None if self.hardware is None else self.hardware.name,
            "seq_len": self.seq_len,
            "micro_tokens": self.micro_tokens,
            "recompute": self.plan.recompute,
            "precision": self.plan.precision.model_dump(),
            "table_optimizer": self.table_optimizer,
            "parameters": [row for section in self.sections for row in _rows(section, self.mesh)],
            "largest_rank": {**self.largest.as_dict(), "total": self.largest.total},
            "smallest_rank": {**self.smallest.as_dict(), "total": self.smallest.total},
            "fits": self.fits,
            "collectives": [_plain(one) for one in self.collectives],
            "memory_bytes_per_token": self.memory_bytes_per_token,
            "step": _time(self.time),
            "warnings": list(self.warnings),
            "conventions": list(conventions(self)),
        }


def _rows(section: Section, mesh: Mesh) -> Iterator[dict[str, Any]]:
    for one in section.parameters:
        last = mesh.world_size - 1
        yield {
            "section": section.name,
            "layers": list(section.layers),
            "name": one.name,
            "shape": list(one.shape),
            "dtype": one.dtype,
            "cuts": [_cut(cut) for cut in one.all_cuts],
            "folded": one.folded,
            "largest_shape": list(one.local_shape(0)),
            "smallest_shape": list(one.local_shape(last)),
            "largest_bytes": one.local_bytes(0),
            "smallest_bytes": one.local_bytes(last),
        }


def _cut(cut: Cut) -> dict[str, Any]:
    return {"axis": cut.axis.name, "ranks": cut.axis.ranks, "dim": cut.dim}


def _plain(one: Collective) -> dict[str, Any]:
    return {
        "purpose": one.purpose,
        "kind": one.kind,
        "axis": one.axis.name,
        "ranks": one.axis.ranks,
        "count": one.count,
        "sent_bytes": one.sent_bytes,
        "overlaps": one.overlaps,
    }


def _time(time: StepTime | None) -> dict[str, float] | None:
    if time is None:
        return None
    return {
        "seconds": time.seconds,
        "computing": time.computing,
        "overlapped": time.overlapped,
        "waiting": time.waiting,
        "tokens": time.tokens,
        "tokens_per_second": time.tokens_per_second,
        "mfu": time.mfu,
    }


def make_plan(
    spec: ModelSpec,
    plan: PlanSpec,
    *,
    world_size: int | None = None,
    hardware: HardwareSpec | None = None,
    seq_len: int | None = None,
    micro_tokens: int | None = None,
    table_optimizer: TableOptimizer = "adamw",
    allow_oversize: bool = False,
) -> BuildPlan:
    """Lay a model over a mesh and count what every rank holds, sends and computes; no torch.

    Args:
        spec: The model.
        plan: The plan.
        world_size: All ranks; may be left out where the plan gives every axis.
        hardware: The device, for capacity and time.
        seq_len: Tokens of a sequence; default ``max_seq_len``.
        micro_tokens: Tokens of one rank in one forward pass; default one sequence.
        table_optimizer: How tables are updated.
        allow_oversize: Return a plan that does not fit the device instead of raising.

    Raises:
        PlanError: With every rule that model and plan break together, or the largest terms of a
            rank that does not fit.
        ValueError: If a length is out of range.

    Example:
        >>> plan = make_plan(load_model("m.yaml"), load_plan("p.yaml"), world_size=64)
        >>> plan.largest.total, plan.local_shapes(0)["embedding.weight"]
    """
    mesh = check_plan(spec, plan, world_size=world_size)
    found = _lay_out(spec, plan, mesh, hardware, seq_len, micro_tokens, table_optimizer)
    if found.fits is False and not allow_oversize:
        raise PlanError([capacity_fault(found)])
    return found


def check_plan(spec: ModelSpec, plan: PlanSpec, *, world_size: int | None) -> Mesh:
    """Return the mesh of a plan on so many ranks, if the model can be laid over it.

    Raises:
        PlanError: With every rule that model and plan break together.
    """
    mesh = resolve_mesh(plan.mesh, world_size)
    if not isinstance(mesh, Mesh):
        raise PlanError(PlanFault(fault.message, plan_path=fault.path) for fault in mesh)
    faults = list(check_sharding(spec, plan, mesh))
    if faults:
        raise PlanError(faults)
    return mesh


def _lay_out(
    spec: ModelSpec,
    plan: PlanSpec,
    mesh: Mesh,
    hardware: HardwareSpec | None,
    seq_len: int | None,
    micro_tokens: int | None,
    table_optimizer: TableOptimizer,
) -> BuildPlan:
    context = cost_context(spec, seq_len=seq_len, dtype=plan.precision.compute)
    tokens = context.seq_len if micro_tokens is None else micro_tokens
    if tokens < 1:
        raise ValueError(f"micro_tokens must be at least 1, but is {tokens}")
    sections = plan_sections(spec, plan, mesh)
    step = Step(spec=spec, plan=plan, mesh=mesh, sections=sections, tokens=tokens)
    shares = {layer: layer_share(layer, context, plan, mesh.tp) for layer in set(spec.layers)}
    head = head_share(spec, context, mesh.tp)
    held = Held(
        activations=activation_bytes(spec, shares, head, tokens),
        gathered=copies_bytes(spec, sections, plan, mesh),
        dispatch=dispatch_bytes(spec, plan, mesh, tokens),
        exchange=exchange_bytes(spec, plan, mesh, tokens),
    )
    touched = touched_shares(spec, context, tokens * mesh.memory)
    largest, smallest = (
        rank_memory(rank, sections, touched, table_optimizer, held)
        for rank in (0, mesh.world_size - 1)
    )
    collectives = step_collectives(step)
    time, untimed = None, ""
    if hardware is not None:
        work = [*step_work(spec, sections, shares, head, plan, tokens)]
        work.append(_update(sections, largest, table_optimizer))
        try:
            time = step_time(
                work,
                collectives,
                hardware,
                dtype=plan.precision.compute,
                tokens=tokens * mesh.data_parallel,
                useful_flops=training_flops(spec, context) * tokens / mesh.tp,
            )
        except ArchspecError as error:
            untimed = str(error)
    return BuildPlan(
        spec=spec,
        plan=plan,
        mesh=mesh,
        hardware=hardware,
        seq_len=context.seq_len,
        micro_tokens=tokens,
        table_optimizer=table_optimizer,
        sections=sections,
        num_params=total_numel(sections),
        largest=largest,
        smallest=smallest,
        collectives=collectives,
        time=time,
        untimed=untimed,
        warnings=tuple(dict.fromkeys(plan_warnings(spec, plan, mesh, sections, hardware))),
    )


def _update(sections: tuple[Section, ...], memory: RankMemory, table: TableOptimizer) -> PartWork:
    """Return the optimizer's work: gradients are read, weights and moments read and written."""
    plain = memory.gradients * 3 + memory.optimizer * 2
    share = 1.0
    if table != "adamw" and memory.tables:
        dense = sum(one.local_numel(0) * 4 * count for one, count in counted(sections) if one.table)
        share = memory.table_gradients / dense
    rows = memory.table_gradients + share * 2 * (memory.tables + memory.table_optimizer)
    return PartWork(name="update", work=Work(state_bytes=plain + rows))


def capacity_fault(found: BuildPlan) -> PlanFault:
    """Say by how much a plan does not fit its device, what takes most, and what would help."""
    assert found.hardware is not None, "capacity is that of a device"
    roles = ", ".join(f"{name} {format_bytes(size)}" for name, size in found.largest.largest())
    return PlanFault(
        f"a rank must fit {found.hardware.name}, but the largest needs "
        f"{format_bytes(found.largest.total)} of {format_bytes(found.hardware.memory_bytes)}: "
        f"{roles}, with {found.mesh.describe()} and {found.micro_tokens} tokens; {_way_out(found)}",
        plan_path=("mesh",),
    )


_WAYS_OUT = {
    "activations": "use recompute: full, more tp, or fewer tokens",
    "gathered": "use more tp, or fold large tables (mesh.memory)",
    "tables": "spread tables over more ranks (mesh.memory)",
    "table_gradients": "spread tables over more ranks (mesh.memory), or use a row-wise optimizer",
    "table_optimizer": "spread tables over more ranks (mesh.memory), or use a row-wise optimizer",
    "exchange": "use fewer tokens or a smaller fold (mesh.memory)",
    "dispatch": "use fewer tokens",
}


def _way_out(found: BuildPlan) -> str:
    largest = max(found.largest.as_dict().items(), key=lambda role: role[1])[0]
    return _WAYS_OUT.get(largest, "use more ranks in dp_shard or tp")


def conventions(found: BuildPlan) -> Iterator[str]:
    """Say in a few lines under which assumptions the numbers stand."""
    plan, precision = found.plan, found.plan.precision
    yield (
        f"one step of one micro-batch: {found.micro_tokens:,} tokens a rank in sequences of "
        f"{found.seq_len}, recompute {plan.recompute}; AdamW with moments in {precision.params}, "
        f"tables with {found.table_optimizer}"
    )
    yield (
        "shapes, weights, gradients and moments are exact; activations, gathered copies and "
        "buffers are estimates without kernels' scratch space, fragmentation and the framework"
    )
    yield "bytes of collectives: what one rank sends; rings for gathers and sums"
    if found.time is not None:
        yield (
            "time: max(roofline of computing, FSDP's collectives) + all other collectives over "
            "their bandwidth, without latency; a lower estimate"
        )
