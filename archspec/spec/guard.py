"""The guard of a training: when a loss that jumps and stays up ends the run."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from archspec.schema import NonNegativeFloat, PositiveFloat, PositiveInt, Schema


class Guard(Schema):
    """When the loss has left its path for good; a loss that is not finite always ends the run.

    A loss is high if it lies above the median of the last ``window`` losses that were not high by
    more than ``spike`` deviations and by more than ``margin``, a deviation being 1.4826 times the
    median absolute deviation (the standard deviation, if they are normal). The run has left its
    path when ``patience`` steps in a row are high. Warm-up is exempt, and so is a run with fewer
    than ``window`` losses behind it.
    """

    action: Annotated[
        Literal["stop", "warn", "off"],
        Field(description="What to do when the loss has left its path: stop, warn, or not look."),
    ] = "stop"
    spike: Annotated[
        PositiveFloat,
        Field(description="Deviations above the median from which a loss is high."),
    ] = 6.0
    margin: Annotated[
        NonNegativeFloat,
        Field(description="Nats above the median that a high loss has at least."),
    ] = 0.1
    window: Annotated[
        int,
        Field(ge=8, description="Losses that the median is taken of."),
    ] = 64
    patience: Annotated[
        PositiveInt,
        Field(description="High losses in a row that a run recovers from."),
    ] = 16
