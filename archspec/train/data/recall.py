"""In-context recall: pairs of key and value, then keys again, whose values are asked for.

After the in-context and noisy recall of MAD (arXiv 2403.17844) and multi-query associative recall
(MQAR, arXiv 2312.04927): the pairs are drawn anew in every document, so nothing that the weights
hold helps. A key appears among the pairs once, queries ask different pairs in any order, and noise
may stand anywhere but between a key and its value.
"""

from __future__ import annotations

import numpy as np

from archspec.spec.data.recall import RecallSource
from archspec.train.data.choose import distinct, scattered
from archspec.train.data.exercises import Exercises
from archspec.train.data.source import Mask
from archspec.train.data.stream import Integers, Words, below
from archspec.train.vocabulary import FIRST_ENTITY, check_vocabulary


class Recall(Exercises):
    """Documents of pairs and queries.

    Raises:
        DataError: The model has too few tokens.
    """

    def __init__(
        self, source: RecallSource, *, vocab_size: int, seq_len: int, max_asked: int
    ) -> None:
        noise = source.num_noise_symbols if source.noise else 0
        check_vocabulary(
            vocab_size,
            num_entities=source.num_keys + source.num_values + noise,
            what=f"num_keys={source.num_keys}, num_values={source.num_values}"
            + (f" and num_noise_symbols={noise}" if noise else ""),
        )
        self._source = source
        self._units = source.num_pairs + source.num_asked  # pairs, first those that are shown
        self._parts = np.cumsum(
            [source.num_pairs, source.num_pairs, source.num_asked, self._units + source.noise]
        )
        first_value = FIRST_ENTITY + source.num_keys
        self._first_noise = first_value + source.num_values
        super().__init__(
            name=source.name,
            task=source.task,
            size=source.size,
            num_asked=source.num_asked,
            words=int(self._parts[-1]) + source.noise,
            choices=range(first_value, self._first_noise),
            seq_len=seq_len,
            max_asked=max_asked,
        )

    def draw(self, words: Words) -> tuple[Integers, Mask]:
        """See :class:`Exercises`."""
        source = self._source
        for_keys, for_values, for_queries, for_places, for_noise = np.split(
            words, self._parts, axis=1
        )
        keys = FIRST_ENTITY + distinct(for_keys, source.num_keys)  # [documents, num_pairs]
        values = self.choices.start + below(for_values, source.num_values)
        queries = distinct(for_queries, source.num_pairs)  # [documents, num_asked]
        order = np.concatenate([np.tile(np.arange(source.num_pairs), (len(words), 1)), queries], 1)
        starts = self._starts(for_places)
        noise = self._first_noise + below(for_noise, source.num_noise_symbols)
        token_ids = np.empty((len(words), source.size), dtype=np.int64)
        token_ids[_free(starts, source.size)] = noise.reshape(-1)
        np.put_along_axis(token_ids, starts, np.take_along_axis(keys, order, 1), 1)
        np.put_along_axis(token_ids, starts + 1, np.take_along_axis(values, order, 1), 1)
        asked = np.zeros(token_ids.shape, dtype=np.bool_)
        np.put_along_axis(asked, starts[:, source.num_pairs :], True, 1)
        return token_ids, asked

    def _starts(self, words: Words) -> Integers:
        """Say where every pair begins, [documents, units], noise being spread among them."""
        return scattered(words, self._units) + np.arange(self._units)


def _free(starts: Integers, size: int) -> Mask:
    """Mark the places, [documents, size], that pairs from ``starts`` on leave."""
    free = np.ones((len(starts), size), dtype=np.bool_)
    np.put_along_axis(free, starts, False, 1)
    np.put_along_axis(free, starts + 1, False, 1)
    return free
