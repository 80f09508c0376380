"""The declaration and price of a mixture-of-experts block."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from archspec.blocks.base import BlockConfig, CostContext, Fault, ModelScope
from archspec.blocks.dense.config import Activation, inner_results, num_matrices, saved_widths
from archspec.quantities import Cost, expected_distinct
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

        Selection and dispatch count 0 FLOPs.
        """
        d_model = context.scope.d_model
        router = d_model * self.num_experts
        expert = num_matrices(self.activation) * d_model * self.hidden_dim
        shared = self.num_shared_experts * expert
        active = router + self.top_k * expert + shared
        return Cost(
            num_params=router + self.num_experts * expert + shared,
            num_active_params=active,
            flops_per_token=2 * active,
            activation_bytes_per_token=self._saved_bytes(context),
        )

    def _saved_bytes(self, context: CostContext) -> int:
        """Count what autograd keeps per token.

        The input; per choice the expert's input and output, its inner vectors and its weight; the
        inner vectors of the shared experts. In fp32 the scores and their sum, and if normalized the
        chosen ones and theirs. In int64, per choice, the expert and its place before and after
        sorting.
        """
        d_model, element = context.scope.d_model, context.activation_element_bytes
        inner = saved_widths(self.activation) * self.hidden_dim
        choices = self.top_k * (2 * d_model + inner + 1)
        scores = self.num_experts + 1 + (self.top_k + 1) * self.normalize_scores
        vectors = d_model + choices + self.num_shared_experts * inner
        return vectors * element + scores * max(4, element) + 3 * 8 * self.top_k

    def touched_params(self, context: CostContext, tokens: float) -> float:
        """Expect router, shared experts and the ``E (1 - (1 - k / E) ** tokens)`` experts met."""
        d_model = context.scope.d_model
        expert = num_matrices(self.activation) * d_model * self.hidden_dim
        met = expected_distinct(self.num_experts, self.top_k, tokens)
        return d_model * self.num_experts + (self.num_shared_experts + met) * expert

    def kept_bytes(self, context: CostContext) -> int:
        """Count the results of the matmuls: router outputs, and inner vectors and outputs."""
        d_model = context.scope.d_model
        inner = inner_results(self.activation) * self.hidden_dim
        shared = (self.num_shared_experts * inner + d_model) * bool(self.num_shared_experts)
        elements = self.num_experts + self.top_k * (inner + d_model) + shared
        return elements * context.activation_element_bytes
