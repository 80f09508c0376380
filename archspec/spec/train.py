"""The train document: data, optimizer, schedule, checkpoints; never architecture."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from archspec.blocks.base import Fault
from archspec.schema import Count, NonNegativeFloat, PositiveFloat, PositiveInt, Schema, Share
from archspec.spec.data.registry import SourceField
from archspec.spec.watch import Watch


class TableOptimizer(Schema):
    """What differs for the rows of value tables."""

    lr_multiplier: Annotated[
        PositiveFloat,
        Field(description="Learning rate of tables over that of the rest."),
    ] = 10.0
    weight_decay: Annotated[NonNegativeFloat, Field(description="Decay of table rows.")] = 0.0


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


class Schedule(Schema):
    """How the learning rate moves over the run."""

    kind: Annotated[Literal["cosine", "constant"], Field(description="Shape after warm-up.")] = (
        "cosine"
    )
    warmup_tokens: Annotated[Count, Field(description="Linear rise over so many tokens.")] = 0
    final_share: Annotated[
        Share,
        Field(description="Rate at the end of a cosine, over the peak."),
    ] = 0.1


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


class Evaluation(Schema):
    """What is measured apart from the training loss."""

    every_steps: Annotated[
        PositiveInt | None,
        Field(description="Evaluate after so many steps; null: only at the end."),
    ] = None
    facts: Annotated[PositiveInt, Field(description="Most facts that are asked.")] = 4096
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

    def located(self, folder: pathlib.Path) -> TrainSpec:
        """Return the spec with the paths of its data absolute, read from ``folder``."""
        data = [source.located(folder) for source in self.data]
        return self.model_copy(update={"data": data})

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
        for index, source in enumerate(self.data):
            for fault in source.check(self.seq_len):
                yield Fault(("data", index, *fault.path), fault.message)
        names = [source.name for source in self.data]
        for index, name in enumerate(names):
            if name in names[:index]:
                yield Fault(
                    ("data", index),
                    f"a source named {name!r} is already given by data[{names.index(name)}]; "
                    "join them or rename the file",
                )
