"""The declaration and price of a mixture-of-experts block."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from archspec.blocks.base import BlockConfig, CostContext, Fault, ModelScope
from archspec.blocks.dense.config import Activation, inner_results, num_matrices, saved_widths
from archspec.quantities import Cost, expected_distinct
from archspec.schema import Count, PositiveFloat, PositiveInt


class MoeConfig(BlockConfig):
    """Token-choice mixture of experts: every token runs through its ``top_k`` best experts.

    No token is dropped. Shared experts see every token; together they are one dense block of width
    ``num_shared_experts * hidden_dim``, or ``shared_hidden_dim``.
    """

    type: Literal["moe"] = "moe"
    num_experts: Annotated[PositiveInt, Field(description="Routed experts.")]
    top_k: Annotated[PositiveInt, Field(description="Experts each token is sent to.")]
    hidden_dim: Annotated[PositiveInt, Field(description="Inner width of one expert, in elements.")]
    num_shared_experts: Annotated[Count, Field(description="Experts that see every token.")] = 0
    shared_hidden_dim: Annotated[
        PositiveInt | None,
        Field(
            description="Inner width of all that see every token, in elements, where it is no "
            "multiple of hidden_dim; default num_shared_experts * hidden_dim."
        ),
    ] = None
    shared_gate: Annotated[
        bool,
        Field(description="Multiply what the shared experts add by sigmoid(<w, x>)."),
    ] = False
    activation: Annotated[
        Activation,
        Field(description="swiglu and geglu have three matrices per expert; gelu and relu2 two."),
    ] = "swiglu"
    scores: Annotated[
        Literal["softmax", "sigmoid"],
        Field(description="How router outputs become the weights of the chosen experts."),
    ] = "softmax"
    normalize_scores: Annotated[
        bool,
        Field(description="Divide the chosen experts' weights by their sum (needs top_k > 1)."),
    ] = False
    routed_scale: Annotated[
        PositiveFloat,
        Field(description="Factor on the chosen experts' weights, after any normalization."),
    ] = 1.0
    routing_bias: Annotated[
        bool,
        Field(
            description="Add a bias per expert to the scores, for the choice alone and not for the "
            "weights. It is stored and counted but has no gradient: balancing moves it."
        ),
    ] = False
    num_groups: Annotated[
        PositiveInt,
        Field(description="Equal groups of neighbouring experts; see top_groups."),
    ] = 1
    top_groups: Annotated[
        PositiveInt,
        Field(
            description="Groups from which a token may choose, those whose best top_k / top_groups "
            "scores sum highest; fewer than num_groups unless that is 1."
        ),
    ] = 1

    @model_validator(mode="before")
    @classmethod
    def _count_shared_experts(cls, value: Any) -> Any:
        """Write a shared width of n experts as n experts, so that one design has one hash."""
        if not isinstance(value, dict):
            return value
        shared, hidden_dim = value.get("shared_hidden_dim"), value.get("hidden_dim")
        if type(shared) is not int or type(hidden_dim) is not int or hidden_dim < 1:
            return value
        if shared < 1 or shared % hidden_dim or value.get("num_shared_experts", 0) != 0:
            return value
        rest = {key: item for key, item in value.items() if key != "shared_hidden_dim"}
        return {**rest, "num_shared_experts": shared // hidden_dim}

    @property
    def shared_width(self) -> int:
        """Inner width of what every token runs through; 0 if nothing is shared."""
        return self.shared_hidden_dim or self.num_shared_experts * self.hidden_dim

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
        yield from self._check_shared()
        yield from self._check_groups()

    def _check_shared(self) -> Iterator[Fault]:
        if self.num_shared_experts and self.shared_hidden_dim:
            yield Fault(
                ("shared_hidden_dim",),
                "the shared width is given twice, by "
                f"num_shared_experts={self.num_shared_experts} and "
                f"shared_hidden_dim={self.shared_hidden_dim}; remove one",
            )
        if self.shared_gate and not self.shared_width:
            yield Fault(
                ("shared_gate",),
                "shared_gate needs a shared expert, but there is none; give num_shared_experts or "
                "shared_hidden_dim, or set shared_gate: false",
            )

    def _check_groups(self) -> Iterator[Fault]:
        if self.num_experts % self.num_groups:
            yield Fault(
                ("num_groups",),
                f"num_groups must divide num_experts, but num_experts={self.num_experts} and "
                f"num_groups={self.num_groups}; use a divisor of {self.num_experts}",
            )
        elif self.num_groups == 1 and self.top_groups > 1:
            yield Fault(
                ("top_groups",),
                f"top_groups={self.top_groups} needs groups, but num_groups=1; give num_groups or "
                "remove top_groups",
            )
        elif 1 < self.num_groups <= self.top_groups:
            yield Fault(
                ("top_groups",),
                f"top_groups < num_groups must hold, but top_groups={self.top_groups} and "
                f"num_groups={self.num_groups}; lower top_groups, or remove both for no limit",
            )
        elif self.reach < self.top_k <= self.num_experts:
            yield Fault(
                ("top_k",),
                "top_k <= top_groups * num_experts / num_groups must hold, but "
                f"top_k={self.top_k} and top_groups={self.top_groups} of "
                f"num_groups={self.num_groups} hold {self.reach} experts; lower top_k or raise "
                "top_groups",
            )

    @property
    def reach(self) -> int:
        """Experts among which a token chooses."""
        return self.num_experts // self.num_groups * self.top_groups

    def size(self) -> str:
        """Say how large the block is, for a table column."""
        shared = f" + {self.num_shared_experts}" if self.num_shared_experts else ""
        other = f", shared {self.shared_hidden_dim}" if self.shared_hidden_dim else ""
        return f"{self.top_k}/{self.num_experts}{shared} x {self.hidden_dim}{other}"

    def cost(self, context: CostContext) -> Cost:
        """Price the block: router, all experts stored, ``top_k`` and the shared ones active.

        The routing bias counts as stored and active; it is added, at 0 FLOPs. Selection and
        dispatch count 0 FLOPs.
        """
        always, expert = self._weights(context.scope.d_model)
        bias = self.num_experts * self.routing_bias
        return Cost(
            num_params=always + bias + self.num_experts * expert,
            num_active_params=always + bias + self.top_k * expert,
            flops_per_token=2 * (always + self.top_k * expert),
            activation_bytes_per_token=self._saved_bytes(context),
        )

    def _weights(self, d_model: int) -> tuple[int, int]:
        """Count the weights that every token multiplies, and those of one routed expert."""
        matrices = num_matrices(self.activation)
        shared = matrices * d_model * self.shared_width + d_model * self.shared_gate
        return d_model * self.num_experts + shared, matrices * d_model * self.hidden_dim

    def _saved_bytes(self, context: CostContext) -> int:
        """Count what autograd keeps per token.

        The input; per choice the expert's input and output, its inner vectors and its weight; the
        inner vectors of the shared experts, and if gated their output and the gate. In fp32 the
        scores and their sum, and if normalized the chosen ones and theirs. In int64, per choice,
        the expert and its place before and after sorting.
        """
        d_model, element = context.scope.d_model, context.activation_element_bytes
        widths = saved_widths(self.activation)
        choices = self.top_k * (2 * d_model + widths * self.hidden_dim + 1)
        scores = self.num_experts + 1 + (self.top_k + 1) * self.normalize_scores
        vectors = d_model + choices + widths * self.shared_width + (d_model + 1) * self.shared_gate
        return vectors * element + scores * max(4, element) + 3 * 8 * self.top_k

    def touched_params(self, context: CostContext, tokens: float) -> float:
        """Expect router, shared experts and the ``E (1 - (1 - k / E) ** tokens)`` experts met."""
        always, expert = self._weights(context.scope.d_model)
        met = expected_distinct(self.num_experts, self.top_k, tokens)
        return always + self.num_experts * self.routing_bias + met * expert

    def kept_bytes(self, context: CostContext) -> int:
        """Count the results of the matmuls: router outputs, inner vectors, outputs, the gate."""
        d_model, results = context.scope.d_model, inner_results(self.activation)
        shared = (results * self.shared_width + d_model) * bool(self.shared_width)
        routed = self.top_k * (results * self.hidden_dim + d_model)
        elements = self.num_experts + routed + shared + self.shared_gate
        return elements * context.activation_element_bytes
