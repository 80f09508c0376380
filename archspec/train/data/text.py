"""Text as bytes: a file, or the Python documentation that every interpreter carries."""

from __future__ import annotations

import hashlib
import pathlib

import numpy as np
from numpy.typing import NDArray

from archspec.errors import DataError
from archspec.spec.data.text import PYDOC, TextSource
from archspec.train.data.source import DrawnSource, Rows
from archspec.train.data.stream import Integers, Words, below
from archspec.train.vocabulary import check_vocabulary


class Text(DrawnSource):
    """Windows of a text; its end is held out.

    Raises:
        DataError: The text cannot be read or is too short, or the model has too few tokens.
    """

    words_per_row = 1
    density = 1.0
    choices = None
    bytes_per_target = 1.0

    def __init__(
        self, source: TextSource, *, vocab_size: int, seq_len: int, max_tokens: int
    ) -> None:
        check_vocabulary(vocab_size, num_entities=0, what="")
        content = read_pydoc() if source.text == PYDOC else read_text(pathlib.Path(source.text))
        self.name = source.name
        self.sha256 = hashlib.sha256(content).hexdigest()
        self._seq_len = seq_len
        self._training, self._held_out = _split(content, source, seq_len)
        self._max_rows = max(1, max_tokens // seq_len)

    def rows(self, words: Words) -> Rows:
        """Cut windows that start anywhere in the training part."""
        starts = below(words[:, 0], len(self._training) - self._seq_len)
        return self._windows(self._training, starts)

    def evaluation(self) -> Rows:
        """Cut windows without overlap, evenly spread over the held-out part."""
        available = (len(self._held_out) - 1) // self._seq_len
        count = min(available, self._max_rows)
        chosen = np.arange(count, dtype=np.int64) * available // count
        return self._windows(self._held_out, chosen * self._seq_len)

    def _windows(self, content: NDArray[np.uint8], starts: Integers) -> Rows:
        window = content[starts[:, None] + np.arange(self._seq_len + 1)].astype(np.int64)
        shape = (len(starts), self._seq_len)
        return Rows(
            window[:, :-1], window[:, 1:], np.ones(shape, np.bool_), np.zeros(shape, np.int64)
        )


def read_pydoc() -> bytes:
    """Return all topics of ``pydoc_data.topics`` in sorted order; they differ by Python version."""
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise DataError(
            f"text: {PYDOC} needs the module pydoc_data, which this Python lacks ({error}); "
            "install the full standard library or name a text file"
        ) from None
    return "\n".join(topics[name] for name in sorted(topics)).encode()


def read_text(path: pathlib.Path) -> bytes:
    """Read a file and check that it is UTF-8 text. Raises DataError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DataError(
            f"{path}: the text cannot be read: {reason}; relative paths start from the train "
            "document"
        ) from None
    if not content:
        raise DataError(f"{path}: the file is empty; name a file with text in it")
    try:
        content.decode()
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: text must be UTF-8, but byte {error.start} is 0x{content[error.start]:02x}; "
            "convert the file, for example with iconv"
        ) from None
    return content


def _split(
    content: bytes, source: TextSource, seq_len: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Cut off the held-out end; both parts must hold a window and the byte after it."""
    data = np.frombuffer(content, dtype=np.uint8)
    held_out = round(len(data) * source.held_out)
    parts = data[: len(data) - held_out], data[len(data) - held_out :]
    for part, what in zip(parts, ("trained on", "held out"), strict=True):
        if len(part) < seq_len + 1:
            raise DataError(
                f"{source.text}: too short: of {len(data)} bytes {len(part)} are {what} "
                f"(held_out={source.held_out}), but one sequence needs seq_len + 1 = "
                f"{seq_len + 1}; give more text, change held_out or lower seq_len"
            )
    return parts
