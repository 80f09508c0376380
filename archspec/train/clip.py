"""Clipping where some gradients are dense and some are look-ups."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from archspec.kernels.row_gradient import RowGradient


@torch.no_grad()
def clip_gradients(
    parameters: Iterable[Tensor], row_gradients: Iterable[RowGradient], max_norm: float
) -> Tensor:
    """Scale all gradients by one factor if their norm, taken over all, exceeds ``max_norm``.

    Does what ``torch.nn.utils.clip_grad_norm_`` does, to collected gradients too: these are not
    touched, only their scale is.

    Args:
        parameters: Those whose ``.grad`` counts.
        row_gradients: The collected gradients that count.
        max_norm: The largest norm that is left alone.

    Returns:
        The norm before, 0-dimensional.
    """
    learned = list(parameters)
    collected = [gradient for gradient in row_gradients if not gradient.is_empty]
    dense = torch.nn.utils.get_total_norm([p.grad for p in learned if p.grad is not None])
    if not collected:
        norm = dense
    else:
        squares = [gradient.square_norm() for gradient in collected]
        device = squares[0].device
        parts = [dense.to(device), *(square.sqrt().to(device) for square in squares)]
        norm = torch.linalg.vector_norm(torch.stack(parts))
    torch.nn.utils.clip_grads_with_norm_(learned, max_norm, norm)
    factor = torch.clamp(max_norm / (norm + 1e-6), max=1.0)  # as torch has it
    for gradient in collected:
        gradient.scale_(factor.to(gradient.scale))
    return norm
