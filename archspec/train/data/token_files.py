"""Files of token ids, mapped into memory and laid one after another."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archspec.errors import DataError
from archspec.train.data.fingerprint import fingerprint, join_hashes
from archspec.train.data.shard import MappedIds, Shard, look_at, open_npy
from archspec.train.data.stream import Integers
from archspec.train.data.token_stream import Flags, TokenStream

SAMPLE = 4096  # entries of an index that are looked at when a run begins
MOST_OPEN = 256  # files that are mapped at once, each of which holds a descriptor


class TokenFiles(TokenStream):
    """One stream of tokens over any number of files, which are opened but never read whole.

    Args:
        paths: The files in order.
        dtype: Of raw files that do not say.
        eos_id: What ends a document, None for what the files say.
        index_suffix: Of the files that say where documents end instead.

    Raises:
        DataError: A file is not what it should be.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        dtype: str | None = None,
        eos_id: int | None = None,
        index_suffix: str | None = None,
    ) -> None:
        self._shards = tuple(look_at(path, dtype) for path in paths)
        self._firsts = np.cumsum([0, *(shard.tokens for shard in self._shards)])
        self._indices = [_read_index(shard, index_suffix) for shard in self._shards]
        if index_suffix is not None:
            paths = [*paths, *(_index_of(shard, index_suffix) for shard in self._shards)]
        self._eos_id = _agreed_eos(self._shards) if eos_id is None else eos_id
        self.bounded = index_suffix is not None or self._eos_id is not None
        self.bytes_per_token = _bytes_per_token(self._shards)
        self.codec_sha256 = _agreed_tokenizer(self._shards)
        layout = [f"{shard.dtype.str} {self._eos_id}" for shard in self._shards]
        self.sha256 = join_hashes([fingerprint(paths), *layout])
        self._open = functools.lru_cache(maxsize=MOST_OPEN)(self._open_shard)

    def __len__(self) -> int:
        return int(self._firsts[-1])

    def read(self, starts: Integers, width: int) -> Integers:
        """Return the ids from every start on, [starts, width]."""
        token_ids = np.empty((len(starts), width), dtype=np.int64)
        parts = [
            (row, *part)
            for row, start in enumerate(starts.tolist())
            for part in self._parts(start, width)
        ]
        for shard in {shard for _, shard, _, _ in parts}:
            # To read beyond the end of a file that was cut off would end the process.
            self._shards[shard].check_unchanged()
        for _, shard, inside, _ in parts:
            self._open(shard).fetch(inside)
        for row, shard, inside, outside in parts:
            token_ids[row, outside] = self._open(shard).ids[inside]
        return token_ids

    def ends(self, starts: Integers, token_ids: Integers) -> Flags:
        """Tell which tokens end a document, by the index files or by their id."""
        if self._indices[0] is None:
            flags: Flags = token_ids == self._eos_id
            return flags
        flags = np.zeros(token_ids.shape, dtype=np.bool_)
        for row, start in enumerate(starts.tolist()):
            for shard, inside, outside in self._parts(start, token_ids.shape[1]):
                index = self._indices[shard]
                assert index is not None, "either all files have an index or none"
                # Document ends count tokens, so a document's last token is one before its end.
                low, high = np.searchsorted(index, (inside.start, inside.stop), side="right")
                last = index[low:high].astype(np.int64) - 1 - inside.start + outside.start
                flags[row, last] = True
        return flags

    def place(self, token: int) -> str:
        """Say in which file a token is, and where."""
        ((shard, inside, _),) = self._parts(token, 1)
        found = self._shards[shard]
        byte = found.header + inside.start * found.dtype.itemsize
        return f"{found.path}: token {inside.start} (byte {byte})"

    def _parts(self, start: int, width: int) -> Iterator[tuple[int, slice, slice]]:
        """Yield file, where in it and where in the window, for each file that a window touches."""
        done = 0
        shard = int(np.searchsorted(self._firsts, start, side="right")) - 1
        while done < width:
            begin = start + done - int(self._firsts[shard])
            count = min(width - done, self._shards[shard].tokens - begin)
            yield shard, slice(begin, begin + count), slice(done, done + count)
            done += count
            shard += 1

    def _open_shard(self, shard: int) -> MappedIds:
        return self._shards[shard].open()


def _bytes_per_token(shards: Sequence[Shard]) -> float | None:
    known = [shard.text_bytes for shard in shards if shard.text_bytes is not None]
    if len(known) < len(shards):
        return None
    return sum(known) / sum(shard.tokens for shard in shards)


def _agreed_eos(shards: Sequence[Shard]) -> int | None:
    first = shards[0]
    for shard in shards:
        if shard.eos_id != first.eos_id:
            raise DataError(
                f"{shard.path}: documents end by token {shard.eos_id} here and by token "
                f"{first.eos_id} in {first.path}; write both with one tokenizer"
            )
    return first.eos_id


def _agreed_tokenizer(shards: Sequence[Shard]) -> str | None:
    known = [shard for shard in shards if shard.tokenizer_sha256 is not None]
    for shard in known:
        if shard.tokenizer_sha256 != known[0].tokenizer_sha256:
            raise DataError(
                f"{shard.path}: its ids were made by another tokenizer than those of "
                f"{known[0].path}; write both with one tokenizer"
            )
    return known[0].tokenizer_sha256 if known else None


def _index_of(shard: Shard, suffix: str) -> Path:
    return shard.path.with_name(shard.path.name + suffix)


def _read_index(shard: Shard, suffix: str | None) -> NDArray[Any] | None:
    """Map the ends of a file's documents into memory, [documents]. Raises DataError."""
    if suffix is None:
        return None
    path = _index_of(shard, suffix)
    index = np.asarray(open_npy(path))
    if index.dtype.kind not in "iu":
        raise DataError(f"{path}: ends of documents must be integers, but are of {index.dtype}")
    if int(index[-1]) != shard.tokens:
        raise DataError(
            f"{path}: the last document must end with the file, but it ends after token "
            f"{int(index[-1])} and {shard.path.name} has {shard.tokens}; write the index again"
        )
    sample = np.unique(np.linspace(0, len(index) - 1, SAMPLE).astype(np.int64))
    ends = index[sample].astype(np.int64)
    wrong = np.flatnonzero(np.diff(ends, prepend=0) <= 0)
    if len(wrong):
        raise DataError(
            f"{path}: ends of documents must ascend from 1, but entry {sample[wrong[0]]} is "
            f"{ends[wrong[0]]}; write the index again"
        )
    return index
