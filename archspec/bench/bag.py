"""Sizes and inputs that the forward, the backward and the training step of a bag share."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property

import torch
from torch import Tensor

from archspec.bench.inputs import (
    draw_indices,
    draw_normal,
    draw_weights,
    lazy_bytes,
    lazy_table,
    rotations,
)
from archspec.bench.results import Size


@dataclass(frozen=True, kw_only=True)
class BagSize:
    """Look-ups and the table they go to.

    Args:
        tokens: Bags.
        picks: Look-ups of a bag.
        slots: Rows of the table.
        width: Elements of a row.
        dtype: Of the table, the weights and the result; a name in torch.
        skew: ``uniform`` or ``zipf``.
    """

    tokens: int
    picks: int
    slots: int
    width: int
    dtype: str
    skew: str

    @property
    def lookups(self) -> int:
        """Look-ups of all bags."""
        return self.tokens * self.picks

    @property
    def torch_dtype(self) -> torch.dtype:
        """The dtype that the name stands for."""
        dtype: torch.dtype = getattr(torch, self.dtype)
        return dtype

    @property
    def element(self) -> int:
        """Bytes of an element."""
        return self.torch_dtype.itemsize

    def as_dict(self) -> Size:
        """Return the size as a JSON value."""
        return asdict(self)

    def table_bytes(self, device: torch.device) -> int:
        """Bytes of memory behind a table of which only the rows of all inputs are used."""
        touched = self.lookups * rotations(self.lookups, self.width * self.element)
        return lazy_bytes(device, self.slots, self.width, self.element, touched)

    def input_bytes(self, device: torch.device) -> int:
        """Bytes of all inputs, the values of the table's rows among them."""
        sets = rotations(self.lookups, self.width * self.element)
        row = self.width * self.element
        one = self.lookups * (4 + self.element + row) + self.tokens * row
        return sets * one


@dataclass(frozen=True)
class BagBatch:
    """One of the sets of inputs that take turns."""

    indices: Tensor  # [tokens, picks] int32
    weights: Tensor  # [tokens, picks]
    grads: Tensor  # [tokens, width], of the result

    @cached_property
    def rows(self) -> Tensor:
        """Distinct rows, ascending, [distinct] int64."""
        rows: Tensor = self.indices.unique().long()
        return rows


class TableRows:
    """The rows of a table that are ever read, and what they hold at first.

    Args:
        slots: Rows of the table.
        touched: Rows that any inputs name, [touched] int64, distinct.
        values: What they hold, [touched, width].
    """

    def __init__(self, slots: int, touched: Tensor, values: Tensor) -> None:
        self.slots = slots
        self.touched = touched
        self.values = values

    @cached_property
    def table(self) -> Tensor:
        """The table, [slots, width], for whoever does not change it."""
        return self.new_table()

    def new_table(self) -> Tensor:
        """Make a table to change; rows that no inputs name are zero."""
        return lazy_table(self.slots, self.touched, self.values)


class BagInputs:
    """The rows of a table, and the batches that take turns on them.

    Attributes:
        size: The size.
        batches: In turn.
        rows: Of the table.
    """

    def __init__(self, size: BagSize, device: torch.device) -> None:
        generator = torch.Generator(device=device)
        generator.manual_seed(0)
        self.size = size
        self.batches = tuple(
            BagBatch(
                draw_indices(size.tokens, size.picks, size.slots, size.skew, generator),
                draw_weights(size.tokens, size.picks, size.torch_dtype, generator),
                draw_normal((size.tokens, size.width), size.torch_dtype, generator),
            )
            for _ in range(rotations(size.lookups, size.width * size.element))
        )
        touched = torch.cat([batch.rows for batch in self.batches]).unique()
        values = draw_normal((len(touched), size.width), size.torch_dtype, generator)
        self.rows = TableRows(size.slots, touched, values)

    def batch(self, turn: int) -> BagBatch:
        """Return the batch of a turn."""
        return self.batches[turn % len(self.batches)]

    @property
    def distinct(self) -> int:
        """Distinct rows of a batch."""
        return len(self.batches[0].rows)
