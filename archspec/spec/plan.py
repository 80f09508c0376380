"""The plan document: how a model is laid over devices; never the sizes of its layers."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, PlainValidator, Tag, WithJsonSchema

from archspec.blocks.base import Fault
from archspec.schema import PositiveInt, Schema
from archspec.spec.hardware import is_path

AUTO = "auto"
Auto = Literal["auto"]
Recompute = Literal["none", "selective", "full"]
Dtype = Literal["float32", "bfloat16", "float16", "float64"]


def _size(value: Any) -> int | str:
    if value == AUTO:
        return AUTO
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"must be a whole number from 1 on or 'auto', but is {value!r}")
    return value


AutoSize = Annotated[
    int | Auto,
    PlainValidator(_size),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"const": AUTO}]}),
]


class MeshSizes(Schema):
    """Ranks along each axis; ranks are numbered with tp innermost, then dp_shard, dp_replicate.

    World size is dp_replicate x dp_shard x tp. ``ep`` and ``memory`` are folds of dp_shard: so many
    neighbouring data-parallel ranks share experts, or the rows of tables.
    """

    dp_replicate: Annotated[
        AutoSize,
        Field(description="Copies of the model, each in shards; auto: as the world size leaves."),
    ] = 1
    dp_shard: Annotated[
        AutoSize,
        Field(description="Ranks with tokens of their own that share one copy (FSDP)."),
    ] = "auto"
    tp: Annotated[
        PositiveInt,
        Field(description="Ranks that share the work on the same tokens (tensor parallel)."),
    ] = 1
    ep: Annotated[
        PositiveInt,
        Field(description="Data-parallel ranks that share the experts; divides dp_shard."),
    ] = 1
    memory: Annotated[
        PositiveInt,
        Field(description="Data-parallel ranks that share tables of values; divides dp_shard."),
    ] = 1


class Precision(Schema):
    """Element types; bf16 computing with fp32 parameters unless changed."""

    params: Annotated[
        Dtype,
        Field(description="Parameters as they are kept and updated, their gradients and moments."),
    ] = "float32"
    compute: Annotated[
        Dtype,
        Field(description="Parameters as they are gathered and multiplied, and activations."),
    ] = "bfloat16"
    gradients: Annotated[
        Dtype,
        Field(description="Gradients while they are summed over ranks."),
    ] = "float32"
    tables: Annotated[Dtype, Field(description="Rows of value tables as they are kept.")] = (
        "float32"
    )
    table_rounding: Annotated[
        Literal["nearest", "stochastic"],
        Field(
            description="How the update rounds rows; stochastic (bfloat16 only) keeps updates "
            "that are smaller than a rounding step."
        ),
    ] = "nearest"


class ShardCounts(Schema):
    """How many pieces rows and columns are cut into; their product is ``mesh.memory``."""

    rows: Annotated[PositiveInt, Field(description="Pieces of the rows (slots).")]
    columns: Annotated[PositiveInt, Field(description="Pieces of the columns, within a row.")]


def _shard_tag(value: Any) -> str:
    return "<counts>" if isinstance(value, (dict, ShardCounts)) else "<name>"


ShardField = Annotated[
    Annotated[Literal["columns", "rows"], Tag("<name>")] | Annotated[ShardCounts, Tag("<counts>")],
    Discriminator(_shard_tag),
]


class TablePlan(Schema):
    """How a table is held by the ranks of the fold ``memory``."""

    shard: Annotated[
        ShardField,
        Field(
            description="columns: each rank has a part of every row, all get the same work; rows: "
            "each has some rows whole; or counts of both."
        ),
    ] = "columns"
    unit: Annotated[
        Literal["auto", "folded", "fsdp"],
        Field(
            description="folded: in pieces that are never gathered, look-ups travel; fsdp: "
            "gathered before use like a layer; auto: folded where memory > 1."
        ),
    ] = "auto"

    def counts(self, memory: int) -> ShardCounts:
        """Return the pieces of a table that is folded over ``memory`` ranks."""
        if isinstance(self.shard, ShardCounts):
            return self.shard
        by_rows = self.shard == "rows"
        return ShardCounts(rows=memory if by_rows else 1, columns=1 if by_rows else memory)

    def is_folded(self, memory: int) -> bool:
        """Tell whether the table stays in pieces."""
        return self.unit == "folded" or (self.unit == "auto" and memory > 1)


class PlanSpec(Schema):
    """How a model is laid over devices: mesh, precision, recompute, tables."""

    archspec: Annotated[Literal[1], Field(description="Version of the language.")] = 1
    kind: Annotated[Literal["plan"], Field(description="The kind of document.")] = "plan"
    name: Annotated[str, Field(description="A name for people.")] = ""
    hardware: Annotated[
        str | None,
        Field(description="The device it is for: a bundled one by name, any other by path."),
    ] = None
    mesh: Annotated[MeshSizes, Field(description="Ranks along each axis.")] = MeshSizes()
    precision: Annotated[Precision, Field(description="Element types.")] = Precision()
    recompute: Annotated[
        Recompute,
        Field(description="What the backward pass does again instead of keeping it."),
    ] = "none"
    tables: Annotated[
        TablePlan,
        Field(description="Pools without an entry in pools, and private tables of memory blocks."),
    ] = TablePlan()
    pools: Annotated[
        dict[str, TablePlan],
        Field(description="Pools of the model that are held differently, by name."),
    ] = Field(default_factory=dict)
    compile: Annotated[bool, Field(description="Run layers through torch.compile.")] = False

    def table_plan(self, pool: str | None) -> TablePlan:
        """Return how a pool is held, or a private table, which has no name."""
        return self.pools.get(pool, self.tables) if pool is not None else self.tables

    def located(self, folder: pathlib.Path) -> PlanSpec:
        """Return the plan with the path of its device absolute, read from ``folder``."""
        if self.hardware is None or not is_path(self.hardware):
            return self
        return self.model_copy(update={"hardware": str((folder / self.hardware).absolute())})

    def check(self) -> Iterator[Fault]:
        """Yield every rule broken between the fields, whatever the model."""
        yield from _check_mesh(self.mesh)
        if self.precision.table_rounding == "stochastic" and self.precision.tables != "bfloat16":
            yield Fault(
                ("precision", "table_rounding"),
                "stochastic rounding is for bfloat16 tables, but tables="
                f"{self.precision.tables}; set tables: bfloat16 or table_rounding: nearest",
            )
        for path, table in self._table_plans().items():
            yield from _check_counts(path, table, self.mesh.memory)

    def _table_plans(self) -> Mapping[tuple[str, ...], TablePlan]:
        found: dict[tuple[str, ...], TablePlan] = {("tables",): self.tables}
        return found | {("pools", name): table for name, table in self.pools.items()}


def _check_mesh(mesh: MeshSizes) -> Iterator[Fault]:
    if mesh.dp_replicate == AUTO and mesh.dp_shard == AUTO:
        yield Fault(
            ("mesh",),
            "only one of dp_replicate and dp_shard may be auto, but both are; give dp_shard, whose "
            "default is auto",
        )
    if mesh.dp_shard == AUTO:
        return  # once the world size is known
    for name in ("ep", "memory"):
        yield from check_fold(name, getattr(mesh, name), int(mesh.dp_shard))


def check_fold(name: str, size: int, dp_shard: int) -> Iterator[Fault]:
    """Yield a fault unless a fold divides the ranks that it folds."""
    if dp_shard % size:
        yield Fault(
            ("mesh", name),
            f"{name} must divide dp_shard, whose ranks it folds, but {name}={size} and "
            f"dp_shard={dp_shard}; use a divisor of {dp_shard}",
        )


def _check_counts(path: tuple[str, ...], table: TablePlan, memory: int) -> Iterator[Fault]:
    shard = table.shard
    if not isinstance(shard, ShardCounts) or not table.is_folded(memory):
        return
    if shard.rows * shard.columns != memory:
        yield Fault(
            (*path, "shard"),
            f"rows x columns must be mesh.memory, but {shard.rows} x {shard.columns} = "
            f"{shard.rows * shard.columns} and memory={memory}; change one of them",
        )
