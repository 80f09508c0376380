"""Look-ups into a table that several ranks hold, each with tokens of its own.

The table stays where it is; slots and weights travel to it, and sums of rows come back. With m
ranks in the fold and T tokens each, a rank sums its part of the rows for all m * T tokens. Where
columns are shared out, an all-to-all brings [T, width] home; where rows are, a rank gives those of
others no weight and a reduce-scatter adds up what the ranks found. What goes over the wire depends
on tokens, picks and width, never on the number of slots.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor

from archspec.blocks.layout import chunk
from archspec.blocks.table import Rows
from archspec.compiler.collectives import (
    all_reduce,
    enter,
    exchange,
    gather,
    leave,
    reduce_scatter,
)
from archspec.compiler.mesh import MemoryMesh
from archspec.kernels.row_gradient import RowGradient


@dataclass(frozen=True, slots=True, kw_only=True)
class ParallelLookup:
    """The look-ups of one table, over a fold of row groups and column groups, and over tp.

    Ranks of ``tp`` see the same tokens; each gets the columns that tp gives it.

    Attributes:
        slots: Rows of the whole table.
        row_group: Ranks with the same columns of different rows.
        column_group: Ranks with the same rows and different columns.
        tp_group: Ranks that share the work on the same tokens.
        replica_groups: Ranks that hold the same part, as groups to go through one after another.
        data_parallel: Ranks that see different tokens; each takes the mean over its own.
    """

    slots: int
    row_group: dist.ProcessGroup
    column_group: dist.ProcessGroup
    tp_group: dist.ProcessGroup
    replica_groups: tuple[dist.ProcessGroup, ...]
    data_parallel: int

    def sum_rows(self, slots: Tensor, weights: Tensor, rows: Rows) -> Tensor:
        """See :class:`archspec.blocks.table.Lookup`."""
        widths = self._widths(rows.parameter.shape[1])
        picks, owned = self._owned(self._gather(slots))
        spread = self._gather(weights)
        if owned is not None:
            spread = torch.where(owned, spread, 0.0)
        sums = _bag(picks, spread, rows, owned)  # [fold * tokens, own width]
        summed = reduce_scatter(sums, self.row_group)  # [columns * tokens, own width]
        return self._bring_columns(summed, widths)

    def dot_rows(self, slots: Tensor, tokens: Tensor, rows: Rows) -> Tensor:
        """See :class:`archspec.blocks.table.Lookup`."""
        width = rows.parameter.shape[1]
        widths = self._widths(width)
        picks, owned = self._owned(self._gather(slots))
        start, stop = chunk(width, self.tp_group.size(), self.tp_group.rank())
        own = self._send_columns(tokens[:, start:stop], widths)  # [columns * tokens, own width]
        everyone = gather(own, self.row_group)  # [fold * tokens, own width]
        dots = _dots(picks, everyone, rows, owned)  # [fold * tokens, picks]
        if owned is not None:
            dots = torch.where(owned, dots, 0.0)
        home = reduce_scatter(reduce_scatter(dots, self.row_group), self.column_group)
        # Each rank of tp goes on to use the whole sum for its own columns of the result.
        return enter(leave(home, self.tp_group), self.tp_group)

    def average(self, gradient: RowGradient) -> None:
        """See :class:`archspec.blocks.table.Lookup`; all ranks call it, after their last backward.

        The look-ups of replicas are brought together, not the rows they name.
        """
        if gradient.is_empty:
            return
        for group in self.replica_groups:
            gradient.gather(partial(_gather_detached, group=group))
        gradient.scale_(1 / self.data_parallel)

    def _gather(self, x: Tensor) -> Tensor:
        """Gather the tokens of the fold, columns innermost, [fold * tokens, ...]."""
        return gather(gather(x, self.column_group), self.row_group)

    def _owned(self, slots: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return slots as rows of this rank, and which are; the others name any row."""
        if self.row_group.size() == 1:
            return slots, None
        start, stop = chunk(self.slots, self.row_group.size(), self.row_group.rank())
        owned = (slots >= start) & (slots < stop)
        # Spread over all rows: one row that all others share would be a hot one.
        return torch.where(owned, slots - start, slots % max(1, stop - start)), owned

    def _widths(self, width: int) -> list[int]:
        """Return the columns of every rank of the column group, within those that tp gives."""
        start, stop = chunk(width, self.tp_group.size(), self.tp_group.rank())
        ranks = self.column_group.size()
        bounds = [chunk(stop - start, ranks, rank) for rank in range(ranks)]
        return [end - begin for begin, end in bounds]

    def _bring_columns(self, x: Tensor, widths: list[int]) -> Tensor:
        """Turn some columns of all tokens, [columns * tokens, w], into all columns of own ones."""
        ranks, rank = len(widths), self.column_group.rank()
        if ranks == 1:
            return x
        tokens = x.shape[0] // ranks
        out_splits = [tokens * width for width in widths]
        flat = exchange(
            x.reshape(-1), out_splits, [tokens * widths[rank]] * ranks, self.column_group
        )
        parts = flat.split(out_splits)
        return torch.cat(
            [part.view(tokens, width) for part, width in zip(parts, widths, strict=True)], dim=1
        )

    def _send_columns(self, x: Tensor, widths: list[int]) -> Tensor:
        """Turn all columns of own tokens into some columns of all; undoes ``_bring_columns``."""
        ranks, rank = len(widths), self.column_group.rank()
        if ranks == 1:
            return x
        in_splits = [x.shape[0] * width for width in widths]
        flat = torch.cat([part.reshape(-1) for part in x.split(widths, dim=1)])
        received = exchange(flat, [x.shape[0] * widths[rank]] * ranks, in_splits, self.column_group)
        return received.view(ranks * x.shape[0], widths[rank])


def lookup_over(
    mesh: MemoryMesh, tp_group: dist.ProcessGroup, *, slots: int, data_parallel: int
) -> ParallelLookup:
    """Return the look-ups of a table of ``slots`` rows that is laid over ``mesh.table``."""
    return ParallelLookup(
        slots=slots,
        row_group=mesh.row_group,
        column_group=mesh.column_group,
        tp_group=tp_group,
        replica_groups=mesh.replica_groups,
        data_parallel=data_parallel,
    )


def _gather_detached(x: Tensor, group: dist.ProcessGroup) -> Tensor:
    with torch.no_grad():
        return gather(x, group)


def average_over_replicas(
    gradient: Tensor, groups: tuple[dist.ProcessGroup, ...], data_parallel: int
) -> Tensor:
    """Sum a table's gradient over the ranks that hold the same part, as a mean over the data.

    Args:
        gradient: Summed over the tokens of one fold.
        groups: See ``MemoryMesh.replica_groups``.
        data_parallel: Ranks that see different tokens; each took the mean over its own.
    """
    for group in groups:
        gradient = all_reduce(gradient, group)
    return gradient / data_parallel


def _bag(slots: Tensor, weights: Tensor, rows: Rows, owned: Tensor | None) -> Tensor:
    """Sum rows; a rank that holds none adds nothing, but takes part in all that follows."""
    slots, held = _stand_in(slots, rows)
    result = held.bag(slots, weights, owned)
    # No view where none is needed: FSDP hooks into what an unfolded pool returns.
    return result if held is rows else result[:, : rows.held.shape[1]]


def _dots(slots: Tensor, tokens: Tensor, rows: Rows, owned: Tensor | None) -> Tensor:
    """Dot rows with tokens; likewise."""
    slots, held = _stand_in(slots, rows)
    missing = held.held.shape[1] - tokens.shape[1]
    if missing:
        tokens = torch.nn.functional.pad(tokens, (0, missing))
    return held.dots(slots, tokens, owned)


def _stand_in(slots: Tensor, rows: Rows) -> tuple[Tensor, Rows]:
    """Put one row of zeros in the place of a part without elements.

    The same operations then run on every rank: what a backward pass sends must come in one order
    everywhere, and with recompute it depends on which operation first asks for what it saved.
    """
    held = rows.held
    if held.numel():
        return slots, rows
    return torch.zeros_like(slots), Rows(held.new_zeros(1, max(1, held.shape[1])), None)
