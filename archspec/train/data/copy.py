"""Selective copying: symbols among noise, then all of them again in their order, without the noise.

After the selective copying of MAD (arXiv 2403.17844): what is to be copied stands at other places
in every document, so no fixed distance back will do.
"""

from __future__ import annotations

import numpy as np

from archspec.spec.data.copy import CopySource
from archspec.train.data.choose import scattered
from archspec.train.data.exercises import Exercises
from archspec.train.data.source import Mask
from archspec.train.data.stream import Integers, Words, below
from archspec.train.vocabulary import ANSWER, FIRST_ENTITY, check_vocabulary


class Copy(Exercises):
    """Documents of symbols among noise, a mark, and the symbols.

    Raises:
        DataError: The model has too few tokens.
    """

    def __init__(
        self, source: CopySource, *, vocab_size: int, seq_len: int, max_asked: int
    ) -> None:
        noise = source.num_noise_symbols if source.noise else 0
        check_vocabulary(
            vocab_size,
            num_entities=source.num_symbols + noise,
            what=f"num_symbols={source.num_symbols}"
            + (f" and num_noise_symbols={noise}" if noise else ""),
        )
        self._source = source
        self._shown = source.num_copied + source.noise  # tokens before the mark
        super().__init__(
            name=source.name,
            task=source.task,
            size=source.size,
            num_asked=source.num_copied,
            words=source.num_copied + self._shown + source.noise,
            choices=range(FIRST_ENTITY, FIRST_ENTITY + source.num_symbols),
            seq_len=seq_len,
            max_asked=max_asked,
        )

    def draw(self, words: Words) -> tuple[Integers, Mask]:
        """See :class:`Exercises`."""
        source, copied, shown = self._source, self._source.num_copied, self._shown
        symbols = self.choices.start + below(words[:, :copied], source.num_symbols)
        places = scattered(words[:, copied : copied + shown], copied)
        noise = self.choices.stop + below(words[:, copied + shown :], source.num_noise_symbols)
        token_ids = np.empty((len(words), source.size), dtype=np.int64)
        free = np.ones((len(words), shown), dtype=np.bool_)
        np.put_along_axis(free, places, False, 1)
        token_ids[:, :shown][free] = noise.reshape(-1)
        np.put_along_axis(token_ids, places, symbols, 1)
        token_ids[:, shown] = ANSWER
        token_ids[:, shown + 1 :] = symbols
        asked = np.zeros(token_ids.shape, dtype=np.bool_)
        asked[:, shown:-1] = True
        return token_ids, asked
