"""What a search may change."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from archspec.schema import Schema


def _choice_tag(value: Any) -> str | None:
    if isinstance(value, str):
        return "<name>"
    return "<sum>" if isinstance(value, list) else None


Choice = str | list[str]
ChoiceField = Annotated[
    Annotated[str, Tag("<name>")] | Annotated[list[str], Field(min_length=1), Tag("<sum>")],
    Discriminator(
        _choice_tag,
        custom_error_type="choice",
        custom_error_message="must be a block name or a list of names to sum",
    ),
]


class LayerChoices(Schema):
    """Which blocks may stand in a layer."""

    choices: Annotated[
        list[ChoiceField],
        Field(min_length=1, description="Block names, or lists of names that are summed."),
    ]
    fixed: Annotated[
        dict[int, ChoiceField],
        Field(description="Layers that do not vary, by index."),
    ] = Field(default_factory=dict)


class Vary(BaseModel):
    """What the search may change; other keys are pool sizes, ``pools.NAME.num_keys``."""

    model_config = ConfigDict(
        extra="allow",
        frozen=True,
        strict=True,
        json_schema_extra={
            "additionalProperties": False,
            "patternProperties": {
                r"^pools\.[^.]+\.num_keys$": {
                    "type": "array",
                    "items": {"type": "integer", "minimum": 1},
                    "minItems": 1,
                    "description": "Sizes that the pool may have, as num_keys.",
                }
            },
        },
    )

    layers: Annotated[LayerChoices | None, Field(description="Blocks of the layers.")] = None
