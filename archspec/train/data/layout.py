"""Documents of one length, side by side in rows."""

from __future__ import annotations

import math

import numpy as np

from archspec.train.data.source import Mask, Rows
from archspec.train.data.stream import Integers
from archspec.train.vocabulary import PAD


def lay_rows(token_ids: Integers, asked: Mask, *, seq_len: int, alone: bool = True) -> Rows:
    """Fill rows with documents; what is left of the last row and of every row's end is padding.

    Args:
        token_ids: [documents, size], the tokens of each.
        asked: [documents, size], where the next token counts; never at the last of a document.
        seq_len: Of the rows, at least ``size``.
        alone: Whether documents of a row do not attend to each other.
    """
    size = token_ids.shape[1]
    tokens = _side_by_side(token_ids, seq_len // size, PAD)
    used = tokens.shape[1]
    tokens = np.pad(tokens, ((0, 0), (0, seq_len + 1 - used)), constant_values=PAD)
    documents = np.arange(seq_len) // size if alone else np.zeros(seq_len, dtype=np.int64)
    return Rows(
        tokens[:, :-1],
        tokens[:, 1:],
        lay_marks(asked, seq_len=seq_len),
        np.tile(documents, (len(tokens), 1)),
    )


def lay_marks(marks: Mask, *, seq_len: int) -> Mask:
    """Lay marks on the tokens of documents, [documents, size], as :func:`lay_rows` lays these."""
    laid = _side_by_side(marks.astype(np.int64), seq_len // marks.shape[1], 0)
    return np.pad(laid, ((0, 0), (0, seq_len - laid.shape[1]))).astype(np.bool_)


def _side_by_side(values: Integers, per_row: int, filling: int) -> Integers:
    count, size = values.shape
    rows = math.ceil(count / per_row)
    filled = np.full((rows * per_row, size), filling, dtype=np.int64)
    filled[:count] = values
    return filled.reshape(rows, per_row * size)
