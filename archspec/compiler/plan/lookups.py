"""The blocks of a model whose tokens travel: mixtures of experts, and look-ups in tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from archspec.blocks.base import BlockConfig
from archspec.blocks.memory.config import MemoryConfig, ProductKeyConfig
from archspec.blocks.moe.config import MoeConfig
from archspec.blocks.pool.config import PoolConfig
from archspec.compiler.plan.mesh import Mesh
from archspec.spec.model import ModelSpec
from archspec.spec.plan import PlanSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """One reader of a table under a plan.

    Attributes:
        picks: Slots that a token reads.
        value_dim: Width of the table's rows.
        rank1: Its slots are experts of one hidden unit.
        heads_cut: Tensor-parallel ranks look up different heads.
        rows: Pieces of the rows in the fold; 1 where the table is not folded.
        columns: Pieces of the columns, likewise.
    """

    picks: int
    value_dim: int
    rank1: bool
    heads_cut: bool
    rows: int
    columns: int


def lookups(spec: ModelSpec, plan: PlanSpec, mesh: Mesh) -> Iterator[Lookup]:
    """Yield every look-up of a model, layer by layer."""
    for layer in spec.layers:
        for block in layer.blocks:
            if isinstance(block, ProductKeyConfig):
                yield _lookup(block, table_of(block, spec), plan, mesh)


def _lookup(block: ProductKeyConfig, table: PoolConfig, plan: PlanSpec, mesh: Mesh) -> Lookup:
    held = plan.table_plan(block.pool_name)
    counts = held.counts(mesh.memory) if held.is_folded(mesh.memory) else None
    return Lookup(
        picks=block.num_heads * block.top_k,
        value_dim=table.value_dim,
        rank1=table.expert == "rank1",
        heads_cut=mesh.tp > 1 and block.num_heads % mesh.tp == 0,
        rows=1 if counts is None else counts.rows,
        columns=1 if counts is None else counts.columns,
    )


def table_of(block: BlockConfig, spec: ModelSpec) -> PoolConfig:
    """Return the table that a look-up reads: a pool of the model, or its own."""
    if isinstance(block, MemoryConfig):
        return block.table
    assert block.pool_name is not None, "a look-up reads a pool or a table of its own"
    return spec.pools[block.pool_name]


def experts(spec: ModelSpec) -> Iterator[MoeConfig]:
    """Yield every mixture of experts, layer by layer."""
    for layer in spec.layers:
        yield from (block for block in layer.blocks if isinstance(block, MoeConfig))
