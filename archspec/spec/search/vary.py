"""What a search may change."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag
from pydantic.config import JsonDict

from archspec.schema import Count, PositiveInt, Schema
from archspec.spec.layers import RuleField


class BlockChoice(BaseModel):
    """A block template with sizes of its own; a list of values stands for one choice each."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    block: Annotated[str, Field(description="Name of the template in the base's `blocks`.")]

    @property
    def sizes(self) -> dict[str, Any]:
        """The keys that differ from the template, each with a value or a list of values."""
        return dict(self.model_extra or {})


def _part_tag(value: Any) -> str | None:
    if isinstance(value, str):
        return "<name>"
    return "<block>" if isinstance(value, (dict, BlockChoice)) else None


def _choice_tag(value: Any) -> str | None:
    return "<sum>" if isinstance(value, list) else _part_tag(value)


Part = str | BlockChoice
Choice = Part | list[Part]
_Name = Annotated[str, Tag("<name>")]
_Block = Annotated[BlockChoice, Tag("<block>")]
PartField = Annotated[
    _Name | _Block,
    Discriminator(
        _part_tag,
        custom_error_type="part",
        custom_error_message="must be a block name or a map with `block:`",
    ),
]
ChoiceField = Annotated[
    _Name | _Block | Annotated[list[PartField], Field(min_length=1), Tag("<sum>")],
    Discriminator(
        _choice_tag,
        custom_error_type="choice",
        custom_error_message="must be a block name, a map with `block:`, or a list of these to sum",
    ),
]


class CountRange(Schema):
    """How many layers may contain a block."""

    min: Annotated[Count, Field(description="At least so many layers.")] = 0
    max: Annotated[Count | None, Field(description="At most so many layers.")] = None


class TiedRepeat(Schema):
    """Layers that are as far apart as a pattern is long share their choice."""

    repeat: Annotated[
        PositiveInt,
        Field(description="Length of the pattern: layer i is as layer i + repeat; fixed ones not."),
    ]


def _tied_tag(value: Any) -> str | None:
    if isinstance(value, list):
        return "<groups>"
    return "<repeat>" if isinstance(value, (dict, TiedRepeat)) else None


TiedField = Annotated[
    Annotated[list[RuleField], Tag("<groups>")] | Annotated[TiedRepeat, Tag("<repeat>")],
    Discriminator(
        _tied_tag,
        custom_error_type="tied",
        custom_error_message="must be a list of groups of layers, or {repeat: LENGTH}",
    ),
]
PairField = Annotated[list[str], Field(min_length=2, max_length=2)]


class LayerChoices(Schema):
    """Which blocks may stand in a layer, and rules between layers.

    Rules name a block template, whatever its sizes; a choice of given sizes, as its label has it
    (``ffn[hidden_dim=128]``); or, where attention varies, ``attention.NAME``.
    """

    choices: Annotated[
        list[ChoiceField],
        Field(
            min_length=1,
            description="Block names, names with sizes (a list of values makes a choice of each), "
            "or lists of these that are summed.",
        ),
    ]
    attention: Annotated[
        list[str] | None,
        Field(
            min_length=1,
            description="Attention templates, each combined with every choice; by default a layer "
            "keeps the attention that the base gives it.",
        ),
    ] = None
    fixed: Annotated[
        dict[int, ChoiceField],
        Field(description="Layers that do not vary, by index; -1 is the last."),
    ] = Field(default_factory=dict)
    tied: Annotated[
        TiedField,
        Field(
            description="Groups of layers that share one choice: indices, ranges, or placement "
            "rules as model documents have them; or the length of a pattern that repeats."
        ),
    ] = Field(default_factory=list)
    counts: Annotated[
        dict[str, CountRange],
        Field(description="How many layers may contain what is named."),
    ] = Field(default_factory=dict)
    forbidden: Annotated[
        list[PairField],
        Field(description="Pairs: no layer with the first is followed by one with the second."),
    ] = Field(default_factory=list)


_POOL_SIZES: JsonDict = {
    "type": "array",
    "items": {"type": "integer", "minimum": 1},
    "minItems": 1,
    "description": "Sizes that the pool may have, as num_keys.",
}
_SETTINGS: JsonDict = {
    "type": "array",
    "items": {"type": ["integer", "number", "string", "boolean"]},
    "minItems": 1,
    "description": "Values of one key of the base document, or of the plan's.",
}


class Vary(BaseModel):
    """What the search may change; each further key is a list of values.

    ``pools.NAME.num_keys`` are sizes of a pool. All others set a key of the base or of the plan:
    ``d_model``, ``num_layers``, ``blocks.NAME.KEY``, ``attention.KEY``, ``pools.NAME.value_dim``,
    ``plan.mesh.AXIS``, ``plan.recompute`` and what else a plan has. Every combination of those is a
    variant: the documents are resolved again with these values.
    """

    model_config = ConfigDict(
        extra="allow",
        frozen=True,
        strict=True,
        json_schema_extra={
            "additionalProperties": False,
            "patternProperties": {
                r"^pools\.[^.]+\.num_keys$": _POOL_SIZES,
                r"^(d_model|num_layers|pools\.[^.]+\.value_dim|(blocks|attention|plan)\..+)$": (
                    _SETTINGS
                ),
            },
        },
    )

    layers: Annotated[LayerChoices | None, Field(description="Blocks of the layers.")] = None
