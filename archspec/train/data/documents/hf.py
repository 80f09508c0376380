"""Datasets of HuggingFace's library: a document in every example."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from archspec.errors import DataError, suggest
from archspec.train.data.documents.corpus import Corpus, Piece
from archspec.train.data.documents.files import IN_MEMORY
from archspec.train.data.documents.jsonl import check_text
from archspec.train.data.extra import import_extra
from archspec.train.data.fingerprint import fingerprint, stamps

EXAMPLES = 1024  # that are read at once


class HfCorpus(Corpus):
    """One split of a dataset, of a folder that ``save_to_disk`` wrote or of the hub.

    Args:
        name: The folder, or the name on the hub.
        subset: Its configuration on the hub.
        split: Which part.
        field: The column.

    Raises:
        DataError: The extra is missing, there is no such dataset, split or column of text.
    """

    def __init__(self, name: str, *, subset: str | None, split: str, field: str) -> None:
        self._library = import_extra("datasets", extra="data", what=f"hf: {name}")
        self.what = f"{name}, split {split}"
        self._field = field
        self._data = self._open(name, subset, split)
        kinds = self._data.features
        if field not in kinds:
            raise DataError(
                f"{self.what}: has no column {field!r}; {suggest(field, kinds)}; name another by "
                "`field`"
            )
        if getattr(kinds[field], "dtype", None) not in ("string", "large_string"):
            raise DataError(
                f"{self.what}: column {field!r} must be text, but is {kinds[field]}; name another "
                "by `field`"
            )
        self.size = len(self._data)
        if not self.size:
            raise DataError(f"{self.what}: has no examples; name another split")
        files = [Path(file["filename"]) for file in self._data.cache_files]
        self.sha256 = fingerprint(files)
        self.stamp = hashlib.sha256(repr(stamps(files)).encode()).hexdigest()
        self.in_memory = sum(path.stat().st_size for path in files) <= IN_MEMORY

    def pieces(self) -> Iterator[Piece]:
        """Go through the examples."""
        number = 0
        for batch in self._data.select_columns([self._field]).iter(batch_size=EXAMPLES):
            for value in batch[self._field]:
                text = check_text(value, f"{self.what}: example {number}", self._field)
                number += 1
                yield Piece(text, True, number)

    def _open(self, name: str, subset: str | None, split: str) -> Any:
        try:
            if not Path(name).is_dir():
                return self._library.load_dataset(name, subset, split=split)
            data = self._library.load_from_disk(name)
        except Exception as error:  # noqa: BLE001 -- the library lets through those of many others
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise DataError(
                f"hf: {name} cannot be loaded: {reason}; name a folder that save_to_disk wrote, or "
                "a dataset on the hub that this machine can reach"
            ) from None
        if isinstance(data, self._library.DatasetDict):
            if split not in data:
                raise DataError(f"hf: {name} has no split {split!r}; {suggest(split, data)}")
            return data[split]
        return data
