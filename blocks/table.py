"""What tables of rows have in common, whatever reads them."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from archspec.blocks.part import Part, local
from archspec.kernels.embedding_bag import embedding_bag, gather_dot


class Lookup(Protocol):
    """How look-ups meet the rows: in one process, or wherever a table is laid over several."""

    def sum_rows(self, slots: Tensor, weights: Tensor, table: Tensor) -> Tensor:
        """Sum each token's weighted rows, [tokens, width], as ``embedding_bag`` does.

        Where columns are shared out among processes that see the same tokens, this process gets
        its own.
        """

    def dot_rows(self, slots: Tensor, tokens: Tensor, table: Tensor) -> Tensor:
        """Dot each token, [tokens, width], with its rows, [tokens, picks], as ``gather_dot``."""


class LocalLookup:
    """Look-ups into rows that this process holds."""

    def sum_rows(self, slots: Tensor, weights: Tensor, table: Tensor) -> Tensor:
        """See :class:`Lookup`."""
        return embedding_bag(slots, weights, local(table))

    def dot_rows(self, slots: Tensor, tokens: Tensor, table: Tensor) -> Tensor:
        """See :class:`Lookup`."""
        result: Tensor = gather_dot(slots, tokens, local(table))
        return result


class Table(Part):
    """A part whose own parameters are rows of which a token reads few.

    Who trains finds them by this class: they have an optimizer and settings of their own.
    """
