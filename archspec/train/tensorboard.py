"""A run's curves for TensorBoard, by the extra ``tensorboard``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from archspec.errors import RunError
from archspec.train.events import Evaluation, Listener, Sample, Start, Step, Usage, Warned
from archspec.train.scalars import evaluation_scalars, step_scalars, usage_scalars

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

FOLDER = "tensorboard"


class TensorBoardLog(Listener):
    """Writes event files; a resumed run takes back what it is about to report again.

    Args:
        folder: Where to.

    Raises:
        RunError: The package is missing.
    """

    def __init__(self, folder: Path) -> None:
        require_tensorboard()
        self._folder = folder
        self._start: Start | None = None
        self._writer: SummaryWriter | None = None

    def on_start(self, event: Start) -> None:
        """Open a file."""
        from torch.utils.tensorboard import SummaryWriter

        self._start = event
        purge = event.step + 1 if event.step else None
        self._writer = SummaryWriter(str(self._folder), purge_step=purge)

    def on_step(self, event: Step) -> None:
        """Write its numbers."""
        assert self._start is not None, "a step before the start"
        self._write(event.step, step_scalars(event, self._start))

    def on_evaluation(self, event: Evaluation) -> None:
        """Write its metrics."""
        self._write(event.step, evaluation_scalars(event))

    def on_usage(self, event: Usage) -> None:
        """Write its numbers."""
        self._write(event.step, usage_scalars(event))

    def on_sample(self, event: Sample) -> None:
        """Write it."""
        self._open.add_text("sample", f"**{event.prompt}**{event.text}", event.step)

    def on_warning(self, event: Warned) -> None:
        """Write it."""
        self._open.add_text("warning", f"{event.subject}: {event.message}", event.step)

    def close(self) -> None:
        """Put everything on the disk."""
        if self._writer is not None:
            self._writer.close()

    @property
    def _open(self) -> SummaryWriter:
        assert self._writer is not None, "an event before the start"
        return self._writer

    def _write(self, step: int, scalars: dict[str, float]) -> None:
        for name, value in scalars.items():
            self._open.add_scalar(name, value, step)


def require_tensorboard() -> None:
    """Check that the package is there, before any training. Raises RunError."""
    try:
        import torch.utils.tensorboard  # noqa: F401 - only whether it can be had
    except ImportError:
        raise RunError(
            "watch.tensorboard: true needs tensorboard, which is not installed: pip install "
            "'archspec-lm[tensorboard]', or set it to false"
        ) from None
