"""Training rows cut from a stream of tokens: every window once an epoch, its end held out.

Documents lie end to end, so no position is padding and a long document goes on in another row. Rows
are windows of ``seq_len`` tokens and the one after them; that one is also the first of the next
window, so that every token is a target once an epoch. With document boundaries, a token attends to
its own document only, and the first token of a document is no target: nothing before it tells it.
Positions need not begin anew with each document, because the positions that models have here
are rotary, which only tell distances.
"""

from __future__ import annotations

import numpy as np

from archspec.errors import DataError
from archspec.train.data.fingerprint import join_hashes
from archspec.train.data.order import EpochOrder
from archspec.train.data.source import DataSource, Rows
from archspec.train.data.stream import Integers
from archspec.train.data.token_stream import TokenStream

SAMPLED = 256  # windows whose ids are checked when a source is opened


class Windows(DataSource):
    """A source of files.

    Args:
        name: Of the source.
        tokens: What is trained on and, without ``apart``, measured on.
        apart: What is measured on, of files of its own.
        held_out: Share at the end of ``tokens`` that is only measured on.
        separate: Keep documents apart.
        seq_len: Tokens of a row.
        vocab_size: Of the model.
        max_tokens: Most tokens of an evaluation.

    Raises:
        DataError: There is too little, or a token id is none of the model's.
    """

    choices = None

    def __init__(
        self,
        name: str,
        tokens: TokenStream,
        *,
        apart: TokenStream | None,
        held_out: float,
        separate: bool,
        seq_len: int,
        vocab_size: int,
        max_tokens: int,
    ) -> None:
        self.name = name
        self.sha256 = join_hashes(part.sha256 for part in (tokens, apart) if part is not None)
        self.codec_sha256 = tokens.codec_sha256
        self.bytes_per_target = (tokens if apart is None else apart).bytes_per_token
        self._tokens, self._separate = tokens, separate
        self._seq_len, self._vocab_size = seq_len, vocab_size
        self._max_rows = max(1, max_tokens // seq_len)
        self._training = len(tokens) - round(len(tokens) * held_out)
        self._measured = tokens if apart is None else apart
        self._measured_first = self._training if apart is None else 0
        self._check_lengths(name, held_out)
        for stream in dict.fromkeys((tokens, self._measured)):
            self._check_ids(stream)
        rows = (self._training - 1) // seq_len
        self.epoch_tokens = rows * seq_len
        slack = self._training - 1 - self.epoch_tokens
        self._order = EpochOrder(name, size=rows, slack=slack)
        self.density = float(self.evaluation().counted.mean())

    def training_rows(self, first: int, count: int, *, seed: int) -> Rows:
        """Return rows in the order of their epochs."""
        windows, moved = self._order.windows(first, count, seed=seed)
        return self._rows(self._tokens, windows * self._seq_len + moved)

    def evaluation(self) -> Rows:
        """Return windows without overlap, evenly spread over what is measured on."""
        available = (len(self._measured) - self._measured_first - 1) // self._seq_len
        count = min(available, self._max_rows)
        chosen = np.arange(count, dtype=np.int64) * available // count
        return self._rows(self._measured, self._measured_first + chosen * self._seq_len)

    def _rows(self, tokens: TokenStream, starts: Integers) -> Rows:
        window = tokens.read_checked(starts, self._seq_len + 1, self._vocab_size)
        shape = (len(starts), self._seq_len)
        if not self._separate:
            counted, documents = np.ones(shape, np.bool_), np.zeros(shape, np.int64)
            return Rows(window[:, :-1], window[:, 1:], counted, documents)
        ends = tokens.ends(starts, window[:, :-1])
        documents = np.cumsum(ends, axis=1, dtype=np.int64) - ends
        return Rows(window[:, :-1], window[:, 1:], ~ends, documents)

    def _check_lengths(self, name: str, held_out: float) -> None:
        rest = len(self._measured) - self._measured_first
        for length, what in ((self._training, "trained on"), (rest, "measured on")):
            if length < self._seq_len + 1:
                share = f", held_out={held_out}" if held_out else ""
                raise DataError(
                    f"{name}: too short: {length} tokens of it are {what} ({len(self._tokens)} in "
                    f"all{share}), but one sequence needs seq_len + 1 = {self._seq_len + 1}; give "
                    "more data, change held_out or lower seq_len"
                )

    def _check_ids(self, tokens: TokenStream) -> None:
        """Look at windows that are spread over all tokens; batches are checked when they come."""
        last = len(tokens) - self._seq_len
        starts = np.unique(np.linspace(0, last, SAMPLED).astype(np.int64))
        tokens.read_checked(starts, self._seq_len, self._vocab_size)
