"""An empty slot, built."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from archspec.blocks.module import Block, BuildContext, ForwardContext
from archspec.blocks.none.config import NoneConfig
from archspec.initialisers import Initialiser


class NoneBlock(Block):
    """No change at all."""

    def __init__(self, config: NoneConfig, build: BuildContext) -> None:
        super().__init__()

    def initialisers(self) -> Mapping[str, Initialiser]:
        """No parameters."""
        return {}

    def forward(self, x: Tensor, context: ForwardContext) -> Tensor:
        """See :class:`Block`; zeros without a graph, so nothing is computed or kept."""
        return x.new_zeros(()).expand_as(x)
