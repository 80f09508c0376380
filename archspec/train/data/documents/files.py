"""What all formats of files share."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

from archspec.errors import DataError
from archspec.train.data.documents.corpus import Corpus, Piece
from archspec.train.data.fingerprint import fingerprint, stamps
from archspec.train.data.paths import reading

IN_MEMORY = 64 * 2**20  # bytes of files; their tokens take up to four times as many


class FileCorpus(Corpus):
    """Documents in files. Subclasses read one file.

    Args:
        paths: The files in order.

    Raises:
        DataError: A file cannot be read or is empty.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = tuple(paths)
        self._sizes = [_size_of(path) for path in self._paths]
        self.size = sum(self._sizes)
        more = f" and {len(paths) - 1} more files" if len(paths) > 1 else ""
        self.what = f"{self._paths[0]}{more}"
        self.in_memory = self.size <= IN_MEMORY
        self.sha256 = fingerprint(self._paths)
        self.stamp = hashlib.sha256(repr(stamps(self._paths)).encode()).hexdigest()

    def pieces(self) -> Iterator[Piece]:
        """Go through the files."""
        before = 0
        for path, size in zip(self._paths, self._sizes, strict=True):
            with reading(path):
                yield from self.read(path, before)
            before += size

    @abstractmethod
    def read(self, path: Path, before: int) -> Iterator[Piece]:
        """Go through the documents of one file, which starts ``before`` bytes into the corpus."""


def _size_of(path: Path) -> int:
    with reading(path):
        size = path.stat().st_size
    if not size:
        raise DataError(f"{path}: the file is empty; name a file with text in it")
    return size


def decode(content: bytes, path: Path, *, line: int, offset: int) -> str:
    """Return bytes as text.

    Args:
        content: Whole lines.
        path: Their file.
        line: The number of the first of them, from 1.
        offset: Of the first byte in the file.

    Raises:
        DataError: They are not UTF-8, or hold zero bytes, which no text does.
    """
    zero = content.find(b"\0")
    if zero >= 0:
        raise DataError(
            f"{path}:{line + content.count(10, 0, zero)}: is not text: byte {offset + zero} is "
            "0x00, as in binary files and in UTF-16; name a text file, or convert this one, for "
            f"example with `iconv -f UTF-16 -t UTF-8 {path.name}`"
        )
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        where = f"{path}:{line + content.count(10, 0, error.start)}"
        if error.reason == "unexpected end of data":
            raise DataError(
                f"{where}: the text ends inside a character, at byte {offset + error.start}; the "
                "file is truncated: copy it again"
            ) from None
        raise DataError(
            f"{where}: text must be UTF-8, but byte {offset + error.start} is "
            f"0x{content[error.start]:02x}; convert the file, for example with `iconv -f LATIN1 -t "
            f"UTF-8 {path.name}`"
        ) from None
