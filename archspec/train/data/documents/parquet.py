"""Parquet files: a document in every row of a column."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from archspec.errors import DataError, suggest
from archspec.train.data.documents.corpus import Piece
from archspec.train.data.documents.files import FileCorpus
from archspec.train.data.documents.jsonl import check_text
from archspec.train.data.extra import import_extra

ROWS = 1024  # that are read at once


class ParquetCorpus(FileCorpus):
    """Parquet files.

    Args:
        paths: The files.
        field: The column.

    Raises:
        DataError: The extra is missing, a file is no Parquet or has no such column of text.
    """

    def __init__(self, paths: Sequence[Path], *, field: str) -> None:
        super().__init__(paths)
        self._field = field
        self._arrow = import_extra("pyarrow", extra="data", what=f"{self._paths[0]}: Parquet")
        self._parquet = import_extra("pyarrow.parquet", extra="data", what="Parquet")
        for path in self._paths:
            with self._opened(path):
                pass

    def read(self, path: Path, before: int) -> Iterator[Piece]:
        """Go through the rows of a file."""
        size, done = path.stat().st_size, 0
        with self._opened(path) as file:
            rows = file.metadata.num_rows
            for values in self._batches(file, path):
                for value in values:
                    text = check_text(value, f"{path}: row {done}", self._field)
                    done += 1
                    yield Piece(text, True, before + size * done // rows)

    def _batches(self, file: Any, path: Path) -> Iterator[list[Any]]:
        try:
            for batch in file.iter_batches(batch_size=ROWS, columns=[self._field]):
                yield batch.column(0).to_pylist()
        except (self._arrow.ArrowInvalid, OSError) as error:
            raise DataError(f"{path}: is damaged: {error}; copy or write it again") from None

    def _opened(self, path: Path) -> Any:
        """Open a file and check its column."""
        try:
            file = self._parquet.ParquetFile(path)
        except self._arrow.ArrowInvalid as error:
            raise DataError(
                f"{path}: is no Parquet file that can be read: {error}; copy or write it again"
            ) from None
        types = {field.name: field.type for field in file.schema_arrow}
        if self._field not in types:
            raise DataError(
                f"{path}: has no column {self._field!r}; {suggest(self._field, types)}; name "
                "another by `field`"
            )
        kind = types[self._field]
        if not (self._arrow.types.is_string(kind) or self._arrow.types.is_large_string(kind)):
            raise DataError(
                f"{path}: column {self._field!r} must be text, but is {kind}; name another by "
                "`field`"
            )
        return file
