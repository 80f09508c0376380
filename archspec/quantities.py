"""What a part of a model costs: plain numbers that add up, per token where they say so."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "float64": 8}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The price of a block, a layer, a pool or a whole model; parts add up with ``+``.

    Attributes:
        num_params: Stored parameters.
        num_table_params: Those of them that are rows of value tables (their optimizer differs).
        num_active_params: Parameters one token uses: all of a dense block, ``top_k`` experts and
            the shared ones, ``num_heads * top_k`` rows of a table.
        flops_per_token: Forward FLOPs, 2 per multiply-accumulate.
        table_bytes_per_token: Bytes gathered from value tables in one forward pass.
        activation_bytes_per_token: Bytes that autograd keeps between forward and backward.
        kv_bytes_per_token: Bytes added to the key-value cache.
    """

    num_params: int = 0
    num_table_params: int = 0
    num_active_params: int = 0
    flops_per_token: int = 0
    table_bytes_per_token: int = 0
    activation_bytes_per_token: int = 0
    kv_bytes_per_token: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(**{name: getattr(self, name) + getattr(other, name) for name in COST_FIELDS})

    def __mul__(self, count: int) -> Cost:
        return Cost(**{name: getattr(self, name) * count for name in COST_FIELDS})


COST_FIELDS: tuple[str, ...] = tuple(field.name for field in fields(Cost))
FREE = Cost()


def expected_distinct(total: int, drawn: int, times: float) -> float:
    """Return how many of ``total`` things are met when ``drawn`` distinct ones are, ``times`` over.

    ``total (1 - (1 - drawn / total) ** times)``: every draw uniform and independent of the others.
    Real routers and look-ups are skewed and meet fewer, so as bytes this is an upper estimate.

    >>> expected_distinct(8, 2, 1), round(expected_distinct(8, 2, 4), 3), expected_distinct(4, 4, 9)
    (2.0, 5.469, 4.0)
    """
    if drawn >= total:
        return float(total)
    return -total * math.expm1(times * math.log1p(-drawn / total))
