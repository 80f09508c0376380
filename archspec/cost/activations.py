"""Activation memory of one device in training: without recompute, with selective, with full.

- ``none``: what autograd keeps, as the blocks count it.
- ``selective``: a layer keeps its input and what matmuls, the attention core, selections and
  look-ups produced; norms, activation functions and weightings are done again in the backward
  pass. It costs no FLOPs that we count.
- ``full``: a layer keeps its input and runs forward again in the backward pass.

Left out: gradients of activations and scratch space of kernels while they run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import get_args

from archspec.blocks.base import CostContext
from archspec.cost.summary import layer_cost, model_parts, per_layer
from archspec.spec.model import LayerSpec, ModelSpec
from archspec.spec.plan import Recompute

RECOMPUTE: tuple[Recompute, ...] = get_args(Recompute)


@dataclass(frozen=True, slots=True, kw_only=True)
class Activations:
    """Bytes per token of one layer.

    Attributes:
        kept: Held from the forward pass to the backward pass of the layer.
        rebuilt: Held beside them only while the layer itself is differentiated.
    """

    kept: int
    rebuilt: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivationMemory:
    """Bytes per token of a model.

    Attributes:
        layers: Each layer.
        parts: Last norm, head and logits, which are never recomputed.
    """

    layers: tuple[Activations, ...]
    parts: int

    @property
    def kept(self) -> int:
        """Bytes per token held at the end of a forward pass."""
        return self.parts + sum(layer.kept for layer in self.layers)

    @property
    def peak(self) -> int:
        """Bytes per token at most: all that is kept, and the largest layer that is rebuilt."""
        return self.kept + max((layer.rebuilt for layer in self.layers), default=0)


def activation_memory(
    spec: ModelSpec, context: CostContext, recompute: Recompute = "none"
) -> ActivationMemory:
    """Count the activation bytes per token of a model.

    Args:
        spec: The model.
        context: Conventions, from ``cost_context``; its element size is that of training.
        recompute: What is done again in the backward pass.
    """
    return ActivationMemory(
        layers=per_layer(spec, lambda layer: layer_activations(layer, context, recompute)),
        parts=sum(part.cost.activation_bytes_per_token for part in model_parts(spec, context)),
    )


def layer_activations(
    layer: LayerSpec, context: CostContext, recompute: Recompute = "none"
) -> Activations:
    """Count the activation bytes per token of one layer."""
    saved = layer_cost(layer, context).activation_bytes_per_token
    if recompute == "none":
        return Activations(kept=saved)
    kept = sum(_kept(layer, context, recompute))
    return Activations(kept=kept, rebuilt=max(0, saved - kept))


def _kept(layer: LayerSpec, context: CostContext, recompute: Recompute) -> Iterator[int]:
    """Yield what a layer with recompute keeps.

    The input of the blocks and of attention goes: norms are done again.
    """
    yield context.scope.d_model * context.activation_element_bytes
    if recompute == "selective":
        yield layer.attention.kept_bytes(context)
        yield from (block.kept_bytes(context) for block in layer.blocks)
