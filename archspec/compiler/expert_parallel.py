"""Rows that travel to the ranks that hold their experts, and back.

Counts go first, then the rows, sorted by expert within each sender. Experts are dealt out in
neighbouring chunks, as ``torch.chunk`` cuts; the last rank may hold fewer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from archspec.blocks.layout import chunk
from archspec.blocks.moe.module import RunRows, invert
from archspec.compiler.collectives import exchange, scale_gradient


@dataclass(frozen=True, slots=True)
class ExpertExchange:
    """Sends rows to experts that are laid over a group; see ``blocks.moe.module.Exchange``."""

    group: dist.ProcessGroup

    def __call__(self, run: RunRows, rows: Tensor, counts: Tensor) -> Tensor:
        """Return what the experts make of the rows, in the order of the rows."""
        received = self._exchange_counts(counts)  # [ranks, own experts]
        out_splits = received.sum(1).tolist()
        in_splits = self._by_rank(counts).sum(1).tolist()
        arrived = exchange(rows, out_splits, in_splits, self.group)
        experts = torch.arange(received.shape[1], device=rows.device).repeat(received.shape[0])
        owner = experts.repeat_interleave(received.flatten())  # own expert of each arrived row
        order = torch.argsort(owner, stable=True)
        outputs = self._run(run, arrived.index_select(0, order), received.sum(0))
        back = outputs.index_select(0, invert(order))
        return exchange(back, in_splits, out_splits, self.group)

    def _run(self, run: RunRows, rows: Tensor, counts: Tensor) -> Tensor:
        """Run rows through own experts, whose gradients become means over the ranks of the group.

        FSDP takes the mean over the other data-parallel ranks only. Its own divisor is no way out:
        for a group of one rank torch 2.13 divides by it twice.
        """
        if len(counts) == 0:
            return rows  # of which there are none
        ranks = self.group.size()
        return scale_gradient(run(scale_gradient(rows, ranks), counts), 1 / ranks)

    def _by_rank(self, counts: Tensor) -> Tensor:
        """Cut counts by the rank that owns the experts, [ranks, most experts of one]."""
        ranks = self.group.size()
        most = math.ceil(len(counts) / ranks)
        padded = torch.nn.functional.pad(counts, (0, ranks * most - len(counts)))
        return padded.view(ranks, most)

    def _exchange_counts(self, counts: Tensor) -> Tensor:
        """Tell every rank how many rows each of its experts gets from here."""
        sent = self._by_rank(counts)
        each = [sent.shape[1]] * sent.shape[0]
        received = exchange(sent.reshape(-1), each, each, self.group).view(sent.shape)
        start, stop = chunk(len(counts), self.group.size(), self.group.rank())
        return received[:, : stop - start]
