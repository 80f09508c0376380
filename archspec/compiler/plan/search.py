"""The fastest mesh for a world size and a device: all are tried by arithmetic, none is built.

Meshes see different numbers of tokens in a step of one micro-batch a rank, because tp ranks share
theirs. So they are ranked by the time per token, which is the step time at equal batches.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from archspec.blocks.memory.config import ProductKeyConfig
from archspec.compiler.plan.faults import PlanError, PlanFault
from archspec.compiler.plan.lookups import experts
from archspec.compiler.plan.make import BuildPlan, capacity_fault, make_plan
from archspec.compiler.plan.memory import RankMemory, TableOptimizer
from archspec.compiler.plan.mesh import Mesh
from archspec.compiler.plan.timing import StepTime
from archspec.errors import ArchspecError, format_path
from archspec.spec.hardware import HardwareSpec
from archspec.spec.model import ModelSpec
from archspec.spec.plan import MeshSizes, PlanSpec, Recompute


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One mesh that works, with the least recompute under which it fits."""

    mesh: Mesh
    recompute: Recompute
    time: StepTime
    memory: RankMemory

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values, for JSON."""
        return {
            "mesh": self.mesh.sizes(),
            "recompute": self.recompute,
            "seconds": self.time.seconds,
            "tokens": self.time.tokens,
            "tokens_per_second": self.time.tokens_per_second,
            "mfu": self.time.mfu,
            "largest_rank": {**self.memory.as_dict(), "total": self.memory.total},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """Why meshes were dropped, how many of them, and what was said of the first."""

    reason: str
    count: int
    example: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshSearch:
    """Every mesh of a world size: those that work, fastest first, and why others do not."""

    candidates: tuple[Candidate, ...]
    rejections: tuple[Rejection, ...]

    @property
    def tried(self) -> int:
        """How many meshes there were."""
        return len(self.candidates) + sum(one.count for one in self.rejections)


def search_meshes(
    spec: ModelSpec,
    base: PlanSpec,
    *,
    world_size: int,
    hardware: HardwareSpec,
    seq_len: int | None = None,
    micro_tokens: int | None = None,
    table_optimizer: TableOptimizer = "adamw",
) -> MeshSearch:
    """Try every mesh of ``world_size`` ranks.

    Args:
        spec: The model.
        base: Everything but mesh and recompute.
        world_size: All ranks.
        hardware: The device.
        seq_len: Tokens of a sequence; default ``max_seq_len``.
        micro_tokens: Tokens of one rank in one forward pass; default one sequence.
        table_optimizer: How tables are updated.

    Raises:
        ArchspecError: The device's document lacks what times need.
        ValueError: If a length or the world size is out of range.
    """
    if world_size < 1:
        raise ValueError(f"world_size must be at least 1, but is {world_size}")

    def lay_out(mesh: Mesh, recompute: Recompute) -> BuildPlan:
        return make_plan(
            spec,
            with_mesh(base, mesh, recompute),
            world_size=world_size,
            hardware=hardware,
            seq_len=seq_len,
            micro_tokens=micro_tokens,
            table_optimizer=table_optimizer,
            allow_oversize=True,
        )

    candidates: list[Candidate] = []
    rejected: dict[str, list[str]] = {}
    for mesh in all_meshes(spec, world_size, hardware):
        try:
            found = lay_out(mesh, "none")
            if not found.fits:
                found = lay_out(mesh, "full")
                if found.fits:
                    lighter = lay_out(mesh, "selective")
                    found = lighter if lighter.fits else found
        except PlanError as error:
            reason, example = _reason(error.faults[0]), f"{mesh.describe()}: {error.faults[0]}"
            rejected.setdefault(reason, []).append(example)
            continue
        if found.fits:
            candidates.append(_candidate(found))
        else:
            rejected.setdefault(_too_large(found), []).append(str(capacity_fault(found)))
    candidates.sort(key=lambda one: (-one.time.tokens_per_second, one.memory.total))
    rejections = (
        Rejection(reason=reason, count=len(examples), example=examples[0])
        for reason, examples in sorted(rejected.items(), key=lambda item: -len(item[1]))
    )
    return MeshSearch(candidates=tuple(candidates), rejections=tuple(rejections))


def with_mesh(base: PlanSpec, mesh: Mesh, recompute: Recompute) -> PlanSpec:
    """Return a plan with another mesh."""
    return base.model_copy(update={"mesh": MeshSizes(**mesh.sizes()), "recompute": recompute})


def all_meshes(spec: ModelSpec, world_size: int, hardware: HardwareSpec) -> Iterator[Mesh]:
    """Yield every mesh; folds only where the model has something to fold, tp within a node."""
    has_experts = any(experts(spec))
    has_tables = any(
        isinstance(block, ProductKeyConfig) for layer in spec.layers for block in layer.blocks
    )
    within = hardware.node_devices or world_size
    for tp in divisors(world_size):
        if tp > within:
            break
        for dp_shard in divisors(world_size // tp):
            folds = divisors(dp_shard)
            for ep in folds if has_experts else [1]:
                for memory in folds if has_tables else [1]:
                    yield Mesh(
                        dp_replicate=world_size // tp // dp_shard,
                        dp_shard=dp_shard,
                        tp=tp,
                        ep=ep,
                        memory=memory,
                    )


def divisors(number: int) -> list[int]:
    """Return every divisor, ascending.

    >>> divisors(12)
    [1, 2, 3, 4, 6, 12]
    """
    small = [one for one in range(1, int(number**0.5) + 1) if number % one == 0]
    return sorted({*small, *(number // one for one in small)})


def _candidate(found: BuildPlan) -> Candidate:
    if found.time is None:
        raise ArchspecError(found.untimed)
    return Candidate(
        mesh=found.mesh, recompute=found.plan.recompute, time=found.time, memory=found.largest
    )


def _reason(fault: PlanFault) -> str:
    """Name a broken rule by its places, whatever the numbers."""
    axis, place = format_path(fault.plan_path), format_path(fault.spec_path)
    return f"{axis} does not suit {place}" if place else fault.message


def _too_large(found: BuildPlan) -> str:
    (role, _), *_ = found.largest.largest(1)
    return f"does not fit, even with full recompute; most are {role}"
