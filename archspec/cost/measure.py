"""Hold the activation bytes against what a model really keeps, by training it for one pass.

Every storage that operations create is watched; those still alive at the end of the forward pass,
logits included, are what is kept. Two batch sizes are run and the difference is taken, so that
whatever does not grow with the tokens (parameters, rotary angles) drops out.
"""

from __future__ import annotations

import gc
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from archspec.compiler.compile import compile
from archspec.compiler.recompute import recompute_layer
from archspec.model.transformer import Transformer
from archspec.spec.model import ModelSpec
from archspec.spec.plan import Recompute


def measure_activations(
    spec: ModelSpec, recompute: Recompute = "none", *, seq_len: int | None = None
) -> float:
    """Measure the bytes per token that one forward pass in fp32 keeps for the backward pass.

    Args:
        spec: A model small enough to run here.
        recompute: How its layers are checkpointed, as ``archspec.cost.activations`` defines it.
        seq_len: Tokens of each sequence; default ``max_seq_len``.
    """
    length = seq_len or spec.max_seq_len
    model = compile(spec, device="cpu", seed=0)
    for layer in model.layers:
        recompute_layer(layer, recompute)
    small, large = (_kept_bytes(model, batch, length) for batch in (2, 6))
    return (large - small) / (4 * length)


class _Watch(TorchDispatchMode):
    """Notes every storage that an operation returns, without holding it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                storage = leaf.untyped_storage()
                self.seen[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        return result

    def alive(self) -> int:
        """Count the bytes of the storages that still exist."""
        return sum(size for ref, size in self.seen.values() if not ref.expired())


def _kept_bytes(model: Transformer, batch: int, length: int) -> int:
    token_ids = torch.randint(model.spec.vocab_size, (batch, length))
    targets = token_ids.flatten()
    with _Watch() as watch:
        logits = model(token_ids).flatten(0, 1)
        loss = F.cross_entropy(logits, targets)
        del logits
        gc.collect()
        alive: int = watch.alive()
    assert loss.requires_grad, "the graph must be alive while its storages are counted"
    return alive
