"""The bytes of one rank in training, by role.

Shards of parameters, gradients and moments are exact. Activations and buffers are estimates:
without gradients of activations, scratch space of kernels and fragmentation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Literal, get_args

from archspec.blocks.base import CostContext
from archspec.compiler.plan.lookups import Lookup, experts, lookups
from archspec.compiler.plan.mesh import Mesh
from archspec.compiler.plan.parameters import PlannedParameter
from archspec.compiler.plan.sections import FRAME, Section, counted
from archspec.cost.tables import Table, model_tables
from archspec.quantities import DTYPE_BYTES
from archspec.spec.model import LayerSpec, ModelSpec
from archspec.spec.plan import PlanSpec, Precision

TableOptimizer = Literal["adamw", "row_adam", "row_adagrad"]
PICK_BYTES = 8  # a slot in int32 and its weight in fp32
TABLE_OPTIMIZERS: tuple[TableOptimizer, ...] = get_args(TableOptimizer)


@dataclass(frozen=True, slots=True, kw_only=True)
class RankMemory:
    """Bytes of one rank.

    Attributes:
        weights: Shards of parameters, tables apart.
        gradients: Theirs, of the same element type.
        optimizer: Two moments, of the same element type.
        tables: Pieces of tables.
        table_gradients: Theirs: dense, or of the rows that were read.
        table_optimizer: Two moments in fp32, or one number a row.
        activations: Kept for the backward pass.
        gathered: Copies that FSDP makes before use, and whole gradients of what it reduces.
        dispatch: Tokens on their way to experts and back.
        exchange: Look-ups of the fold's other ranks and sums on their way home.
    """

    weights: int
    gradients: int
    optimizer: int
    tables: int
    table_gradients: int
    table_optimizer: int
    activations: int
    gathered: int
    dispatch: int
    exchange: int

    @property
    def total(self) -> int:
        """All of them: an estimate of the peak."""
        return sum(self.as_dict().values())

    def as_dict(self) -> dict[str, int]:
        """Return bytes by role."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def largest(self, count: int = 3) -> list[tuple[str, int]]:
        """Return the roles that take most, largest first."""
        roles = sorted(self.as_dict().items(), key=lambda role: -role[1])
        return [(name.replace("_", " "), size) for name, size in roles[:count]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a plan holds beside its shards, equal on all ranks."""

    activations: int
    gathered: int
    dispatch: int
    exchange: int


def rank_memory(
    rank: int,
    sections: tuple[Section, ...],
    touched: Mapping[str, float],
    optimizer: TableOptimizer,
    held: Held,
) -> RankMemory:
    """Count the bytes of one rank.

    Args:
        rank: Its number; rank 0 has most of everything, the last rank least.
        sections: The model under the plan.
        touched: Share of its rows that a folded table's gradient holds, by ``table_key``.
        optimizer: Of the tables.
        held: What does not depend on the rank.
    """
    plain = [(one, count) for one, count in counted(sections) if not one.table]
    weights = sum(one.local_bytes(rank) * count for one, count in plain)
    trained = sum(one.local_bytes(rank) * count for one, count in plain if one.trains)
    tables = list(_tables(sections))
    rows = sum(one.local_bytes(rank) * count for _, one, count in tables)
    row_gradients = sum(
        round(_gradient_bytes(one, rank, touched.get(key, 1.0), optimizer)) * count
        for key, one, count in tables
    )
    return RankMemory(
        weights=weights,
        gradients=trained,
        optimizer=2 * trained,
        tables=rows,
        table_gradients=row_gradients,
        table_optimizer=sum(
            table_state_bytes(one, rank, optimizer) * count for _, one, count in tables
        ),
        activations=held.activations,
        gathered=held.gathered,
        dispatch=held.dispatch,
        exchange=held.exchange,
    )


def _tables(sections: tuple[Section, ...]) -> Iterator[tuple[str, PlannedParameter, int]]:
    for section in sections:
        for one in section.parameters:
            if one.table:
                yield table_key(section), one, section.count


def table_key(section: Section) -> str:
    """Name the tables of a section: a pool, or the private ones of a kind of layer."""
    return section.name if not section.layers else f"layer {section.layers[0]}"


def _gradient_bytes(
    one: PlannedParameter, rank: int, touched: float, optimizer: TableOptimizer
) -> float:
    """Return a dense gradient in the table's type, or that of the rows read, in fp32."""
    if optimizer == "adamw" or not one.folded:
        return one.local_bytes(rank)
    return touched * one.local_numel(rank) * 4


def table_state_bytes(one: PlannedParameter, rank: int, optimizer: TableOptimizer) -> int:
    """Return two moments in fp32 at least, or one number a row."""
    if optimizer == "row_adagrad":
        return one.local_shape(rank)[0] * 4
    return 2 * one.local_numel(rank) * max(4, DTYPE_BYTES[one.dtype])


def touched_shares(spec: ModelSpec, context: CostContext, tokens: int) -> dict[str, float]:
    """Expect the share of its rows that each table's readers meet, by ``table_key``.

    Args:
        spec: The model.
        context: Conventions.
        tokens: Tokens of all ranks that look up in one copy of the table.
    """

    def share(table: Table) -> float:
        return table.touched_rows(tokens) / table.slots

    names = {name: f"pools.{name}" for name in spec.pools}
    return {
        names.get(table.name, table.name.partition(",")[0]): share(table)
        for table in model_tables(spec, context)
    }


def copies_bytes(spec: ModelSpec, sections: tuple[Section, ...], plan: PlanSpec, mesh: Mesh) -> int:
    """Estimate FSDP's copies at their peak: the frame, two neighbouring layers, one's gradients.

    The frame stays gathered from the forward to the backward pass; the next layer arrives while one
    runs. A layer is gathered with the pools that it reads, where those are FSDP's. Whole gradients
    are there in the type of what was gathered and in that of their reduction.
    """
    precision = plan.precision
    if mesh.dp_shard == 1 and precision.compute == precision.params:
        return 0
    copies, gradients = {}, {}
    for section in sections:
        copies[_key(section)], gradients[_key(section)] = section_copies(section, precision)
    layers = [_with_pools(layer, copies) for layer in spec.layers]
    pairs = [sum(layers[index : index + 2]) for index in range(max(1, len(layers) - 1))]
    most = max((_with_pools(layer, gradients) for layer in spec.layers), default=0)
    return copies[FRAME] + max(pairs, default=0) + max(most, gradients[FRAME])


def section_copies(section: Section, precision: Precision) -> tuple[int, int]:
    """Return the bytes of a gathered section, and of it with its whole gradients."""
    copies = section.gathered_bytes(precision)
    reduced = sum(one.gathered_numel for one in section.parameters)
    return copies, copies + reduced * DTYPE_BYTES[precision.gradients]


def _key(section: Section) -> str | LayerSpec:
    return section.name if section.layer is None else section.layer


def _with_pools(layer: LayerSpec, found: Mapping[str | LayerSpec, int]) -> int:
    pools = {block.pool_name for block in layer.blocks} - {None}
    return found[layer] + sum(found[f"pools.{name}"] for name in pools)


def dispatch_bytes(spec: ModelSpec, plan: PlanSpec, mesh: Mesh, tokens: int) -> int:
    """Estimate the buffers of expert parallelism: a row sent and one received for each choice."""
    if mesh.ep == 1:
        return 0
    top_k = max((block.top_k for block in experts(spec)), default=0)
    return 2 * tokens * top_k * spec.d_model * DTYPE_BYTES[plan.precision.compute]


def exchange_bytes(spec: ModelSpec, plan: PlanSpec, mesh: Mesh, tokens: int) -> int:
    """Estimate the buffers of memory parallelism.

    Slots and weights of the fold's tokens, which the backward pass reads again: of all layers, or
    under recompute of one. Beside them, in the layer that needs most, this rank's sums for the
    fold's tokens, and the sums come home.
    """
    found = look_up_bytes(spec, plan, mesh, tokens)
    picks = [picks for picks, _ in found]
    held = sum(picks) if plan.recompute == "none" else max(picks, default=0)
    return held + max((sums for _, sums in found), default=0)


def look_up_bytes(
    spec: ModelSpec, plan: PlanSpec, mesh: Mesh, tokens: int
) -> list[tuple[int, int]]:
    """Return the bytes of picks and of sums of every look-up in a folded table."""
    return [
        (mesh.memory * tokens * look.picks * PICK_BYTES, _sums(look, plan, mesh, tokens))
        for look in lookups(spec, plan, mesh)
        if look.rows * look.columns > 1
    ]


def _sums(look: Lookup, plan: PlanSpec, mesh: Mesh, tokens: int) -> int:
    width = look.value_dim // mesh.tp
    sums = mesh.memory * tokens * -(-width // look.columns) + tokens * width
    return sums * DTYPE_BYTES[plan.precision.tables]
