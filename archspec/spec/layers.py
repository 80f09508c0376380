"""Both ways to say what stands in which layer: placements over a default, and a list."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from archspec.schema import Count, PositiveInt, Schema

MAX_LAYERS = 100_000


class BlockUse(BaseModel):
    """A block template with some of its keys changed in place."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    block: Annotated[str, Field(description="Name of the template in `blocks`.")]

    @property
    def changes(self) -> dict[str, Any]:
        """The keys that differ from the template."""
        return dict(self.model_extra or {})


def _part_tag(value: Any) -> str | None:
    if isinstance(value, str):
        return "<name>"
    return "<block>" if isinstance(value, (dict, BlockUse)) else None


def _blocks_tag(value: Any) -> str | None:
    if isinstance(value, str):
        return "<name>"
    return "<sum>" if isinstance(value, list) else None


def _slot_tag(value: Any) -> str | None:
    return "<sum>" if isinstance(value, list) else _part_tag(value)


def _entry_tag(value: Any) -> str | None:
    if isinstance(value, Repeat) or (isinstance(value, dict) and "repeat" in value):
        return "<repeat>"
    if isinstance(value, (dict, LayerUse)):
        return "<layer>"
    return _slot_tag(value)


def _place_tag(value: Any) -> str | None:
    if isinstance(value, (dict, Rule)):
        return "<rule>"
    return "<indices>" if isinstance(value, list) else None


def _layers_tag(value: Any) -> str | None:
    if isinstance(value, list):
        return "<list>"
    return "<placed>" if isinstance(value, (dict, PlacedLayers)) else None


_Name = Annotated[str, Tag("<name>")]
_Use = Annotated[BlockUse, Tag("<block>")]
Part = Annotated[
    _Name | _Use,
    Discriminator(
        _part_tag,
        custom_error_type="part",
        custom_error_message="must be a block name or a map with `block:`",
    ),
]
Slot = Annotated[
    _Name | _Use | Annotated[list[Part], Field(min_length=1), Tag("<sum>")],
    Discriminator(
        _slot_tag,
        custom_error_type="slot",
        custom_error_message="must be a block name, a map with `block:`, or a list of these",
    ),
]


class LayerUse(BaseModel):
    """One layer: a block with some of its keys changed, or a sum of blocks, and its attention."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    block: Annotated[
        Annotated[str, Tag("<name>")] | Annotated[list[Part], Field(min_length=1), Tag("<sum>")],
        Discriminator(
            _blocks_tag,
            custom_error_type="blocks",
            custom_error_message="must be a block name or a list of blocks to sum",
        ),
        Field(description="Name of the template in `blocks`, or a list of blocks to sum."),
    ]
    attention: Annotated[
        str | None,
        Field(description="Name of the template in `attention`; default the first."),
    ] = None

    @property
    def changes(self) -> dict[str, Any]:
        """The keys that differ from the template."""
        return dict(self.model_extra or {})


class Repeat(Schema):
    """A group of entries, written once and used several times."""

    repeat: Annotated[PositiveInt, Field(description="How often the group is used.")]
    layers: Annotated[list[Entry], Field(min_length=1, description="The group.")]


Entry = Annotated[
    _Name
    | Annotated[LayerUse, Tag("<layer>")]
    | Annotated[list[Part], Field(min_length=1), Tag("<sum>")]
    | Annotated[Repeat, Tag("<repeat>")],
    Discriminator(
        _entry_tag,
        custom_error_type="entry",
        custom_error_message="must be a block name, a map with `block:` or `repeat:`, or a list "
        "of blocks to sum",
    ),
]
Repeat.model_rebuild()


def _index_tag(value: Any) -> str | None:
    if isinstance(value, str):
        return "<range>"
    return "<index>" if isinstance(value, int) and not isinstance(value, bool) else None


Index = Annotated[
    Annotated[int, Tag("<index>")] | Annotated[str, Tag("<range>")],
    Discriminator(
        _index_tag,
        custom_error_type="index",
        custom_error_message='must be a layer index such as 3 or a range such as "5-8"',
    ),
]


class Centered(Schema):
    """Indices around the middle: num_layers // 2 + (j - (count - 1) / 2) * stride, rounded down."""

    count: Annotated[PositiveInt, Field(description="How many layers.")]
    stride: Annotated[
        PositiveInt | None,
        Field(description="Distance between them; default num_layers // count."),
    ] = None


class Rule(Schema):
    """Where something stands; the indices of all given rules are joined."""

    at: Annotated[
        list[Index],
        Field(description='Layer indices, 0-based, and ranges such as "5-8".'),
    ] = Field(default_factory=list)
    first: Annotated[PositiveInt | None, Field(description="The first n layers.")] = None
    last: Annotated[PositiveInt | None, Field(description="The last n layers.")] = None
    every: Annotated[PositiveInt | None, Field(description="Every k-th layer.")] = None
    offset: Annotated[
        Count | None,
        Field(description="The first layer of `every`; default k - 1."),
    ] = None
    centered: Annotated[Centered | None, Field(description="Layers around the middle.")] = None


class Placement(Rule):
    """Where one block stands; the indices of all given rules are joined."""

    beside: Annotated[
        str | None,
        Field(description="A block that shares the slot; their outputs are summed."),
    ] = None


PlacementField = Annotated[
    Annotated[list[Index], Tag("<indices>")] | Annotated[Placement, Tag("<rule>")],
    Discriminator(
        _place_tag,
        custom_error_type="placement",
        custom_error_message="must be a list of layer indices or a map with a placement rule",
    ),
]


RuleField = Annotated[
    Annotated[list[Index], Tag("<indices>")] | Annotated[Rule, Tag("<rule>")],
    Discriminator(
        _place_tag,
        custom_error_type="placement",
        custom_error_message="must be a list of layer indices or a map with a placement rule",
    ),
]


class PlacedAttention(Schema):
    """Which attention template stands in which layer."""

    default: Annotated[
        str | None,
        Field(description="What stands where nothing is placed; default the first template."),
    ] = None
    place: Annotated[
        dict[str, RuleField],
        Field(description="Template name to where it stands."),
    ] = Field(default_factory=dict)


class PlacedLayers(Schema):
    """Form 1: a default, and placements over it."""

    num_layers: Annotated[PositiveInt, Field(le=MAX_LAYERS, description="Number of layers.")]
    default: Annotated[Slot, Field(description="What stands where nothing is placed.")]
    place: Annotated[
        dict[str, PlacementField],
        Field(description="Block name to where it stands."),
    ] = Field(default_factory=dict)
    attention: Annotated[
        PlacedAttention | None,
        Field(description="Where named attention templates stand; default the first everywhere."),
    ] = None


LayersField = Annotated[
    Annotated[list[Entry], Field(min_length=1), Tag("<list>")]
    | Annotated[PlacedLayers, Tag("<placed>")],
    Discriminator(
        _layers_tag,
        custom_error_type="layers",
        custom_error_message="must be a map with `num_layers:` and `default:`, or a list",
    ),
]
