"""Balances experts by their routing biases, once per optimizer step (DeepSeek-V3, 2.1.2)."""

from __future__ import annotations

from torch import nn

from archspec.blocks.moe.module import MoeBlock
from archspec.blocks.usage import UsageRecorder


class RoutingBalance:
    """Counts the choices of a step where a block has a routing bias, and moves the biases.

    Attributes:
        usage: What forward passes report to; None if no block has a routing bias.
    """

    def __init__(self, model: nn.Module, *, rate: float) -> None:
        """Find the blocks.

        Args:
            model: The model in training.
            rate: Size of one move, against the load.
        """
        self._rate = rate
        self._blocks = {
            f"{name}.experts": module
            for name, module in model.named_modules()
            if isinstance(module, MoeBlock) and module.routing_bias is not None
        }
        experts = [block.experts for block in self._blocks.values()]
        self.usage = UsageRecorder(model, only=experts) if experts else None

    def step(self) -> None:
        """Move every bias by the choices since the last step."""
        if self.usage is None:
            return
        for name, block in self._blocks.items():
            block.balance(self.usage.counts[name], rate=self._rate)
        self.usage.reset()
