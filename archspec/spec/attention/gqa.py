"""The declaration and price of attention with grouped queries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field

from archspec.blocks.base import CostContext, Fault
from archspec.blocks.layout import TP, AxisSizes, ParameterLayout, divides, linear, vector, within
from archspec.quantities import Cost
from archspec.schema import PositiveFloat, PositiveInt
from archspec.spec.attention.base import AttentionConfig, mean_keys
from archspec.spec.attention.rope import RopeScaling, check_scaling


class HeadShape(NamedTuple):
    """How attention is cut into heads."""

    num_heads: int
    num_kv_heads: int
    head_dim: int


class GqaConfig(AttentionConfig):
    """Causal self-attention with grouped queries (Ainslie et al., arXiv 2305.13245).

    As many key heads as query heads make it multi-head, one makes it multi-query attention.
    """

    type: Literal["gqa"] = "gqa"
    num_heads: Annotated[PositiveInt, Field(description="Query heads.")]
    num_kv_heads: Annotated[
        PositiveInt | None,
        Field(description="Key and value heads; default num_heads."),
    ] = None
    head_dim: Annotated[
        PositiveInt | None,
        Field(description="Width of a head, in elements; default d_model / num_heads."),
    ] = None
    window: Annotated[
        PositiveInt | None,
        Field(description="Latest tokens a token sees, itself included; null sees all."),
    ] = None
    bias: Annotated[
        Literal["none", "qkv", "all"],
        Field(description="Biases: on query, key and value projections, or on the output too."),
    ] = "none"
    qk_norm: Annotated[
        Literal["none", "head", "full"],
        Field(
            description="RMSNorm of queries and of keys before they turn: over each head, with one "
            "weight vector for all, or over all heads at once."
        ),
    ] = "none"
    rope_theta: Annotated[
        PositiveFloat | None,
        Field(description="Base of the rotary angles; null for no rotary positions."),
    ] = 10000.0
    rope_dim: Annotated[
        PositiveInt | None,
        Field(description="First elements of a head that turn; even; default head_dim."),
    ] = None
    rope_scaling: Annotated[
        RopeScaling | None,
        Field(description="How rotary positions are stretched over longer sequences."),
    ] = None

    @property
    def shape(self) -> HeadShape:
        """The three counts of a resolved config."""
        assert self.num_kv_heads is not None, "config is unresolved"
        assert self.head_dim is not None, "config is unresolved"
        return HeadShape(self.num_heads, self.num_kv_heads, self.head_dim)

    def resolved(self, d_model: int) -> Self:
        """Fill in the defaults that depend on the model."""
        head_dim = self.head_dim or d_model // self.num_heads
        turned = None if self.rope_theta is None else self.rope_dim or head_dim
        return self.model_copy(
            update={
                "num_kv_heads": self.num_kv_heads or self.num_heads,
                "head_dim": head_dim,
                "rope_dim": turned,
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
        else:
            yield from self._check_rope(self.head_dim or d_model // self.num_heads)
        if self.num_kv_heads and self.num_heads % self.num_kv_heads:
            yield Fault(
                ("num_kv_heads",),
                f"num_kv_heads must divide num_heads, but num_heads={self.num_heads} and "
                f"num_kv_heads={self.num_kv_heads}; use a divisor of {self.num_heads}",
            )

    def _check_rope(self, head_dim: int) -> Iterator[Fault]:
        if self.rope_theta is None:
            for key in ("rope_dim", "rope_scaling"):
                if getattr(self, key) is not None:
                    yield Fault(
                        (key,),
                        f"{key} needs rotary positions, but rope_theta is null; give rope_theta "
                        f"or remove {key}",
                    )
            return
        yield from check_scaling(self.rope_scaling)
        if self.rope_dim is None:
            if head_dim % 2:
                yield Fault(
                    ("head_dim",),
                    f"head_dim must be even, because rotary positions turn pairs, but is {head_dim}"
                    "; give an even head_dim, or an even rope_dim below it",
                )
        elif self.rope_dim % 2:
            yield Fault(
                ("rope_dim",),
                "rope_dim must be even, because rotary positions turn pairs, but is "
                f"{self.rope_dim}; use {self.rope_dim - 1 or 2}",
            )
        elif self.rope_dim > head_dim:
            yield Fault(
                ("rope_dim",),
                f"rope_dim <= head_dim must hold, but rope_dim={self.rope_dim} and "
                f"head_dim={head_dim}; lower rope_dim",
            )

    def size(self) -> str:
        """Say how large the attention is, for a table column."""
        heads, kv_heads, head_dim = self.shape
        groups = "" if heads == kv_heads else f"/{kv_heads}"
        window = "" if self.window is None else f", window {self.window}"
        return f"{heads}{groups} x {head_dim}{window}"

    def cost(self, context: CostContext) -> Cost:
        """Price one layer's attention, without the norms around it.

        FACTS: projections ``4 d H h + 4 d G h`` FLOPs, core ``4 H h`` per key that a query is
        multiplied with, rounded to a whole FLOP; biases, norms and softmax count 0.
        """
        heads, kv_heads, head_dim = self.shape
        d_model = context.scope.d_model
        weights = 2 * d_model * (heads + kv_heads) * head_dim
        params = weights + self._num_biases(d_model) + self._num_norm_weights()
        core = round(4 * heads * head_dim * mean_keys(context, self.window))
        return Cost(
            num_params=params,
            num_active_params=params,
            flops_per_token=2 * weights + core,
            activation_bytes_per_token=self._saved_bytes(context),
            kv_bytes_per_token=self.kv_bytes(1, context.activation_element_bytes),
        )

    def _num_biases(self, d_model: int) -> int:
        heads, kv_heads, head_dim = self.shape
        inner = (heads + 2 * kv_heads) * head_dim
        return {"none": 0, "qkv": inner, "all": inner + d_model}[self.bias]

    def _num_norm_weights(self) -> int:
        heads, kv_heads, head_dim = self.shape
        return {"none": 0, "head": 2, "full": heads + kv_heads}[self.qk_norm] * head_dim

    def kept_bytes(self, context: CostContext) -> int:
        """Count what selective recompute keeps: without norms, as they are done again."""
        return self._saved_bytes(context, normed=False)

    def _saved_bytes(self, context: CostContext, *, normed: bool = True) -> int:
        """Count what autograd keeps per token.

        Input, turned queries and keys, values, the output and one fp32 factor per head; a norm
        keeps its input, that divided, and one fp32 factor for each vector it norms.
        """
        heads, kv_heads, head_dim = self.shape
        queries_and_keys = (heads + kv_heads) * head_dim
        norm = self.qk_norm if normed else "none"
        elements = context.scope.d_model + queries_and_keys * (2 if norm == "none" else 4)
        factors = heads + {"none": 0, "head": heads + kv_heads, "full": 2}[norm]
        return elements * context.activation_element_bytes + 4 * factors

    def layout(self, d_model: int) -> dict[str, ParameterLayout]:
        """Return the layout of every parameter: tp cuts by heads."""
        heads, kv_heads, head_dim = self.shape
        inner, outer = self.bias != "none", self.bias == "all"
        key = linear(kv_heads * head_dim, d_model, bias=inner, tp=0)
        found = {
            **within("query", linear(heads * head_dim, d_model, bias=inner, tp=0)),
            **within("key", key),
            **within("value", key),
            **within("output", linear(d_model, heads * head_dim, bias=outer, tp=1)),
        }
        if self.qk_norm != "none":
            queries, keys = (heads, kv_heads) if self.qk_norm == "full" else (1, 1)
            found["query_norm.weight"] = vector(queries * head_dim)
            found["key_norm.weight"] = vector(keys * head_dim)
        return found

    def sharding_faults(self, d_model: int, sizes: AxisSizes) -> Iterator[Fault]:
        """Yield every rule that the axes of a mesh break."""
        tp, (heads, kv_heads, _) = sizes.get(TP, 1), self.shape
        yield from divides(("num_heads",), "num_heads", heads, TP, tp)
        yield from divides(("num_kv_heads",), "num_kv_heads", kv_heads, TP, tp)
        if self.qk_norm == "full" and tp > 1:
            yield Fault(
                ("qk_norm",),
                f"qk_norm: full norms over all heads, which tp={tp} would cut apart; use tp: 1, or "
                "qk_norm: head",
            )

    def on_rank(self, tp: int) -> Self:
        """Return what one of ``tp`` ranks computes: a part of the heads."""
        heads, kv_heads, _ = self.shape
        return self.model_copy(update={"num_heads": heads // tp, "num_kv_heads": kv_heads // tp})

    @property
    def cache_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Turned keys, and values."""
        _, kv_heads, head_dim = self.shape
        return {"key": (kv_heads, head_dim), "value": (kv_heads, head_dim)}

    def cached_tokens(self, tokens: int) -> int:
        """How many of ``tokens`` tokens the cache holds: those of the window."""
        return tokens if self.window is None else min(tokens, self.window)
