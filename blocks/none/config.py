"""The declaration of an empty slot."""

from __future__ import annotations

from typing import Literal

from archspec.blocks.base import BlockConfig, CostContext
from archspec.quantities import FREE, Cost


class NoneConfig(BlockConfig):
    """An empty slot: the layer is attention alone, and its block norm is dropped too."""

    type: Literal["none"] = "none"

    @property
    def is_identity(self) -> bool:
        """Always: an empty slot leaves the residual stream as it is."""
        return True

    def size(self) -> str:
        """Say that there is nothing, for a table column."""
        return "-"

    def cost(self, context: CostContext) -> Cost:
        """Nothing costs nothing."""
        return FREE
