"""The train document: data, optimizer, schedule, checkpoints; never architecture."""

from __future__ import annotations

import os.path
import pathlib
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from archspec.blocks.base import Fault
from archspec.schema import Count, NonNegativeFloat, PositiveFloat, PositiveInt, Schema, Share
from archspec.spec.data.registry import SourceField
from archspec.spec.guard import Guard
from archspec.spec.watch import Watch


class Schedule(Schema):
    """How the learning rate moves over the run.

    ``wsd`` (warm-up, stable, decay: Hu et al., arXiv 2404.06395) stays at its peak until its last
    ``decay_tokens``. A fifth of the run, falling as one minus the root of what is done of it, does
    as well as a cosine (Hägele et al., arXiv 2405.18392).
    """

    kind: Annotated[
        Literal["cosine", "wsd", "constant"], Field(description="Shape after warm-up.")
    ] = "cosine"
    warmup_tokens: Annotated[Count, Field(description="Linear rise over so many tokens.")] = 0
    final_share: Annotated[
        Share,
        Field(description="Rate at the end of a cosine or a decay, over the peak."),
    ] = 0.1
    decay_tokens: Annotated[
        PositiveInt | None,
        Field(description="Tokens of the decay that ends wsd; null: a fifth of the run."),
    ] = None
    decay: Annotated[
        Literal["linear", "1-sqrt"], Field(description="Shape of the decay that ends wsd.")
    ] = "1-sqrt"

    def check(self) -> Iterator[Fault]:
        """Yield every rule broken between the fields."""
        if self.kind == "wsd":
            return
        for name, default in (("decay_tokens", None), ("decay", "1-sqrt")):
            if getattr(self, name) != default:
                yield Fault(
                    (name,),
                    f"{name} is a setting of wsd, but kind={self.kind}; use kind: wsd or leave "
                    f"{name} out",
                )


class TableOptimizer(Schema):
    """What differs for the rows of value tables.

    Whatever the rule, a row that no token of the batch looked up stays as it is, moments included.
    """

    rule: Annotated[
        Literal["adam", "rowwise_adam", "rowwise_adagrad", "sgd"],
        Field(
            description="adam: as the rest; rowwise_adam: one second moment a row, two thirds of "
            "the memory; rowwise_adagrad: one number a row; sgd: none."
        ),
    ] = "adam"
    lr_multiplier: Annotated[
        PositiveFloat,
        Field(description="Learning rate of tables over that of the rest."),
    ] = 10.0
    weight_decay: Annotated[NonNegativeFloat, Field(description="Decay of table rows.")] = 0.0
    beta1: Annotated[
        Share | None,
        Field(description="Decay of the first moment, 0 keeps none; null: as the rest."),
    ] = None
    beta2: Annotated[
        Share | None, Field(description="Decay of the second moment; null: as the rest.")
    ] = None
    schedule: Annotated[
        Schedule | None, Field(description="Schedule of tables; null: that of the rest.")
    ] = None

    def check(self) -> Iterator[Fault]:
        """Yield every rule broken between the fields."""
        uses_betas = self.rule in ("adam", "rowwise_adam")
        for name in ("beta1", "beta2"):
            if getattr(self, name) is not None and not uses_betas:
                yield Fault(
                    (name,),
                    f"{name} is a setting of adam and rowwise_adam, but rule={self.rule}; leave "
                    f"{name} out",
                )
        if self.schedule is not None:
            for fault in self.schedule.check():
                yield Fault(("schedule", *fault.path), fault.message)


class Optimizer(Schema):
    """AdamW; matrices decay, norms, biases and tables do not unless asked."""

    lr: Annotated[PositiveFloat, Field(description="Peak learning rate.")] = 1e-3
    weight_decay: Annotated[NonNegativeFloat, Field(description="Decay of matrices.")] = 0.1
    beta1: Annotated[Share, Field(description="Decay of the first moment.")] = 0.9
    beta2: Annotated[Share, Field(description="Decay of the second moment.")] = 0.95
    eps: Annotated[PositiveFloat, Field(description="Adam's epsilon.")] = 1e-8
    clip_norm: Annotated[
        PositiveFloat | None,
        Field(description="Largest global gradient norm; null for no clipping."),
    ] = 1.0
    routing_bias_rate: Annotated[
        NonNegativeFloat,
        Field(description="Move of every MoE routing bias per step, against its expert's load."),
    ] = 0.001
    tables: Annotated[TableOptimizer, Field(description="Value tables.")] = TableOptimizer()


class Losses(Schema):
    """Coefficients of losses that blocks add to the cross-entropy."""

    load_balance: Annotated[NonNegativeFloat, Field(description="MoE load balance.")] = 0.01

    def coefficients(self) -> dict[str, float]:
        """Return every coefficient by the name that blocks give the loss."""
        return {name: float(value) for name, value in self.model_dump().items()}


class Checkpoint(Schema):
    """When the state of a run is saved."""

    every_steps: Annotated[
        PositiveInt | None,
        Field(description="Save after so many steps; null: only at the end."),
    ] = None
    keep: Annotated[PositiveInt, Field(description="How many of the newest are kept.")] = 2
    background: Annotated[
        bool,
        Field(description="Train on while a large checkpoint (16 MiB of weights) is written."),
    ] = True


class Evaluation(Schema):
    """What is measured apart from the training loss."""

    every_steps: Annotated[
        PositiveInt | None,
        Field(description="Evaluate after so many steps; null: only at the end."),
    ] = None
    facts: Annotated[PositiveInt, Field(description="Most facts that are asked.")] = 4096
    questions: Annotated[
        PositiveInt,
        Field(description="Most questions that are asked of each other task."),
    ] = 4096
    text_tokens: Annotated[PositiveInt, Field(description="Most held-out tokens read.")] = 16384


class TrainSpec(Schema):
    """How a model is trained."""

    archspec: Annotated[Literal[1], Field(description="Version of the language.")] = 1
    kind: Annotated[Literal["train"], Field(description="The kind of document.")] = "train"
    seq_len: Annotated[PositiveInt, Field(description="Tokens per sequence.")]
    batch_tokens: Annotated[PositiveInt, Field(description="Tokens per optimizer step.")]
    micro_batch_tokens: Annotated[
        PositiveInt | None,
        Field(description="Tokens per forward pass; default batch_tokens."),
    ] = None
    tokens: Annotated[PositiveInt, Field(description="Tokens of the whole run.")]
    data: Annotated[list[SourceField], Field(min_length=1, description="Sources, mixed.")]
    optimizer: Annotated[Optimizer, Field(description="Optimizer.")] = Optimizer()
    schedule: Annotated[Schedule, Field(description="Learning-rate schedule.")] = Schedule()
    losses: Annotated[Losses, Field(description="Auxiliary losses.")] = Losses()
    checkpoint: Annotated[Checkpoint, Field(description="Checkpoints.")] = Checkpoint()
    evaluation: Annotated[Evaluation, Field(description="Evaluation.")] = Evaluation()
    guard: Annotated[Guard, Field(description="When a loss that jumps ends the run.")] = Guard()
    watch: Annotated[Watch, Field(description="What is watched.")] = Watch()
    seed: Annotated[Count, Field(description="Seed of initial values and data order.")] = 0

    @property
    def num_steps(self) -> int:
        """Optimizer steps of the run, at least one."""
        return max(1, self.tokens // self.batch_tokens)

    @property
    def micro_tokens(self) -> int:
        """Tokens of one forward pass."""
        return self.micro_batch_tokens or self.batch_tokens

    @property
    def metrics(self) -> tuple[str, ...]:
        """Every metric that an evaluation reports, such as ``facts.nll``."""
        return ("loss", *(f"{source.name}.{m}" for source in self.data for m in source.metrics))

    @property
    def codecs(self) -> dict[str, str]:
        """What text becomes token ids by, files or bytes, each with a source that says so."""
        found: dict[str, str] = {}
        for source in self.data:
            if source.codec is not None:
                found.setdefault(os.path.normpath(source.codec), source.name)
        return found

    def located(self, folder: pathlib.Path, *, watch: pathlib.Path) -> TrainSpec:
        """Return the spec with its paths absolute.

        Args:
            folder: What those of `data` start from.
            watch: Likewise of `watch`.
        """
        data = [source.located(folder) for source in self.data]
        sample = self.watch.sample and self.watch.sample.located(watch)
        watched = self.watch.model_copy(update={"sample": sample})
        return self.model_copy(update={"data": data, "watch": watched})

    def check(self) -> Iterator[Fault]:
        """Yield every rule broken between the fields."""
        for name, value, multiple in (
            ("batch_tokens", self.batch_tokens, self.seq_len),
            ("micro_batch_tokens", self.micro_batch_tokens or self.seq_len, self.seq_len),
        ):
            if value % multiple:
                yield Fault(
                    (name,),
                    f"{name} must be a multiple of seq_len, but {name}={value} and "
                    f"seq_len={multiple}; use {(value // multiple + 1) * multiple}",
                )
        if self.batch_tokens % self.micro_tokens:
            yield Fault(
                ("micro_batch_tokens",),
                "micro_batch_tokens must divide batch_tokens, but batch_tokens="
                f"{self.batch_tokens} and micro_batch_tokens={self.micro_tokens}",
            )
        for path, faults in (
            (("schedule",), self.schedule.check()),
            (("optimizer", "tables"), self.optimizer.tables.check()),
        ):
            for fault in faults:
                yield Fault((*path, *fault.path), fault.message)
        yield from self._check_decay()
        yield from self._check_sample()
        for index, source in enumerate(self.data):
            for fault in source.check(self.seq_len):
                yield Fault(("data", index, *fault.path), fault.message)
        names = [source.name for source in self.data]
        for index, name in enumerate(names):
            if name in names[:index]:
                yield Fault(
                    ("data", index),
                    f"a source named {name!r} is already given by data[{names.index(name)}]; "
                    "give one of them another `name`",
                )

    def _check_decay(self) -> Iterator[Fault]:
        """Yield a fault for a decay that would begin before its warm-up ends."""
        for path, schedule in (
            (("schedule",), self.schedule),
            (("optimizer", "tables", "schedule"), self.optimizer.tables.schedule),
        ):
            if schedule is None or schedule.decay_tokens is None:
                continue
            if schedule.warmup_tokens + schedule.decay_tokens > self.tokens:
                yield Fault(
                    (*path, "decay_tokens"),
                    "warmup_tokens + decay_tokens <= tokens must hold, but warmup_tokens="
                    f"{schedule.warmup_tokens}, decay_tokens={schedule.decay_tokens} and tokens="
                    f"{self.tokens}; shorten one of them",
                )

    def _check_sample(self) -> Iterator[Fault]:
        """Yield a fault if it is not known which of several codecs samples are in."""
        sample, codecs = self.watch.sample, self.codecs
        if sample is None or sample.tokenizer is not None or len(codecs) < 2:
            return
        told = " and ".join(f"{name} by {codec}" for codec, name in codecs.items())
        yield Fault(
            ("watch", "sample"),
            f"samples are of one vocabulary, but text becomes tokens of {told}; say which by "
            "watch.sample.tokenizer, or leave sample out",
        )
