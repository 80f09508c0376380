"""What a view of a training run remembers of its events."""

from __future__ import annotations

import time
from collections.abc import Callable

from archspec.report.curve import Curve
from archspec.train.events import Evaluation, Listener, Start, Step, Usage

SMOOTHING = 0.9  # of loss and speed as shown; the log holds the raw values


class TrainingState(Listener):
    """Where a run stands.

    Args:
        clock: Seconds, for the time that is left.

    Attributes:
        start: The run; None before it begins.
        last: The last step.
        loss: The loss, smoothed.
        lowest: The lowest that it was.
        tokens_per_second: The speed of steps, smoothed.
        curve: The smoothed loss over steps.
        evaluation: The last metrics.
        usage: The last report of use.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.start: Start | None = None
        self.last: Step | None = None
        self.loss = 0.0
        self.lowest = float("inf")
        self.tokens_per_second = 0.0
        self.curve = Curve()
        self.evaluation: Evaluation | None = None
        self.usage: Usage | None = None
        self._clock = clock
        self._first_done = 0.0
        self._step_seconds = 0.0

    def on_start(self, event: Start) -> None:
        """Remember the run."""
        self.start = event

    def on_step(self, event: Step) -> None:
        """Smooth what jumps."""
        assert self.start is not None, "a step before the start"
        first = self.last is None
        weight = 0.0 if first else SMOOTHING
        self.loss = weight * self.loss + (1 - weight) * event.loss
        self.lowest = min(self.lowest, self.loss)
        self._step_seconds = weight * self._step_seconds + (1 - weight) * event.seconds
        self.tokens_per_second = self.start.batch_tokens / max(self._step_seconds, 1e-9)
        self.curve.add(event.step, self.loss)
        self.last = event
        if first:
            self._first_done = self._clock()

    def on_evaluation(self, event: Evaluation) -> None:
        """Remember it."""
        self.evaluation = event

    def on_usage(self, event: Usage) -> None:
        """Remember it."""
        self.usage = event

    @property
    def seconds_left(self) -> float | None:
        """Time to the end at the pace since the first step of this session, pauses included."""
        assert self.start is not None, "no end before the start"
        if self.last is None:
            return None
        done = self.last.step - self.start.step - 1
        left = self.start.num_steps - self.last.step
        pace = (self._clock() - self._first_done) / done if done else self._step_seconds
        return left * pace

    @property
    def peak_share(self) -> float | None:
        """What the speed is of the peak, if there is one."""
        return None if self.start is None else self.start.peak_share(self.tokens_per_second)
