"""Which keys a query sees: earlier ones, of its own document, within its window."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from archspec.blocks.module import ForwardContext


class Visible(NamedTuple):
    """What to tell scaled_dot_product_attention.

    Attributes:
        mask: True where a query sees a key, broadcast to [batch, heads, queries, keys]; or None.
        is_causal: As many queries as keys, each seeing the keys up to its own.
    """

    mask: Tensor | None
    is_causal: bool


CAUSAL = Visible(None, is_causal=True)
EVERYTHING = Visible(None, is_causal=False)


def visible_in_sequence(
    context: ForwardContext, num_tokens: int, window: int | None, device: torch.device
) -> Visible:
    """Return what the tokens of whole sequences see of each other."""
    if window is None or window >= num_tokens:
        mask = context.document_mask
        return CAUSAL if mask is None else Visible(mask, is_causal=False)
    indices = torch.arange(num_tokens, device=device)
    mask = in_window(indices, indices, window)
    if context.document_mask is not None:
        mask = mask & context.document_mask
    return Visible(mask, is_causal=False)


def in_window(queries: Tensor, keys: Tensor, window: int | None) -> Tensor:
    """Return whether each query sees each key, [queries, keys], from the indices of both."""
    distance = queries[:, None] - keys
    seen = distance >= 0
    return seen if window is None else seen & (distance < window)


def document_mask(document_ids: Tensor) -> Tensor:
    """Let tokens attend to earlier tokens of their own document only.

    Args:
        document_ids: [batch, seq], any integers that differ between documents.

    Returns:
        [batch, 1, seq, seq] bool, as :class:`ForwardContext` wants it.
    """
    same = document_ids[:, None, :, None] == document_ids[:, None, None, :]
    return same & torch.ones_like(same).tril()
