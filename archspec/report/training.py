"""A training run while it runs, and what it came to in words."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from archspec.report.meaning import meaning, source_of
from archspec.report.tables import plain_table
from archspec.report.training_lines import (
    evaluation_line,
    sample_line,
    start_lines,
    status_line,
    usage_lines,
    warning_line,
)
from archspec.report.training_screen import training_screen
from archspec.report.training_state import TrainingState
from archspec.spec.train import TrainSpec
from archspec.train.events import (
    Evaluation,
    Listener,
    Sample,
    Saved,
    Start,
    Step,
    TrainResult,
    Usage,
    Warned,
)
from archspec.units import format_count, format_seconds

PLAIN_INTERVAL = 5.0  # seconds between lines where there is no terminal
LIVE_INTERVAL = 0.5  # least seconds between pictures where there is one
LIVE_SHARE = 0.01  # most of the time that pictures take


class TrainingView(Listener):
    """Shows progress: a live view on a terminal, otherwise a line every few seconds.

    It draws between two steps and not in a thread of its own, so that it never runs beside one.

    Args:
        console: Where to.
        clock: Seconds.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._state = TrainingState(clock)
        self._live: Live | None = None
        self._unsaid: Usage | None = None
        self._last_drawn = 0.0
        self._interval = LIVE_INTERVAL if console.is_terminal else PLAIN_INTERVAL

    def on_start(self, event: Start) -> None:
        """Say what begins, and open the view."""
        self._state.on_start(event)
        self._last_drawn = self._clock()
        for line in start_lines(event):
            self._print(line)
        if self._console.is_terminal:
            self._live = Live(
                self._screen(), console=self._console, auto_refresh=False, transient=True
            )
            self._live.start(refresh=True)

    def on_step(self, event: Step) -> None:
        """Draw, or print a line, if some time has passed."""
        self._state.on_step(event)
        if self._clock() - self._last_drawn < self._interval:
            return
        began = self._last_drawn = self._clock()
        if self._live is not None:
            self._live.update(self._screen(), refresh=True)
            self._interval = max(LIVE_INTERVAL, (self._clock() - began) / LIVE_SHARE)
            return
        self._print(status_line(self._state))
        self._say_usage()

    def on_evaluation(self, event: Evaluation) -> None:
        """Print the metrics of an evaluation on the way."""
        assert self._state.start is not None, "an evaluation before the start"
        self._state.on_evaluation(event)
        if event.step < self._state.start.num_steps:
            self._print(evaluation_line(self._state, event))

    def on_usage(self, event: Usage) -> None:
        """Show it in the next picture, or say it beside the next line."""
        self._state.on_usage(event)
        self._unsaid = event

    def on_sample(self, event: Sample) -> None:
        """Print what the model wrote."""
        self._print(sample_line(self._state, event))

    def on_warning(self, event: Warned) -> None:
        """Print it."""
        self._print(warning_line(self._state, event), style="yellow")

    def on_saved(self, event: Saved) -> None:
        """Say nothing: the end tells where the run is."""

    def on_end(self, result: TrainResult) -> None:
        """Say what is left to say, and take the view away."""
        if self._live is None:
            self._say_usage()
        self.close()

    def close(self) -> None:
        """Take the view away, however the run ended."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _say_usage(self) -> None:
        """Say how slots and experts were used, once for each report."""
        usage, self._unsaid = self._unsaid, None
        for line in usage_lines(self._state, usage) if usage else ():
            self._print(line)

    def _print(self, line: str, style: str = "") -> None:
        self._console.print(Text(line, style), soft_wrap=True)

    def _screen(self) -> RenderableType:
        size = self._console.size
        return training_screen(self._state, width=size.width, height=size.height - 1)


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
