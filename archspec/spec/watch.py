"""What is watched while a model trains: use of slots and experts, samples, logs elsewhere."""

from __future__ import annotations

import pathlib
from typing import Annotated, Literal

from pydantic import Field

from archspec.schema import Count, NonNegativeFloat, PositiveInt, Schema, Share
from archspec.spec.data.base import BYTES
from archspec.spec.data.files import absolute


class Collapse(Schema):
    """When the use of slots or experts is so uneven that a warning is due."""

    entropy: Annotated[
        Share,
        Field(
            description="Warn of a table, or of experts, whose entropy of use is below this; 1 is "
            "even use, 0 the same slots or experts for every token."
        ),
    ] = 0.3
    touched: Annotated[
        Share,
        Field(
            description="Warn of a table of which less than this share of the slots is touched "
            "that evenly spread look-ups would touch."
        ),
    ] = 0.05
    expert_share: Annotated[
        Share,
        Field(description="Warn of an expert that gets more than this share of the tokens."),
    ] = 0.8
    reports: Annotated[
        PositiveInt,
        Field(description="Warn once a bound is broken in so many reports on end."),
    ] = 3


class Samples(Schema):
    """Text that the model writes now and then."""

    every_steps: Annotated[PositiveInt, Field(description="Sample after so many steps.")]
    prompt: Annotated[str, Field(min_length=1, description="What the model goes on from.")]
    tokenizer: Annotated[
        str | None,
        Field(
            min_length=1,
            description="A `tokenizer.json` that makes ids of the prompt and text of ids, or "
            "`bytes`; null: what the sources are made into tokens by.",
        ),
    ] = None
    max_tokens: Annotated[PositiveInt, Field(description="Tokens to write.")] = 64
    temperature: Annotated[
        NonNegativeFloat,
        Field(description="Divides the logits; 0 takes the likeliest token each time."),
    ] = 0.8
    top_k: Annotated[
        PositiveInt | None,
        Field(description="Draw from so many of the likeliest tokens; null: from all."),
    ] = 50
    seed: Annotated[
        Count,
        Field(description="Samples depend on it and on the step, and change nothing else."),
    ] = 0

    def located(self, folder: pathlib.Path) -> Samples:
        """Return the settings with the path of a tokenizer absolute, read from ``folder``."""
        if self.tokenizer is None or self.tokenizer == BYTES:
            return self
        return self.model_copy(update={"tokenizer": absolute(self.tokenizer, folder)})


class Wandb(Schema):
    """A run at Weights & Biases (extra `wandb`)."""

    project: Annotated[str, Field(min_length=1, description="The project that the run is in.")]
    mode: Annotated[
        Literal["online", "offline"],
        Field(description="offline keeps everything in the run directory, for `wandb sync`."),
    ] = "online"
    name: Annotated[
        str | None,
        Field(description="Name of the run; null: that of its directory."),
    ] = None


class Watch(Schema):
    """What is watched beside loss and speed; nothing here changes what the model learns."""

    usage_every_steps: Annotated[
        PositiveInt | None,
        Field(description="Count the use of slots and experts in every n-th step; null: never."),
    ] = 10
    usage_window: Annotated[
        PositiveInt,
        Field(description="Report use after so many counted steps, the first, and the last step."),
    ] = 10
    collapse: Annotated[Collapse, Field(description="When to warn of uneven use.")] = Collapse()
    sample: Annotated[
        Samples | None,
        Field(description="Text that the model writes now and then; null: none."),
    ] = None
    tensorboard: Annotated[
        bool,
        Field(description="Write event files for TensorBoard too (extra `tensorboard`)."),
    ] = False
    wandb: Annotated[
        Wandb | None,
        Field(description="Log to Weights & Biases too; null: do not."),
    ] = None
