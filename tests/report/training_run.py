"""A run as its events, made up: every part of a view has something to show."""

import math
from pathlib import Path

from archspec.train.events import (
    Evaluation,
    ExpertUse,
    Listener,
    Peak,
    Sample,
    SourceShare,
    Start,
    Step,
    TableUse,
    Usage,
    Warned,
)

START = Start(
    step=0,
    num_steps=5000,
    batch_tokens=2048,
    out=Path("runs/first"),
    num_ranks=4,
    num_params=1_234_567,
    training_flops_per_token=1_600_000,
    device="cpu",
    peak=Peak(flops=9.1e10, source="91 GFLOP/s measured in float32 on cpu", measured=True),
    data=(
        SourceShare(name="facts", share=0.5, tokens=409_600),
        SourceShare(name="pydoc", share=0.5),
    ),
)
USAGE = Usage(
    step=1191,
    counted=10,
    tables=(
        TableUse(
            name="pools.big",
            reader=None,
            hashed=False,
            slots=65536,
            lookups=262_144,
            touched=0.453,
            even=0.982,
            entropy=0.81,
            top1=0.081,
            dead=0.12,
        ),
        TableUse(
            name="layers.0.blocks.0.values",
            reader=None,
            hashed=False,
            slots=4096,
            lookups=131_072,
            touched=0.002,
            even=1.0,
            entropy=0.04,
            top1=0.99,
            dead=0.93,
        ),
        *(
            TableUse(
                name="pools.big",
                reader=reader,
                hashed=False,
                slots=65536,
                lookups=131_072,
                touched=touched,
                even=0.865,
                entropy=0.79,
                top1=0.1,
                dead=0.12,
            )
            for reader, touched in (("layers.1.blocks.1", 0.31), ("layers.4.blocks.0", 0.29))
        ),
    ),
    experts=(
        ExpertUse(
            name="layers.2.blocks.0.experts",
            tokens=20480,
            load=(0.25, 0.3, 0.11, 0.41, 0.0, 0.33, 0.35, 0.25),
            imbalance=1.64,
            entropy=0.87,
            dead=1,
        ),
    ),
)
EVALUATION = Evaluation(
    step=1000,
    metrics={"loss": 2.431, "facts.accuracy": 0.3125, "facts.nll": 2.2, "pydoc.nll": 2.61},
)
SAMPLE = Sample(step=1000, prompt="The ", text="module [bold]is\na list")
WARNING = Warned(step=1191, subject="layers.0.blocks.0.values", message="few slots are used")


class Clock:
    """A second a step."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def play(listener: Listener, clock: Clock, *, steps: int = 1240) -> None:
    """Let a listener hear a run until the given step."""
    listener.on_start(START)
    for number in range(1, steps + 1):
        clock.now += 0.2
        listener.on_step(step(number))
        if number == EVALUATION.step:
            listener.on_evaluation(EVALUATION)
            listener.on_sample(SAMPLE)
        if number == USAGE.step:
            listener.on_usage(USAGE)
            listener.on_warning(WARNING)


def step(number: int) -> Step:
    return Step(
        step=number,
        tokens=number * START.batch_tokens,
        loss=2.3 + 3.5 * math.exp(-number / 300) + 0.1 * math.sin(number),
        auxiliary={"load_balance": 1.02},
        lr=2e-3,
        table_lr=0.2,
        grad_norm=0.83,
        seconds=0.16,
        memory_bytes=432_013_312,
    )
