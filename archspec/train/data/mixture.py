"""Sources mixed in stated shares; the batch of a step depends on the seed and the step alone.

There is no state to save: a resumed run asks for its next step and gets what it would have got.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from archspec.errors import DataError
from archspec.spec.model import ModelSpec
from archspec.spec.train import TrainSpec
from archspec.train.data.registry import open_source
from archspec.train.data.source import Rows, join
from archspec.train.data.stream import Integers, random_words

# 2^64 over the golden ratio: multiples of it spread evenly, and so does each source over the rows.
GOLDEN = 0x9E3779B97F4A7C15


class Mixture:
    """The data of a train document, for a model.

    Attributes:
        sources: In the document's order.
        shares: The share of tokens of each.

    Raises:
        DataError: A source cannot be read or does not fit the model.
    """

    def __init__(self, train: TrainSpec, spec: ModelSpec) -> None:
        if train.seq_len > spec.max_seq_len:
            raise DataError(
                f"seq_len <= max_seq_len must hold, but the train document has seq_len="
                f"{train.seq_len} and the model has max_seq_len={spec.max_seq_len}; lower seq_len "
                "or raise max_seq_len"
            )
        self.sources = tuple(open_source(source, train, spec) for source in train.data)
        weights = np.array([source.weight for source in train.data])
        self.shares: tuple[float, ...] = tuple((weights / weights.sum()).tolist())
        self._rows = train.batch_tokens // train.seq_len
        self._seed = train.seed

    def batch(self, step: int) -> Rows:
        """Return the rows of one optimizer step, counted from 0."""
        owners = self._owners(step)
        parts, places = [], []
        for index, source in enumerate(self.sources):
            mine = np.flatnonzero(owners == index)
            if len(mine):
                count = len(mine) * source.words_per_row
                words = random_words(self._seed, f"data/{source.name}", step, count)
                parts.append(source.rows(words.reshape(len(mine), source.words_per_row)))
                places.append(mine)
        return join(parts).take(np.argsort(np.concatenate(places)))

    def hashes(self) -> Mapping[str, str]:
        """Return the sha256 of each source's data by name."""
        return {source.name: source.sha256 for source in self.sources}

    def _owners(self, step: int) -> Integers:
        """Say which source each row of a step comes from, [rows]."""
        row = np.arange(step * self._rows, (step + 1) * self._rows, dtype=np.uint64)
        offset = random_words(self._seed, "data/owners", 0, 1)
        spread = (row * np.uint64(GOLDEN) + offset) / 2.0**64  # [rows] in [0, 1], wraps around
        bounds = np.cumsum(self.shares)[:-1]
        return np.searchsorted(bounds, spread, side="right").astype(np.int64)
