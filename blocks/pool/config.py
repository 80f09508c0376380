"""The declaration and price of a pool."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from archspec.quantities import Cost
from archspec.schema import PositiveInt, Schema


class PoolConfig(Schema):
    """A shared table of ``num_keys ** 2`` rows, each ``value_dim`` wide."""

    num_keys: Annotated[
        PositiveInt,
        Field(description="Keys per half; the table has num_keys ** 2 rows (slots)."),
    ]
    value_dim: Annotated[PositiveInt, Field(description="Width of a value row, in elements.")]

    @property
    def slots(self) -> int:
        """Rows of the table."""
        return self.num_keys**2

    def size(self) -> str:
        """Say how large the pool is, for a table column."""
        return f"{self.num_keys}² x {self.value_dim}"

    def cost(self) -> Cost:
        """Price the table: ``slots * value_dim`` parameters; its readers pay for look-ups."""
        rows = self.slots * self.value_dim
        return Cost(num_params=rows, num_table_params=rows)
