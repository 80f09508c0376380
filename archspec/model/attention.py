"""Causal self-attention with grouped queries and rotary positions."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archspec.blocks.module import BuildContext, ForwardContext, Part
from archspec.initialisers import Initialiser, fan_in_normal
from archspec.model.rope import rotary_angles, rotate
from archspec.spec.attention import AttentionConfig


class Attention(Part):
    """Queries of ``num_heads``, keys and values of ``num_kv_heads``, no biases."""

    def __init__(self, config: AttentionConfig, build: BuildContext) -> None:
        super().__init__()
        self.shape = config.shape
        self.rope_theta = config.rope_theta
        d_model, (heads, kv_heads, head_dim) = build.scope.d_model, config.shape
        self.query = nn.Linear(d_model, heads * head_dim, bias=False)
        self.key = nn.Linear(d_model, kv_heads * head_dim, bias=False)
        self.value = nn.Linear(d_model, kv_heads * head_dim, bias=False)
        self.output = nn.Linear(heads * head_dim, d_model, bias=False)
        self._residual_gain = build.residual_gain

    def initialisers(self) -> Mapping[str, Initialiser]:
        """Keep variances; the output starts small enough to add up over the layers."""
        inner = fan_in_normal(self.query.in_features)
        outer = fan_in_normal(self.output.in_features, gain=self._residual_gain)
        return {
            **dict.fromkeys(("query.weight", "key.weight", "value.weight"), inner),
            "output.weight": outer,
        }

    def forward(self, x: Tensor, context: ForwardContext) -> Tensor:
        """Return the change to the residual stream; both are [batch, seq, d_model]."""
        heads, kv_heads, head_dim = self.shape
        query = self.query(x).unflatten(-1, (-1, head_dim))  # [batch, seq, num_heads, head_dim]
        key = self.key(x).unflatten(-1, (-1, head_dim))  # [batch, seq, num_kv_heads, head_dim]
        value = self.value(x).unflatten(-1, (-1, head_dim))
        cos, sin = self._rotation(x, context)
        attended = F.scaled_dot_product_attention(
            rotate(query, cos, sin).transpose(1, 2),
            rotate(key, cos, sin).transpose(1, 2),
            value.transpose(1, 2),
            attn_mask=context.document_mask,
            is_causal=context.document_mask is None,
            enable_gqa=heads != kv_heads,
        )  # [batch, num_heads, seq, head_dim]
        result: Tensor = self.output(attended.transpose(1, 2).flatten(2))
        return result

    def _rotation(self, x: Tensor, context: ForwardContext) -> tuple[Tensor, Tensor]:
        positions = context.positions
        if positions is None:
            positions = torch.arange(x.shape[1], device=x.device)[None]  # [1, seq]
        dtype = torch.promote_types(x.dtype, torch.float32)
        angles = rotary_angles(positions, self.shape.head_dim, self.rope_theta, dtype)
        return angles.cos(), angles.sin()


def document_mask(document_ids: Tensor) -> Tensor:
    """Let tokens attend to earlier tokens of their own document only.

    Args:
        document_ids: [batch, seq], any integers that differ between documents.

    Returns:
        [batch, 1, seq, seq] bool, as :class:`ForwardContext` wants it.
    """
    same = document_ids[:, None, :, None] == document_ids[:, None, None, :]
    return same & torch.ones_like(same).tril()
