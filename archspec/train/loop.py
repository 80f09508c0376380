"""The training loop of one process."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from archspec.compiler.compile import compile
from archspec.errors import DivergedError, RunError
from archspec.spec.model import ModelSpec
from archspec.spec.train import TrainSpec
from archspec.train.balance import RoutingBalance
from archspec.train.checkpoint import (
    State,
    list_checkpoints,
    load_checkpoint,
    save_checkpoint,
    step_of,
)
from archspec.train.data.mixture import Mixture
from archspec.train.evaluate import evaluate
from archspec.train.events import Evaluation, Listener, Saved, Start, Step, TrainResult
from archspec.train.files import lock_directory, sweep
from archspec.train.gradient import accumulate_gradient
from archspec.train.interrupt import StopRequest, stop_on_signals
from archspec.train.metrics import MetricsLog
from archspec.train.optimizer import build_optimizer, set_lr_share
from archspec.train.run_directory import (
    CHECKPOINTS,
    METRICS,
    check_absent,
    check_same_run,
    create_run,
)
from archspec.train.schedule import lr_share


def train(
    spec: ModelSpec,
    train: TrainSpec,
    *,
    out: Path | None,
    resume: bool = False,
    seed: int | None = None,
    device: str = "cpu",
    listener: Listener | None = None,
) -> TrainResult:
    """Train a model from its spec.

    The losses of a run depend on the spec, the train document and the seed; on one machine with one
    number of threads a resumed run repeats them bit by bit.

    Args:
        spec: The model.
        train: Data, optimizer, schedule, checkpoints.
        out: Run directory to make, or with ``resume`` to go on with. None writes nothing, and
            leaves signals alone.
        resume: Go on from the last checkpoint of ``out``, or from the start if it has none.
        seed: Instead of the train document's.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        listener: Hears of progress.

    Raises:
        DataError: Data cannot be read, or does not fit the model.
        RunError: ``out`` exists, or cannot be resumed with this spec and train document.
        DivergedError: A loss or a gradient is not finite.

    Example:
        >>> result = train(load_model("tiny.yaml"), load_train("train.yaml"), out=Path("runs/a"))
        >>> result.metrics["facts.accuracy"]
    """
    if seed is not None:
        train = train.model_copy(update={"seed": seed})
    if out is not None and not resume:
        check_absent(out)
    mixture = Mixture(train, spec)
    if out is not None and resume:
        check_same_run(out, spec, train, mixture.hashes())
    run = _Run(spec, train, mixture, device, listener or Listener())
    if out is None:
        return run.run(StopRequest())
    if not resume:
        create_run(out, spec, train, device=device, hashes=mixture.hashes())
    with lock_directory(out, activity="training"), stop_on_signals() as stop, run.within(out):
        return run.run(stop)


class _Run:
    """One session of a run: the model, its optimizer, its data and where it stands."""

    def __init__(
        self,
        spec: ModelSpec,
        train: TrainSpec,
        mixture: Mixture,
        device: str,
        listener: Listener,
    ) -> None:
        _check_device(device)
        self._mixture = mixture
        self._train = train
        self._device = device
        self._listener = listener
        model = compile(spec, device=device, seed=train.seed)
        self._state = State(spec, model, build_optimizer(model, train.optimizer))
        self._balance = RoutingBalance(model, rate=train.optimizer.routing_bias_rate)
        self._step = 0
        self._history: list[Step] = []
        self._evaluation: Evaluation | None = None
        self._out: Path | None = None
        self._log: MetricsLog | None = None
        self._saved: Path | None = None

    @contextlib.contextmanager
    def within(self, out: Path) -> Iterator[None]:
        """Go on from the last checkpoint in ``out``, and write there."""
        self._out = out
        sweep(out)
        sweep(out / CHECKPOINTS)
        checkpoints = list_checkpoints(out / CHECKPOINTS)
        if checkpoints:
            self._saved = checkpoints[-1]
            self._step = load_checkpoint(self._saved, self._state)
        self._log = MetricsLog(out / METRICS, step=self._step)
        self._history, self._evaluation = self._log.steps, self._log.evaluation
        try:
            yield
        finally:
            self._log.close()

    def run(self, stop: StopRequest) -> TrainResult:
        """Run the remaining steps, or as many as ``stop`` lets."""
        train, first = self._train, self._step
        self._listener.on_start(
            Start(
                step=first,
                num_steps=train.num_steps,
                batch_tokens=train.batch_tokens,
                out=self._out,
            )
        )
        while self._step < train.num_steps and not stop.asked:
            self._advance()
            if self._is_due(train.evaluation.every_steps):
                self._evaluate()
            if self._is_due(train.checkpoint.every_steps):
                self._save()
        if stop.asked:
            self._save()
        result = self._result(first)
        self._listener.on_end(result)
        return result

    def _is_due(self, every: int | None) -> bool:
        last = self._step == self._train.num_steps
        return last or (every is not None and self._step % every == 0)

    def _advance(self) -> None:
        """Run one optimizer step."""
        train, optimizer = self._train, self._state.optimizer
        began = time.perf_counter()
        number = self._step + 1
        share = lr_share(
            train.schedule,
            tokens=number * train.batch_tokens,
            total=train.num_steps * train.batch_tokens,
        )
        set_lr_share(optimizer, share)
        loss, auxiliary = accumulate_gradient(
            self._state.model,
            self._mixture.batch(self._step),
            train,
            device=self._device,
            usage=self._balance.usage,
        )
        limit = train.optimizer.clip_norm or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self._state.model.parameters(), limit).item()
        self._check_finite(number, loss, norm)
        optimizer.step()
        self._balance.step()
        optimizer.zero_grad()
        self._step = number
        step = Step(
            step=number,
            tokens=number * train.batch_tokens,
            loss=loss,
            auxiliary=auxiliary,
            lr=train.optimizer.lr * share,
            grad_norm=norm,
            seconds=time.perf_counter() - began,
        )
        if self._log is None:
            self._history.append(step)
        else:
            self._log.write(step)
        self._listener.on_step(step)

    def _check_finite(self, step: int, loss: float, norm: float) -> None:
        for what, value in (("loss", loss), ("gradient norm", norm)):
            if not math.isfinite(value):
                raise DivergedError(
                    f"training diverged: the {what} is {value} at step {step} of "
                    f"{self._train.num_steps}; {self._last_good()}; lower optimizer.lr or "
                    "optimizer.tables.lr_multiplier, or lengthen schedule.warmup_tokens"
                )

    def _last_good(self) -> str:
        """Name the last checkpoint that has done a step since: the state now is beyond repair."""
        saved = [] if self._out is None else list_checkpoints(self._out / CHECKPOINTS)
        good = [path for path in saved if step_of(path) < self._step]
        return f"the last good checkpoint is {good[-1]}" if good else "no good checkpoint was saved"

    def _evaluate(self) -> None:
        metrics = evaluate(
            self._state.model,
            self._mixture,
            micro_tokens=self._train.micro_tokens,
            device=self._device,
        )
        self._evaluation = Evaluation(step=self._step, metrics=metrics)
        if self._log is not None:
            self._log.write(self._evaluation)
        self._listener.on_evaluation(self._evaluation)

    def _save(self) -> None:
        """Save a checkpoint, unless nothing happened since the last or nothing is written."""
        if self._out is None or self._log is None or self._step == 0:
            return
        folder = self._out / CHECKPOINTS
        if folder / f"step_{self._step:06d}" == self._saved:
            return
        self._log.sync()
        keep = self._train.checkpoint.keep
        self._saved = save_checkpoint(folder, self._state, step=self._step, keep=keep)
        self._listener.on_saved(Saved(step=self._step, path=self._saved))

    def _result(self, first: int) -> TrainResult:
        ran = [step for step in self._history if step.step > first]
        seconds = sum(step.seconds for step in ran)
        tokens = len(ran) * self._train.batch_tokens
        return TrainResult(
            finished=self._step == self._train.num_steps,
            steps=self._step,
            tokens=self._step * self._train.batch_tokens,
            metrics={} if self._evaluation is None else self._evaluation.metrics,
            seconds=seconds,
            tokens_per_second=tokens / seconds if seconds else 0.0,
            history=tuple(self._history),
        )


def _check_device(device: str) -> None:
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise RunError(
            f"device {device!r} was asked for, but torch {torch.__version__} sees no CUDA device "
            "here; use --device cpu"
        )
