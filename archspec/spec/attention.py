"""The declaration and price of attention."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, NamedTuple

from pydantic import Field

from archspec.blocks.base import CostContext, Fault
from archspec.quantities import Cost
from archspec.schema import PositiveFloat, PositiveInt, Schema


class HeadShape(NamedTuple):
    """How attention is cut into heads."""

    num_heads: int
    num_kv_heads: int
    head_dim: int


class AttentionConfig(Schema):
    """Causal self-attention with rotary positions; grouped queries when num_kv_heads is smaller."""

    num_heads: Annotated[PositiveInt, Field(description="Query heads.")]
    num_kv_heads: Annotated[
        PositiveInt | None,
        Field(description="Key and value heads; default num_heads."),
    ] = None
    head_dim: Annotated[
        PositiveInt | None,
        Field(description="Width of a head; even; default d_model / num_heads."),
    ] = None
    rope_theta: Annotated[PositiveFloat, Field(description="Base of the rotary angles.")] = 10000.0

    @property
    def shape(self) -> HeadShape:
        """The three counts of a resolved config."""
        assert self.num_kv_heads is not None, "config is unresolved"
        assert self.head_dim is not None, "config is unresolved"
        return HeadShape(self.num_heads, self.num_kv_heads, self.head_dim)

    def resolved(self, d_model: int) -> AttentionConfig:
        """Fill in the defaults that depend on the model."""
        return self.model_copy(
            update={
                "num_kv_heads": self.num_kv_heads or self.num_heads,
                "head_dim": self.head_dim or d_model // self.num_heads,
            }
        )

    def check(self, d_model: int) -> Iterator[Fault]:
        """Yield every rule this config breaks in a model of width ``d_model``."""
        if self.head_dim is None and d_model % self.num_heads:
            yield Fault(
                ("num_heads",),
                f"num_heads must divide d_model when head_dim is not given, but d_model={d_model} "
                f"and num_heads={self.num_heads}; give head_dim or change num_heads",
            )
        elif self.resolved(d_model).shape.head_dim % 2:
            yield Fault(
                ("head_dim",),
                "head_dim must be even, because rotary positions turn pairs, but is "
                f"{self.resolved(d_model).shape.head_dim}; give an even head_dim",
            )
        if self.num_kv_heads and self.num_heads % self.num_kv_heads:
            yield Fault(
                ("num_kv_heads",),
                f"num_kv_heads must divide num_heads, but num_heads={self.num_heads} and "
                f"num_kv_heads={self.num_kv_heads}; use a divisor of {self.num_heads}",
            )

    def cost(self, context: CostContext) -> Cost:
        """Price one attention layer, without its norm.

        FACTS: projections ``4 d H h + 4 d G h`` FLOPs, core ``4 s H h`` in full and exactly half of
        it causal. Autograd keeps the input, rotated queries and keys, values and the output.
        """
        heads, kv_heads, head_dim = self.shape
        d_model = context.scope.d_model
        weights = 2 * d_model * (heads + kv_heads) * head_dim
        core = (2 if context.causal else 4) * context.seq_len * heads * head_dim
        saved = d_model + 2 * (heads + kv_heads) * head_dim
        return Cost(
            num_params=weights,
            num_active_params=weights,
            flops_per_token=2 * weights + core,
            activation_bytes_per_token=saved * context.activation_element_bytes + 4 * heads,
            kv_bytes_per_token=2 * kv_heads * head_dim * context.activation_element_bytes,
        )
