"""The meaning, and what runs everywhere: ``F.scaled_dot_product_attention``."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel


def causal_attention(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """See :func:`archspec.kernels.causal_attention.op.causal_attention`."""
    return attention(query, key, value, scale, is_causal=True)


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scale: float,
    *,
    mask: Tensor | None = None,
    is_causal: bool = False,
) -> Tensor:
    """Attend to all keys, to those up to the query's own, or to those that a mask shows.

    Args:
        query: [batch, queries, heads, width].
        key: [batch, keys, kv_heads, width].
        value: [batch, keys, kv_heads, value_width].
        scale: Factor on the logits.
        mask: What ``F.scaled_dot_product_attention`` takes.
        is_causal: Likewise.

    Returns:
        [batch, queries, heads, value_width].
    """
    attended = F.scaled_dot_product_attention(
        query.transpose(1, 2),
        key.transpose(1, 2),
        value.transpose(1, 2),
        attn_mask=mask,
        is_causal=is_causal,
        scale=scale,
        enable_gqa=bool(query.shape[2] != key.shape[2]),  # a tensor while torch.jit traces
    )  # [batch, heads, queries, value_width]
    return attended.transpose(1, 2)


def differentiable_gradients(
    grad: Tensor, leaves: tuple[Tensor, Tensor, Tensor], scale: float
) -> list[Tensor | None]:
    """Return gradients for query, key and value, None where none is wanted.

    Unlike those of torch's fused kernels they can be differentiated again.
    """
    wanted = [leaf for leaf in leaves if leaf.requires_grad]
    with sdpa_kernel(SDPBackend.MATH):
        attended = causal_attention(*leaves, scale)
    found = iter(torch.autograd.grad(attended, wanted, grad, create_graph=True))
    return [next(found) if leaf.requires_grad else None for leaf in leaves]
