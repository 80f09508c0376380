"""Budgets: what every trained design must keep to."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from archspec.schema import Schema
from archspec.spec.search.limits import BytesLimit, CountLimit


class CountBudget(Schema):
    """Bounds of a count; a factor such as 1.05x is relative to the base model."""

    max: Annotated[CountLimit | None, Field(description="Most that a design may cost.")] = None
    min: Annotated[CountLimit | None, Field(description="Least that a design must cost.")] = None


class BytesBudget(Schema):
    """Bounds of a number of bytes, with units such as 2GiB; 1.05x is relative to the base model."""

    max: Annotated[BytesLimit | None, Field(description="Most that a design may cost.")] = None
    min: Annotated[BytesLimit | None, Field(description="Least that a design must cost.")] = None


class Budgets(Schema):
    """What every trained design must keep to; all are known exactly before training."""

    flops_per_token: Annotated[
        CountBudget | None,
        Field(description="Forward FLOPs per token at the base's max_seq_len, causal half."),
    ] = None
    num_params: Annotated[CountBudget | None, Field(description="Stored parameters.")] = None
    num_active_params: Annotated[
        CountBudget | None,
        Field(description="Parameters one token uses."),
    ] = None
    table_bytes_per_token: Annotated[
        BytesBudget | None,
        Field(description="Bytes gathered from tables per token."),
    ] = None
    device_bytes: Annotated[
        BytesBudget | None,
        Field(description="Weights, gradients, optimizer state and activations on one device."),
    ] = None

    def given(self) -> dict[str, CountBudget | BytesBudget]:
        """Return the budgets that are set, by quantity."""
        found = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: budget for name, budget in found.items() if budget is not None}
