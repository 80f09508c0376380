"""Bytes on one device while training: weights, gradients, optimizer state, activations.

This is the arithmetic for a single device without sharding; plans will divide each term by the mesh
axis that shards it.
"""

from __future__ import annotations

from dataclasses import dataclass

from archspec.quantities import Cost


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingBytes:
    """Bytes per parameter by role. Adam keeps two moments; defaults are all fp32.

    Attributes:
        weight: Bytes of one weight.
        gradient: Bytes of its gradient, dense for tables too.
        optimizer: Bytes of its optimizer state.
        table_optimizer: The same for a parameter of a value table.
    """

    weight: int = 4
    gradient: int = 4
    optimizer: int = 8
    table_optimizer: int = 8


FULL_PRECISION = TrainingBytes()


def device_bytes(cost: Cost, *, micro_tokens: int, training: TrainingBytes = FULL_PRECISION) -> int:
    """Return the bytes one device holds at the end of a forward pass; linear in ``cost``.

    Args:
        cost: Price of a model or of any part of it, its activation bytes in the training dtype.
        micro_tokens: Tokens of one forward pass.
        training: Bytes per parameter.
    """
    tables = cost.num_table_params
    others = cost.num_params - tables
    everywhere = training.weight + training.gradient
    return (
        others * (everywhere + training.optimizer)
        + tables * (everywhere + training.table_optimizer)
        + micro_tokens * cost.activation_bytes_per_token
    )
