"""One session of a run: where it stands, what it logs and saves."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from archspec.errors import ArchspecError, RunError
from archspec.spec.train import Checkpoint
from archspec.train.checkpoint import (
    BackgroundSaver,
    State,
    list_checkpoints,
    load_checkpoint,
    save_checkpoint,
    step_of,
)
from archspec.train.events import Evaluation, Listener, Saved, Step
from archspec.train.files import sweep
from archspec.train.run_directory import CHECKPOINTS, METRICS, MetricsLog
from archspec.train.world import World

Result = TypeVar("Result")

# Bytes of weights from which writing takes longer than a copy and a thread. Of the whole model, so
# that every rank comes to the same.
BACKGROUND_BYTES = 16 * 2**20


def on_every_rank(world: World, action: Callable[[], Result]) -> Result:
    """Do what may fail on any rank; if it does, every rank raises, with one message."""
    try:
        result = action()
    except ArchspecError as error:
        world.share_message(str(error))
        raise
    message = world.share_message(None)
    if message is not None:
        raise RunError(message)
    return result


def on_first_rank(world: World, action: Callable[[], None]) -> None:
    """Do something once, while the other ranks wait; if it fails, every rank raises."""
    on_every_rank(world, action if world.is_first else lambda: None)


class Session:
    """Keeps the steps done, their log and their checkpoints; without a directory, in memory.

    The log is the first rank's, a checkpoint every rank's.

    Attributes:
        step: Steps done, in all sessions.
        history: Them; on other ranks than the first those of this session.
        evaluation: The last one.
        out: The run directory, if there is one.
    """

    def __init__(
        self, settings: Checkpoint, state: State, *, world: World, listener: Listener
    ) -> None:
        self._settings = settings
        self._state = state
        self._world = world
        self._listener = listener
        self._log: MetricsLog | None = None
        self._saver: BackgroundSaver | None = None
        self._pending: Saved | None = None
        self._saved = 0  # the step of the last checkpoint
        self.step = 0
        self.history: list[Step] = []
        self.evaluation: Evaluation | None = None
        self.out: Path | None = None

    @contextlib.contextmanager
    def within(self, out: Path) -> Iterator[None]:
        """Go on from the last checkpoint of a run directory, and write there."""
        self.out = out
        on_first_rank(self._world, lambda: _sweep(out))
        checkpoints = list_checkpoints(out / CHECKPOINTS)
        if checkpoints:
            self.step = self._saved = load_checkpoint(checkpoints[-1], self._state)
        on_first_rank(self._world, lambda: self._open_log(out / METRICS))
        self._share_evaluation()
        try:
            yield
        finally:
            if self._world.size == 1:  # otherwise other ranks may be gone, and it cannot end
                with contextlib.suppress(RunError):
                    self.finish_saving()
            if self._log is not None:
                self._log.close()

    def add_step(self, step: Step) -> None:
        """Note a finished step."""
        self.step = step.step
        if self._log is None:
            self.history.append(step)
        else:
            self._log.write_step(step)
        self._listener.on_step(step)
        if self._saver is not None and self._saver.is_done:
            self.finish_saving()

    def add_evaluation(self, evaluation: Evaluation) -> None:
        """Note metrics."""
        self.evaluation = evaluation
        if self._log is not None:
            self._log.write_evaluation(evaluation)
        self._listener.on_evaluation(evaluation)

    def save(self) -> None:
        """Save a checkpoint, unless nothing happened since the last or nothing is written.

        Raises:
            RunError: It, or the one before, cannot be written.
        """
        if self.out is None or self.step == self._saved:
            return
        if self._log is not None:
            self._log.sync()
        folder, keep = self.out / CHECKPOINTS, self._settings.keep
        if self._saver is None and self._in_background():
            self._saver = BackgroundSaver(folder, keep=keep)
        self.finish_saving()
        if self._saver is None:
            path = save_checkpoint(folder, self._state, step=self.step, keep=keep)
        else:
            path = self._saver.save(self._state, step=self.step)
        self._saved = self.step
        self._pending = Saved(step=self.step, path=path)
        if self._saver is None:
            self.finish_saving()

    def finish_saving(self) -> None:
        """Wait for the checkpoint that is being written, and tell of it. Raises RunError."""
        if self._saver is not None:
            self._saver.wait()
        saved, self._pending = self._pending, None
        if saved is not None:
            self._listener.on_saved(saved)

    def last_good(self) -> str:
        """Name the last checkpoint that has done a step since: the state now is beyond repair."""
        if self._saver is not None:
            self._saver.wait()
        saved = [] if self.out is None else list_checkpoints(self.out / CHECKPOINTS)
        good = [path for path in saved if step_of(path) < self.step]
        return f"the last good checkpoint is {good[-1]}" if good else "no good checkpoint was saved"

    def _in_background(self) -> bool:
        weights = sum(p.numel() * p.element_size() for p in self._state.model.parameters())
        return self._settings.background and weights >= BACKGROUND_BYTES

    def _open_log(self, path: Path) -> None:
        self._log = MetricsLog(path, step=self.step)
        self.history, self.evaluation = self._log.steps, self._log.evaluation

    def _share_evaluation(self) -> None:
        """Tell the other ranks of metrics that stand in the first one's log."""
        found = self.evaluation
        line = None if found is None else json.dumps([found.step, dict(found.metrics)])
        shared = self._world.share_message(line)
        if shared is not None:
            step, metrics = json.loads(shared)
            self.evaluation = Evaluation(step=step, metrics=metrics)


def _sweep(out: Path) -> None:
    sweep(out)
    sweep(out / CHECKPOINTS)
