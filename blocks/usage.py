"""Counts of how often every expert and every slot is used, for whoever asks."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn


class UsageRecorder:
    """Counts uses by owner: a pool's slots over all its readers, the experts of one block.

    Shares are what to read: a recomputed forward pass counts every use once more.

    Example:
        >>> usage = UsageRecorder(model)
        >>> model(token_ids, ForwardContext(token_ids=token_ids, usage=usage))
        >>> counts = usage.counts["pools.big"]  # [slots]
        >>> touched = (counts > 0).float().mean()
    """

    def __init__(self, model: nn.Module, *, only: Collection[nn.Module] | None = None) -> None:
        """Name the owners.

        Args:
            model: The model whose names are used.
            only: Owners to count; all by default.
        """
        self._names = {
            module: name for name, module in model.named_modules() if only is None or module in only
        }
        self._counts: dict[str, Tensor] = {}

    @property
    def counts(self) -> Mapping[str, Tensor]:
        """Uses so far by the owner's name in the model, int64, [slots] or [num_experts]."""
        return self._counts

    def record(self, owner: nn.Module, picks: Tensor, size: int) -> None:
        """Add one use for each index in ``picks`` (any shape), out of ``size``."""
        name = self._names.get(owner)
        if name is None:
            return
        flat = picks.detach().reshape(-1).long()
        counts = self._counts.get(name)
        if counts is None:
            counts = self._counts[name] = torch.zeros(size, dtype=torch.int64, device=flat.device)
        counts.scatter_add_(0, flat, torch.ones_like(flat))

    def reset(self) -> None:
        """Forget all counts."""
        self._counts.clear()
