"""The declaration and price of a dense block."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from archspec.blocks.base import BlockConfig, CostContext
from archspec.quantities import Cost
from archspec.schema import PositiveInt

Activation = Literal["swiglu", "geglu", "gelu", "relu2"]


def is_gated(activation: Activation) -> bool:
    """Tell whether the activation multiplies two projections of its input."""
    return activation in ("swiglu", "geglu")


def num_matrices(activation: Activation) -> int:
    """Count the ``d_model x hidden_dim`` matrices: gate, up and down, or up and down."""
    return 3 if is_gated(activation) else 2


def saved_widths(activation: Activation) -> int:
    """Count the vectors of width ``hidden_dim`` that autograd keeps per token.

    Gated: gate, its activation, up and the product of the last two. GELU: its input and its output.
    ReLU²: relu(up) and its square, which are all that either derivative needs.
    """
    return {"swiglu": 4, "geglu": 4, "gelu": 2, "relu2": 2}[activation]


def inner_results(activation: Activation) -> int:
    """Count the vectors of width ``hidden_dim`` that matmuls produce: gate and up, or up alone."""
    return num_matrices(activation) - 1


class DenseConfig(BlockConfig):
    """A feed-forward block: SwiGLU ``(silu(x W_g) * x W_u) W_d``, or plain GELU or ReLU².

    GeGLU is SwiGLU with gelu in place of silu. Every gelu is the exact one.
    """

    type: Literal["dense"] = "dense"
    hidden_dim: Annotated[PositiveInt, Field(description="Inner width, in elements.")]
    activation: Annotated[
        Activation,
        Field(description="swiglu and geglu have three matrices; gelu and relu2 have two."),
    ] = "swiglu"
    bias: Annotated[bool, Field(description="Add a bias to every projection.")] = False

    def size(self) -> str:
        """Say how large the block is, for a table column."""
        return f"{self.hidden_dim}"

    def cost(self, context: CostContext) -> Cost:
        """Price the block: 2 FLOPs per weight and token; biases are additions and count 0."""
        d_model, matrices = context.scope.d_model, num_matrices(self.activation)
        weights = matrices * d_model * self.hidden_dim
        biases = ((matrices - 1) * self.hidden_dim + d_model) * self.bias
        saved = d_model + saved_widths(self.activation) * self.hidden_dim
        return Cost(
            num_params=weights + biases,
            num_active_params=weights + biases,
            flops_per_token=2 * weights,
            activation_bytes_per_token=saved * context.activation_element_bytes,
        )

    def kept_bytes(self, context: CostContext) -> int:
        """Count the results of the matmuls: those of the inner width, and the output."""
        return (
            inner_results(self.activation) * self.hidden_dim + context.scope.d_model
        ) * context.activation_element_bytes
