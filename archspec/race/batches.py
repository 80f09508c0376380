"""The order of data as it was seen: a line per batch, kept through kills, and a hash of all."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np

from archspec.errors import FairnessError, RunError
from archspec.race.settings import Entrant
from archspec.spec.train import TrainSpec
from archspec.train.data.mixture import Mixture
from archspec.train.events import Batch, Start
from archspec.train.events import Listener as TrainListener
from archspec.train.files import replace_text

BATCHES = "batches.txt"


class BatchRecorder(TrainListener):
    """Writes a hash of each batch that a run trains on into its directory."""

    def __init__(self) -> None:
        self._file: IO[str] | None = None

    def on_start(self, event: Start) -> None:
        """Keep what was seen before the step that the run goes on from."""
        assert event.out is not None, "a race keeps its runs"
        path = event.out / BATCHES
        lines = path.read_text().splitlines() if path.exists() else []
        replace_text(path, "".join(f"{line}\n" for line in lines[: event.step]))
        self._file = path.open("a", buffering=1)

    def on_batch(self, event: Batch) -> None:
        """Write a line, before the step is done."""
        assert self._file is not None, "a batch before the start"
        self._file.write(f"{batch_hash(event)}\n")

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def batch_hash(event: Batch) -> str:
    """Hash everything in a batch that a model may see."""
    digest = hashlib.sha256()
    for field in dataclasses.fields(event.rows):
        values = getattr(event.rows, field.name)
        if isinstance(values, np.ndarray):
            digest.update(f"{field.name} {values.dtype} {values.shape}".encode())
            digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()[:32]


def check_data(entrants: Sequence[Entrant], train: TrainSpec) -> None:
    """Check before any training that every design will see the same data.

    Raises:
        DataError: Data cannot be read, or does not fit a design.
        FairnessError: What a design sees depends on the design.
    """
    seen: dict[str, str] = {}
    for entrant in entrants:
        mixture = Mixture(train, entrant.spec)
        first = Batch(step=1, rows=mixture.batch(0))
        seen[entrant.name] = f"{batch_hash(first)} {sorted(mixture.hashes().items())}"
        reference = entrants[0].name
        if seen[entrant.name] != seen[reference]:
            raise FairnessError(
                f"{entrant.name} would see other data than {reference}: its first batch or the "
                "hash of a source differs; give both the same vocab_size"
            )


def order_hash(run: Path, *, steps: int) -> str:
    """Hash the batches of a run in their order.

    Raises:
        RunError: There is not one batch for each of its steps.
    """
    path = run / BATCHES
    lines = path.read_text().splitlines() if path.exists() else []
    if len(lines) != steps:
        raise RunError(
            f"{path}: holds {len(lines)} batches for {steps} steps, so the order of its data is "
            f"not known; remove {run} and run it again by --resume"
        )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
