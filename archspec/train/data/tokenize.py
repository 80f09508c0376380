"""Documents made into token ids, in memory or in a file that any number of runs can map."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from archspec.errors import DataError, RunError
from archspec.train.data.documents.corpus import Corpus, Piece
from archspec.train.data.fingerprint import join_hashes
from archspec.train.data.shard import DTYPES, notes_of
from archspec.train.data.token_stream import ArrayTokens, Ids
from archspec.train.data.tokenizer import Tokenizer
from archspec.train.files import new_file, replace_text

BATCH = 4 * 2**20  # characters that are tokenised at once, on all cores if the tokenizer can

Progress = Callable[[int, int], None]  # hears how far of how much was read


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFile:
    """A file of token ids that was written.

    Attributes:
        path: The file; ``PATH.json`` beside it says the rest.
        dtype: Of an id, ``uint16`` or ``uint32``.
        tokens: How many there are, ends of documents included.
        documents: How many there are.
        text_bytes: Of their text in UTF-8.
        eos_id: What ends each.
        vocab_size: Every id is below it.
        sha256: Of the file.
        tokenizer_sha256: Of the tokenizer; ``bytes`` for bytes.
    """

    path: Path
    dtype: str
    tokens: int
    documents: int
    text_bytes: int
    eos_id: int
    vocab_size: int
    sha256: str
    tokenizer_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Encoded:
    """Some pieces of a corpus: their ids with the ends of documents, and how far they reach."""

    ids: Ids
    documents: int
    text_bytes: int
    position: int


def tokenize_in_memory(corpus: Corpus, tokenizer: Tokenizer) -> ArrayTokens:
    """Return the tokens of a small corpus. Raises DataError if a document is bad."""
    parts = list(_encode(corpus, tokenizer))
    return ArrayTokens(
        np.concatenate([part.ids for part in parts]),
        eos_id=tokenizer.eos_id,
        text_bytes=sum(part.text_bytes for part in parts),
        sha256=corpus_hash(corpus, tokenizer),
        codec_sha256=tokenizer.sha256,
        what=corpus.what,
    )


def corpus_hash(corpus: Corpus, tokenizer: Tokenizer) -> str:
    """Return the hash of a corpus's tokens for the record: that of its content, for bytes."""
    hashes = [corpus.sha256, tokenizer.sha256, str(tokenizer.eos_id)]
    return corpus.sha256 if tokenizer.sha256 == "bytes" else join_hashes(hashes)


def write_tokens(
    corpus: Corpus, tokenizer: Tokenizer, out: Path, *, progress: Progress | None = None
) -> TokenFile:
    """Write the tokens of a corpus into a file, each document with its end.

    The file appears under its name once all of it is on the disk, and ``OUT.json`` before it.
    Memory holds a few megabytes of it at a time.

    Args:
        corpus: The documents.
        tokenizer: Makes the ids.
        out: File to make; it must not be there.
        progress: Hears how far of how much was read.

    Raises:
        DataError: A document is not what it should be; nothing is left of the file.
        RunError: ``out`` exists or cannot be written.
    """
    if out.exists():
        raise RunError(f"{out}: exists already; name another file or remove it")
    digest, tokens, documents, text_bytes = hashlib.sha256(), 0, 0, 0
    with new_file(out) as file:
        for part in _encode(corpus, tokenizer):
            content = part.ids.tobytes()
            digest.update(content)
            file.write(content)
            tokens += len(part.ids)
            documents += part.documents
            text_bytes += part.text_bytes
            if progress is not None:
                progress(part.position, corpus.size)
        written = TokenFile(
            path=out,
            dtype=tokenizer.dtype,
            tokens=tokens,
            documents=documents,
            text_bytes=text_bytes,
            eos_id=tokenizer.eos_id,
            vocab_size=tokenizer.vocab_size,
            sha256=digest.hexdigest(),
            tokenizer_sha256=tokenizer.sha256,
        )
        replace_text(notes_of(out), json.dumps(as_notes(written), indent=1) + "\n")
    return written


def as_notes(written: TokenFile) -> dict[str, object]:
    """Return what the file beside a file of ids says of it."""
    return {key: getattr(written, key) for key in TokenFile.__slots__ if key != "path"}


def _encode(corpus: Corpus, tokenizer: Tokenizer) -> Iterator[_Encoded]:
    end = np.array([tokenizer.eos_id], dtype=DTYPES[tokenizer.dtype])
    position = 0
    for pieces in _batches(corpus):
        texts = [piece.text for piece in pieces]
        parts: list[Ids] = []
        for piece, ids in zip(pieces, tokenizer.encode(texts), strict=True):
            parts.append(ids)
            if piece.is_last:
                parts.append(end)
        position = pieces[-1].position
        yield _Encoded(
            ids=np.concatenate(parts).astype(end.dtype),
            documents=sum(piece.is_last for piece in pieces),
            text_bytes=sum(len(text.encode()) for text in texts),
            position=position,
        )
    if not position:
        raise DataError(f"{corpus.what}: has no documents; name files with some")


def _batches(corpus: Corpus) -> Iterator[list[Piece]]:
    batch: list[Piece] = []
    size = 0
    for piece in corpus.pieces():
        batch.append(piece)
        size += len(piece.text)
        if size >= BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
