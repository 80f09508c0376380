"""The declaration and price of a mixture-of-experts block."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from archspec.blocks.base import BlockConfig, CostContext, Fault, ModelScope
from archspec.blocks.dense.config import Activation, num_matrices, saved_widths
from archspec.quantities import Cost
from archspec.schema import Count, PositiveInt


class MoeConfig(BlockConfig):
    """Token-choice mixture of experts: every token runs through its ``top_k`` best experts.

    No token is dropped. Shared experts see every token; together they are one dense block of width
    ``num_shared_experts * hidden_dim``.
    """

    type: Literal["moe"] = "moe"
    num_experts: Annotated[PositiveInt, Field(description="Routed experts.")]
    top_k: Annotated[PositiveInt, Field(description="Experts each token is sent to.")]
    hidden_dim: Annotated[PositiveInt, Field(description="Inner width of one expert, in elements.")]
    num_shared_experts: Annotated[Count, Field(description="Experts that see every token.")] = 0
    activation: Annotated[
        Activation,
        Field(description="swiglu has three matrices per expert; gelu and relu2 have two."),
    ] = "swiglu"
    scores: Annotated[
        Literal["softmax", "sigmoid"],
        Field(description="How router outputs become the weights of the chosen experts."),
    ] = "softmax"
    normalize_scores: Annotated[
        bool,
        Field(description="Divide the chosen experts' weights by their sum (needs top_k > 1)."),
    ] = False

    def check(self, scope: ModelScope) -> Iterator[Fault]:
        """Yield the rules broken between the counts."""
        if self.top_k > self.num_experts:
            yield Fault(
                ("top_k",),
                f"top_k <= num_experts must hold, but top_k={self.top_k} and "
                f"num_experts={self.num_experts}; lower top_k or raise num_experts",
            )
        if self.normalize_scores and self.top_k == 1:
            yield Fault(
                ("normalize_scores",),
                "normalize_scores needs top_k >= 2, but top_k=1: the only weight would always be 1 "
                "and the router would never learn; set normalize_scores: false",
            )

    def size(self) -> str:
        """Say how large the block is, for a table column."""
        shared = f" + {self.num_shared_experts}" if self.num_shared_experts else ""
        return f"{self.top_k}/{self.num_experts}{shared} x {self.hidden_dim}"

    def cost(self, context: CostContext) -> Cost:
        """Price the block: router, all experts stored, ``top_k`` and the shared ones active.

        Selection and dispatch count 0 FLOPs. Autograd keeps the input, the scores, one copy of the
        token per chosen expert and the inner vectors of those experts.
        """
        d_model = context.scope.d_model
        router = d_model * self.num_experts
        expert = num_matrices(self.activation) * d_model * self.hidden_dim
        shared = self.num_shared_experts * expert
        active = router + self.top_k * expert + shared
        inner = saved_widths(self.activation) * self.hidden_dim
        saved = (
            (2 if self.num_shared_experts else 1) * d_model
            + 2 * self.num_experts
            + self.top_k * (2 * d_model + inner)
            + self.num_shared_experts * inner
        )
        return Cost(
            num_params=router + self.num_experts * expert + shared,
            num_active_params=active,
            flops_per_token=2 * active,
            activation_bytes_per_token=saved * context.activation_element_bytes,
        )
