"""What a training run reports while it runs and when it ends; torch-free, so views can read it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from archspec.train.data.source import Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """The rate of matrix multiplication that a run's speed is held against.

    Attributes:
        flops: FLOP/s of all ranks together.
        source: A device of a hardware document, or how it was measured.
        measured: Measured here, and so no vendor's promise: what is reached of it is a fraction of
            the measured peak, not the MFU of papers.
    """

    flops: float
    source: str
    measured: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceShare:
    """A source of the mixture.

    Attributes:
        name: As metrics begin with it.
        share: Of the run's tokens.
        tokens: What one pass over it is, if it has an end.
    """

    name: str
    share: float
    tokens: int | None = None

    def epochs(self, tokens: float) -> float | None:
        """Return how often the source was read after so many tokens of the run."""
        return None if not self.tokens else self.share * tokens / self.tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A run begins, or goes on.

    Attributes:
        step: Steps already done.
        num_steps: Steps of the whole run.
        batch_tokens: Tokens of a step.
        out: The run directory, if there is one.
        num_ranks: Processes that train the model together.
        num_params: Stored parameters of the model.
        training_flops_per_token: Of forward and backward pass, causal half, nothing recomputed.
        device: What the first rank runs on, for people.
        peak: What the speed is held against, if known.
        data: The sources.
    """

    step: int
    num_steps: int
    batch_tokens: int
    out: Path | None
    num_ranks: int = 1
    num_params: int = 0
    training_flops_per_token: int = 0
    device: str = ""
    peak: Peak | None = None
    data: tuple[SourceShare, ...] = ()

    def peak_share(self, tokens_per_second: float) -> float | None:
        """Return what a speed is of the peak (model FLOPs utilisation), or None without a peak."""
        if self.peak is None:
            return None
        return self.training_flops_per_token * tokens_per_second / self.peak.flops


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The data of a step that is about to run.

    Attributes:
        step: The step, counted from 1.
        rows: Those that this rank sees: all of them, if there is one.
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
        table_lr: Learning rate of value tables, where there are any.
        memory_bytes: Highest memory of the first rank's process so far, or of its device.
    """

    step: int
    tokens: int
    loss: float
    auxiliary: Mapping[str, float]
    lr: float
    grad_norm: float
    seconds: float
    table_lr: float | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Metrics after a step, named as in ``TrainSpec.metrics``."""

    step: int
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableUse:
    """How the slots of one table were used.

    Attributes:
        name: The table in the model.
        reader: The block whose look-ups these are; None for those of all its readers.
        hashed: The text decides which slots are used, and not what the model learned.
        slots: Rows that can be looked up.
        lookups: Look-ups that were counted.
        touched: Share of slots that were looked up.
        even: The share that as many independent, evenly spread look-ups would touch.
        entropy: 1 if use is as even as so many look-ups can be, 0 if every token uses the same
            slots; between, linear in the entropy of use.
        top1: Share of look-ups that went to the most used 1% of slots.
        dead: Share of slots that no counted step of this session looked up.
    """

    name: str
    reader: str | None
    hashed: bool
    slots: int
    lookups: int
    touched: float
    even: float
    entropy: float
    top1: float
    dead: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertUse:
    """How the experts of one block were loaded.

    Attributes:
        name: The experts in the model.
        tokens: Tokens that were counted.
        load: The share of tokens that each expert gets, in order; adds up to ``top_k``.
        imbalance: The largest load over the mean.
        entropy: 1 if all loads are equal, 0 if every token chooses the same experts; between,
            linear in the entropy of the choices.
        dead: Experts that got no token.
    """

    name: str
    tokens: int
    load: tuple[float, ...]
    imbalance: float
    entropy: float
    dead: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Use of slots and experts, over the steps counted since the report before.

    Attributes:
        step: The last step counted.
        counted: How many steps were counted.
        tables: One for each table, then one for each reader of a table that has several.
        experts: One for each MoE block.
    """

    step: int
    counted: int
    tables: tuple[TableUse, ...]
    experts: tuple[ExpertUse, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Text that the model wrote after a step.

    Attributes:
        step: Steps done.
        prompt: What it was to continue.
        text: How it went on.
    """

    step: int
    prompt: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned:
    """Something goes wrong, but training goes on.

    Attributes:
        step: Steps done.
        subject: What it is about, by its name in the model.
        message: What is wrong, with numbers, and a way out.
    """

    step: int
    subject: str
    message: str


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

    def on_usage(self, event: Usage) -> None:
        """Hear how slots and experts were used."""

    def on_sample(self, event: Sample) -> None:
        """Hear what the model writes."""

    def on_warning(self, event: Warned) -> None:
        """Hear of something that goes wrong."""

    def on_saved(self, event: Saved) -> None:
        """Hear of a checkpoint."""

    def on_end(self, result: TrainResult) -> None:
        """Hear that the run is over or was interrupted."""

    def close(self) -> None:
        """Let go of what is held, however the run ended; whoever made the listener calls it."""


class Listeners(Listener):
    """Several listeners as one; each event reaches them in order.

    Args:
        listeners: Who hears.
    """

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = listeners

    def on_start(self, event: Start) -> None:
        """Pass it on."""
        for listener in self._listeners:
            listener.on_start(event)

    def on_batch(self, event: Batch) -> None:
        """Pass it on."""
        for listener in self._listeners:
            listener.on_batch(event)

    def on_step(self, event: Step) -> None:
        """Pass it on."""
        for listener in self._listeners:
            listener.on_step(event)

    def on_evaluation(self, event: Evaluation) -> None:
        """Pass it on."""
        for listener in self._listeners:
            listener.on_evaluation(event)

    def on_usage(self, event: Usage) -> None:
        """Pass it on."""
        for listener in self._listeners:
            listener.on_usage(event)

    def on_sample(self, event: Sample) -> None:
        """Pass it on."""
        for listener in self._listeners:
            listener.on_sample(event)

    def on_warning(self, event: Warned) -> None:
        """Pass it on."""
        for listener in self._listeners:
            listener.on_warning(event)

    def on_saved(self, event: Saved) -> None:
        """Pass it on."""
        for listener in self._listeners:
            listener.on_saved(event)

    def on_end(self, result: TrainResult) -> None:
        """Pass it on."""
        for listener in self._listeners:
            listener.on_end(result)

    def close(self) -> None:
        """Close each, whatever another's closing raises."""
        with contextlib.ExitStack() as stack:
            for listener in reversed(self._listeners):
                stack.callback(listener.close)
