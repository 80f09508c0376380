"""Documents of text that can be gone through, whatever format they are kept in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

# A line of text that a tokenizer must see whole, and a document of one. Longer ones are mistakes:
# a file of another format, or line ends that were lost.
LONGEST_LINE = 64 * 2**20  # bytes


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a document, small enough for memory.

    Attributes:
        text: Never torn inside a line.
        is_last: Whether the document ends with it.
        position: Bytes of the corpus, or documents where bytes are not known, up to its end.
    """

    text: str
    is_last: bool
    position: int


class Corpus(ABC):
    """Documents in their order.

    Attributes:
        what: What they are, for messages.
        size: The last ``position``, for showing progress.
        sha256: Hash of the content, for the record; of large files by samples.
        stamp: Changes whenever a file was written to.
        in_memory: Whether all of it and its tokens easily fit into memory.
    """

    what: str
    size: int
    sha256: str
    stamp: str
    in_memory: bool

    @abstractmethod
    def pieces(self) -> Iterator[Piece]:
        """Go through all documents. Raises DataError at the first that is not what it should be."""
