"""Memorization: keys that each have one value, fixed, which only the weights can hold.

After the memorization of MAD (arXiv 2403.17844). A pair is a document of its own, so no value can
be read off another row's pair. Beside ``facts`` this is the smallest such task: one token is all
there is to know a pair by, so a lookup by the current token alone solves it.
"""

from __future__ import annotations

import hashlib

import numpy as np

from archspec.spec.data.memorization import MemorizationSource
from archspec.train.data.layout import lay_rows
from archspec.train.data.source import DrawnSource, Rows
from archspec.train.data.stream import Integers, Words, below, permutation, random_words
from archspec.train.vocabulary import FIRST_ENTITY, check_vocabulary

PAIR = MemorizationSource.SIZE


class Memorization(DrawnSource):
    """The pairs of one world.

    Attributes:
        world: [num_keys, 2], the tokens of every pair.

    Raises:
        DataError: The model has too few tokens.
    """

    choices: range

    def __init__(
        self, source: MemorizationSource, *, vocab_size: int, seq_len: int, max_asked: int
    ) -> None:
        check_vocabulary(
            vocab_size,
            num_entities=source.num_keys + source.num_values,
            what=f"num_keys={source.num_keys} and num_values={source.num_values}",
        )
        self.name = source.name
        self.choices = range(FIRST_ENTITY, FIRST_ENTITY + source.num_values)
        self.world = self._draw_world(source)
        self.sha256 = hashlib.sha256(self.world.astype("<i8").tobytes()).hexdigest()
        self.words_per_row = seq_len // PAIR
        self.density = self.words_per_row / seq_len
        self._seq_len = seq_len
        self._asked = permutation(source.seed, "memorization/asked", source.num_keys)[:max_asked]

    def rows(self, words: Words) -> Rows:
        """Fill rows with pairs drawn uniformly, with repetition."""
        return self._lay(below(words.reshape(-1), len(self.world)))

    def evaluation(self) -> Rows:
        """Ask keys, each once."""
        return self._lay(self._asked)

    def _lay(self, pairs: Integers) -> Rows:
        asked = np.tile(np.arange(PAIR) == 0, (len(pairs), 1))
        return lay_rows(self.world[pairs], asked, seq_len=self._seq_len)

    def _draw_world(self, source: MemorizationSource) -> Integers:
        words = random_words(source.seed, "memorization/values", 0, source.num_keys)
        keys = self.choices.stop + np.arange(source.num_keys)
        return np.stack([keys, self.choices.start + below(words, source.num_values)], axis=1)
