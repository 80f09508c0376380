"""One side of a budget: a number with a unit, or a factor of what the base costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

from archspec.units import BYTE_UNITS, COUNT_UNITS, parse_amount, parse_ratio

TIME_UNITS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}
_FLOP_UNITS = {**COUNT_UNITS, "E": 10**18, "Z": 10**21, "Y": 10**24}


@dataclass(frozen=True, slots=True)
class Limit:
    """One side of a budget: a number, or a factor of what the base costs."""

    value: float
    relative: bool
    text: int | float | str = field(compare=False)

    def resolve(self, base: float) -> float:
        """Return the limit in the budget's unit, given what the base model costs."""
        return self.value * base if self.relative else self.value


def _limit(units: Mapping[str, int], *, needs_unit: bool = False) -> PlainValidator:
    def parse(value: Any) -> Limit:
        if isinstance(value, Limit):
            return value
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise ValueError("must be a number, a number with a unit, or a factor such as 1.05x")
        ratio = parse_ratio(value) if isinstance(value, str) else None
        if ratio is None and needs_unit and not str(value).strip().endswith(tuple(units)):
            raise ValueError(f"needs a unit, such as {value} ms, or to be a factor such as 1.05x")
        number = parse_amount(value, dict(units)) if ratio is None else ratio
        limit = Limit(value=number, relative=ratio is not None, text=value)
        if limit.value < 0:
            raise ValueError(f"must not be negative, but is {value}")
        return limit

    return PlainValidator(parse)


_as_written = PlainSerializer(lambda limit: None if limit is None else limit.text)
LIMIT_SCHEMA = {
    "anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": "^[0-9.]"}]
}
_in_json = WithJsonSchema(LIMIT_SCHEMA)
CountLimit = Annotated[Limit, _limit(COUNT_UNITS), _as_written, _in_json]
BytesLimit = Annotated[Limit, _limit(BYTE_UNITS), _as_written, _in_json]
FlopsLimit = Annotated[Limit, _limit(_FLOP_UNITS), _as_written, _in_json]
TimeLimit = Annotated[Limit, _limit(TIME_UNITS, needs_unit=True), _as_written, _in_json]
