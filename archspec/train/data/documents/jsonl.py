"""JSON lines: a map on every line, a document in one of its fields."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from archspec.errors import DataError, suggest
from archspec.train.data.documents.corpus import LONGEST_LINE, Piece
from archspec.train.data.documents.files import FileCorpus, decode


class JsonlCorpus(FileCorpus):
    """JSON lines.

    Args:
        paths: The files.
        field: The key whose text is a document.
    """

    def __init__(self, paths: Sequence[Path], *, field: str) -> None:
        super().__init__(paths)
        self._field = field

    def read(self, path: Path, before: int) -> Iterator[Piece]:
        """Go through the lines of a file."""
        offset = 0
        with path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE), b""), 1):
                if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
                    raise DataError(
                        f"{path}:{number}: a line must not be longer than "
                        f"{LONGEST_LINE // 2**20} MiB; is this JSON lines, a map on every line?"
                    )
                text = decode(line, path, line=number, offset=offset)
                offset += len(line)
                yield Piece(self._document(text, f"{path}:{number}"), True, before + offset)

    def _document(self, line: str, place: str) -> str:
        """Return the text of one line. Raises DataError."""
        if not line.strip():
            raise DataError(f"{place}: the line is empty, but each must be a map; remove it")
        try:
            values = json.loads(line)
        except RecursionError:
            raise DataError(
                f"{place}: the line is nested too deeply; correct or remove it"
            ) from None
        except json.JSONDecodeError as error:
            raise DataError(
                f"{place}: the line is not JSON: {error.msg} (character {error.pos + 1}); "
                "correct or remove it"
            ) from None
        except ValueError as error:  # a number of thousands of digits
            raise DataError(f"{place}: the line cannot be read: {error}; correct it") from None
        if not isinstance(values, dict):
            raise DataError(
                f'{place}: each line must be a map such as {{"{self._field}": ...}}, but this is '
                f"a {type(values).__name__}"
            )
        if self._field not in values:
            raise DataError(
                f"{place}: has no field {self._field!r}; {suggest(self._field, values)}; name "
                "another by `field`"
            )
        return check_text(values[self._field], place, self._field)


def check_text(value: Any, place: str, field: str) -> str:
    """Return a document as it is if it is text that UTF-8 can hold. Raises DataError."""
    if not isinstance(value, str):
        raise DataError(
            f"{place}: field {field!r} must be text, but is {_described(value)}; correct it, or "
            "name another field"
        )
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{place}: field {field!r} has half of a surrogate pair at character {error.start}, "
            "which is no text; correct it"
        ) from None
    return value


def _described(value: Any) -> str:
    return "null" if value is None else f"{str(value)[:40]!r} ({type(value).__name__})"
