"""Text from a model, token by token."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from archspec.blocks.module import ForwardContext
from archspec.model.cache import KVCache
from archspec.model.transformer import Transformer


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Draws:
    """How tokens are drawn, and the random numbers that decide: nothing else is random.

    Attributes:
        temperature: Divides the logits, greater than 0.
        top_k: Draw from so many of the likeliest tokens; None draws from all.
        uniforms: Numbers in [0, 1), [batch, num_tokens], float64.
    """

    temperature: float
    top_k: int | None
    uniforms: Tensor


@torch.no_grad()
def generate(
    model: Transformer,
    token_ids: Tensor,
    num_tokens: int,
    *,
    draws: Draws | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Continue sequences, by default by the likeliest token each time; the lower id on ties.

    Every token passes through the model once; earlier ones are read from a cache.

    Args:
        model: The model.
        token_ids: The sequences so far, [batch, seq], of equal length.
        num_tokens: How many tokens to add to each.
        draws: Draw tokens instead of taking the likeliest.
        dtype: Of activations, where it is not that of the parameters.

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
        dtype=dtype or weight.dtype,
        device=weight.device,
    )
    found = [token_ids]
    for place in range(num_tokens):
        context = ForwardContext(token_ids=found[-1], cache=cache)
        logits = model(found[-1], context)[:, -1]  # [batch, vocab_size]
        found.append(_choose(logits, draws, place)[:, None])
    return torch.cat(found, dim=1)


def _choose(logits: Tensor, draws: Draws | None, place: int) -> Tensor:
    """Return the next tokens, [batch].

    A number u draws the first token, the likeliest first, at which the sum of the probabilities so
    far exceeds u.
    """
    if draws is None:
        return logits.argmax(dim=-1)
    probabilities = torch.softmax(logits.double() / draws.temperature, dim=-1)
    likeliest, tokens = probabilities.sort(dim=-1, descending=True, stable=True)
    reached = likeliest[:, : draws.top_k].cumsum(dim=-1)  # [batch, top_k]
    wanted = draws.uniforms[:, place, None].to(reached) * reached[:, -1:]
    index = (reached <= wanted).sum(dim=-1, keepdim=True).clamp_max(reached.shape[-1] - 1)
    return tokens.gather(-1, index)[:, 0]
