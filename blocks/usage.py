"""Counts of how often every expert and every slot is used, for whoever asks."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

import torch
from torch import Tensor, nn


class Recorder(Protocol):
    """What blocks report the use of slots and experts to."""

    def record(self, owner: nn.Module, picks: Tensor, size: int, *, reader: nn.Module) -> None:
        """Take note of uses.

        Args:
            owner: What is used: a table, or the experts of a block.
            picks: An index for each use, any shape.
            size: How many slots or experts there are.
            reader: The block that uses them.
        """


class UsageRecorder:
    """Counts uses by owner: a pool's slots over all its readers, the experts of one block.

    Shares are what to read: a recomputed forward pass counts every use once more.

    Example:
        >>> usage = UsageRecorder(model)
        >>> model(token_ids, ForwardContext(token_ids=token_ids, usage=usage))
        >>> counts = usage.counts["pools.big"]  # [slots]
        >>> touched = (counts > 0).float().mean()
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        only: Collection[nn.Module] | None = None,
        by_reader: bool = False,
    ) -> None:
        """Name the owners.

        Args:
            model: The model whose names are used.
            only: Owners to count; all by default.
            by_reader: Count each reader of an owner apart; takes a count of each slot for each.
        """
        self._names = {module: name for name, module in model.named_modules()}
        self._owners = self._names.keys() if only is None else set(only)
        self._by_reader = by_reader
        self._counts: dict[str, dict[str, Tensor]] = {}

    @property
    def counts(self) -> Mapping[str, Tensor]:
        """Uses so far by the owner's name in the model, int64, [slots] or [num_experts]."""
        return {owner: sum_of(readers) for owner, readers in self._counts.items()}

    @property
    def readers(self) -> Mapping[str, Mapping[str, Tensor]]:
        """The same by the owner's name and then by the reader's, if these are counted apart."""
        return self._counts if self._by_reader else {}

    def record(self, owner: nn.Module, picks: Tensor, size: int, *, reader: nn.Module) -> None:
        """Add one use for each index in ``picks`` (any shape), out of ``size``."""
        if owner not in self._owners:
            return
        flat = picks.detach().reshape(-1).long()
        readers = self._counts.setdefault(self._names[owner], {})
        name = self._names[reader] if self._by_reader else ""
        if name not in readers:
            readers[name] = torch.zeros(size, dtype=torch.int64, device=flat.device)
        one = torch.ones((), dtype=torch.int64, device=flat.device)
        readers[name].scatter_add_(0, flat, one.expand(len(flat)))

    def reset(self) -> None:
        """Forget all counts."""
        self._counts.clear()


class JoinedRecorder:
    """Several recorders as one.

    Args:
        recorders: Who takes note.
    """

    def __init__(self, *recorders: Recorder) -> None:
        self._recorders = recorders

    def record(self, owner: nn.Module, picks: Tensor, size: int, *, reader: nn.Module) -> None:
        """Let each take note."""
        for recorder in self._recorders:
            recorder.record(owner, picks, size, reader=reader)


def join_recorders(*recorders: Recorder | None) -> Recorder | None:
    """Join those that are there; None if none is."""
    present = [recorder for recorder in recorders if recorder is not None]
    if len(present) < 2:
        return present[0] if present else None
    return JoinedRecorder(*present)


def sum_of(counts: Mapping[str, Tensor]) -> Tensor:
    """Add up the counts of an owner's readers; no copy where there is one reader."""
    first, *rest = counts.values()
    return torch.stack([first, *rest]).sum(dim=0) if rest else first
