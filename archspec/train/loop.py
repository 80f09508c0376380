"""The training loop, on any number of ranks."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from pathlib import Path

from archspec.compiler.compile import compile
from archspec.compiler.plan.make import check_plan
from archspec.errors import DivergedError, RunError
from archspec.spec.model import ModelSpec
from archspec.spec.plan import PlanSpec
from archspec.spec.train import TrainSpec
from archspec.train.checkpoint import State
from archspec.train.data.mixture import Mixture
from archspec.train.evaluate import evaluate
from archspec.train.events import Batch, Evaluation, Listener, Start, Step, TrainResult
from archspec.train.files import lock_directory
from archspec.train.interrupt import StopRequest, stop_on_signals
from archspec.train.run_directory import check_absent, check_same_run, create_run, note_plan
from archspec.train.session import Session, on_every_rank, on_first_rank
from archspec.train.share import DataShare
from archspec.train.step import Measured, Stepper
from archspec.train.world import World, enter_world


def train(
    spec: ModelSpec,
    train: TrainSpec,
    *,
    out: Path | None,
    resume: bool = False,
    seed: int | None = None,
    device: str = "cpu",
    listener: Listener | None = None,
    plan: PlanSpec | None = None,
    world: World | None = None,
) -> TrainResult:
    """Train a model from its spec.

    The losses of a run depend on the spec, the train document and the seed; on one machine with one
    number of threads and one plan a resumed run repeats them bit by bit, and with another plan or
    number of ranks up to rounding. With several ranks each of them calls this.

    Args:
        spec: The model.
        train: Data, optimizer, schedule, checkpoints.
        out: Run directory to make, or with ``resume`` to go on with. None writes nothing, and
            leaves signals alone.
        resume: Go on from the last checkpoint of ``out``, or from the start if it has none.
        seed: Instead of the train document's.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        listener: Hears of progress, on the first rank.
        plan: How the model is laid over ranks; None for one process in fp32.
        world: The ranks, where they are known already; by default those that torchrun started.

    Raises:
        DataError: Data cannot be read, or does not fit the model.
        PlanError: The plan does not fit the model or the ranks.
        RunError: ``out`` exists, or cannot be resumed with this spec and train document; or there
            are several ranks and no plan, or rows that they cannot share evenly.
        DivergedError: A loss or a gradient is not finite.

    Example:
        >>> result = train(load_model("tiny.yaml"), load_train("train.yaml"), out=Path("runs/a"))
        >>> result.metrics["facts.accuracy"]
    """
    if seed is not None:
        train = train.model_copy(update={"seed": seed})
    with contextlib.ExitStack() as stack:
        if world is None:
            world = stack.enter_context(enter_world(device, grouped=plan is not None))
        share = _share(spec, train, plan, world)
        if out is not None and not resume:
            on_first_rank(world, lambda: check_absent(out))
        mixture = on_every_rank(world, lambda: Mixture(train, spec))
        if out is not None and resume:
            hashes = mixture.hashes()
            on_first_rank(world, lambda: check_same_run(out, spec, train, hashes))
        run = _Run(spec, train, mixture, world=world, share=share, plan=plan, listener=listener)
        if out is None:
            return run.run(StopRequest())

        def enter() -> None:
            if not resume:
                create_run(out, spec, train, device=device, hashes=mixture.hashes(), plan=plan)
            stack.enter_context(lock_directory(out, activity="training"))
            note_plan(out, plan)

        on_first_rank(world, enter)
        with stop_on_signals() as stop, run.within(out):
            return run.run(stop)


def _share(spec: ModelSpec, train: TrainSpec, plan: PlanSpec | None, world: World) -> DataShare:
    """Return what this rank sees of a batch. Raises RunError or PlanError."""
    if plan is None:
        if world.size > 1:
            raise RunError(
                f"{world.size} ranks need a plan that lays the model over them; give --plan, such "
                "as one with `mesh: {dp_shard: auto}`, or start one process"
            )
        return DataShare()
    share = DataShare.of_rank(world.rank, check_plan(spec, plan, world_size=world.size))
    share.check(train)
    return share


class _Run:
    """A run in progress: the model, its optimizer, its data and where it stands."""

    def __init__(
        self,
        spec: ModelSpec,
        train: TrainSpec,
        mixture: Mixture,
        *,
        world: World,
        share: DataShare,
        plan: PlanSpec | None,
        listener: Listener | None,
    ) -> None:
        self._mixture = mixture
        self._share = share
        self._train = train
        self._world = world
        self._listener = listener if listener is not None and world.is_first else Listener()
        model = compile(spec, device=world.device, seed=train.seed, plan=plan)
        self._stepper = Stepper(model, train, world=world, share=share, plan=plan)
        self._state = State(spec, model, self._stepper.optimizer)
        self._session = Session(train.checkpoint, self._state, world=world, listener=self._listener)

    @contextlib.contextmanager
    def within(self, out: Path) -> Iterator[None]:
        """Go on from the last checkpoint in ``out``, and write there."""
        with self._session.within(out):
            self._stepper.settle()
            yield

    def run(self, stop: StopRequest) -> TrainResult:
        """Run the remaining steps, or as many as ``stop`` lets."""
        train, session = self._train, self._session
        first = session.step
        self._listener.on_start(
            Start(
                step=first,
                num_steps=train.num_steps,
                batch_tokens=train.batch_tokens,
                out=session.out,
            )
        )
        stopped = self._world.any(stop.asked)
        while session.step < train.num_steps and not stopped:
            stopped = self._advance(stop)
            if self._is_due(train.evaluation.every_steps):
                self._evaluate()
            if self._is_due(train.checkpoint.every_steps):
                session.save()
        if stopped:
            session.save()
        session.finish_saving()
        result = self._result(first)
        self._listener.on_end(result)
        return result

    def _is_due(self, every: int | None) -> bool:
        step = self._session.step
        return step == self._train.num_steps or (every is not None and step % every == 0)

    def _advance(self, stop: StopRequest) -> bool:
        """Run one optimizer step; tell whether to stop after it, the same on every rank."""
        began = time.perf_counter()
        number = self._session.step + 1
        rows = self._mixture.batch(number - 1)
        self._listener.on_batch(Batch(step=number, rows=rows))
        found = self._stepper.measure(rows, stop=stop.asked)
        self._check_finite(number, found)
        lr = self._stepper.update(number)
        step = Step(
            step=number,
            tokens=number * self._train.batch_tokens,
            loss=found.loss,
            auxiliary=found.auxiliary,
            lr=lr,
            grad_norm=found.grad_norm,
            seconds=time.perf_counter() - began,
        )
        self._session.add_step(step)
        return stop.asked if self._world.size == 1 else found.stop

    def _check_finite(self, step: int, found: Measured) -> None:
        for what, value in (("loss", found.loss), ("gradient norm", found.grad_norm)):
            if not math.isfinite(value):
                raise DivergedError(
                    f"training diverged: the {what} is {value} at step {step} of "
                    f"{self._train.num_steps}; {self._session.last_good()}; lower optimizer.lr or "
                    "optimizer.tables.lr_multiplier, or lengthen schedule.warmup_tokens"
                )

    def _evaluate(self) -> None:
        metrics = evaluate(
            self._stepper.model,
            self._mixture,
            micro_tokens=self._train.micro_tokens,
            device=self._world.device,
            world=self._world,
            share=self._share,
        )
        self._session.add_evaluation(Evaluation(step=self._session.step, metrics=metrics))

    def _result(self, first: int) -> TrainResult:
        session, train = self._session, self._train
        ran = [step for step in session.history if step.step > first]
        seconds = sum(step.seconds for step in ran)
        tokens = len(ran) * train.batch_tokens
        return TrainResult(
            finished=session.step == train.num_steps,
            steps=session.step,
            tokens=session.step * train.batch_tokens,
            metrics={} if session.evaluation is None else session.evaluation.metrics,
            seconds=seconds,
            tokens_per_second=tokens / seconds if seconds else 0.0,
            history=tuple(session.history),
        )
