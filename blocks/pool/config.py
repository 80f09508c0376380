"""The declaration and price of a pool."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from archspec.quantities import Cost
from archspec.schema import PositiveInt, Schema

Expert = Literal["value", "rank1"]


class PoolConfig(Schema):
    """A shared table of ``num_keys ** 2`` slots, each a value row of ``value_dim``.

    With ``expert: rank1`` a slot also has a row of ``d_model`` that its input is held against.
    """

    num_keys: Annotated[
        PositiveInt,
        Field(description="Keys per half; the table has num_keys ** 2 rows (slots)."),
    ]
    value_dim: Annotated[PositiveInt, Field(description="Width of a value row, in elements.")]
    expert: Annotated[
        Expert,
        Field(
            description="What a slot holds: value is a row of value_dim; rank1 is an expert of one "
            "hidden unit, a row of d_model in and a row of value_dim out. Its readers say the same."
        ),
    ] = "value"

    @property
    def slots(self) -> int:
        """Slots of the table."""
        return self.num_keys**2

    def row_dim(self, d_model: int) -> int:
        """Return the elements that a slot holds, and that a look-up reads."""
        return self.value_dim + (d_model if self.expert == "rank1" else 0)

    def size(self) -> str:
        """Say how large the pool is, for a table column."""
        rank1 = ", rank1" if self.expert == "rank1" else ""
        return f"{self.num_keys}² x {self.value_dim}{rank1}"

    def cost(self, d_model: int) -> Cost:
        """Price the table: all elements of all slots; its readers pay for look-ups."""
        rows = self.slots * self.row_dim(d_model)
        return Cost(num_params=rows, num_table_params=rows)
