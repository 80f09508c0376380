"""Rotary positions (Su et al., arXiv 2104.09864), with halves of what turns as the pairs.

Element i turns with element i + dim / 2, as in published Llama weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from archspec.spec.attention.rope import LinearScaling, RopeScaling, YarnScaling


def rotary_angles(
    positions: Tensor,
    dim: int,
    theta: float,
    dtype: torch.dtype,
    scaling: RopeScaling | None = None,
) -> Tensor:
    """Return the angle of every position and pair.

    Args:
        positions: [batch, seq].
        dim: Even number of elements that turn.
        theta: Base; pair i turns by ``theta ** (-2 i / dim)`` a position.
        dtype: At least fp32; angles of far positions need it.
        scaling: How the angles are stretched over longer sequences.

    Returns:
        [batch, seq, 1, dim / 2], to broadcast over heads.
    """
    pairs = torch.arange(0, dim, 2, dtype=dtype, device=positions.device)
    frequencies = theta ** (-pairs / dim)  # [dim / 2]
    if scaling is not None:
        frequencies = frequencies * stretch(frequencies, scaling)
    return (positions[..., None].to(dtype) * frequencies)[:, :, None]


def stretch(frequencies: Tensor, scaling: RopeScaling) -> Tensor:
    """Return the factor on each frequency, between 1 / factor and 1.

    By parts, as in YaRN (arXiv 2309.00071, section 3.2): a pair that turns r times within the
    original length keeps the share (r - low) / (high - low) of its frequency and gives the rest to
    the slowed one. Llama 3.1 blends the same way; YaRN's own code blends over the index of the
    pair instead of over r, which differs between the two bounds.
    """
    if isinstance(scaling, LinearScaling):
        return torch.full_like(frequencies, 1 / scaling.factor)
    turns = scaling.original_max_seq_len * frequencies / (2 * math.pi)
    kept = ((turns - scaling.low_turns) / (scaling.high_turns - scaling.low_turns)).clamp(0, 1)
    return kept + (1 - kept) / scaling.factor


def logit_scale(scaling: RopeScaling | None) -> float:
    """Return the factor on attention logits: 1, or YaRN's (arXiv 2309.00071, section 3.4)."""
    if not isinstance(scaling, YarnScaling):
        return 1.0
    if scaling.logit_scale is not None:
        return scaling.logit_scale
    return float((0.1 * math.log(scaling.factor) + 1) ** 2)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs of ``x``, [batch, seq, heads, width], in the dtype of ``cos``.

    Elements after the first ``2 * cos.shape[-1]`` stay as they are.
    """
    return _turn(x, cos, sin)


class _Turn(torch.autograd.Function):
    """A turn, whose gradient is the turn back: each reads its argument once and keeps none of it.

    Angles come from positions, which have no gradient.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        width = 2 * cos.shape[-1]
        wide = x.to(cos.dtype)
        turning, rest = wide[..., :width], wide[..., width:]
        first, second = turning.chunk(2, dim=-1)
        # Whole rows at a time: half as many elements in a row take more than half the time.
        turned = turning * torch.cat((cos, cos), dim=-1)
        turned = turned.addcmul_(torch.cat((second, first), -1), torch.cat((-sin, sin), -1))
        whole = torch.cat((turned, rest), dim=-1) if rest.shape[-1] else turned
        return whole.to(x.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:  # noqa: ARG004 (passed by name)
        _, cos, sin = inputs
        ctx.save_for_backward(cos, sin)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        cos, sin = ctx.saved_tensors
        return _turn(grad, cos, -sin), None, None


_turn: Callable[[Tensor, Tensor, Tensor], Tensor] = _Turn.apply
