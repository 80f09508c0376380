"""Text files, each of which is a document, and the Python documentation."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from archspec.errors import DataError
from archspec.spec.data.text import PYDOC
from archspec.train.data.documents.corpus import LONGEST_LINE, Corpus, Piece
from archspec.train.data.documents.files import FileCorpus, decode

PIECE = 2**20  # bytes, and then up to the end of the line


class TextCorpus(FileCorpus):
    """Text files, each of which is a document."""

    def read(self, path: Path, before: int) -> Iterator[Piece]:
        """Go through a file in pieces of whole lines."""
        line, offset = 1, 0
        with path.open("rb") as file:
            content = self._next(file, path, line)
            while content:
                text = decode(content, path, line=line, offset=offset)
                line += content.count(b"\n")
                offset += len(content)
                content = self._next(file, path, line)
                yield Piece(text, not content, before + offset)

    def _next(self, file: BinaryIO, path: Path, line: int) -> bytes:
        content = file.read(PIECE)
        if content.endswith(b"\n"):
            return content
        rest = file.readline(LONGEST_LINE)
        if len(rest) == LONGEST_LINE and not rest.endswith(b"\n"):
            where = line + content.count(b"\n")
            raise DataError(
                f"{path}:{where}: a line must not be longer than {LONGEST_LINE // 2**20} MiB; "
                "break it up, or make token files of it with your own tools"
            )
        return content + rest


class PydocCorpus(Corpus):
    """The topics of ``pydoc_data.topics`` in sorted order, as one document.

    Every interpreter carries them; they differ by Python version.

    Raises:
        DataError: This interpreter does not.
    """

    what = PYDOC
    in_memory = True

    def __init__(self) -> None:
        try:
            from pydoc_data.topics import topics
        except ImportError as error:
            raise DataError(
                f"text: {PYDOC} needs the module pydoc_data, which this Python lacks ({error}); "
                "install the full standard library or name a text file"
            ) from None
        self.text = "\n".join(topics[name] for name in sorted(topics))
        content = self.text.encode()
        self.size = len(content)
        self.sha256 = self.stamp = hashlib.sha256(content).hexdigest()

    def pieces(self) -> Iterator[Piece]:
        """Return the document."""
        yield Piece(self.text, True, self.size)
