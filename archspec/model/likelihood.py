"""The negative log-likelihood of targets, in passes that stay in the cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from archspec.kernels.dispatch import is_unwatched

_CHUNK_ELEMENTS = 1 << 17  # half a MiB in fp32, within a second cache
# From here on the C library maps fresh pages for every tensor, and filling them is what takes time.
_LEAST_BYTES = 1 << 25


def target_nll(logits: Tensor, targets: Tensor) -> Tensor:
    """Return each target's negative log-likelihood in nats.

    Many logits on a CPU are taken a few tokens at a time. Stock cross-entropy writes the logarithms
    of all probabilities, and then a gradient of them that is zero almost everywhere: with 1,024
    tokens and a vocabulary of 8,192 that took two to four times as long.

    Args:
        logits: [tokens, vocab_size], at least fp32.
        targets: [tokens], each in [0, vocab_size).

    Returns:
        [tokens], in the dtype of ``logits``.
    """
    if logits.is_cpu and is_unwatched(logits, targets) and logits.nbytes >= _LEAST_BYTES:
        return _nll(logits, targets)
    return F.cross_entropy(logits, targets, reduction="none")


class _TargetNll(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        parts = zip(_chunks(logits, logits), _chunks(logits, targets[:, None]), strict=True)
        found = [-F.log_softmax(part, dim=1).gather(1, target) for part, target in parts]
        nll = torch.cat(found)[:, 0]
        ctx.save_for_backward(logits, targets, nll)
        return nll

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        logits, targets, nll = ctx.saved_tensors
        if torch.is_grad_enabled():  # to be differentiated again
            is_target = F.one_hot(targets, logits.shape[1])
            return (F.softmax(logits, dim=1) - is_target) * grad[:, None], None
        at_target = targets[:, None]
        normalisers = logits.gather(1, at_target) + nll[:, None]  # log of the sum of exponentials
        result = torch.empty_like(logits)
        tensors = (logits, normalisers, grad[:, None], result)
        for part, normaliser, scale, into in zip(
            *(_chunks(logits, tensor) for tensor in tensors), strict=True
        ):
            torch.sub(part, normaliser, out=into).exp_().mul_(scale)
        return result.scatter_add_(1, at_target, -grad[:, None]), None


_nll: Callable[[Tensor, Tensor], Tensor] = _TargetNll.apply


def _chunks(logits: Tensor, tensor: Tensor) -> tuple[Tensor, ...]:
    """Split along the tokens, so that the logits of a part fit into the cache."""
    parts: tuple[Tensor, ...] = tensor.split(max(1, _CHUNK_ELEMENTS // logits.shape[1]))
    return parts
