"""Budgets: what every trained design must keep to."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainValidator, WithJsonSchema

from archspec.schema import PositiveInt, Schema
from archspec.spec.search.limits import (
    LIMIT_SCHEMA,
    BytesLimit,
    CountLimit,
    FlopsLimit,
    Limit,
    TimeLimit,
)
from archspec.units import COUNT_UNITS, parse_amount


class _Budget(Schema):
    """Bounds of a quantity, as a map or as a range ``[MIN, MAX]``."""

    @property
    def sides(self) -> dict[str, Limit]:
        """The bounds that are given, ``max`` first."""
        found = {side: getattr(self, side) for side in ("max", "min")}
        return {side: limit for side, limit in found.items() if limit is not None}


class CountBudget(_Budget):
    """Bounds of a count; a factor such as 1.05x is relative to the base model."""

    max: Annotated[CountLimit | None, Field(description="Most that a design may cost.")] = None
    min: Annotated[CountLimit | None, Field(description="Least that a design must cost.")] = None


class BytesBudget(_Budget):
    """Bounds of a number of bytes, with units such as 2GiB; 1.05x is relative to the base model."""

    max: Annotated[BytesLimit | None, Field(description="Most that a design may cost.")] = None
    min: Annotated[BytesLimit | None, Field(description="Least that a design must cost.")] = None


class FlopsBudget(_Budget):
    """Bounds of the FLOPs of a run, with units up to 1e24 (Y); 1.05x is relative to the base."""

    max: Annotated[FlopsLimit | None, Field(description="Most that a design may cost.")] = None
    min: Annotated[FlopsLimit | None, Field(description="Least that a design must cost.")] = None


class TimeBudget(_Budget):
    """Bounds of a time, with a unit such as 12ms; 1.05x is relative to the base model."""

    max: Annotated[TimeLimit | None, Field(description="Most that a design may take.")] = None
    min: Annotated[TimeLimit | None, Field(description="Least that a design must take.")] = None


def _from_range(value: Any) -> Any:
    """Read ``[MIN, MAX]``."""
    if not isinstance(value, list):
        return value
    if len(value) != 2:
        raise ValueError(f"a range is [MIN, MAX], two limits, but has {len(value)}")
    return {"min": value[0], "max": value[1]}


_RANGE_SCHEMA = {"type": "array", "items": LIMIT_SCHEMA, "minItems": 2, "maxItems": 2}
_InJson = Annotated[list[Any], WithJsonSchema(_RANGE_SCHEMA)]


def _ranged(budget: type[_Budget]) -> BeforeValidator:
    """Let a budget be written as a range too."""
    return BeforeValidator(_from_range, json_schema_input_type=budget | _InJson | None)


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError(
            f"must be a whole number, or one with a unit such as 20B, but is {value!r}"
        )
    number = parse_amount(value, COUNT_UNITS)
    if number < 1:
        raise ValueError(f"must be at least 1, but is {value}")
    return number


TokenCount = Annotated[int, PlainValidator(_count), WithJsonSchema(LIMIT_SCHEMA)]


class Budgets(Schema):
    """What every trained design must keep to; all are known before training.

    Under a plan, ``device_bytes`` are those of its largest rank and ``step_time`` is its step's;
    without one, both are of one device that trains in fp32. Times are lower estimates.
    """

    flops_per_token: Annotated[
        CountBudget | None,
        _ranged(CountBudget),
        Field(description="Forward FLOPs per token at the base's max_seq_len, causal half."),
    ] = None
    num_params: Annotated[
        CountBudget | None, _ranged(CountBudget), Field(description="Stored parameters.")
    ] = None
    num_active_params: Annotated[
        CountBudget | None, _ranged(CountBudget), Field(description="Parameters one token uses.")
    ] = None
    table_bytes_per_token: Annotated[
        BytesBudget | None,
        _ranged(BytesBudget),
        Field(description="Bytes gathered from tables per token, bf16."),
    ] = None
    kv_bytes_per_token: Annotated[
        BytesBudget | None,
        _ranged(BytesBudget),
        Field(description="Bytes added to the cache per token, bf16."),
    ] = None
    device_bytes: Annotated[
        BytesBudget | None,
        _ranged(BytesBudget),
        Field(description="Weights, gradients, optimizer state and activations on one device."),
    ] = None
    train_flops: Annotated[
        FlopsBudget | None,
        _ranged(FlopsBudget),
        Field(description="FLOPs of the whole run, recompute included; the run has `tokens`."),
    ] = None
    step_time: Annotated[
        TimeBudget | None,
        _ranged(TimeBudget),
        Field(description="Time of one training step of one micro-batch on the hardware."),
    ] = None
    decode_time: Annotated[
        TimeBudget | None,
        _ranged(TimeBudget),
        Field(
            description="Time to decode one token on one device of the hardware, one sequence with "
            "a full cache."
        ),
    ] = None
    tokens: Annotated[
        TokenCount | None,
        Field(description="Tokens of the run that `train_flops` is about; default the training's."),
    ] = None
    micro_tokens: Annotated[
        PositiveInt | None,
        Field(
            description="Tokens of a rank in one forward pass; default one sequence of max_seq_len "
            "under a plan, and the training's micro-batch without one."
        ),
    ] = None

    def given(self) -> dict[str, _Budget]:
        """Return the budgets that are set, by quantity."""
        found = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: budget for name, budget in found.items() if isinstance(budget, _Budget)}
