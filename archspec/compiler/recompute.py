"""Layers that run again in the backward pass instead of keeping their activations."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.checkpoint import checkpoint

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
        kept = frozenset(overload for name in KEPT_OPS for overload in _overloads(name))
        options |= {"context_fn": partial(_keep_and_replay, kept)}
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


class _Keep(TorchDispatchMode):
    """Runs operations, and keeps the results of some."""

    def __init__(self, kept: frozenset[Any], results: dict[Any, deque[Any]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._kept, self._results = kept, results

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in self._kept:
            self._results.setdefault(func, deque()).append(_detached(result))
        return result


class _Replay(TorchDispatchMode):
    """Runs operations, but returns the kept results of some, in their order."""

    def __init__(self, kept: frozenset[Any], results: dict[Any, deque[Any]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._kept, self._results = kept, results

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in self._kept:
            return self._results[func].popleft()
        return func(*args, **(kwargs or {}))


def _keep_and_replay(kept: frozenset[Any]) -> tuple[_Keep, _Replay]:
    """Return the contexts of the first pass and of the second.

    torch's own selective checkpointing counts all operations, and stops where FSDP gathers a unit
    inside a layer (experts, a pool) in the second pass and found it gathered in the first.
    """
    results: dict[Any, deque[Any]] = {}
    return _Keep(kept, results), _Replay(kept, results)


def _detached(result: Any) -> Any:
    return tree_map_only(Tensor, torch.Tensor.detach, result)


def _overloads(name: str) -> list[torch._ops.OpOverload[..., Any]]:
    space, _, op = name.partition("::")
    packet = getattr(getattr(torch.ops, space), op)
    return [getattr(packet, overload) for overload in packet.overloads()]
