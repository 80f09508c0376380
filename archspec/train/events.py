"""What a training run reports while it runs and when it ends; torch-free, so views can read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from archspec.train.data.source import Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A run begins, or goes on.

    Attributes:
        step: Steps already done.
        num_steps: Steps of the whole run.
        batch_tokens: Tokens of a step.
        out: The run directory, if there is one.
    """

    step: int
    num_steps: int
    batch_tokens: int
    out: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The data of a step that is about to run.

    Attributes:
        step: The step, counted from 1.
        rows: All of its rows.
    """

    step: int
    rows: Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One optimizer step.

    Attributes:
        step: Steps done, this one included.
        tokens: Tokens seen, those of this step included.
        loss: Mean cross-entropy of its targets, in nats.
        auxiliary: Auxiliary losses by name, without coefficient, averaged over blocks.
        lr: Learning rate of the matrices.
        grad_norm: Global norm of the gradient before clipping.
        seconds: Time the step took.
    """

    step: int
    tokens: int
    loss: float
    auxiliary: Mapping[str, float]
    lr: float
    grad_norm: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Metrics after a step, named as in ``TrainSpec.metrics``."""

    step: int
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """A checkpoint was written."""

    step: int
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """What a run came to.

    Attributes:
        finished: False if a signal stopped the run; then its state is in the last checkpoint.
        steps: Steps done, in all sessions of the run.
        tokens: Tokens seen, likewise.
        metrics: The last evaluation; empty if there was none.
        seconds: Time spent in steps, in this session.
        tokens_per_second: Over this session's steps; 0 if it had none.
        history: Every step of the run, in all sessions where there is a run directory.
    """

    finished: bool
    steps: int
    tokens: int
    metrics: Mapping[str, float]
    seconds: float
    tokens_per_second: float
    history: tuple[Step, ...] = field(repr=False)


class Listener:
    """Hears of a run's events in order: one Start, then the others, and one TrainResult at the end.

    This one ignores them; subclasses override what they want to hear. What a listener raises ends
    the run at once, which is how a search prunes a trial.
    """

    def on_start(self, event: Start) -> None:
        """Hear that the first step is about to run."""

    def on_batch(self, event: Batch) -> None:
        """Hear what a step is about to be trained on."""

    def on_step(self, event: Step) -> None:
        """Hear of a finished step."""

    def on_evaluation(self, event: Evaluation) -> None:
        """Hear of metrics."""

    def on_saved(self, event: Saved) -> None:
        """Hear of a checkpoint."""

    def on_end(self, result: TrainResult) -> None:
        """Hear that the run is over or was interrupted."""
