"""One residual layer: attention and the sum of its blocks, one after the other or side by side."""

from __future__ import annotations

from torch import Tensor, nn

from archspec.blocks.base import BlockConfig
from archspec.blocks.module import Block, BuildContext, ForwardContext
from archspec.blocks.registry import module_class
from archspec.model.attention.registry import build_attention
from archspec.model.cache import LayerCache
from archspec.model.norm import RMSNorm
from archspec.spec.model import LayerSpec


def build_block(config: BlockConfig, build: BuildContext) -> Block:
    """Construct the module of a block config."""
    block: Block = module_class(config.type)(config, build)
    return block


class Layer(nn.Module):
    """``x + attention(x)``, then ``x + sum of block(x)``; in parallel, ``x`` plus both.

    Each of these branches is normed before, after, or both, as the spec says; all blocks share the
    norms of their branch, and a parallel layer is one branch.
    """

    def __init__(self, spec: LayerSpec, build: BuildContext) -> None:
        super().__init__()
        scope = build.scope
        norms = {name: RMSNorm(scope.d_model, build.norm_eps) for name in spec.norms(scope)}
        self.norm = norms.get("norm")
        self.post_norm = norms.get("post_norm")
        self.attention_norm = norms.get("attention_norm")
        self.attention = build_attention(spec.attention, build)
        self.attention_post_norm = norms.get("attention_post_norm")
        self.block_norm = norms.get("block_norm")
        self.blocks = nn.ModuleList(build_block(config, build) for config in spec.blocks)
        self.block_post_norm = norms.get("block_post_norm")
        self._parallel = scope.parallel
        self._active = tuple(not config.is_identity for config in spec.blocks)

    def forward(
        self, x: Tensor, context: ForwardContext, cache: LayerCache | None = None
    ) -> Tensor:
        """Return the next residual stream; both are [batch, seq, d_model].

        A given cache holds the tokens before those of ``x``, which are added to it.
        """
        if self._parallel:
            normed = _normed(x, self.norm)
            attended = self._attended(normed, context, cache)
            return _added(x, [*attended, *self._changes(normed, context)], self.post_norm)
        attended = self._attended(_normed(x, self.attention_norm), context, cache)
        x = _added(x, attended, self.attention_post_norm)
        changes = self._changes(_normed(x, self.block_norm), context)
        return _added(x, changes, self.block_post_norm)

    def _attended(
        self, normed: Tensor, context: ForwardContext, cache: LayerCache | None
    ) -> list[Tensor]:
        return [] if self.attention is None else [self.attention(normed, context, cache)]

    def _changes(self, normed: Tensor, context: ForwardContext) -> list[Tensor]:
        pairs = zip(self.blocks, self._active, strict=True)
        return [block(normed, context) for block, active in pairs if active]


def _normed(x: Tensor, norm: RMSNorm | None) -> Tensor:
    if norm is None:
        return x
    result: Tensor = norm(x)
    return result


def _added(x: Tensor, changes: list[Tensor], norm: RMSNorm | None) -> Tensor:
    """Add the changes of one branch to the stream, normed together if there is a norm."""
    if norm is not None:
        return x + _normed(sum(changes[1:], start=changes[0]), norm)
    for change in changes:
        x = x + change
    return x
