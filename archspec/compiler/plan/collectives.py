"""What ranks send one another in a step of one micro-batch: kind, axis, count and bytes.

Bytes are those that one rank sends, as rings and direct exchanges of n ranks do: (n - 1) / n of the
whole for a gather, a scatter or an exchange, twice that for an all-reduce. Padding counts.

Left out: what libraries add.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from archspec.blocks.layout import TP, AxisSizes, Layouts
from archspec.blocks.memory.config import ProductKeyConfig
from archspec.blocks.moe.config import MoeConfig
from archspec.blocks.registry import sharding_of
from archspec.compiler.plan.lookups import Lookup, experts, lookups
from archspec.compiler.plan.mesh import (
    Axis,
    Mesh,
    columns_axis,
    ep_axis,
    replicate_axis,
    rows_axis,
    shard_axis,
    tp_axis,
    world_axis,
)
from archspec.compiler.plan.parameters import PlannedParameter
from archspec.compiler.plan.sections import FRAME, Section, gathered_bytes
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
        """Forward passes whose collectives the backward pass repeats; no recompute keeps those."""
        return 0 if self.plan.recompute == "none" else 1

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
    yield _repeated("gradient norm", "all-reduce", world_axis(step.mesh), 8, 1)


def _sharded(section: Section, step: Step) -> Iterator[Collective]:
    """Yield what FSDP gathers and reduces; a layer once for each pass, the frame once for both."""
    precision = step.plan.precision
    uses = section.count * _reads(section, step.spec)
    gathers = uses * (1 if section.name == FRAME else 2)
    replicas = replicate_axis(step.mesh)
    for (axis, _), parameters in section.units().items():
        whole = sum(gathered_bytes(one, precision) for one in parameters)
        yield _repeated("gather parameters", "all-gather", axis, whole, gathers, overlaps=True)
        reduced = sum(one.gathered_numel for one in parameters) * DTYPE_BYTES[precision.gradients]
        yield _repeated("reduce gradients", "reduce-scatter", axis, reduced, uses, overlaps=True)
        yield _repeated(
            "reduce gradients over copies",
            "all-reduce",
            replicas,
            reduced / axis.ranks,
            uses,
            overlaps=True,
        )


def _repeated(
    purpose: str, kind: Kind, axis: Axis, whole: float, count: int, *, overlaps: bool = False
) -> Collective:
    """Return so many equal collectives of ``whole`` bytes."""
    return Collective(
        purpose=purpose,
        kind=kind,
        axis=axis,
        count=count,
        sent_bytes=count * ring_bytes(kind, whole, axis.ranks),
        overlaps=overlaps,
    )


def _reads(section: Section, spec: ModelSpec) -> int:
    """Return how often a section is used in a pass: a pool once for each reader."""
    if not section.name.startswith("pools."):
        return 1
    name = section.name.removeprefix("pools.")
    return sum(block.pool_name == name for layer in spec.layers for block in layer.blocks)


def _table_gradients(section: Section, step: Step) -> Iterator[Collective]:
    """Yield the sums of folded tables' dense gradients over the ranks that hold the same piece."""
    axes = (shard_axis(step.mesh, step.mesh.memory), replicate_axis(step.mesh))
    for one in section.parameters:
        if one.folded:
            for axis in axes:
                yield _repeated(
                    "reduce table gradients",
                    "all-reduce",
                    axis,
                    one.local_bytes(0),
                    section.count,
                    overlaps=True,
                )


def _tensor_parallel(step: Step) -> Iterator[Collective]:
    """Yield the sums over tp: of each part's result, and of its input's gradient."""
    if step.mesh.tp == 1:
        return
    axis, element = tp_axis(step.mesh), step.element
    vectors = step.tokens * step.spec.d_model * element
    twice = 2 + step.again
    for section in step.sections:
        if section.layer is not None:
            count = twice * section.count * _parts(section.layer, step)
            yield _repeated("sums of parts", "all-reduce", axis, vectors, count)
        for one in _partial_replicas(section, step):
            whole = one.used_numel * element
            yield _repeated("gradients of replicas", "all-reduce", axis, whole, section.count)
    for config, layers in Counter(experts(step.spec)).items():
        whole = step.tokens * config.top_k * element
        yield _repeated("gradients of experts' weights", "all-reduce", axis, whole, layers)
    # The embedding's result and the head's input's gradient.
    yield _repeated("sums of parts", "all-reduce", axis, vectors, 2)
    # The maximum, the sum of exponentials, the target's logit.
    yield _repeated("loss over the vocabulary", "all-reduce", axis, step.tokens * 4, 3)


def _partial_replicas(section: Section, step: Step) -> Iterator[PlannedParameter]:
    """Yield parameters that tp ranks hold alike and use on their part of the work.

    Norms of queries and keys, projections to latents, queries and codebooks of heads that tp does
    not divide. Not the bias of a projection that ends the work: it is added to the sum.
    """
    if section.layer is None:
        return
    shared = ["attention."]
    for index, block in enumerate(section.layer.blocks):
        if isinstance(block, ProductKeyConfig):
            shared.append(f"blocks.{index}.")
    for one in section.parameters:
        is_cut = any(cut.axis == tp_axis(step.mesh) for cut in one.cuts)
        ends = one.name.endswith("output.bias")
        if one.name.startswith(tuple(shared)) and not (is_cut or ends):
            yield one


def _parts(layer: LayerSpec, step: Step) -> int:
    """Count attention and blocks that tp cuts, shared experts apart from routed ones.

    A look-up's table is always cut; where it has no output projection, its columns are gathered
    instead, which is counted as if they were summed.
    """
    sizes, scope = {TP: step.mesh.tp}, step.spec.scope
    found = int(_is_cut(layer.attention.layout(step.spec.d_model), sizes))
    for block in layer.blocks:
        layouts = sharding_of(block.type).layout(block, scope)
        found += isinstance(block, ProductKeyConfig) or _is_cut(layouts, sizes)
        found += isinstance(block, MoeConfig) and block.shared_width > 0
    return found


def _is_cut(layouts: Layouts, sizes: AxisSizes) -> bool:
    return any(one.cuts(sizes) for one in layouts.values())


def _picks_of_heads(look: Lookup, step: Step) -> Iterator[Collective]:
    """Yield what tp ranks tell one another of their heads' picks, for each sums its columns."""
    if not look.heads_cut:
        return
    axis, passes, each = tp_axis(step.mesh), 1 + step.again, step.tokens * look.picks * 4
    yield _repeated("picks of all heads", "all-gather", axis, each, 2 * passes)
    yield _repeated("gradients of all heads' scores", "reduce-scatter", axis, each, 1)


def _expert_parallel(step: Step) -> Iterator[Collective]:
    """Yield dispatch and combination of tokens, forward and backward, and the loads' sums."""
    axis = ep_axis(step.mesh)
    data = Axis("data parallel", step.mesh.data_parallel, step.mesh.tp)
    for config, layers in Counter(experts(step.spec)).items():
        rows = step.tokens * config.top_k * step.spec.d_model * step.element
        count = 2 * (2 + step.again) * layers
        yield _repeated("tokens to experts and back", "all-to-all", axis, rows, count)
        told = (1 + step.again) * layers
        yield _repeated(
            "rows that each expert gets", "all-to-all", axis, 8 * config.num_experts, told
        )
        yield _repeated("load of experts", "all-reduce", data, config.num_experts * 8, layers)


def _memory_parallel(look: Lookup, step: Step) -> Iterator[Collective]:
    """Yield a look-up's exchange over the fold; it does not depend on how many slots there are.

    Picks go to all ranks of the fold, columns first. Each sums its piece of the table for all their
    tokens. Sums are added over pieces of the rows and brought home over pieces of the columns; the
    gradient takes the same way back. Gradients of weights, partial on every rank, are added up at
    home. For rank-1 experts, slots and tokens go the same way first, and hidden units come home.
    """
    if look.rows * look.columns == 1:
        return
    passes, both = 1 + step.again, 2 + step.again
    over, along = _fold_axes(look, step.mesh)
    each = step.tokens * look.picks * 4  # slots, weights or hidden units of one rank's tokens
    lists = 3 if look.rank1 else 2  # rank-1 experts ask for their slots twice
    for axis, ranks in ((along, look.columns), (over, look.rows * look.columns)):
        yield _repeated("picks to the fold", "all-gather", axis, ranks * each, lists * passes)
        yield _repeated("gradients of weights home", "reduce-scatter", axis, ranks * each, 1)
        if look.rank1:
            yield _repeated(_HIDDEN, "reduce-scatter", axis, ranks * each, passes)
            yield _repeated(_HIDDEN, "all-gather", axis, ranks * each, 1)
    sums = _width(look.value_dim, look, step.mesh) * step.tokens * look.columns
    sums *= DTYPE_BYTES[step.plan.precision.tables]
    yield _repeated("sums over pieces of rows", "reduce-scatter", over, look.rows * sums, passes)
    yield _repeated("gradients to pieces of rows", "all-gather", over, look.rows * sums, 1)
    yield _repeated("sums home and gradients back", "all-to-all", along, sums, both)
    if look.rank1:
        sent = _width(step.spec.d_model, look, step.mesh) * step.tokens * look.columns
        sent *= DTYPE_BYTES[step.plan.precision.tables]
        yield _repeated("tokens to pieces of columns", "all-to-all", along, sent, both)
        yield _repeated("tokens to pieces of rows", "all-gather", over, look.rows * sent, passes)
        yield _repeated("gradients of tokens", "reduce-scatter", over, look.rows * sent, 1)


_HIDDEN = "hidden units of rank-1 experts"


def _fold_axes(look: Lookup, mesh: Mesh) -> tuple[Axis, Axis]:
    """Return the axes over pieces of the rows and along those of the columns."""
    return rows_axis(mesh, look.rows, look.columns), columns_axis(mesh, look.columns)


def _width(width: int, look: Lookup, mesh: Mesh) -> int:
    """Return the columns of the largest piece."""
    return -(-(width // mesh.tp) // look.columns)


def memory_bytes_per_token(collectives: tuple[Collective, ...], tokens: int) -> float:
    """Return what one rank sends for look-ups in folded tables, for each of its tokens."""
    axes = ("memory_rows", "memory_columns")
    return sum(one.sent_bytes for one in collectives if one.axis.name in axes) / tokens
