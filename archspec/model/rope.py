"""Rotary positions (Su et al., arXiv 2104.09864), with halves of a head as the pairs.

Element i of a head turns with element i + head_dim / 2, as in published Llama weights.
"""

from __future__ import annotations

import torch
from torch import Tensor


def rotary_angles(positions: Tensor, head_dim: int, theta: float, dtype: torch.dtype) -> Tensor:
    """Return the angle of every position and pair.

    Args:
        positions: [batch, seq].
        head_dim: Even width of a head.
        theta: Base; pair i turns by ``theta ** (-2 i / head_dim)`` a position.
        dtype: At least fp32; angles of far positions need it.

    Returns:
        [batch, seq, 1, head_dim / 2], to broadcast over heads.
    """
    pairs = torch.arange(0, head_dim, 2, dtype=dtype, device=positions.device)
    frequencies = theta ** (-pairs / head_dim)  # [head_dim / 2]
    return (positions[..., None].to(dtype) * frequencies)[:, :, None]


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs of ``x``, [batch, seq, heads, head_dim], in the dtype of ``cos``."""
    first, second = x.chunk(2, dim=-1)
    turned = torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
    return turned.to(x.dtype)
