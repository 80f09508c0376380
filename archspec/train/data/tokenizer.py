"""From text to token ids and back: by its bytes, or a tokenizer of HuggingFace's `tokenizers`."""

from __future__ import annotations

import functools
import hashlib
import itertools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from archspec.errors import DataError, suggest
from archspec.spec.data.base import BYTES
from archspec.train.data.extra import import_extra
from archspec.train.data.paths import reading
from archspec.train.data.token_stream import Ids
from archspec.train.vocabulary import EOS, FIRST_ENTITY, NUM_BYTES

# What published tokenizers call the end of a document; the first that a tokenizer has is taken.
USUAL_ENDS = ("<|endoftext|>", "<|end_of_text|>", "<|end_of_sentence|>", "</s>", "<eos>", "[EOS]")


class Tokenizer(ABC):
    """From text to token ids and back.

    Attributes:
        vocab_size: Every id is below it.
        eos_id: What ends a document.
        sha256: Hash of what decides the ids.
    """

    vocab_size: int
    eos_id: int
    sha256: str

    @property
    def dtype(self) -> str:
        """The smallest type that files of ids may have."""
        return "uint16" if self.vocab_size <= 2**16 else "uint32"

    @abstractmethod
    def encode(self, texts: Sequence[str]) -> list[Ids]:
        """Return the ids of each text, without any that begin or end it."""

    @abstractmethod
    def decode(self, token_ids: Sequence[int]) -> str:
        """Return the text of ids; one that is no text is shown as ``<ID>``."""


class ByteTokenizer(Tokenizer):
    """The bytes of UTF-8."""

    vocab_size = FIRST_ENTITY
    eos_id = EOS
    sha256 = BYTES

    def encode(self, texts: Sequence[str]) -> list[Ids]:
        """Return the bytes of each text."""
        return [np.frombuffer(text.encode(), dtype=np.uint8) for text in texts]

    def decode(self, token_ids: Sequence[int]) -> str:
        """Join bytes to characters; a byte that makes none becomes the replacement character."""
        parts = (bytes([i]) if i < NUM_BYTES else f"<{i}>".encode() for i in token_ids)
        return b"".join(parts).decode(errors="replace")


class FileTokenizer(Tokenizer):
    """A ``tokenizer.json``. It works on all cores by itself.

    Args:
        path: The file.
        eos_token: Ends a document; None for a usual one. Looked for when `eos_id` is first read,
            since text can be decoded without.

    Raises:
        DataError: The file is no tokenizer, or the extra is missing.
    """

    def __init__(self, path: Path, eos_token: str | None = None) -> None:
        self._path, self._eos_token = path, eos_token
        tokenizers = import_extra("tokenizers", extra="tokenizers", what=f"{path}: a tokenizer")
        with reading(path):
            content = path.read_bytes()
        try:
            self._tokenizer = tokenizers.Tokenizer.from_buffer(content)
        except Exception as error:  # noqa: BLE001 -- all that the library raises is Exception itself
            raise DataError(
                f"{path}: is no tokenizer.json that can be read: {error}; name the file that "
                "HuggingFace's tokenizers saved"
            ) from None
        vocabulary: dict[str, int] = self._tokenizer.get_vocab(with_added_tokens=True)
        if not vocabulary:
            raise DataError(f"{path}: the tokenizer has no tokens; train it, or name another")
        self.vocab_size = max(vocabulary.values()) + 1
        self.sha256 = hashlib.sha256(content).hexdigest()

    @functools.cached_property
    def eos_id(self) -> int:  # type: ignore[override]  # set once, when it is first needed
        """What ends a document. Raises DataError if nothing does."""
        return _find_eos(self._path, self._tokenizer, self._eos_token)

    def encode(self, texts: Sequence[str]) -> list[Ids]:
        """Return the ids of each text."""
        found = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(encoding.ids, dtype=np.uint32) for encoding in found]

    def decode(self, token_ids: Sequence[int]) -> str:
        """Return the text of ids, special tokens by their names."""
        runs = itertools.groupby(token_ids, lambda i: self._tokenizer.id_to_token(i) is not None)
        return "".join(
            self._tokenizer.decode(list(run), skip_special_tokens=False)
            if known
            else "".join(f"<{i}>" for i in run)
            for known, run in runs
        )


def open_tokenizer(path: str | None, eos_token: str | None = None) -> Tokenizer:
    """Open a tokenizer file, or the bytes for None. Raises DataError."""
    if path is not None:
        return FileTokenizer(Path(path), eos_token)
    if eos_token is not None:
        raise DataError(
            f"eos_token={eos_token!r} is a token of a tokenizer, but none is given; name one by "
            f"`tokenizer`, or leave eos_token out: after bytes documents end by token {EOS}"
        )
    return ByteTokenizer()


def check_tokenizer(tokenizer: Tokenizer, vocab_size: int, name: str) -> None:
    """Check that a model has every token of a tokenizer. Raises DataError."""
    if tokenizer.vocab_size > vocab_size:
        raise DataError(
            f"{name}: vocab_size >= {tokenizer.vocab_size} must hold, as its tokenizer has so many "
            f"tokens, but the model has vocab_size={vocab_size}; raise it to "
            f"{tokenizer.vocab_size} or name another tokenizer"
        )


def _find_eos(path: Path, tokenizer: Any, wanted: str | None) -> int:
    for name in USUAL_ENDS if wanted is None else (wanted,):
        found = tokenizer.token_to_id(name)
        if found is not None:
            return int(found)
    special = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
    if wanted is not None:
        raise DataError(
            f"{path}: has no token {wanted!r} to end documents by; {suggest(wanted, special)}"
        )
    raise DataError(
        f"{path}: has none of the tokens that usually end a document ({', '.join(USUAL_ENDS)}); "
        f"name one by eos_token; {suggest('', special)}"
    )
