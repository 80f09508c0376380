"""Which rows of a batch a rank sees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from archspec.compiler.plan.mesh import Mesh
from archspec.errors import RunError
from archspec.spec.train import TrainSpec
from archspec.train.data.source import Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class DataShare:
    """A rank's contiguous part of every micro-batch; ranks of one tp group have the same.

    Attributes:
        index: This rank's place among the parts.
        parts: How many parts there are: the data-parallel ranks.
        tp: Ranks that see each part.
    """

    index: int = 0
    parts: int = 1
    tp: int = 1

    @classmethod
    def of_rank(cls, rank: int, mesh: Mesh) -> DataShare:
        """Return the part of a rank, tp being innermost."""
        return cls(index=rank // mesh.tp, parts=mesh.data_parallel, tp=mesh.tp)

    def check(self, train: TrainSpec) -> None:
        """Check that every rank gets equally many rows. Raises RunError."""
        rows = train.micro_tokens // train.seq_len
        if rows % self.parts == 0:
            return
        name = "batch_tokens" if train.micro_batch_tokens is None else "micro_batch_tokens"
        step = self.parts * train.seq_len
        raise RunError(
            f"{name}: every data-parallel rank must get equally many rows, but {name}="
            f"{train.micro_tokens} is {rows} rows of seq_len={train.seq_len} for {self.parts} "
            f"ranks; use a multiple of {step}, such as {-(-train.micro_tokens // step) * step}, or "
            "another number of ranks"
        )

    def micro_batches(self, rows: Rows, size: int) -> Iterator[Rows]:
        """Cut a batch into micro-batches of ``size`` rows, and each to what this rank sees."""
        own = size // self.parts
        for start in range(self.index * own, len(rows), size):
            yield rows.take(slice(start, start + own))
