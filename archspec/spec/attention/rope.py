"""Declarations of rotary positions that reach further than a model was trained for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from archspec.blocks.base import Fault
from archspec.errors import suggest
from archspec.schema import PositiveFloat, PositiveInt, Schema
from archspec.spec.tree import describe

Factor = Annotated[float, Field(ge=1, allow_inf_nan=False)]

_FACTOR = Field(description="How many times longer sequences become.")
_ORIGINAL = Field(description="Longest sequence of the training before, in tokens.")
_LOW = Field(
    description="Pairs that turn less often than this within original_max_seq_len are slowed by "
    "the whole factor."
)
_HIGH = Field(
    description="Pairs that turn more often than this are left alone; between, the factor is "
    "blended."
)


class LinearScaling(Schema):
    """Position interpolation (Chen et al., arXiv 2306.15595): every pair turns slower by factor."""

    type: Annotated[Literal["linear"], Field(description="The kind of scaling.")]
    factor: Annotated[Factor, _FACTOR]


class _ByParts(Schema):
    """Slow the pairs that never turned full circle, and leave the fast ones alone."""

    factor: Annotated[Factor, _FACTOR]
    original_max_seq_len: Annotated[PositiveInt, _ORIGINAL]


class Llama3Scaling(_ByParts):
    """Llama 3.1's (arXiv 2407.21783): slow pairs are slowed, fast ones kept, others blended."""

    type: Annotated[Literal["llama3"], Field(description="The kind of scaling.")]
    low_turns: Annotated[PositiveFloat, _LOW] = 1.0
    high_turns: Annotated[PositiveFloat, _HIGH] = 4.0


class YarnScaling(_ByParts):
    """YaRN (Peng et al., arXiv 2309.00071): by parts like `llama3`, with sharper logits."""

    type: Annotated[Literal["yarn"], Field(description="The kind of scaling.")]
    low_turns: Annotated[PositiveFloat, _LOW] = 1.0
    high_turns: Annotated[PositiveFloat, _HIGH] = 32.0
    logit_scale: Annotated[
        PositiveFloat | None,
        Field(description="Factor on attention logits; default (0.1 ln(factor) + 1) ** 2."),
    ] = None


SCALINGS = {"linear": LinearScaling, "llama3": Llama3Scaling, "yarn": YarnScaling}


def _with_known_type(value: Any) -> Any:
    """Refuse what no scaling could be, so that errors speak of the scaling that was meant."""
    if isinstance(value, tuple(SCALINGS.values())):
        return value
    if not isinstance(value, dict):
        raise ValueError(f"must be a map with a `type`, but is {describe(value)}")
    kind = value.get("type")
    if kind is None:
        raise ValueError(f"required key 'type' is missing; {suggest('', SCALINGS)}")
    if not isinstance(kind, str) or kind not in SCALINGS:
        raise ValueError(
            f"unknown type of rope_scaling {describe(kind)}; {suggest(kind, SCALINGS)}"
        )
    return value


def _scaling_tag(value: Any) -> str:
    return f"<{value['type'] if isinstance(value, dict) else value.type}>"


RopeScaling = Annotated[
    Annotated[LinearScaling, Tag("<linear>")]
    | Annotated[Llama3Scaling, Tag("<llama3>")]
    | Annotated[YarnScaling, Tag("<yarn>")],
    Discriminator(_scaling_tag),
    BeforeValidator(_with_known_type),
]


def check_scaling(scaling: RopeScaling | None) -> Iterator[Fault]:
    """Yield what a scaling breaks of its own; paths start at the attention config."""
    if isinstance(scaling, _ByParts) and scaling.low_turns >= scaling.high_turns:
        yield Fault(
            ("rope_scaling", "low_turns"),
            f"low_turns < high_turns must hold, but low_turns={scaling.low_turns} and "
            f"high_turns={scaling.high_turns}; lower one or raise the other",
        )
