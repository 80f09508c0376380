"""A pool: a table of slots with one owner and any number of readers."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archspec.blocks.pool.config import PoolConfig
from archspec.blocks.table import LocalLookup, Lookup, Table
from archspec.initialisers import Initialiser, fan_in_normal


class Pool(Table):
    """The rows; readers call it, so that hooks on the module (sharding) see every look-up.

    The two rows of a rank-1 expert are two parameters: each op then reads one contiguous table.

    Attributes:
        lookup: How readers meet the rows; whoever lays the table over processes replaces it.
    """

    def __init__(self, config: PoolConfig, *, d_model: int) -> None:
        super().__init__()
        rank1 = config.expert == "rank1"
        self.lookup: Lookup = LocalLookup()
        self.weight = nn.Parameter(torch.empty(config.slots, config.value_dim))
        self.down = nn.Parameter(torch.empty(config.slots, d_model)) if rank1 else None

    @property
    def slots(self) -> int:
        """Slots of the table."""
        return self.weight.shape[0]

    def initialisers(self) -> Mapping[str, Initialiser]:
        """Start rows with norm about 1 (Lample et al., arXiv 1907.05242).

        The hidden unit of a rank-1 expert then starts with variance 1.
        """
        starts: dict[str, Initialiser] = {"weight": fan_in_normal(self.weight.shape[1])}
        if self.down is not None:
            starts["down"] = fan_in_normal(self.down.shape[1])
        return starts

    def forward(self, slots: Tensor, weights: Tensor, tokens: Tensor) -> Tensor:
        """Sum the weighted rows of each token, or the weighted outputs of its rank-1 experts.

        An expert with rows u and v gives ``gelu(<u, x>) v`` (He, arXiv 2407.04153).

        Args:
            slots: [tokens, picks].
            weights: [tokens, picks], fp32 or of the table's dtype.
            tokens: [tokens, d_model], the input of the experts; plain values do not depend on it.

        Returns:
            [tokens, value_dim] in the table's dtype.
        """
        if self.down is not None:
            tokens = tokens.to(self.down.dtype)
            hidden = self.lookup.dot_rows(slots, tokens, self.rows("down"))  # [tokens, picks]
            weights = weights * F.gelu(hidden)
        return self.lookup.sum_rows(slots, weights, self.rows("weight"))
