"""Balances experts by their routing biases, once per optimizer step (DeepSeek-V3, 2.1.2)."""

from __future__ import annotations

import torch
from torch import nn

from archspec.blocks.moe.module import MoeBlock
from archspec.blocks.usage import UsageRecorder
from archspec.train.world import World


class RoutingBalance:
    """Counts the choices of a step where a block has a routing bias, and moves the biases.

    Attributes:
        usage: What forward passes report to; None if no block has a routing bias.
    """

    def __init__(
        self, model: nn.Module, *, rate: float, world: World | None = None, copies: int = 1
    ) -> None:
        """Find the blocks.

        Args:
            model: The model in training.
            rate: Size of one move, against the load.
            world: The ranks whose choices are added up; None for one.
            copies: Ranks that see the same tokens, hence make the same choices.
        """
        self._rate = rate
        self._world = world
        self._copies = copies
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
        counts = torch.cat([self.usage.counts[name] for name in self._blocks])
        if self._world is not None:
            counts = self._world.sum(counts) // self._copies
        sizes = [len(self.usage.counts[name]) for name in self._blocks]
        for block, own in zip(self._blocks.values(), counts.split(sizes), strict=True):
            block.balance(own, rate=self._rate)
        self.usage.reset()
