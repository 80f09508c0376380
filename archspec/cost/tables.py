"""The value tables of a model, and how many of their rows a batch reads."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from archspec.blocks.base import CostContext, TableRead
from archspec.spec.model import ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One value table: a pool with all its readers, or the private table of one block.

    Attributes:
        name: Name of the pool, or ``layer 3`` for a private table.
        reads: What a token reads, once for each reader.
    """

    name: str
    slots: int
    row_dim: int
    reads: tuple[TableRead, ...]

    @property
    def num_params(self) -> int:
        """Stored elements."""
        return self.slots * self.row_dim

    def touched_rows(self, tokens: float) -> float:
        """Expect how many distinct rows ``tokens`` tokens read through all readers together.

        Every row is met with equal probability; trained look-ups are skewed and meet fewer.
        """
        missed = sum(_log_missed(read, tokens) for read in self.reads)
        return -self.slots * math.expm1(missed)


def _log_missed(read: TableRead, tokens: float) -> float:
    """Return the logarithm of the probability that a row is not read."""
    if read.top_k >= read.slots:
        return -math.inf
    return read.num_heads * tokens * math.log1p(-read.top_k / read.slots)


def model_tables(spec: ModelSpec, context: CostContext) -> tuple[Table, ...]:
    """Return every table of a model, each once."""
    readers: dict[str, list[TableRead]] = {}
    for index, layer in enumerate(spec.layers):
        for number, block in enumerate(layer.blocks):
            for read in block.table_reads(context):
                private = f"layer {index}" if number == 0 else f"layer {index}, block {number}"
                readers.setdefault(read.table or private, []).append(read)
    return tuple(_table(name, reads) for name, reads in readers.items())


def _table(name: str, reads: Iterable[TableRead]) -> Table:
    reads = tuple(reads)
    return Table(name=name, slots=reads[0].slots, row_dim=reads[0].row_dim, reads=reads)
