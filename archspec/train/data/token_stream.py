"""Documents laid end to end as one stream of token ids."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archspec.errors import DataError
from archspec.train.data.stream import Integers

Flags = NDArray[np.bool_]
Ids = NDArray[np.unsignedinteger[Any]]


class TokenStream(ABC):
    """Token ids that can be read anywhere.

    Attributes:
        sha256: Hash of the data, for the record.
        bounded: Whether it is known where documents end.
        bytes_per_token: Of the text in UTF-8 that the tokens were made of, on average over all of
            it, ends of documents included; None where that is not known.
        codec_sha256: Hash of the tokenizer that made the ids of text; None where that is not known.
    """

    sha256: str
    bounded: bool
    bytes_per_token: float | None
    codec_sha256: str | None

    @abstractmethod
    def __len__(self) -> int:
        """Count the tokens."""

    @abstractmethod
    def read(self, starts: Integers, width: int) -> Integers:
        """Return the ids from every start on, [starts, width]. Raises DataError."""

    @abstractmethod
    def ends(self, starts: Integers, token_ids: Integers) -> Flags:
        """Tell which of the tokens that ``read`` gave are the last of their document."""

    @abstractmethod
    def place(self, token: int) -> str:
        """Say where a token is, for messages."""

    def read_checked(self, starts: Integers, width: int, vocab_size: int) -> Integers:
        """Read, and check that a model has every token. Raises DataError."""
        token_ids = self.read(starts, width)
        if token_ids.max(initial=0) >= vocab_size:
            row, column = (int(index[0]) for index in np.nonzero(token_ids >= vocab_size))
            raise DataError(
                f"{self.place(int(starts[row]) + column)}: token ids must be below vocab_size, but "
                f"this one is {token_ids[row, column]} and the model has vocab_size={vocab_size}; "
                "raise vocab_size, or check that these are token ids of the stated dtype"
            )
        return token_ids


class ArrayTokens(TokenStream):
    """Tokens in memory.

    Args:
        ids: All of them.
        eos_id: The token that ends a document.
        text_bytes: Of the text that they were made of.
        sha256: Hash of that.
        codec_sha256: Hash of the tokenizer.
        what: What it was, for messages.
    """

    bounded = True

    def __init__(
        self,
        ids: Ids,
        *,
        eos_id: int,
        text_bytes: int,
        sha256: str,
        codec_sha256: str | None,
        what: str,
    ) -> None:
        self.sha256 = sha256
        self.codec_sha256 = codec_sha256
        self.bytes_per_token = text_bytes / len(ids)
        self._ids = ids
        self._eos_id = eos_id
        self._what = what

    def __len__(self) -> int:
        return len(self._ids)

    def read(self, starts: Integers, width: int) -> Integers:
        """Return the ids from every start on, [starts, width]."""
        windows = np.lib.stride_tricks.sliding_window_view(self._ids, width)
        return windows[starts].astype(np.int64)

    def ends(self, starts: Integers, token_ids: Integers) -> Flags:
        """Tell which tokens end a document."""
        flags: Flags = token_ids == self._eos_id
        return flags

    def place(self, token: int) -> str:
        """Say where a token is."""
        return f"{self._what}, token {token}"
