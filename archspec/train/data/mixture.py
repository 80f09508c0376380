"""Sources mixed in stated shares; a row depends on the seed and its place in the run alone.

There is no state to save: a resumed run asks for its next step and gets what it would have got, and
a rank asks for its own rows and gets what one process would have given it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from archspec.errors import DataError
from archspec.spec.model import ModelSpec
from archspec.spec.train import TrainSpec
from archspec.train.data.registry import open_source
from archspec.train.data.shares import Owners
from archspec.train.data.source import Rows, join
from archspec.units import format_count

# Up to about so many epochs, data seen again teach nearly as much as new data: Muennighoff et al.,
# "Scaling Data-Constrained Language Models", 2023.
WORTHWHILE_EPOCHS = 4


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
        self._owners = Owners([source.weight for source in train.data], seed=train.seed)
        self.shares: tuple[float, ...] = self._owners.shares
        self._rows = train.batch_tokens // train.seq_len
        self._run_rows = train.num_steps * self._rows
        self._seq_len = train.seq_len
        self._seed = train.seed

    def batch(self, step: int, rows: slice | None = None) -> Rows:
        """Return the rows of one optimizer step.

        Args:
            step: Counted from 0.
            rows: Which of them, without a stride; the others are not read. Default all.
        """
        start, stop, stride = (rows or slice(None)).indices(self._rows)
        assert stride == 1, f"rows are taken without a stride, not of {stride}"
        assert start < stop, f"no rows from {start} to {stop} of {self._rows}"
        first = step * self._rows
        owners = self._owners.of(first + start, first + stop)
        parts, places = [], []
        for index, source in enumerate(self.sources):
            mine = np.flatnonzero(owners == index)
            if len(mine):
                before = self._owners.count(index, first + start)
                parts.append(source.training_rows(before, len(mine), seed=self._seed))
                places.append(mine)
        if len(parts) == 1:
            return parts[0]
        return join(parts).take(np.argsort(np.concatenate(places)))

    def warnings(self) -> tuple[str, ...]:
        """Return what is worth saying before the run begins: sources that it reads too often."""
        return tuple(filter(None, map(self._warning, range(len(self.sources)))))

    def _warning(self, index: int) -> str | None:
        source, rows = self.sources[index], self._owners.count(index, self._run_rows)
        if source.epoch_tokens is None:
            return None
        epochs = rows * self._seq_len / source.epoch_tokens
        if epochs <= WORTHWHILE_EPOCHS:
            return None
        return (
            f"{source.name}: the run reads its {format_count(source.epoch_tokens)} tokens "
            f"{epochs:.1f} times, and beyond {WORTHWHILE_EPOCHS} times data teach much less than "
            "new data would; give more of it, or lower its weight"
        )

    def hashes(self) -> Mapping[str, str]:
        """Return the sha256 of each source's data by name."""
        return {source.name: source.sha256 for source in self.sources}
