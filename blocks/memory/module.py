"""A memory block, and the product-key look-up it shares with shared pools."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archspec.blocks.linear import Linear
from archspec.blocks.memory.config import MemoryConfig, ProductKeyConfig
from archspec.blocks.module import Block, BuildContext, ForwardContext
from archspec.blocks.part import local, select_present
from archspec.blocks.pool.config import PoolConfig
from archspec.blocks.pool.module import Pool
from archspec.initialisers import Constant, Initialiser, fan_in_normal
from archspec.kernels.product_key_topk import product_key_topk


class ProductKeyLookup(Block):
    """Everything of a memory layer but the slots, which a subclass says where to find.

    Lample et al., arXiv 1907.05242; gate and qk-norm as in Berges et al., arXiv 2412.09764.
    """

    def __init__(self, config: ProductKeyConfig, table: PoolConfig, build: BuildContext) -> None:
        super().__init__()
        d_model, value_dim, bias = build.scope.d_model, table.value_dim, config.bias
        heads, key_dim, half_dim = config.num_heads, config.key_dim, config.key_dim // 2
        self.config = config
        self.query = Linear(d_model, heads * key_dim, bias=bias)
        self.codebooks = nn.Parameter(torch.empty(2, heads, table.num_keys, half_dim))
        self.query_norm = nn.Parameter(torch.empty(half_dim)) if config.qk_norm else None
        self.key_norm = nn.Parameter(torch.empty(half_dim)) if config.qk_norm else None
        gated = config.gate == "swilu"
        self.gate = Linear(d_model, value_dim, bias=bias) if gated else None
        has_output = config.has_output(d_model=d_model, value_dim=value_dim)
        self.output = Linear(value_dim, d_model, bias=bias) if has_output else None
        self._value_dim = value_dim
        self._norm_eps = build.norm_eps
        self._residual_gain = build.residual_gain

    @property
    @abstractmethod
    def pool(self) -> Pool:
        """The slots."""

    def initialisers(self) -> Mapping[str, Initialiser]:
        """Start slot scores, sums over two halves, with standard deviation 1, so none dominates."""
        d_model, key_dim = self.query.in_features, self.config.key_dim
        starts: dict[str, Initialiser] = {
            "query.weight": fan_in_normal(d_model),
            "codebooks": fan_in_normal(key_dim),
            **dict.fromkeys(("query_norm", "key_norm"), Constant(key_dim**-0.25)),
            "gate.weight": fan_in_normal(d_model),
            "output.weight": fan_in_normal(self._value_dim, gain=self._residual_gain),
            **dict.fromkeys(("query.bias", "gate.bias", "output.bias"), Constant(0.0)),
        }
        return select_present(starts, self)

    def forward(self, x: Tensor, context: ForwardContext) -> Tensor:
        """See :class:`Block`."""
        tokens = x.flatten(0, 1)  # [tokens, d_model]
        scores, slots = self.select(tokens)  # [tokens, num_heads, top_k]
        weights = torch.softmax(scores, dim=-1)
        if context.usage is not None:
            context.usage.record(self.pool, slots, self.pool.slots, reader=self)
        value = self.pool(slots.flatten(1), weights.flatten(1), tokens)  # [tokens, value_dim]
        value = value.to(x.dtype)
        if self.gate is not None:
            value = value * F.silu(self.gate(tokens))
        if self.output is not None:
            value = self.output(value)
        result: Tensor = value.view(*x.shape[:2], -1)
        return result

    def select(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Find the best slots of every head.

        Args:
            tokens: [tokens, d_model].

        Returns:
            Scores and slots, [tokens, num_heads, top_k].
        """
        half_dim = self.config.key_dim // 2
        codebooks = local(self.codebooks)  # [2, heads, num_keys, half_dim]
        queries = self.query(tokens).view(-1, codebooks.shape[1], 2, half_dim)
        if self.query_norm is not None:
            queries = F.rms_norm(queries, (half_dim,), local(self.query_norm), self._norm_eps)
        if self.key_norm is not None:
            codebooks = F.rms_norm(codebooks, (half_dim,), local(self.key_norm), self._norm_eps)
        return product_key_topk(queries, codebooks, self.config.top_k)


class MemoryBlock(ProductKeyLookup):
    """A look-up into a table of its own."""

    def __init__(self, config: MemoryConfig, build: BuildContext) -> None:
        super().__init__(config, config.table, build)
        self.values = Pool(config.table, d_model=build.scope.d_model)

    @property
    def pool(self) -> Pool:
        """The slots."""
        return self.values
