"""An n-gram block, built."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archspec.blocks.linear import Linear
from archspec.blocks.module import Block, BuildContext, ForwardContext
from archspec.blocks.ngram.config import NgramConfig
from archspec.blocks.ngram.hashing import find_slots, hash_weights
from archspec.blocks.table import Table
from archspec.initialisers import Constant, Initialiser, fan_in_normal


class NgramTable(Table):
    """The rows of all orders and heads, one table of ``slots`` rows after another."""

    def __init__(self, config: NgramConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(config.num_rows * config.slots, config.row_dim))

    @property
    def slots(self) -> int:
        """Rows of all tables."""
        return self.weight.shape[0]

    def initialisers(self) -> Mapping[str, Initialiser]:
        """Start elements with variance 1, as an embedding whose rows stand side by side."""
        return {"weight": fan_in_normal(1)}

    def forward(self, rows: Tensor) -> Tensor:
        """Read rows, [..., num_rows] to [..., num_rows, row_dim]."""
        if not self.row_gradients:
            return F.embedding(rows, self.weight)
        each = rows.reshape(-1, 1)  # bags of one row
        found = self.rows("weight").bag(each, self.weight.new_ones(each.shape))
        return found.view(*rows.shape, -1)


class NgramBlock(Block):
    """``sigmoid(<x, norm(e W_k)> / sqrt(d_model)) * e W_v``, e the rows of the last n token ids."""

    def __init__(self, config: NgramConfig, build: BuildContext) -> None:
        super().__init__()
        d_model, width = build.scope.d_model, config.num_rows * config.row_dim
        self.config = config
        self.table = NgramTable(config)
        self.key = Linear(width, d_model, bias=False)
        self.value = Linear(width, d_model, bias=False)
        self.key_norm = nn.Parameter(torch.empty(d_model))
        self._hash_weights = hash_weights(config)
        self._norm_eps = build.norm_eps
        self._residual_gain = build.residual_gain

    def initialisers(self) -> Mapping[str, Initialiser]:
        """Start gate logits with variance 1; the output starts small enough to add up."""
        width = self.key.in_features
        return {
            "key.weight": fan_in_normal(width),
            "value.weight": fan_in_normal(width, gain=self._residual_gain),
            "key_norm": Constant(1.0),
        }

    def forward(self, x: Tensor, context: ForwardContext) -> Tensor:
        """See :class:`Block`."""
        rows = self._rows(context)  # [batch, seq, num_rows]
        if context.usage is not None:
            context.usage.record(self.table, rows, self.table.slots, reader=self)
        found = self.table(rows).to(x.dtype).flatten(2)  # [batch, seq, num_rows * row_dim]
        d_model = x.shape[-1]
        key = F.rms_norm(self.key(found), (d_model,), self.key_norm, self._norm_eps)
        match = torch.bmm(x.view(-1, 1, d_model), key.view(-1, d_model, 1))  # [tokens, 1, 1]
        gate = torch.sigmoid(match * d_model**-0.5).view(*x.shape[:2], 1)
        result: Tensor = gate * self.value(found)
        return result

    def _rows(self, context: ForwardContext) -> Tensor:
        """Find the row of every order and head, each in its own stretch of the table."""
        device, slots = context.token_ids.device, self.config.slots
        # No buffers: a module that is built on the meta device would lose their values.
        weights = torch.tensor(self._hash_weights, device=device)
        starts = torch.arange(self.config.num_rows, device=device) * slots
        return find_slots(weights, context, slots) + starts
