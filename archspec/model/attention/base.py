"""What every attention module is, and the parts that several share."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from archspec.blocks.module import ForwardContext
from archspec.blocks.part import Part
from archspec.kernels.causal_attention import causal_attention, stock
from archspec.model.attention.visible import Visible
from archspec.model.cache import LayerCache
from archspec.model.rope import rotary_angles
from archspec.spec.attention.rope import RopeScaling


class Attention(Part):
    """A layer's attention. Subclasses are final and are constructed as ``(config, build)``."""

    @abstractmethod
    def forward(
        self, x: Tensor, context: ForwardContext, cache: LayerCache | None = None
    ) -> Tensor:
        """Return the change to the residual stream; both are [batch, seq, d_model].

        A given cache holds the tokens before those of ``x``, which are added to it.
        """


def attend(query: Tensor, key: Tensor, value: Tensor, visible: Visible, *, scale: float) -> Tensor:
    """Attend, heads on the third axis; key heads are shared by groups of query heads.

    Args:
        query: [batch, queries, heads, width].
        key: [batch, keys, key heads, width].
        value: [batch, keys, key heads, value width].
        visible: Which keys a query sees.
        scale: Factor on the logits.

    Returns:
        [batch, queries, heads * value width].
    """
    if visible.is_causal:
        return causal_attention(query, key, value, scale=scale).flatten(2)
    return stock.attention(query, key, value, scale, mask=visible.mask).flatten(2)


def rotation(
    x: Tensor, context: ForwardContext, dim: int, theta: float, scaling: RopeScaling | None
) -> tuple[Tensor, Tensor]:
    """Return cosine and sine by which the tokens of ``x`` turn, each [batch, seq, 1, dim / 2]."""
    positions = context.positions
    if positions is None:
        positions = torch.arange(x.shape[1], device=x.device)[None]  # [1, seq]
    dtype = torch.promote_types(x.dtype, torch.float32)
    angles = rotary_angles(positions, dim, theta, dtype, scaling)
    return angles.cos(), angles.sin()
