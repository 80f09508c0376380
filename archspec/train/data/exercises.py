"""Tasks whose rows are short documents of one length, each drawn from words of its own."""

from __future__ import annotations

import hashlib
from abc import abstractmethod

from archspec.train.data.layout import lay_rows
from archspec.train.data.source import DrawnSource, Mask, Rows
from archspec.train.data.stream import Integers, Words, random_words


class Exercises(DrawnSource):
    """Fresh documents in every row of training, and fixed ones to measure on.

    Those to measure on are drawn by a key of their own, so no training draws the same words.

    Args:
        name: The prefix of the metrics.
        task: The name of the task, which draws the questions.
        size: Tokens of a document.
        num_asked: Answers in a document.
        words: Random words that a document is made from.
        choices: The tokens that an answer is chosen from.
        seq_len: Tokens of a row.
        max_asked: Most answers that are measured, at least a document of them.
    """

    choices: range

    def __init__(
        self,
        *,
        name: str,
        task: str,
        size: int,
        num_asked: int,
        words: int,
        choices: range,
        seq_len: int,
        max_asked: int,
    ) -> None:
        self.name = name
        self.choices = choices
        self.words_per_row = seq_len // size * words
        self.density = seq_len // size * num_asked / seq_len
        self._words = words
        self._seq_len = seq_len
        self._task = task
        self._num_measured = max(1, max_asked // num_asked)
        self.sha256 = self._hash()

    @abstractmethod
    def draw(self, words: Words) -> tuple[Integers, Mask]:
        """Make documents out of random words, [documents, words].

        Returns:
            Their tokens and where the next token is asked for, both [documents, size].
        """

    def rows(self, words: Words) -> Rows:
        """Fill rows with documents."""
        return lay_rows(*self.draw(words.reshape(-1, self._words)), seq_len=self._seq_len)

    def evaluation(self) -> Rows:
        """Return the documents that are measured on."""
        return lay_rows(*self._measured(), seq_len=self._seq_len)

    def _measured(self) -> tuple[Integers, Mask]:
        count = self._num_measured
        words = random_words(0, f"tasks/{self._task}", 0, count * self._words)
        return self.draw(words.reshape(count, self._words))

    def _hash(self) -> str:
        """Hash what is measured on, which the settings of the task determine."""
        token_ids, asked = self._measured()
        digest = hashlib.sha256(token_ids.astype("<i8").tobytes())
        digest.update(asked.tobytes())
        return digest.hexdigest()
