"""The declaration and price of multi-head latent attention."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, Self

from pydantic import Field

from archspec.blocks.base import CostContext, Fault
from archspec.blocks.layout import TP, AxisSizes, ParameterLayout, divides, linear, vector, within
from archspec.quantities import Cost
from archspec.schema import PositiveFloat, PositiveInt
from archspec.spec.attention.base import AttentionConfig, mean_keys
from archspec.spec.attention.rope import RopeScaling, check_scaling


class MlaConfig(AttentionConfig):
    """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434; V3, arXiv 2412.19437).

    Keys and values of all heads are made from one normed latent per token; one more key of
    ``rope_head_dim``, the only part that turns, is shared by all heads. The cache keeps the latent
    and that key.
    """

    type: Literal["mla"] = "mla"
    num_heads: Annotated[PositiveInt, Field(description="Heads.")]
    q_lora_rank: Annotated[
        PositiveInt | None,
        Field(description="Width of the queries' normed latent; null projects them directly."),
    ] = None
    kv_lora_rank: Annotated[
        PositiveInt,
        Field(description="Width of the latent of keys and values, in elements."),
    ]
    nope_head_dim: Annotated[
        PositiveInt,
        Field(description="Elements of a query and key head that carry no position."),
    ]
    rope_head_dim: Annotated[
        PositiveInt,
        Field(description="Elements of a query head, and of the shared key, that turn; even."),
    ]
    value_head_dim: Annotated[PositiveInt, Field(description="Width of a value head.")]
    rope_theta: Annotated[PositiveFloat, Field(description="Base of the rotary angles.")] = 10000.0
    rope_scaling: Annotated[
        RopeScaling | None,
        Field(description="How rotary positions are stretched over longer sequences."),
    ] = None

    @property
    def query_dim(self) -> int:
        """Width of a query head, both parts."""
        return self.nope_head_dim + self.rope_head_dim

    def check(self, d_model: int) -> Iterator[Fault]:
        """Yield every rule this config breaks in a model of width ``d_model``."""
        yield from check_scaling(self.rope_scaling)
        if self.rope_head_dim % 2:
            yield Fault(
                ("rope_head_dim",),
                "rope_head_dim must be even, because rotary positions turn pairs, but is "
                f"{self.rope_head_dim}; use {self.rope_head_dim + 1}",
            )

    def size(self) -> str:
        """Say how large the attention is, for a table column."""
        return f"{self.num_heads} x {self.query_dim}, latent {self.kv_lora_rank}"

    def cost(self, context: CostContext) -> Cost:
        """Price one layer's attention, without the norms around it.

        2 FLOPs per weight, norms of the latents 0; the core multiplies queries with keys of
        ``query_dim`` and weights with values of ``value_head_dim``, as training and prefill do it.
        Decoding from the latent does other work, see ``model.attention.mla``.
        """
        heads = self.num_heads
        weights = self._num_weights(context.scope.d_model)
        params = weights + (self.q_lora_rank or 0) + self.kv_lora_rank
        core = round(2 * heads * (self.query_dim + self.value_head_dim) * mean_keys(context))
        return Cost(
            num_params=params,
            num_active_params=params,
            flops_per_token=2 * weights + core,
            activation_bytes_per_token=self._saved_bytes(context),
            kv_bytes_per_token=self.kv_bytes(1, context.activation_element_bytes),
        )

    def _num_weights(self, d_model: int) -> int:
        queries = self.num_heads * self.query_dim
        rank = self.q_lora_rank
        query = d_model * queries if rank is None else rank * (d_model + queries)
        latent = d_model * (self.kv_lora_rank + self.rope_head_dim)
        keys_and_values = self.num_heads * (self.nope_head_dim + self.value_head_dim)
        output = self.num_heads * self.value_head_dim * d_model
        return query + latent + self.kv_lora_rank * keys_and_values + output

    def _saved_bytes(self, context: CostContext) -> int:
        """Count what autograd keeps per token.

        Input; of each latent, it as projected, divided and weighted; queries and keys; values,
        which are a view beside the keys' first part; the output; fp32 factors of norms and heads.
        """
        heads, query_rank = self.num_heads, self.q_lora_rank or 0
        elements = (
            context.scope.d_model
            + 3 * (query_rank + self.kv_lora_rank)
            + self.rope_head_dim
            + heads * (2 * self.query_dim + self.nope_head_dim + 2 * self.value_head_dim)
        )
        factors = heads + 1 + (query_rank > 0)
        return elements * context.activation_element_bytes + 4 * factors

    def kept_bytes(self, context: CostContext) -> int:
        """Count what selective recompute keeps: the results of projections and of the core.

        Both latents, the shared key, queries, keys and values, the core's output and one fp32
        number per head; the projected output in place of the input.
        """
        elements = (
            context.scope.d_model
            + (self.q_lora_rank or 0)
            + self.kv_lora_rank
            + self.rope_head_dim
            + self.num_heads * (self.query_dim + self.nope_head_dim + 2 * self.value_head_dim)
        )
        return elements * context.activation_element_bytes + 4 * self.num_heads

    def layout(self, d_model: int) -> dict[str, ParameterLayout]:
        """Return the layout of every parameter: tp cuts by heads; each rank makes the latents."""
        heads, rank, latent = self.num_heads, self.q_lora_rank, self.kv_lora_rank
        found: dict[str, ParameterLayout] = {}
        if rank is not None:
            found |= within("query_down", linear(rank, d_model))
            found["query_norm.weight"] = vector(rank)
        made = heads * (self.nope_head_dim + self.value_head_dim)
        return {
            **found,
            **within("query", linear(heads * self.query_dim, rank or d_model, tp=0)),
            **within("latent", linear(latent + self.rope_head_dim, d_model)),
            "latent_norm.weight": vector(latent),
            **within("key_value", linear(made, latent, tp=0)),
            **within("output", linear(d_model, heads * self.value_head_dim, tp=1)),
        }

    def sharding_faults(self, d_model: int, sizes: AxisSizes) -> Iterator[Fault]:
        """Yield every rule that the axes of a mesh break."""
        yield from divides(("num_heads",), "num_heads", self.num_heads, TP, sizes.get(TP, 1))

    def on_rank(self, tp: int) -> Self:
        """Return what one of ``tp`` ranks computes: a part of the heads, from whole latents."""
        return self.model_copy(update={"num_heads": self.num_heads // tp})

    @property
    def cache_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The normed latent, and the turned key that all heads share."""
        return {"latent": (self.kv_lora_rank,), "rope_key": (self.rope_head_dim,)}
