"""One pre-norm residual layer: attention, then the sum of its blocks."""

from __future__ import annotations

from torch import Tensor, nn

from archspec.blocks.base import BlockConfig
from archspec.blocks.module import Block, BuildContext, ForwardContext
from archspec.blocks.registry import module_class
from archspec.model.attention import Attention
from archspec.model.norm import RMSNorm
from archspec.spec.model import LayerSpec


def build_block(config: BlockConfig, build: BuildContext) -> Block:
    """Construct the module of a block config."""
    block: Block = module_class(config.type)(config, build)
    return block


class Layer(nn.Module):
    """``x + attention(norm(x))``, then ``x + sum of block(norm(x))``; all blocks share a norm."""

    def __init__(self, spec: LayerSpec, build: BuildContext) -> None:
        super().__init__()
        d_model = build.scope.d_model
        self.attention_norm = RMSNorm(d_model, build.norm_eps)
        self.attention = Attention(spec.attention, build)
        self.block_norm = RMSNorm(d_model, build.norm_eps)
        self.blocks = nn.ModuleList(build_block(config, build) for config in spec.blocks)

    def forward(self, x: Tensor, context: ForwardContext) -> Tensor:
        """Return the next residual stream; both are [batch, seq, d_model]."""
        x = x + self.attention(self.attention_norm(x), context)
        normed = self.block_norm(x)
        for block in self.blocks:
            x = x + block(normed, context)
        return x
