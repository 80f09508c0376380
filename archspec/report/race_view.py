"""A race while it runs: a line per training on a terminal, and a line when one ends."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from archspec.race.events import Listener, Plan, Progress
from archspec.race.trainings import Training
from archspec.train.rates import SweepChoice
from archspec.units import format_count, format_seconds


class RaceView(Listener):
    """Shows a race's progress; a context manager, so that the live table always goes away."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._plan: Plan | None = None
        self._running: dict[str, tuple[Training, Progress | None, float]] = {}
        self._done = 0
        self._steps = 0
        self._began = time.monotonic()
        self._session_steps = 0
        self._live: Live | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    def on_plan(self, event: Plan) -> None:
        """Print what is about to happen, and open the table."""
        self._plan, self._done, self._steps = event, event.done, event.done_steps
        for entrant in event.entrants:
            flops = format_count(entrant.flops_per_token)
            ratio = entrant.flops_per_token / event.entrants[0].flops_per_token
            self._print(f"{entrant.name}: {flops} FLOPs a token, {ratio:.3f}x ({entrant.entry})")
        self._print(
            f"{event.trainings} trainings, {event.jobs} at a time"
            + (f"; {event.done} were done before, going on" if event.done else "")
        )
        if self._console.is_terminal:
            self._live = Live(
                get_renderable=self._table,
                console=self._console,
                refresh_per_second=2,
                transient=True,
            )
            self._live.start()

    def on_start(self, training: Training) -> None:
        """Open its line."""
        self._running[training.key] = (training, None, time.monotonic())

    def on_progress(self, training: Training, progress: Progress) -> None:
        """Move its line."""
        _, before, since = self._running[training.key]
        if before is not None:
            self._session_steps += progress.step - before.step
        self._running[training.key] = (training, progress, since)

    def on_finish(self, training: Training, value: float | None) -> None:
        """Print what it came to."""
        assert self._plan is not None, "a training before the plan"
        _, _, since = self._running.pop(training.key)
        self._done += 1
        self._steps += training.train.num_steps
        result = "diverged" if value is None else f"{self._plan.settings.metric} {value:.4f}"
        seconds = format_seconds(time.monotonic() - since)
        stage = "sweep  " if training.stage == "sweep" else ""
        left = self._left()
        self._print(
            f"{self._done}/{self._plan.trainings}  {stage}{training.title}: {result}, {seconds}"
            + (f"; about {left} left" if left else "")
        )

    def on_choice(self, choices: Sequence[SweepChoice]) -> None:
        """Print what the sweep chose."""
        for choice in choices:
            self._print(choice_text(choice))

    def note(self, text: str) -> None:
        """Print a remark beside the progress."""
        self._stop()
        self._print(text)

    def _print(self, line: str) -> None:
        self._console.print(Text(line), soft_wrap=True)

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _left(self) -> str:
        """Say how long the rest takes at this session's pace."""
        assert self._plan is not None, "the table is opened by the plan"
        running = sum(p.step for _, p, _ in self._running.values() if p is not None)
        left = self._plan.steps - self._steps - running
        seconds = time.monotonic() - self._began
        if not self._session_steps or left <= 0:
            return ""
        return format_seconds(seconds * left / self._session_steps)

    def _table(self) -> Table:
        """Draw where every running training stands."""
        assert self._plan is not None, "the table is opened by the plan"
        table = Table.grid(padding=(0, 2))
        for training, progress, since in self._running.values():
            table.add_row(*_row(training, progress, time.monotonic() - since))
        left = self._left()
        table.add_row(
            Text(f"{self._done} of {self._plan.trainings} trainings done", style="bold"),
            "",
            f"about {left} left" if left else "",
        )
        return table


def _row(
    training: Training, progress: Progress | None, seconds: float
) -> Iterator[Text | ProgressBar | str]:
    yield Text(training.title)
    if progress is None:
        yield "starting"
        yield format_seconds(seconds)
        return
    yield ProgressBar(total=progress.num_steps, completed=progress.step, width=24)
    yield f"step {progress.step}/{progress.num_steps}  loss {progress.loss:.3f}"


def choice_text(choice: SweepChoice) -> str:
    """Say what a group is raced with; a best value at the edge of what was tried is said aloud."""
    tried = ", ".join(f"{rate:g}" for rate in sorted({r.lr for r in choice.runs if r.lr}))
    text = f"{choice.group}: learning rate {choice.lr:g} of {tried}"
    if choice.table_lr is not None:
        tables = sorted({run.table_lr for run in choice.runs if run.table_lr})
        text += f", tables {choice.table_lr:g}x of {', '.join(f'{rate:g}' for rate in tables)}"
    if choice.edges:
        text += (
            f"; the {' and the '.join(choice.edges)} tried is the best, so a better one may lie "
            "outside the sweep"
        )
    return text
