"""What ranks send one another in a step of one micro-batch: kind, axis, count and bytes.

Bytes are those that one rank sends, as rings and direct exchanges of n ranks do: (n - 1) / n of the
whole for a gather, a scatter or an exchange, twice that for an all-reduce. Padding counts.

Left out: counts of tokens before they are dispatched, and what libraries add.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from archspec.blocks.layout import TP, AxisSizes, Layouts
from archspec.blocks.memory.config import ProductKeyConfig
from archspec.blocks.registry import sharding_of
from archspec.compiler.plan.lookups import Lookup, experts, lookups
from archspec.compiler.plan.memory import PICK_BYTES
from archspec.compiler.plan.mesh import (
    Axis,
    Mesh,
    columns_axis,
    ep_axis,
    memory_axis,
    replicate_axis,
    rows_axis,
    shard_axis,
    tp_axis,
    world_axis,
)
from archspec.compiler.plan.parameters import PlannedParameter
from archspec.compiler.plan.sections import FRAME, Section
from archspec.quantities import DTYPE_BYTES
from archspec.spec.model import LayerSpec, ModelSpec
from archspec.spec.plan import PlanSpec

Kind = Literal["all-gather", "reduce-scatter", "all-reduce", "all-to-all"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Collective:
    """Equal collectives of one step, together.

    Attributes:
        purpose: What they are for.
        kind: What they do.
        axis: The ranks that take part.
        count: How many a step has.
        sent_bytes: What one rank sends in all of them.
        overlaps: They run beside computing that does not wait for them.
    """

    purpose: str
    kind: Kind
    axis: Axis
    count: int
    sent_bytes: int
    overlaps: bool = False


def ring_bytes(kind: Kind, whole: float, ranks: int) -> int:
    """Return what one of ``ranks`` ranks sends of ``whole`` bytes."""
    return round(whole * (2 if kind == "all-reduce" else 1) * (ranks - 1) / ranks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step: a model under a plan on a mesh, and the tokens of one rank."""

    spec: ModelSpec
    plan: PlanSpec
    mesh: Mesh
    sections: tuple[Section, ...]
    tokens: int

    @property
    def again(self) -> int:
        """Forward passes that the backward pass repeats."""
        return 1 if self.plan.recompute == "full" else 0

    @property
    def element(self) -> int:
        """Bytes of an activation's element."""
        return DTYPE_BYTES[self.plan.precision.compute]


def step_collectives(step: Step) -> tuple[Collective, ...]:
    """Return the collectives of a step, those of one purpose and axis added up."""
    found: dict[tuple[str, Kind, Axis], Collective] = {}
    for one in _all(step):
        if one.axis.ranks == 1 or not one.count:
            continue
        key = (one.purpose, one.kind, one.axis)
        other = found.get(key)
        found[key] = one if other is None else _added(other, one)
    return tuple(found.values())


def _added(one: Collective, other: Collective) -> Collective:
    return Collective(
        purpose=one.purpose,
        kind=one.kind,
        axis=one.axis,
        count=one.count + other.count,
        sent_bytes=one.sent_bytes + other.sent_bytes,
        overlaps=one.overlaps,
    )


def _all(step: Step) -> Iterator[Collective]:
    for section in step.sections:
        yield from _sharded(section, step)
        yield from _table_gradients(section, step)
    yield from _tensor_parallel(step)
    yield from _expert_parallel(step)
    for look in lookups(step.spec, step.plan, step.mesh):
        yield from _picks_of_heads(look, step)
        yield from _memory_parallel(look, step)
    yield Collective(
        purpose="gradient norm",
        kind="all-reduce",
        axis=world_axis(step.mesh),
        count=1,
        sent_bytes=ring_bytes("all-reduce", 4, step.mesh.world_size),
    )


def _sharded(section: Section, step: Step) -> Iterator[Collective]:
    """Yield what FSDP gathers and reduces; a layer once for each pass, the frame once for both."""
    passes = 1 if section.name == FRAME else 2
    reads = _reads(section, step.spec)
    for axis, parameters in section.by_axis().items():
        if axis is not None:
            whole = _numel(parameters) * DTYPE_BYTES[step.plan.precision.compute]
            yield Collective(
                purpose="gather parameters",
                kind="all-gather",
                axis=axis,
                count=passes * section.count * reads,
                sent_bytes=ring_bytes("all-gather", whole, axis.ranks)
                * passes
                * section.count
                * reads,
                overlaps=True,
            )
        yield from _reduced(parameters, axis, section.count, step)


def _reads(section: Section, spec: ModelSpec) -> int:
    """Return how often a section is used in a pass: a pool once for each reader."""
    if not section.name.startswith("pools."):
        return 1
    name = section.name.removeprefix("pools.")
    return sum(block.pool_name == name for layer in spec.layers for block in layer.blocks)


def _numel(parameters: list[PlannedParameter]) -> int:
    return sum(one.gathered_numel for one in parameters)


def _reduced(
    parameters: list[PlannedParameter], axis: Axis | None, count: int, step: Step
) -> Iterator[Collective]:
    trained = [one for one in parameters if one.trains]
    whole = _numel(trained) * DTYPE_BYTES[step.plan.precision.gradients]
    if not trained:
        return
    if axis is not None:
        yield Collective(
            purpose="reduce gradients",
            kind="reduce-scatter",
            axis=axis,
            count=count,
            sent_bytes=ring_bytes("reduce-scatter", whole, axis.ranks) * count,
            overlaps=True,
        )
    replicas = replicate_axis(step.mesh)
    shard = whole / (1 if axis is None else axis.ranks)
    yield Collective(
        purpose="reduce gradients over copies",
        kind="all-reduce",
        axis=replicas,
        count=count,
        sent_bytes=ring_bytes("all-reduce", shard, replicas.ranks) * count,
        overlaps=True,
    )


def _table_gradients(section: Section, step: Step) -> Iterator[Collective]:
    """Yield the sums of folded tables' dense gradients over the ranks that hold the same piece."""
    for one in section.parameters:
        if not one.folded:
            continue
        outer = shard_axis(step.mesh, step.mesh.memory)
        axis = Axis("copies of a piece", outer.ranks * step.mesh.dp_replicate, outer.stride)
        yield Collective(
            purpose="reduce table gradients",
            kind="all-reduce",
            axis=axis,
            count=section.count,
            sent_bytes=ring_bytes("all-reduce", one.local_bytes(0), axis.ranks) * section.count,
            overlaps=True,
        )


def _tensor_parallel(step: Step) -> Iterator[Collective]:
    """Yield the sums over tp: of each part's result, and of its input's gradient."""
    if step.mesh.tp == 1:
        return
    mesh, vector = step.mesh, step.spec.d_model * step.element
    axis = tp_axis(mesh)
    layers = ((one.layer, one.count) for one in step.sections if one.layer is not None)
    parts = sum(_parts(layer, step) * count for layer, count in layers)
    # The embedding's result and the head's input's gradient.
    count = parts * (2 + step.again) + 2
    yield Collective(
        purpose="add up parts of activations",
        kind="all-reduce",
        axis=axis,
        count=count,
        sent_bytes=ring_bytes("all-reduce", step.tokens * vector, axis.ranks) * count,
    )
    yield Collective(
        purpose="loss over the vocabulary",
        kind="all-reduce",
        axis=axis,
        count=3,  # the maximum, the sum of exponentials, the target's logit
        sent_bytes=3 * ring_bytes("all-reduce", step.tokens * 4, axis.ranks),
    )


def _parts(layer: LayerSpec, step: Step) -> int:
    """Count attention and blocks that tp cuts; a look-up's table always is."""
    sizes, scope = {TP: step.mesh.tp}, step.spec.scope
    found = int(_is_cut(layer.attention.layout(step.spec.d_model), sizes))
    for block in layer.blocks:
        layouts = sharding_of(block.type).layout(block, scope)
        found += isinstance(block, ProductKeyConfig) or _is_cut(layouts, sizes)
    return found


def _is_cut(layouts: Layouts, sizes: AxisSizes) -> bool:
    return any(one.cuts(sizes) for one in layouts.values())


def _picks_of_heads(look: Lookup, step: Step) -> Iterator[Collective]:
    """Yield what tp ranks tell one another of their heads' picks, for each sums its columns."""
    if not look.heads_cut:
        return
    axis, passes = tp_axis(step.mesh), 1 + step.again
    whole = step.tokens * look.picks * PICK_BYTES
    yield Collective(
        purpose="picks of all heads",
        kind="all-gather",
        axis=axis,
        count=passes,
        sent_bytes=passes * ring_bytes("all-gather", whole, axis.ranks),
    )
    yield Collective(
        purpose="gradients of all heads' weights",
        kind="reduce-scatter",
        axis=axis,
        count=1,
        sent_bytes=ring_bytes("reduce-scatter", step.tokens * look.picks * 4, axis.ranks),
    )


def _expert_parallel(step: Step) -> Iterator[Collective]:
    """Yield dispatch and combination of tokens, forward and backward, and the loads' sums."""
    axis = ep_axis(step.mesh)
    for config, layers in Counter(experts(step.spec)).items():
        rows = step.tokens * config.top_k * step.spec.d_model * step.element
        count = 2 * (2 + step.again) * layers
        yield Collective(
            purpose="tokens to experts and back",
            kind="all-to-all",
            axis=axis,
            count=count,
            sent_bytes=count * ring_bytes("all-to-all", rows, axis.ranks),
        )
        data = Axis("data parallel", step.mesh.data_parallel, step.mesh.tp)
        loads = config.num_experts * 8
        yield Collective(
            purpose="load of experts",
            kind="all-reduce",
            axis=data,
            count=layers,
            sent_bytes=layers * ring_bytes("all-reduce", loads, data.ranks),
        )


def _memory_parallel(look: Lookup, step: Step) -> Iterator[Collective]:
    """Yield a look-up's exchange over the fold; it does not depend on how many slots there are.

    Picks go to all ranks of the fold. Each sums its piece of the table for all their tokens. Sums
    are added over pieces of the rows and brought home over pieces of the columns; the gradient
    takes the same way back. Gradients of weights, partial on every rank, are added up at home.
    """
    ranks = look.rows * look.columns
    if ranks == 1:
        return
    mesh, tokens, passes = step.mesh, step.tokens, 1 + step.again
    fold = memory_axis(mesh)
    picks = ranks * tokens * look.picks
    width = -(-(look.value_dim // mesh.tp) // look.columns)
    element = DTYPE_BYTES[step.plan.precision.tables]

    def moved(purpose: str, kind: Kind, axis: Axis, whole: float, count: int) -> Collective:
        sent = count * ring_bytes(kind, whole, axis.ranks)
        return Collective(purpose=purpose, kind=kind, axis=axis, count=count, sent_bytes=sent)

    yield moved("picks to the fold", "all-gather", fold, picks * PICK_BYTES, passes)
    rows = rows_axis(mesh, look.rows, look.columns)
    sums = ranks * tokens * width * element
    yield moved("sums over pieces of rows", "reduce-scatter", rows, sums, passes)
    yield moved("gradients to pieces of rows", "all-gather", rows, sums, 1)
    columns = columns_axis(mesh, look.columns)
    home = look.columns * tokens * width * element
    yield moved("sums home, and their gradients back", "all-to-all", columns, home, passes + 1)
    yield moved("gradients of weights home", "reduce-scatter", fold, picks * 4, 1)
    if look.rank1:
        hidden = picks * 4
        yield moved("hidden units of rank-1 experts", "all-reduce", fold, hidden, passes + 1)


def memory_bytes_per_token(collectives: tuple[Collective, ...], tokens: int) -> float:
    """Return what one rank sends for look-ups in folded tables, for each of its tokens."""
    axes = ("memory", "memory_rows", "memory_columns")
    return sum(one.sent_bytes for one in collectives if one.axis.name in axes) / tokens
