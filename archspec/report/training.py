"""A training run while it runs, and what it came to in words."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from archspec.report.meaning import meaning, source_of
from archspec.report.tables import plain_table
from archspec.spec.train import TrainSpec
from archspec.train.events import Evaluation, Listener, Saved, Start, Step, TrainResult
from archspec.units import format_count, format_seconds

PLAIN_INTERVAL = 5.0  # seconds between lines where there is no terminal
SMOOTHING = 0.9  # of the loss and speed shown; the log holds the raw values


class TrainingView(Listener):
    """Shows progress: one moving line on a terminal, otherwise a line every few seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress: Progress | None = None
        self._start: Start | None = None
        self._loss = 0.0
        self._step_seconds = 0.0
        self._last_line = 0.0

    def on_start(self, event: Start) -> None:
        """Open the line."""
        self._start = event
        self._last_line = time.monotonic()
        if event.step:
            self._console.print(f"Going on after step {event.step} of {event.num_steps}.")
        if self._console.is_terminal:
            self._progress = Progress(
                TextColumn("step"),
                MofNCompleteColumn(),
                BarColumn(bar_width=20),
                TextColumn("{task.description}"),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            self._progress.add_task("", total=event.num_steps, completed=event.step)
            self._progress.start()

    def on_step(self, event: Step) -> None:
        """Move the line."""
        assert self._start is not None, "a step before the start"
        first = event.step == self._start.step + 1
        weight = 0.0 if first else SMOOTHING
        self._loss = weight * self._loss + (1 - weight) * event.loss
        self._step_seconds = weight * self._step_seconds + (1 - weight) * event.seconds
        if self._progress is not None:
            task = self._progress.task_ids[0]
            self._progress.update(task, completed=event.step, description=self._status())
        elif time.monotonic() - self._last_line >= PLAIN_INTERVAL:
            self._last_line = time.monotonic()
            left = (self._start.num_steps - event.step) * self._step_seconds
            counts = f"step {event.step}/{self._start.num_steps}"
            line = f"{counts}  {self._status()}  {format_seconds(left)} left"
            self._console.print(line, soft_wrap=True)

    def on_evaluation(self, event: Evaluation) -> None:
        """Print the metrics of an evaluation on the way."""
        assert self._start is not None, "an evaluation before the start"
        if event.step < self._start.num_steps:
            metrics = "  ".join(f"{name} {value:.4g}" for name, value in event.metrics.items())
            self._console.print(f"step {event.step}  {metrics}", soft_wrap=True)

    def on_saved(self, event: Saved) -> None:
        """Say nothing: the end tells where the run is."""

    def on_end(self, result: TrainResult) -> None:
        """Take the line away."""
        self.close()

    def close(self) -> None:
        """Take the line away, however the run ended."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _status(self) -> str:
        assert self._start is not None, "a step before the start"
        speed = self._start.batch_tokens / max(self._step_seconds, 1e-9)
        return f"loss {self._loss:.3f}  {format_count(speed)} tokens/s"


def result_table(result: TrainResult, train: TrainSpec) -> Table:
    """Say in words what a finished run learned."""
    table = plain_table("measured", "value", "meaning")
    for name in train.metrics:
        value = result.metrics[name]
        table.add_row(name, f"{value:.3f}", meaning(name, value, source_of(name, train.data)))
    return table


def speed_line(result: TrainResult) -> str:
    """Say how long the run took, in one line."""
    speed = f"{format_count(result.tokens_per_second)} tokens/s"
    tokens = f"{result.steps} steps, {format_count(result.tokens)} tokens"
    return f"{tokens}; {format_seconds(result.seconds)} in this session, {speed}"
