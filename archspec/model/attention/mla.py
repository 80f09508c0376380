"""Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, section 2.1).

Whole sequences are attended with keys and values made from the latents. Where the cache holds
earlier tokens, the same sums are taken in another order: the matrix that would make the keys is
applied to the queries and the one that would make the values to the result, so that attention runs
over the latents themselves and nothing is made anew for a token that was seen before.

Elements of a head turn in halves as everywhere here, published DeepSeek weights in neighbours: a
fixed permutation of rows.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from archspec.blocks.linear import Linear
from archspec.blocks.module import BuildContext, ForwardContext
from archspec.blocks.part import local, select_present
from archspec.initialisers import Initialiser, fan_in_normal
from archspec.model.attention.base import Attention, attend, rotation
from archspec.model.attention.visible import Visible, visible_in_sequence
from archspec.model.cache import LayerCache
from archspec.model.norm import RMSNorm
from archspec.model.rope import logit_scale, rotate
from archspec.spec.attention.mla import MlaConfig


class MlaAttention(Attention):
    """Keys and values from a latent; queries from a latent too, or directly."""

    def __init__(self, config: MlaConfig, build: BuildContext) -> None:
        super().__init__()
        self.config = config
        d_model, heads = build.scope.d_model, config.num_heads
        query_width, rank = heads * config.query_dim, config.q_lora_rank
        self.query_down = Linear(d_model, rank, bias=False) if rank else None
        self.query_norm = RMSNorm(rank, build.norm_eps) if rank else None
        self.query = Linear(rank or d_model, query_width, bias=False)
        latent = config.kv_lora_rank
        self.latent = Linear(d_model, latent + config.rope_head_dim, bias=False)
        self.latent_norm = RMSNorm(latent, build.norm_eps)
        made = heads * (config.nope_head_dim + config.value_head_dim)
        self.key_value = Linear(latent, made, bias=False)
        self.output = Linear(heads * config.value_head_dim, d_model, bias=False)
        self._scale = config.query_dim**-0.5 * logit_scale(config.rope_scaling)
        self._residual_gain = build.residual_gain

    def initialisers(self) -> Mapping[str, Initialiser]:
        """Keep variances; the output starts small enough to add up over the layers."""
        d_model = self.latent.in_features
        outer = fan_in_normal(self.output.in_features, gain=self._residual_gain)
        starts: dict[str, Initialiser] = {
            "query_down.weight": fan_in_normal(d_model),
            "query.weight": fan_in_normal(self.query.in_features),
            "latent.weight": fan_in_normal(d_model),
            "key_value.weight": fan_in_normal(self.key_value.in_features),
            "output.weight": outer,
        }
        return select_present(starts, self)

    def forward(
        self, x: Tensor, context: ForwardContext, cache: LayerCache | None = None
    ) -> Tensor:
        """See :class:`Attention`."""
        config = self.config
        turn = rotation(x, context, config.rope_head_dim, config.rope_theta, config.rope_scaling)
        nope, rope = self._queries(x, *turn)
        latent, shared = self.latent(x).split((config.kv_lora_rank, config.rope_head_dim), -1)
        latent = self.latent_norm(latent)  # [batch, seq, kv_lora_rank]
        shared = rotate(shared[:, :, None], *turn)[:, :, 0]  # [batch, seq, rope_head_dim]
        if cache is None or cache.length == 0:
            visible = visible_in_sequence(context, x.shape[1], None, x.device)
            if cache is not None:
                cache.extend(latent, shared)
            attended = self._over_heads(nope, rope, latent, shared, visible)
        else:
            (latent, shared), visible = cache.extend(latent, shared)
            attended = self._over_latents(nope, rope, latent, shared, visible)
        result: Tensor = self.output(attended)
        return result

    def _queries(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
        """Return both parts of the queries, [batch, seq, num_heads, width of the part]."""
        config = self.config
        if self.query_down is not None and self.query_norm is not None:
            x = self.query_norm(self.query_down(x))
        query = self.query(x).unflatten(-1, (-1, config.query_dim))
        nope, rope = query.split((config.nope_head_dim, config.rope_head_dim), -1)
        return nope, rotate(rope, cos, sin)

    def _over_heads(
        self, nope: Tensor, rope: Tensor, latent: Tensor, shared: Tensor, visible: Visible
    ) -> Tensor:
        """Attend with the keys and values of every head."""
        config = self.config
        widths = (config.nope_head_dim, config.value_head_dim)
        key, value = self.key_value(latent).unflatten(-1, (-1, sum(widths))).split(widths, -1)
        turned = shared[:, :, None].expand(-1, -1, key.shape[2], -1)
        query, key = torch.cat((nope, rope), -1), torch.cat((key, turned), -1)
        return attend(query, key, value, visible, scale=self._scale)

    def _over_latents(
        self, nope: Tensor, rope: Tensor, latent: Tensor, shared: Tensor, visible: Visible
    ) -> Tensor:
        """Attend with the latents as the one key and value head of all queries."""
        config = self.config
        widths = (config.nope_head_dim, config.value_head_dim)
        makes = local(self.key_value.weight).unflatten(0, (-1, sum(widths)))
        makes_key, makes_value = makes.split(widths, 1)
        query = torch.cat((torch.einsum("bshn,hnr->bshr", nope, makes_key), rope), -1)
        key = torch.cat((latent, shared), -1)[:, :, None]
        attended = attend(query, key, latent[:, :, None], visible, scale=self._scale)
        by_head = attended.unflatten(-1, (makes.shape[0], -1))
        return torch.einsum("bshr,hvr->bshv", by_head, makes_value).flatten(2)
