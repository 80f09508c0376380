"""The gradient of a table in factored form: the look-ups that made it.

Look-up p of token t adds ``weights[t, p] * grads[t]`` to row ``indices[t, p]``. Kept like this, a
gradient has a fixed size, ``picks`` times smaller than the rows it names; adding another one, of
another micro-batch, reader or rank, is appending; and rows are summed where they are used: by the
norm and by the update.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from archspec.kernels import dispatch
from archspec.kernels.row_optimizer import row_square_norms, sum_rows
from archspec.kernels.row_optimizer.decay import LazyDecay

# Rows of the table for each look-up: of more, the counters take longer than sorting the look-ups.
_MOST_SLOTS = 4


class Entry(NamedTuple):
    """The look-ups of one backward pass.

    Args:
        indices: [tokens, picks], int32 or int64; -1 for a look-up of a row held elsewhere.
        weights: [tokens, picks].
        grads: [tokens, width].
    """

    indices: Tensor
    weights: Tensor
    grads: Tensor


class Lookups(NamedTuple):
    """Look-ups grouped by row: ``starts[r]:starts[r + 1]`` are those of ``rows[r]``.

    Args:
        rows: [distinct], int64, ascending: the rows with a look-up.
        starts: [distinct + 1], int64.
        tokens: [lookups], int32: the row of ``grads`` that a look-up adds to its row. In a group
            look-ups keep the order in which they were appended.
        weights: [lookups], fp32 (fp64 with fp64 gradients).
        grads: [tokens, width].
    """

    rows: Tensor
    starts: Tensor
    tokens: Tensor
    weights: Tensor
    grads: Tensor


class RowGradient:
    """Collects the gradient of one table between two optimizer steps.

    Backward passes :meth:`append` to it, whoever clips asks for :meth:`square_norm` and calls
    :meth:`scale_`, the optimizer reads :meth:`grouped` and :attr:`scale`, and then it is cleared.
    ``.grad`` of the table stays None meanwhile.

    Args:
        slots: Rows of the table.
        width: Elements of a row.

    Attributes:
        decay: Decay that the rows still owe, where an optimizer decays them lazily; look-ups and
            whoever reads the table otherwise must count it in.
    """

    def __init__(self, *, slots: int, width: int) -> None:
        self.slots = slots
        self.width = width
        self.decay: LazyDecay | None = None
        self._entries: list[Entry] = []
        self._grouped: Lookups | None = None
        self._scale: Tensor | None = None
        self._has_absent = False

    def __repr__(self) -> str:
        return (
            f"RowGradient(slots={self.slots}, width={self.width}, entries={len(self._entries)}, "
            f"num_lookups={self.num_lookups})"
        )

    @property
    def entries(self) -> tuple[Entry, ...]:
        """What was appended; :attr:`scale` is not in it."""
        return tuple(self._entries)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was appended; an entry without look-ups counts as something."""
        return not self._entries

    @property
    def num_lookups(self) -> int:
        """Look-ups of all entries."""
        return sum(entry.indices.numel() for entry in self._entries)

    @property
    def scale(self) -> Tensor:
        """What the gradient is to be multiplied by, 0-dimensional, fp32 or fp64."""
        if self._scale is not None:
            return self._scale
        grads = self._require_entries()[0].grads
        return torch.ones((), dtype=self._dtype(), device=grads.device)

    def append(
        self, indices: Tensor, weights: Tensor, grads: Tensor, owned: Tensor | None = None
    ) -> None:
        """Add ``weights[t, p] * grads[t]`` to row ``indices[t, p]``, for all tokens and picks.

        The tensors are kept, not copied: do not change them before the gradient is cleared.

        Args:
            indices: [tokens, picks], int32 or int64, each in [0, slots).
            weights: [tokens, picks].
            grads: [tokens, width], of any floating-point dtype.
            owned: [tokens, picks], False for look-ups of rows that are held elsewhere and do not
                count; None if all do.

        Raises:
            ValueError: Shapes or dtypes do not fit.
        """
        fits = (
            indices.dim() == 2
            and weights.shape == indices.shape
            and grads.shape == (indices.shape[0], self.width)
        )
        if not fits:
            raise ValueError(
                "RowGradient: indices and weights are [tokens, picks] and grads [tokens, "
                f"{self.width}], but they are {list(indices.shape)}, {list(weights.shape)} and "
                f"{list(grads.shape)}"
            )
        if indices.dtype not in (torch.int32, torch.int64):
            raise ValueError(f"RowGradient: indices are int32 or int64, not {indices.dtype}")
        if self._scale is not None:
            self._fold_scale(self._scale)
        if owned is not None:
            indices = torch.where(owned, indices, -1)
            self._has_absent = True
        entry = Entry(indices.detach(), weights.detach(), grads.detach())
        self._entries.append(entry)
        self._grouped = None

    def clear(self) -> None:
        """Forget all look-ups and the scale."""
        self._entries.clear()
        self._grouped = self._scale = None
        self._has_absent = False

    def gather(self, gather: Callable[[Tensor], Tensor]) -> None:
        """Replace the tensors of every entry, [tokens, ...], by those of more ranks' tokens."""
        self._entries = [Entry(*map(gather, entry)) for entry in self._entries]
        self._grouped = None

    def drop_idle(self) -> None:
        """Forget tokens that add zeros to every row they looked up, as dense gradients do.

        Rows that only such tokens looked up are then rows without a look-up. Waits for the device.
        """
        entries = []
        for entry in self._entries:
            busy = (entry.grads.ne(0).any(1) & entry.weights.ne(0).any(1)).nonzero()[:, 0]
            if len(busy) < len(entry.grads):
                entry = Entry(*(values.index_select(0, busy) for values in entry))  # noqa: PLW2901
            entries.append(entry)
        self._entries, self._grouped = entries, None

    def scale_(self, factor: Tensor | float) -> None:
        """Multiply the gradient; what is appended later is not multiplied."""
        if not self.is_empty:
            self._scale = self.scale * factor

    def grouped(self) -> Lookups:
        """Group the look-ups by row; done once, until something is appended.

        Raises:
            IndexError: An index is out of range (checked on CPU only).
            ValueError: Nothing was appended.
        """
        if self._grouped is None:
            self._grouped = self._group()
        return self._grouped

    def square_norm(self) -> Tensor:
        """Sum the squares of the gradient's elements: 0-dimensional, fp32 or fp64."""
        _, *lookups = self.grouped()
        norms: Tensor = row_square_norms(*lookups)
        return norms.sum(dtype=torch.float64).to(norms.dtype) * self.scale.square()

    def coalesce(self) -> tuple[Tensor, Tensor]:
        """Sum the look-ups of each row.

        Returns:
            The rows with a look-up, [distinct], int64, ascending; and their gradients, [distinct,
            width], fp32 or fp64. This is the large form: up to ``picks`` times the entries.
        """
        rows, *lookups = self.grouped()
        values: Tensor = sum_rows(*lookups)
        return rows, values.mul_(self.scale)

    def to_dense(self) -> Tensor:
        """Return the gradient as the table's, [slots, width], fp32 or fp64."""
        rows, values = self.coalesce()
        return values.new_zeros(self.slots, self.width).index_copy_(0, rows, values)

    def _require_entries(self) -> list[Entry]:
        if self.is_empty:
            raise ValueError(
                "RowGradient: nothing was appended, so there is no gradient; check is_empty first"
            )
        return self._entries

    def _dtype(self) -> torch.dtype:
        """Return the dtype of sums: fp64 if any gradient is, else fp32."""
        is_double = any(entry.grads.dtype == torch.float64 for entry in self._entries)
        return torch.float64 if is_double else torch.float32

    def _fold_scale(self, scale: Tensor) -> None:
        self._entries = [
            Entry(indices, weights * scale, grads) for indices, weights, grads in self._entries
        ]
        self._scale = None

    def _group(self) -> Lookups:
        entries = self._require_entries()
        grads = _join_grads([entry.grads for entry in entries])
        groups = self._groups_by_counting() if self._counts(grads) else None
        if groups is None:
            groups = self._groups_by_sorting()
        rows, starts, tokens, weights = groups
        return Lookups(rows=rows, starts=starts, tokens=tokens, weights=weights, grads=grads)

    def _counts(self, grads: Tensor) -> bool:
        """Whether CPU kernels may run, and rows are few enough to count the look-ups of each."""
        few = self.slots <= _MOST_SLOTS * self.num_lookups
        return few and dispatch.chosen_word("sum_rows", grads) == "numba"

    def _groups_by_counting(self) -> tuple[Tensor, ...] | None:
        """Return all of :class:`Lookups` but ``grads``; None if an index is out of range."""
        from archspec.kernels.row_sums import cpu  # needs numba

        indices = [entry.indices for entry in self._entries]
        weights = [entry.weights for entry in self._entries]
        return cpu.group(indices, weights, self.slots, with_absent=self._has_absent)

    def _groups_by_sorting(self) -> tuple[Tensor, ...]:
        """Return all of :class:`Lookups` but ``grads``."""
        entries = self._entries
        # int32 keys sort 1.4 to 1.9 times as fast. Stable: it fixes the order of addition in a row.
        key_dtype = torch.int32 if self.slots <= torch.iinfo(torch.int32).max else torch.int64
        keys = _join([entry.indices.reshape(-1).to(key_dtype) for entry in entries])
        weights = _join([entry.weights.reshape(-1).to(self._dtype()) for entry in entries])
        sorted_keys, order = torch.sort(keys, stable=True)
        if self._has_absent:
            first = int(torch.searchsorted(sorted_keys, 0))
            sorted_keys, order = sorted_keys[first:], order[first:]
        rows, counts = torch.unique_consecutive(sorted_keys, return_counts=True)
        self._require_range(rows)
        starts = F.pad(counts.cumsum(0), (1, 0))
        return rows.long(), starts, _tokens(entries, order), weights[order]

    def _require_range(self, rows: Tensor) -> None:
        if rows.is_cuda or not rows.numel():
            return  # reading the extremes would stall the device
        low, high = int(rows[0]), int(rows[-1])
        if low < 0 or high >= self.slots:
            raise IndexError(
                f"RowGradient: indices must lie in [0, {self.slots}), but they span [{low}, {high}]"
            )


def _tokens(entries: list[Entry], order: Tensor) -> Tensor:
    """Return the token of every look-up, tokens counted through all entries, [lookups]."""
    picks = {entry.indices.shape[1] for entry in entries}
    if len(picks) == 1:
        return order.div(max(1, *picks), rounding_mode="floor").int()
    tokens, first = [], 0
    for indices, _, grads in entries:
        count = grads.shape[0]
        everyone = torch.arange(first, first + count, dtype=torch.int32, device=order.device)
        tokens.append(everyone.repeat_interleave(indices.shape[1]))
        first += count
    return torch.cat(tokens)[order]


def _join(tensors: list[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors)


def _join_grads(grads: list[Tensor]) -> Tensor:
    """Concatenate, in the widest of their dtypes; contiguous."""
    dtype = grads[0].dtype
    for grad in grads[1:]:
        dtype = torch.promote_types(dtype, grad.dtype)
    return _join([grad.to(dtype) for grad in grads]).contiguous()
