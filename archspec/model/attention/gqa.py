"""Causal self-attention with grouped queries."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from archspec.blocks.linear import Linear
from archspec.blocks.module import BuildContext, ForwardContext
from archspec.blocks.part import select_present
from archspec.initialisers import Constant, Initialiser, fan_in_normal
from archspec.model.attention.base import Attention, attend, rotation
from archspec.model.attention.visible import visible_in_sequence
from archspec.model.cache import LayerCache
from archspec.model.norm import RMSNorm
from archspec.model.rope import logit_scale, rotate
from archspec.spec.attention.gqa import GqaConfig


class GqaAttention(Attention):
    """Queries of ``num_heads``, keys and values of ``num_kv_heads``."""

    def __init__(self, config: GqaConfig, build: BuildContext) -> None:
        super().__init__()
        self.config = config
        d_model, (heads, kv_heads, head_dim) = build.scope.d_model, config.shape
        inner, outer = config.bias != "none", config.bias == "all"
        self.query = Linear(d_model, heads * head_dim, bias=inner)
        self.key = Linear(d_model, kv_heads * head_dim, bias=inner)
        self.value = Linear(d_model, kv_heads * head_dim, bias=inner)
        self.output = Linear(heads * head_dim, d_model, bias=outer)
        self.query_norm = _qk_norm(config, heads, build.norm_eps)
        self.key_norm = _qk_norm(config, kv_heads, build.norm_eps)
        self._scale = head_dim**-0.5 * logit_scale(config.rope_scaling)
        self._residual_gain = build.residual_gain

    def initialisers(self) -> Mapping[str, Initialiser]:
        """Keep variances; the output starts small enough to add up over the layers."""
        inner = fan_in_normal(self.query.in_features)
        outer = fan_in_normal(self.output.in_features, gain=self._residual_gain)
        projections = ("query", "key", "value", "output")
        starts: dict[str, Initialiser] = {
            **{f"{name}.weight": inner for name in projections},
            "output.weight": outer,
            **{f"{name}.bias": Constant(0.0) for name in projections},
        }
        return select_present(starts, self)

    def forward(
        self, x: Tensor, context: ForwardContext, cache: LayerCache | None = None
    ) -> Tensor:
        """See :class:`Attention`."""
        query, key, value = self._project(x, context)
        if cache is None:
            window = self.config.window
            visible = visible_in_sequence(context, x.shape[1], window, x.device)
        else:
            (key, value), visible = cache.extend(key, value)
        result: Tensor = self.output(attend(query, key, value, visible, scale=self._scale))
        return result

    def _project(self, x: Tensor, context: ForwardContext) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values, each [batch, seq, heads, head_dim]."""
        config = self.config
        by_head = (-1, config.shape.head_dim)
        query, key = self.query(x), self.key(x)
        if config.qk_norm == "full":
            query, key = self.query_norm(query), self.key_norm(key)
        query, key = query.unflatten(-1, by_head), key.unflatten(-1, by_head)
        if config.qk_norm == "head":
            query, key = self.query_norm(query), self.key_norm(key)
        if config.rope_theta is not None:
            assert config.rope_dim is not None, "config is unresolved"
            cos, sin = rotation(x, context, config.rope_dim, config.rope_theta, config.rope_scaling)
            query, key = rotate(query, cos, sin), rotate(key, cos, sin)
        return query, key, self.value(x).unflatten(-1, by_head)


def _qk_norm(config: GqaConfig, heads: int, eps: float) -> nn.Module:
    """Return the norm of queries or keys of ``heads`` heads."""
    if config.qk_norm == "none":
        return nn.Identity()
    width = config.shape.head_dim
    return RMSNorm(width if config.qk_norm == "head" else heads * width, eps)
