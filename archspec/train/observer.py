"""All that a run reports goes through one object: to its log, its listeners, and further logs."""

from __future__ import annotations

from pathlib import Path

import torch

from archspec.blocks.usage import Recorder
from archspec.cost.summary import cost_context, total_cost
from archspec.cost.training import training_flops
from archspec.model.transformer import Transformer
from archspec.spec.plan import PlanSpec
from archspec.spec.train import TrainSpec
from archspec.train.collapse import CollapseWatch
from archspec.train.data.mixture import Mixture
from archspec.train.events import (
    Batch,
    Evaluation,
    Listener,
    Listeners,
    Peak,
    Sample,
    Saved,
    SourceShare,
    Start,
    Step,
    TrainResult,
    Usage,
    Warned,
)
from archspec.train.sample import Sampler, open_codec
from archspec.train.speed import device_name, find_peak
from archspec.train.tensorboard import FOLDER, TensorBoardLog, require_tensorboard
from archspec.train.usage import UsageWatch
from archspec.train.wandb_log import WandbLog, require_wandb
from archspec.train.world import World


class Observer(Listener):
    """Tells what a run does, and asks the model what is to be told beside its losses.

    Every rank has one and calls it at the same steps; only that of the first rank tells anybody.
    Its life: it is made before anything is written, ``write_to`` a run directory if there is one,
    ``start``, then ``recorder`` and ``on_step`` in turn, and ``close`` however the run ends.

    Args:
        model: The model in training.
        train: How it is trained.
        plan: How it is laid over ranks, if it is.
        world: The ranks.
        mixture: The data.
        copies: Ranks that see the same tokens.
        listener: Hears of everything, on the first rank.

    Raises:
        RunError: A package that ``watch`` needs is missing.
        DataError: Samples do not fit the model.
    """

    def __init__(
        self,
        model: Transformer,
        *,
        train: TrainSpec,
        plan: PlanSpec | None,
        world: World,
        mixture: Mixture,
        copies: int = 1,
        listener: Listener | None = None,
    ) -> None:
        watch = train.watch
        if watch.tensorboard:
            require_tensorboard()
        if watch.wandb is not None:
            require_wandb()
        self._model, self._train, self._plan = model, train, plan
        self._world, self._mixture = world, mixture
        self._heard = [listener] if listener is not None and world.is_first else []
        self._logs = Listeners()
        self._all = Listeners(*self._heard)
        self._sampler: Sampler | None = None
        self._obstacle = _sampling_obstacle(plan, copies)
        if watch.sample is not None:
            codec = open_codec(train, mixture.sources, vocab_size=model.spec.vocab_size)
            sampler = Sampler(model.spec, watch.sample, codec, dtype=_activation_dtype(plan))
            self._sampler = None if self._obstacle else sampler
        self._collapse = CollapseWatch(watch.collapse)
        self._usage = UsageWatch(
            model,
            watch,
            batch_tokens=train.batch_tokens,
            num_steps=train.num_steps,
            add_up=world.sum,
            copies=copies,
        )

    def write_to(self, out: Path, log: Listener) -> None:
        """Have everything written to a log, and to what ``watch`` asks for, in a run directory."""
        watch = self._train.watch
        logs = [log]
        if watch.tensorboard:
            logs.append(TensorBoardLog(out / FOLDER))
        if watch.wandb is not None:
            logs.append(WandbLog(watch.wandb, out=out, config=self._train.model_dump(mode="json")))
        self._logs = Listeners(*logs)
        self._all = Listeners(self._logs, *self._heard)

    def start(self, step: int, out: Path | None) -> None:
        """Say that the run begins, or goes on after a step."""
        self.on_start(self._describe(step, out))
        for message in self._mixture.warnings():
            self.on_warning(Warned(step=step, subject="data", message=message))
        if self._train.watch.sample is not None and self._obstacle:
            self.on_warning(
                Warned(step=step, subject="watch.sample", message=f"is off: {self._obstacle}")
            )

    def recorder(self, step: int) -> Recorder | None:
        """Return what the forward passes of a step report to, if it is to be counted."""
        return self._usage.recorder(step)

    def on_start(self, event: Start) -> None:
        """Pass it on."""
        self._all.on_start(event)

    def on_batch(self, event: Batch) -> None:
        """Pass it on."""
        self._all.on_batch(event)

    def on_step(self, event: Step) -> None:
        """Tell of a step, of the use of slots and experts, and what the model writes, as due."""
        self._all.on_step(event)
        usage = self._usage.report(event.step)
        if usage is not None:
            self.on_usage(usage)
        if self._sampler is not None and self._sampler.is_due(event.step):
            self.on_sample(self._sampler.sample(self._model, event.step))

    def on_usage(self, event: Usage) -> None:
        """Pass it on, and warn of a collapse."""
        self._all.on_usage(event)
        for warning in self._collapse.check(event):
            self.on_warning(warning)

    def on_sample(self, event: Sample) -> None:
        """Pass it on."""
        self._all.on_sample(event)

    def on_warning(self, event: Warned) -> None:
        """Pass it on."""
        self._all.on_warning(event)

    def on_evaluation(self, event: Evaluation) -> None:
        """Pass it on."""
        self._all.on_evaluation(event)

    def on_saved(self, event: Saved) -> None:
        """Pass it on."""
        self._all.on_saved(event)

    def on_end(self, result: TrainResult) -> None:
        """Pass it on."""
        self._all.on_end(result)

    def close(self) -> None:
        """Close the logs; a listener from outside is closed by whoever made it."""
        self._logs.close()

    def _describe(self, step: int, out: Path | None) -> Start:
        spec, train, mixture = self._model.spec, self._train, self._mixture
        context = cost_context(spec, seq_len=train.seq_len)
        return Start(
            step=step,
            num_steps=train.num_steps,
            batch_tokens=train.batch_tokens,
            out=out,
            num_ranks=self._world.size,
            num_params=total_cost(spec, context).num_params,
            training_flops_per_token=training_flops(spec, context),
            device=device_name(self._world.device),
            peak=self._peak(),
            data=tuple(
                SourceShare(name=source.name, share=share, tokens=source.epoch_tokens)
                for source, share in zip(mixture.sources, mixture.shares, strict=True)
            ),
        )

    def _peak(self) -> Peak:
        """Return the peak of all ranks, which measure at the same time where they have to."""
        own = find_peak(self._plan, device=self._world.device)
        total = self._world.sum(torch.tensor(own.flops, dtype=torch.float64)).item()
        return Peak(flops=total, source=own.source, measured=own.measured)


def _sampling_obstacle(plan: PlanSpec | None, copies: int) -> str | None:
    """Say why a model cannot write while it is laid out like this, if so."""
    if copies > 1:
        return f"mesh.tp={copies} cuts heads, and the cache holds whole ones; use tp=1"
    if plan is not None and plan.compile:
        return "compile: true would compile every length of a text; set it to false"
    return None


def _activation_dtype(plan: PlanSpec | None) -> torch.dtype | None:
    if plan is None:
        return None
    dtype: torch.dtype = getattr(torch, plan.precision.compute)
    return dtype
