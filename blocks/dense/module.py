"""A dense feed-forward block."""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from archspec.blocks.dense.config import Activation, DenseConfig, is_gated
from archspec.blocks.linear import Linear
from archspec.blocks.module import Block, BuildContext, ForwardContext
from archspec.blocks.part import select_present
from archspec.initialisers import Constant, Initialiser, fan_in_normal


def activate(up: Tensor, gate: Tensor | None, activation: Activation) -> Tensor:
    """Apply the activation to the inner vectors; only a gated one takes ``gate``."""
    if gate is not None:
        return (F.silu(gate) if activation == "swiglu" else F.gelu(gate)) * up
    return F.gelu(up) if activation == "gelu" else F.relu(up).square()


class DenseBlock(Block):
    """``(silu(x W_g) * x W_u) W_d``, or plain ``act(x W_u) W_d``."""

    def __init__(self, config: DenseConfig, build: BuildContext) -> None:
        super().__init__()
        d_model, hidden_dim, bias = build.scope.d_model, config.hidden_dim, config.bias
        gated = is_gated(config.activation)
        self.activation = config.activation
        self.gate = Linear(d_model, hidden_dim, bias=bias) if gated else None
        self.up = Linear(d_model, hidden_dim, bias=bias)
        self.down = Linear(hidden_dim, d_model, bias=bias)
        self._residual_gain = build.residual_gain

    def initialisers(self) -> Mapping[str, Initialiser]:
        """Keep variances; the output starts small enough to add up over the layers."""
        inner = fan_in_normal(self.up.in_features)
        outer = fan_in_normal(self.down.in_features, gain=self._residual_gain)
        starts: dict[str, Initialiser] = {
            **dict.fromkeys(("gate.weight", "up.weight"), inner),
            "down.weight": outer,
            **dict.fromkeys(("gate.bias", "up.bias", "down.bias"), Constant(0.0)),
        }
        return select_present(starts, self)

    def forward(self, x: Tensor, context: ForwardContext) -> Tensor:
        """See :class:`Block`."""
        gate = None if self.gate is None else self.gate(x)  # [batch, seq, hidden_dim]
        result: Tensor = self.down(activate(self.up(x), gate, self.activation))
        return result
