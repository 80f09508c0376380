"""Text from a model, token by token."""

from __future__ import annotations

import torch
from torch import Tensor

from archspec.blocks.module import ForwardContext
from archspec.model.cache import KVCache
from archspec.model.transformer import Transformer


@torch.no_grad()
def generate(model: Transformer, token_ids: Tensor, num_tokens: int) -> Tensor:
    """Continue sequences greedily, by the likeliest token each time; the lower id on ties.

    Every token passes through the model once; earlier ones are read from a cache.

    Args:
        model: The model.
        token_ids: The sequences so far, [batch, seq], of equal length.
        num_tokens: How many tokens to add to each.

    Returns:
        [batch, seq + num_tokens].

    Raises:
        ArchspecError: The result would be longer than the model's ``max_seq_len``.
    """
    batch, length = token_ids.shape
    weight = model.embedding.weight
    cache = KVCache(
        model.spec,
        batch=batch,
        max_tokens=length + num_tokens,
        dtype=weight.dtype,
        device=weight.device,
    )
    found = [token_ids]
    for _ in range(num_tokens):
        context = ForwardContext(token_ids=found[-1], cache=cache)
        found.append(model(found[-1], context)[:, -1:].argmax(dim=-1))
    return torch.cat(found, dim=1)
