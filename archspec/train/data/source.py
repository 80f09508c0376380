"""What every source of data gives: rows to train on, and a fixed set of rows to measure on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from archspec.spec.data.base import BYTES
from archspec.train.data.stream import Integers, Words, words_from

Mask = NDArray[np.bool_]

# Keys of `DataSource.parts`: what plain metrics are over, and what the share of `loss` is over.
MAIN, LOSS = "", "loss"


@dataclass(frozen=True, slots=True)
class Rows:
    """Sequences for a model.

    Attributes:
        token_ids: [rows, seq_len].
        targets: [rows, seq_len], the token that follows.
        counted: [rows, seq_len] bool, where the target counts for loss and metrics.
        documents: [rows, seq_len]; a token attends to tokens of its own document only.
    """

    token_ids: Integers
    targets: Integers
    counted: Mask
    documents: Integers

    def __len__(self) -> int:
        return len(self.token_ids)

    def take(self, where: slice | Integers) -> Rows:
        """Return some of the rows."""
        return Rows(
            self.token_ids[where], self.targets[where], self.counted[where], self.documents[where]
        )


def join(parts: list[Rows]) -> Rows:
    """Put rows of several sources below each other."""
    return Rows(
        np.concatenate([part.token_ids for part in parts]),
        np.concatenate([part.targets for part in parts]),
        np.concatenate([part.counted for part in parts]),
        np.concatenate([part.documents for part in parts]),
    )


class DataSource(ABC):
    """One source of a mixture.

    Its training rows are an endless sequence that depends on the seed alone, so that whoever asks
    for a part of it gets that part, whatever was asked before.

    Attributes:
        name: The prefix of its metrics.
        density: Share of a training row's positions whose target counts.
        choices: The tokens that an answer is chosen from, if there is a right answer.
        bytes_per_target: Of text, mean bytes of a target of :meth:`evaluation`; None of anything
            else.
        sha256: Hash of the data, for the record.
        codec_sha256: Hash of the tokenizer that its text became token ids by; None if unknown.
        epoch_tokens: Tokens of all data, once; None where they have no end.
    """

    name: str
    density: float
    choices: range | None
    bytes_per_target: float | None = None
    sha256: str
    codec_sha256: str | None = BYTES
    epoch_tokens: int | None = None

    @abstractmethod
    def training_rows(self, first: int, count: int, *, seed: int) -> Rows:
        """Return ``count`` rows of the endless sequence of a seed, from ``first`` on."""

    @abstractmethod
    def evaluation(self) -> Rows:
        """Return the rows that metrics are measured on, the same in every call."""

    def parts(self) -> Mapping[str, Mask]:
        """Say which positions of :meth:`evaluation` each score is over.

        A key is the last part of the metrics' names, as in ``facts.accuracy.rare``, or ``MAIN`` for
        the plain ones, or ``LOSS`` for the source's share of ``loss``. Masks are [rows, seq_len].
        What is missing is over all that is counted.
        """
        return {}


class DrawnSource(DataSource):
    """A source whose training rows are drawn at random.

    Attributes:
        words_per_row: Random words that one training row is made from.
    """

    words_per_row: int

    def training_rows(self, first: int, count: int, *, seed: int) -> Rows:
        """Make rows out of the random words that belong to them."""
        each = self.words_per_row
        words = words_from(seed, f"data/{self.name}", first * each, count * each)
        return self.rows(words.reshape(count, each))

    @abstractmethod
    def rows(self, words: Words) -> Rows:
        """Make training rows out of random words, [rows, words_per_row]."""
