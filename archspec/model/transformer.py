"""The whole model."""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from archspec.blocks.module import BuildContext, ForwardContext, Part
from archspec.blocks.pool.module import Pool
from archspec.errors import ArchspecError
from archspec.initialisers import Initialiser, fan_in_normal
from archspec.model.layer import Layer
from archspec.model.norm import RMSNorm
from archspec.spec.model import ModelSpec


class Transformer(Part):
    """A decoder-only language model: embedding, layers, norm, head.

    The pools live at ``pools.<name>`` and nowhere else; layers that read one refer to it.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.embedding = nn.Embedding(spec.vocab_size, spec.d_model)
        self.pools = nn.Module()
        pools = {name: Pool(config, d_model=spec.d_model) for name, config in spec.pools.items()}
        for name, pool in pools.items():
            _register_pool(self.pools, name, pool)
        build = BuildContext(scope=spec.scope, norm_eps=spec.norm_eps, pools=pools)
        self.layers = nn.ModuleList(Layer(layer, build) for layer in spec.layers)
        self.norm = RMSNorm(spec.d_model, spec.norm_eps)
        tied = spec.tie_embeddings
        self.head = None if tied else nn.Linear(spec.d_model, spec.vocab_size, bias=False)

    def initialisers(self) -> Mapping[str, Initialiser]:
        """Start logits with variance 1; a tied embedding is the head too."""
        start = fan_in_normal(self.spec.d_model)
        head = {} if self.head is None else {"head.weight": start}
        return {"embedding.weight": start, **head}

    def forward(self, token_ids: Tensor, context: ForwardContext | None = None) -> Tensor:
        """Predict the next token at every position.

        Args:
            token_ids: [batch, seq].
            context: Positions, document mask, recorders; by default a plain causal pass.

        Returns:
            Logits, [batch, seq, vocab_size].
        """
        if context is None:
            context = ForwardContext(token_ids=token_ids)
        x = self.embedding(token_ids)  # [batch, seq, d_model]
        for layer in self.layers:
            x = layer(x, context)
        head = self.embedding if self.head is None else self.head
        return F.linear(self.norm(x), head.weight)


def _register_pool(pools: nn.Module, name: str, pool: Pool) -> None:
    try:
        pools.register_module(name, pool)
    except KeyError as error:
        raise ArchspecError(
            f"pools.{name}: this name cannot be an attribute of a torch module ({error.args[0]}); "
            "rename the pool"
        ) from None
