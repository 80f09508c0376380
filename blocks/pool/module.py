"""A pool: a value table with one owner and any number of readers."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from archspec.blocks.module import Part
from archspec.blocks.pool.config import PoolConfig
from archspec.initialisers import Initialiser, fan_in_normal
from archspec.kernels.embedding_bag import embedding_bag


class Pool(Part):
    """The rows; readers call it, so that hooks on the module (sharding) see every look-up."""

    def __init__(self, config: PoolConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(config.slots, config.value_dim))

    @property
    def slots(self) -> int:
        """Rows of the table."""
        return self.weight.shape[0]

    def initialisers(self) -> Mapping[str, Initialiser]:
        """Start rows with norm about 1 (Lample et al., arXiv 1907.05242)."""
        return {"weight": fan_in_normal(self.weight.shape[1])}

    def forward(self, slots: Tensor, weights: Tensor) -> Tensor:
        """Sum the weighted rows of each token.

        Args:
            slots: [tokens, picks].
            weights: [tokens, picks], fp32 or of the table's dtype.

        Returns:
            [tokens, value_dim] in the table's dtype.
        """
        return embedding_bag(slots, weights, self.weight)
