"""No attention."""

from __future__ import annotations

from typing import Literal

from archspec.blocks.base import CostContext
from archspec.quantities import FREE, Cost
from archspec.spec.attention.base import AttentionConfig


class NoAttentionConfig(AttentionConfig):
    """No attention in this layer: no parameters, no norm, no cache."""

    type: Literal["none"] = "none"

    @property
    def is_identity(self) -> bool:
        """Yes."""
        return True

    def size(self) -> str:
        """Say so."""
        return "none"

    def cost(self, context: CostContext) -> Cost:
        """Price it: nothing."""
        return FREE
