"""Hashes of files for the record: full for what is small, of samples for what is not.

Up to 128 MiB together, every byte counts. Beyond that a file is known by its size and the SHA-256
of blocks of 64 KiB at its start, at its end and evenly between: at least two a file and about 1,024
together, so that a run over a hundred gigabytes starts at once. A change between the blocks that
keeps the size is not seen there; the times of change, which copies do not keep, are left to whoever
needs them (``stamps``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from archspec.train.data.paths import reading

FULL = 128 * 2**20  # bytes
BLOCK = 64 * 2**10  # bytes
BLOCKS = 1024


def fingerprint(paths: Sequence[Path]) -> str:
    """Return the hash of files in their order; of one small file, the SHA-256 of its content.

    Raises:
        DataError: A file cannot be read.
    """
    sizes = [path.stat().st_size for path in paths]
    if sum(sizes) <= FULL:
        return join_hashes(_full(path) for path in paths)
    blocks = max(2, BLOCKS // len(paths))
    return join_hashes(
        _sampled(path, size, blocks) for path, size in zip(paths, sizes, strict=True)
    )


def stamps(paths: Iterable[Path]) -> list[tuple[int, int]]:
    """Return size and time of change of every file, which any writing to it changes."""
    return [(found.st_size, found.st_mtime_ns) for found in (path.stat() for path in paths)]


def join_hashes(hashes: Iterable[str]) -> str:
    """Return one hash for several, and a single one as it is."""
    listed = list(hashes)
    if len(listed) == 1:
        return listed[0]
    return hashlib.sha256("\n".join(listed).encode()).hexdigest()


def _full(path: Path) -> str:
    with reading(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sampled(path: Path, size: int, blocks: int) -> str:
    digest = hashlib.sha256(f"{size}\n".encode())
    with reading(path), path.open("rb") as file:
        for offset in _offsets(size, blocks):
            file.seek(offset)
            digest.update(file.read(BLOCK))
    return digest.hexdigest()


def _offsets(size: int, blocks: int) -> Iterator[int]:
    last = max(0, size - BLOCK)
    yield from dict.fromkeys(last * index // (blocks - 1) for index in range(blocks))
