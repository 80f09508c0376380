"""Training on one device: bytes by role, FLOPs, and the work of a step.

Nothing is sharded here; a plan divides each role by the axis that shards it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

from archspec.blocks.base import CostContext
from archspec.cost.activations import activation_memory
from archspec.cost.summary import layer_cost, per_layer, total_cost
from archspec.cost.tables import Table, model_tables
from archspec.cost.work import (
    PartWork,
    Work,
    layer_forward,
    layer_parts,
    layer_weights,
    parts_forward,
)
from archspec.spec.model import LayerSpec, ModelSpec
from archspec.spec.plan import Recompute


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleBytes:
    """How the parameters of one role are held in training.

    Attributes:
        weight: Bytes of a weight as the forward pass reads it.
        master: Bytes of its copy in higher precision, 0 if there is none.
        gradient: Bytes of its gradient.
        optimizer: Bytes of optimizer state of each element.
        optimizer_per_row: Bytes of optimizer state of each row, for tables.
        touched_rows: Hold gradients of, and update, only the rows that the batch read.
    """

    weight: int = 2
    master: int = 4
    gradient: int = 4
    optimizer: int = 8
    optimizer_per_row: int = 0
    touched_rows: bool = False


ADAMW = RoleBytes()
OPTIMIZERS: Mapping[str, RoleBytes] = {
    "adamw": ADAMW,  # bf16 weights, fp32 masters, gradients and two moments: 18 bytes
    "adamw_fp32": RoleBytes(weight=4, master=0),
    "row_adam": RoleBytes(master=0, touched_rows=True),  # bf16 rows, stochastically rounded
    "row_adagrad": RoleBytes(master=0, optimizer=0, optimizer_per_row=4, touched_rows=True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingMemory:
    """Bytes on one device, by role; an estimate of the peak is their sum.

    Left out: gradients of activations, scratch space of kernels, fragmentation, the framework.
    """

    weights: float
    masters: float
    gradients: float
    optimizer: float
    table_weights: float
    table_masters: float
    table_gradients: float
    table_optimizer: float
    activations: float

    @property
    def total(self) -> float:
        """All roles together."""
        return sum(self.as_dict().values())

    def as_dict(self) -> dict[str, float]:
        """Return bytes by role."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def training_memory(
    spec: ModelSpec,
    context: CostContext,
    *,
    tokens: int,
    recompute: Recompute = "none",
    weights: RoleBytes = ADAMW,
    tables: RoleBytes = ADAMW,
) -> TrainingMemory:
    """Count the bytes of training on one device.

    Args:
        spec: The model.
        context: Conventions, from ``cost_context``.
        tokens: Tokens of one micro-batch.
        recompute: What is done again in the backward pass.
        weights: How everything but tables is held.
        tables: How value tables are held; their optimizer is usually their own.
    """
    found = model_tables(spec, context)
    in_tables = sum(table.num_params for table in found)
    others = total_cost(spec, context).num_params - in_tables
    return TrainingMemory(
        weights=others * weights.weight,
        masters=others * weights.master,
        gradients=others * weights.gradient,
        optimizer=others * weights.optimizer,
        table_weights=in_tables * tables.weight,
        table_masters=in_tables * tables.master,
        table_gradients=sum(_updated(table, tables, tokens) for table in found) * tables.gradient,
        table_optimizer=in_tables * tables.optimizer
        + sum(table.slots for table in found) * tables.optimizer_per_row,
        activations=tokens * activation_memory(spec, context, recompute).peak,
    )


def _updated(table: Table, role: RoleBytes, tokens: float) -> float:
    """Count the elements of a table that have a gradient."""
    if role.touched_rows:
        return table.touched_rows(tokens) * table.row_dim
    return table.num_params


def training_flops(spec: ModelSpec, context: CostContext, recompute: Recompute = "none") -> int:
    """Count the FLOPs of one token's forward and backward pass.

    Three times forward: the backward of each multiply-accumulate is two. Full recompute runs the
    layers, not the head, once more. Left out: the optimizer, and what flash attention recomputes of
    its scores. Total training compute is this times the tokens of the run.
    """
    flops = 3 * sum(part.work.flops for part in parts_forward(spec, context, 1, weight_bytes=0))
    passes = 4 if recompute == "full" else 3
    layers = sum(per_layer(spec, lambda layer: layer_cost(layer, context).flops_per_token))
    return round(flops) + passes * layers


def training_work(
    spec: ModelSpec,
    context: CostContext,
    *,
    tokens: int,
    micro_batches: int = 1,
    recompute: Recompute = "none",
    weights: RoleBytes = ADAMW,
    tables: RoleBytes = ADAMW,
) -> tuple[PartWork, ...]:
    """Estimate what one optimizer step does, part by part; the update is a part of its own.

    The backward pass reads weights, table rows and kept vectors once more, and writes and reads one
    gradient for each vector; a weight's gradient is written once in each micro-batch.

    Args:
        spec: The model.
        context: Conventions, from ``cost_context``.
        tokens: Tokens of one micro-batch.
        micro_batches: Passes before each update.
        recompute: What is done again in the backward pass.
        weights: How everything but tables is held.
        tables: How value tables are held.
    """
    layers = layer_parts(
        spec,
        lambda layer: _layer_pass(layer, context, tokens, recompute, weights) * micro_batches,
    )
    found = model_tables(spec, context)
    parts = tuple(_parts_pass(spec, context, tokens, micro_batches, weights))
    update = _update(spec, context, found, tokens * micro_batches, weights, tables)
    scattered = sum(_updated(table, tables, tokens) for table in found) * tables.gradient
    update += Work(table_bytes=scattered * micro_batches)
    first, *rest = parts
    return (first, *layers, *rest, PartWork(name="update", work=update))


def _layer_pass(
    layer: LayerSpec, context: CostContext, tokens: int, recompute: Recompute, role: RoleBytes
) -> Work:
    forward = layer_forward(layer, context, tokens, weight_bytes=role.weight)
    again = 1 if recompute == "full" else 0
    gradients = layer_weights(layer, context, tokens) * role.gradient
    return Work(
        flops=(3 + again) * forward.flops,
        weight_bytes=(2 + again) * forward.weight_bytes + gradients,
        table_bytes=(2 + again) * forward.table_bytes,
        activation_bytes=(2.5 + again) * forward.activation_bytes,
    )


def _parts_pass(
    spec: ModelSpec, context: CostContext, tokens: int, micro_batches: int, role: RoleBytes
) -> Iterator[PartWork]:
    matrix = spec.vocab_size * spec.d_model * role.gradient
    gradients = {"embedding": matrix, "norm": spec.d_model * role.gradient, "head": matrix}
    for part in parts_forward(spec, context, tokens, weight_bytes=role.weight):
        work = Work(
            flops=3 * part.work.flops,
            weight_bytes=2 * part.work.weight_bytes + gradients[part.name],
            activation_bytes=2.5 * part.work.activation_bytes,
        )
        yield PartWork(name=part.name, work=work * micro_batches)


def _update(
    spec: ModelSpec,
    context: CostContext,
    found: tuple[Table, ...],
    tokens: float,
    weights: RoleBytes,
    tables: RoleBytes,
) -> Work:
    """Estimate the optimizer's step: it reads gradients, reads and writes the rest."""
    stored = total_cost(spec, context).num_params
    others = stored - sum(table.num_params for table in found)
    state = others * _update_bytes(weights)
    for table in found:
        updated = _updated(table, tables, tokens)
        state += updated * _update_bytes(tables)
        state += updated / table.row_dim * 2 * tables.optimizer_per_row
    return Work(state_bytes=state)


def _update_bytes(role: RoleBytes) -> float:
    """Return the bytes that the update of one element moves.

    With a master the weight is only written.
    """
    kept = 2 * role.master + role.weight if role.master else 2 * role.weight
    return role.gradient + kept + 2 * role.optimizer
