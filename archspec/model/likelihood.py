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
    """Return each target's negative log-likelihood in nats, taken in at least fp32.

    Many logits on a CPU are taken a few tokens at a time. Stock cross-entropy writes the logarithms
    of all probabilities, and then a gradient of them that is zero almost everywhere: with 1,024
    tokens and a vocabulary of 8,192 that took two to four times as long. Half-precision logits are
    widened in the same passes, so that neither they nor their gradient are ever stored in fp32.

    Args:
        logits: [tokens, vocab_size].
        targets: [tokens], each in [0, vocab_size).

    Returns:
        [tokens], in the dtype of ``logits`` or fp32, whichever is wider.
    """
    many = logits.numel() * _wide(logits).itemsize >= _LEAST_BYTES
    if many and logits.is_cpu and is_unwatched(logits, targets):
        return _nll(logits, targets)
    return F.cross_entropy(logits.to(_wide(logits)), targets, reduction="none")


def _wide(logits: Tensor) -> torch.dtype:
    return torch.promote_types(logits.dtype, torch.float32)


class _TargetNll(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        wide = _wide(logits)
        parts = zip(_chunks(logits, logits), _chunks(logits, targets[:, None]), strict=True)
        found = [-F.log_softmax(part, dim=1, dtype=wide).gather(1, at) for part, at in parts]
        nll = torch.cat(found)[:, 0]
        ctx.save_for_backward(logits, targets, nll)
        return nll

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        logits, targets, nll = ctx.saved_tensors
        wide = _wide(logits)
        if torch.is_grad_enabled():  # to be differentiated again
            is_target = F.one_hot(targets, logits.shape[1])
            return (F.softmax(logits, dim=1, dtype=wide) - is_target) * grad[:, None], None
        at_target = targets[:, None]
        normalisers = logits.gather(1, at_target) + nll[:, None]  # log of the sum of exponentials
        result = torch.empty_like(logits)
        tensors = (logits, normalisers, grad[:, None], at_target, result)
        for part, normaliser, scale, at, into in zip(
            *(_chunks(logits, tensor) for tensor in tensors), strict=True
        ):
            found = into if into.dtype == wide else torch.empty_like(part, dtype=wide)
            torch.sub(part, normaliser, out=found).exp_().mul_(scale)
            found.scatter_add_(1, at, -scale)
            if found is not into:
                into.copy_(found)
        return result, None


_nll: Callable[[Tensor, Tensor], Tensor] = _TargetNll.apply


def _chunks(logits: Tensor, tensor: Tensor) -> tuple[Tensor, ...]:
    """Split along the tokens, so that the logits of a part fit into the cache."""
    parts: tuple[Tensor, ...] = tensor.split(max(1, _CHUNK_ELEMENTS // logits.shape[1]))
    return parts
