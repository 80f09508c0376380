"""Layers that run again in the backward pass instead of keeping their activations."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

from archspec.blocks.module import ForwardContext, LossRecorder
from archspec.model.cache import LayerCache
from archspec.spec.plan import Recompute

# What selective recompute keeps: results of matmuls, attention cores, selections and look-ups.
KEPT_OPS = (
    "aten::mm",
    "aten::addmm",
    "aten::bmm",
    "aten::embedding",
    "aten::_scaled_dot_product_flash_attention",
    "aten::_scaled_dot_product_flash_attention_for_cpu",
    "aten::_scaled_dot_product_efficient_attention",
    "archspec::grouped_matmul",
    "archspec::embedding_bag",
    "archspec::product_key_topk",
)

LayerForward = Callable[[Tensor, ForwardContext, LayerCache | None], Tensor]


def recompute_layer(layer: nn.Module, recompute: Recompute) -> None:
    """Make a layer of a model recompute, in place.

    Auxiliary losses and uses are recorded by the first pass alone.

    Args:
        layer: A :class:`archspec.model.layer.Layer`.
        recompute: What runs again: nothing, everything but ``KEPT_OPS``, or everything.
    """
    if recompute == "none":
        return
    options: dict[str, Any] = {"use_reentrant": False, "preserve_rng_state": False}
    if recompute == "selective":
        kept = [overload for name in KEPT_OPS for overload in _overloads(name)]
        options |= {"context_fn": partial(create_selective_checkpoint_contexts, kept)}
    layer.forward = partial(_run_again, layer.forward, options)


def _run_again(
    forward: LayerForward,
    options: dict[str, Any],
    x: Tensor,
    context: ForwardContext,
    cache: LayerCache | None = None,
) -> Tensor:
    if not torch.is_grad_enabled():
        return forward(x, context, cache)
    contexts = [context]

    def run(x: Tensor) -> Tensor:
        used = contexts.pop() if contexts else _forgetful(context)
        return forward(x, used, cache)

    result: Tensor = checkpoint(run, x, **options)
    return result


def _forgetful(context: ForwardContext) -> ForwardContext:
    return dataclasses.replace(context, losses=LossRecorder(), usage=None)


def _overloads(name: str) -> list[torch._ops.OpOverload[..., Any]]:
    space, _, op = name.partition("::")
    packet = getattr(getattr(torch.ops, space), op)
    return [getattr(packet, overload) for overload in packet.overloads()]
