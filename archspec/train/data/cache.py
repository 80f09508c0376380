"""Tokens of large corpora, made once and kept for later runs.

An entry is a folder named by what its tokens depend on: the content, sizes and times of change of
the files, the field, the tokenizer. It appears whole or not at all, and processes that need the
same one wait for the first of them. Entries may be removed whenever no run reads them.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from archspec.errors import DataError
from archspec.train.data.documents.corpus import Corpus
from archspec.train.data.tokenize import write_tokens
from archspec.train.data.tokenizer import Tokenizer
from archspec.train.files import new_directory

VERSION = 1  # of what corpora, tokenizers and files do with the same input
TOKENS = "tokens.bin"


def cache_folder() -> Path:
    """Return where tokens are kept: `ARCHSPEC_CACHE`, or where this system's caches are."""
    chosen = os.environ.get("ARCHSPEC_CACHE")
    if chosen:
        return Path(chosen)
    caches = os.environ.get("XDG_CACHE_HOME")
    return (Path(caches) if caches else Path.home() / ".cache") / "archspec"


def cached_tokens(corpus: Corpus, tokenizer: Tokenizer, field: str) -> Path:
    """Return the token file of a corpus, after making it if it is not there.

    Args:
        corpus: The documents.
        tokenizer: Makes the ids.
        field: Which part of a record is the document.

    Raises:
        DataError: A document is not what it should be, or the cache cannot be written.
        RunError: The disk is full.
    """
    parts = (VERSION, corpus.sha256, corpus.stamp, field, tokenizer.sha256, tokenizer.eos_id)
    key = hashlib.sha256(repr(parts).encode()).hexdigest()[:32]
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder / f"{key}.lock"):
            if not (folder / key).exists():
                with new_directory(folder / key) as draft:
                    write_tokens(corpus, tokenizer, draft / TOKENS)
    except OSError as error:
        raise DataError(
            f"{folder}: the tokens of {corpus.what} cannot be kept there: "
            f"{error.strerror or error}; name another folder by ARCHSPEC_CACHE"
        ) from None
    return folder / key / TOKENS


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Wait until no other process is inside; a process that dies leaves by that."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
