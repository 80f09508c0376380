"""One file of token ids: how it is written, and what its size and its neighbour say of it.

Raw files hold nothing but ids; ``FILE.json`` beside one says of which dtype they are, and more:
``{"dtype": "uint16", "tokens": 1000, "eos_id": 0}``, of which only the dtype is required.
``archspec tokenize`` writes both. A ``.npy`` file says its dtype itself.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from archspec.errors import DataError
from archspec.train.data.paths import reading
from archspec.train.data.token_stream import Ids

DTYPES: dict[str, np.dtype[Any]] = {"uint16": np.dtype("<u2"), "uint32": np.dtype("<u4")}
NPY = ".npy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """A file of token ids that was looked at and not read.

    Attributes:
        path: The file.
        dtype: Of an id.
        header: Bytes before the first id.
        tokens: How many ids there are.
        eos_id: What ends a document, where it is known.
        text_bytes: Of the text that the ids were made of, where it is known.
        tokenizer_sha256: Of the tokenizer that made them, where it is known.
        stamp: Size and time of change when the run began.
    """

    path: Path
    dtype: np.dtype[Any]
    header: int
    tokens: int
    eos_id: int | None
    text_bytes: int | None
    tokenizer_sha256: str | None
    stamp: tuple[int, int]

    def open(self) -> MappedIds:
        """Map the ids into memory; nothing is read before it is looked at."""
        with reading(self.path), self.path.open("rb") as file:
            return MappedIds(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), self)

    def check_unchanged(self) -> None:
        """Raise DataError if the file was written to since the run began."""
        with reading(self.path):
            found = self.path.stat()
        if (found.st_size, found.st_mtime_ns) != self.stamp:
            raise DataError(
                f"{self.path}: changed while the run reads it ({self.stamp[0]} bytes before, "
                f"{found.st_size} now); restore it and resume the run, or start a new run"
            )


class MappedIds:
    """The ids of a file in memory that the system fills as it is looked at.

    Attributes:
        ids: All of them, [tokens].
    """

    def __init__(self, memory: mmap.mmap, shard: Shard) -> None:
        self.ids: Ids = np.frombuffer(memory, shard.dtype, shard.tokens, shard.header)
        self._memory = memory
        self._header = shard.header
        memory.madvise(mmap.MADV_RANDOM)  # or every look would read its surroundings too

    def fetch(self, where: slice) -> None:
        """Let the system begin to read some ids, so that many may be on their way at once."""
        size = self.ids.itemsize
        first = (self._header + where.start * size) // mmap.PAGESIZE * mmap.PAGESIZE
        end = self._header + where.stop * size
        self._memory.madvise(mmap.MADV_WILLNEED, first, end - first)


def look_at(path: Path, dtype: str | None) -> Shard:
    """Find out how a file of token ids is written. Raises DataError."""
    with reading(path):
        found = path.stat()
    stamp = (found.st_size, found.st_mtime_ns)
    if not found.st_size:
        raise DataError(f"{path}: the file is empty; name a file with token ids in it")
    if path.suffix == NPY:
        return _look_at_npy(path, stamp)
    notes = _read_notes(path)
    said = notes.get("dtype", dtype)
    if said not in DTYPES:
        raise DataError(
            f"{path}: it is not known whether its ids are uint16 or uint32; give the source a "
            f"dtype, or write it with `archspec tokenize`, which leaves {notes_of(path).name}"
        )
    if dtype is not None and said != dtype:
        raise DataError(
            f"{path}: the train document says dtype={dtype}, but {notes_of(path).name} says "
            f"{said}; leave dtype out"
        )
    return Shard(
        path=path,
        dtype=DTYPES[said],
        header=0,
        tokens=_count(path, found.st_size, DTYPES[said], notes),
        eos_id=notes.get("eos_id"),
        text_bytes=notes.get("text_bytes"),
        tokenizer_sha256=notes.get("tokenizer_sha256"),
        stamp=stamp,
    )


def _count(path: Path, size: int, dtype: np.dtype[Any], notes: Mapping[str, Any]) -> int:
    tokens, rest = divmod(size, dtype.itemsize)
    if rest:
        raise DataError(
            f"{path}: {size} bytes are not a whole number of {dtype.name} ids of "
            f"{dtype.itemsize} bytes; the file is truncated, or of another dtype"
        )
    if notes.get("tokens", tokens) != tokens:
        raise DataError(
            f"{path}: has {tokens} ids, but {notes_of(path).name} says {notes['tokens']}; the "
            "file is truncated, or the two are not of one writing: copy both again"
        )
    return tokens


def notes_of(path: Path) -> Path:
    """Return the file that says what a raw file of ids holds."""
    return path.with_name(f"{path.name}.json")


def _read_notes(path: Path) -> Mapping[str, Any]:
    notes = notes_of(path)
    if not notes.exists():
        return {}
    with reading(notes):
        content = notes.read_bytes()
    try:
        values = json.loads(content)
    except ValueError as error:
        raise DataError(f"{notes}: is not JSON: {error}; write it again or remove it") from None
    wrong = _wrong_notes(values)
    if wrong:
        raise DataError(f"{notes}: {wrong}; write it again or remove it")
    fields: dict[str, Any] = values
    return fields


def _wrong_notes(values: Any) -> str | None:
    if not isinstance(values, dict):
        return f"must hold a map, but holds a {type(values).__name__}"
    if values.get("dtype") not in DTYPES:
        return f"dtype must be one of {', '.join(DTYPES)}, but is {values.get('dtype')!r}"
    for key in ("tokens", "eos_id", "text_bytes"):
        value = values.get(key)
        if value is not None and (not isinstance(value, int) or value < 0):
            return f"{key} must be a whole number, but is {value!r}"
    made_by = values.get("tokenizer_sha256")
    if made_by is not None and not isinstance(made_by, str):
        return f"tokenizer_sha256 must be a text, but is {made_by!r}"
    return None


def _look_at_npy(path: Path, stamp: tuple[int, int]) -> Shard:
    array = open_npy(path)
    if array.dtype not in DTYPES.values():
        raise DataError(
            f"{path}: ids must be uint16 or uint32, but the array is of {array.dtype}; convert it "
            "with numpy's astype"
        )
    return Shard(
        path=path,
        dtype=array.dtype,
        header=array.offset,
        tokens=len(array),
        eos_id=None,
        text_bytes=None,
        tokenizer_sha256=None,
        stamp=stamp,
    )


def open_npy(path: Path) -> np.memmap[Any, Any]:
    """Map a one-dimensional `.npy` array into memory. Raises DataError."""
    with reading(path):
        try:
            array = np.lib.format.open_memmap(path, mode="r")
        except ValueError as error:
            raise DataError(
                f"{path}: is no whole .npy array: {error}; write it again with numpy.save"
            ) from None
    if array.ndim != 1 or not len(array):
        raise DataError(
            f"{path}: must be an array of one dimension, but its shape is {array.shape}"
        )
    return array
