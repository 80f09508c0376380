"""The search document: a base model, what may vary, budgets, objective and trials."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    PlainValidator,
    Tag,
    WithJsonSchema,
)

from archspec.errors import Path, suggest
from archspec.schema import Count, PositiveInt, Schema
from archspec.spec.model import LayerSpec, ModelSpec
from archspec.spec.train import TrainSpec
from archspec.units import BYTE_UNITS, COUNT_UNITS, parse_amount, parse_ratio

_POOL_SIZE = re.compile(r"pools\.(?P<pool>[^.]+)\.num_keys")


@dataclass(frozen=True, slots=True)
class Limit:
    """One side of a budget: a number, or a factor of what the base costs."""

    value: float
    relative: bool
    text: int | float | str = field(compare=False)

    def resolve(self, base: float) -> float:
        """Return the limit in the budget's unit, given what the base model costs."""
        return self.value * base if self.relative else self.value


def _limit(units: Mapping[str, int]) -> PlainValidator:
    def parse(value: Any) -> Limit:
        if isinstance(value, Limit):
            return value
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise ValueError("must be a number, a number with a unit, or a factor such as 1.05x")
        ratio = parse_ratio(value) if isinstance(value, str) else None
        number = parse_amount(value, dict(units)) if ratio is None else ratio
        limit = Limit(value=number, relative=ratio is not None, text=value)
        if limit.value < 0:
            raise ValueError(f"must not be negative, but is {value}")
        return limit

    return PlainValidator(parse)


_as_written = PlainSerializer(lambda limit: None if limit is None else limit.text)
_in_json = WithJsonSchema(
    {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": "^[0-9.]"}]}
)
CountLimit = Annotated[Limit, _limit(COUNT_UNITS), _as_written, _in_json]
BytesLimit = Annotated[Limit, _limit(BYTE_UNITS), _as_written, _in_json]


class CountBudget(Schema):
    """Bounds of a count; a factor such as 1.05x is relative to the base model."""

    max: Annotated[CountLimit | None, Field(description="Most that a design may cost.")] = None
    min: Annotated[CountLimit | None, Field(description="Least that a design must cost.")] = None


class BytesBudget(Schema):
    """Bounds of a number of bytes, with units such as 2GiB; 1.05x is relative to the base model."""

    max: Annotated[BytesLimit | None, Field(description="Most that a design may cost.")] = None
    min: Annotated[BytesLimit | None, Field(description="Least that a design must cost.")] = None


class Budgets(Schema):
    """What every trained design must keep to; all are known exactly before training."""

    flops_per_token: Annotated[
        CountBudget | None,
        Field(description="Forward FLOPs per token at the base's max_seq_len, causal half."),
    ] = None
    num_params: Annotated[CountBudget | None, Field(description="Stored parameters.")] = None
    num_active_params: Annotated[
        CountBudget | None,
        Field(description="Parameters one token uses."),
    ] = None
    table_bytes_per_token: Annotated[
        BytesBudget | None,
        Field(description="Bytes gathered from tables per token."),
    ] = None
    device_bytes: Annotated[
        BytesBudget | None,
        Field(description="Weights, gradients, optimizer state and activations on one device."),
    ] = None

    def given(self) -> dict[str, CountBudget | BytesBudget]:
        """Return the budgets that are set, by quantity."""
        found = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: budget for name, budget in found.items() if budget is not None}


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


class Objective(Schema):
    """What a design is judged by: a short training."""

    train: Annotated[str, Field(description="Path of the train document, from this file.")]
    metric: Annotated[str, Field(description="A metric of it, such as facts.nll.")]
    direction: Annotated[Literal["minimize", "maximize"], Field(description="Which is better.")] = (
        "minimize"
    )
    seeds: Annotated[PositiveInt, Field(description="Trainings per design, averaged.")] = 1


class SearchDocument(Schema):
    """A placement search."""

    archspec: Annotated[Literal[1], Field(description="Version of the language.")]
    kind: Annotated[Literal["search"], Field(description="The kind of document.")]
    base: Annotated[str, Field(description="Path of the base model, from this file.")]
    vary: Annotated[Vary, Field(description="What may change.")]
    budgets: Annotated[Budgets, Field(description="What every design keeps to.")] = Budgets()
    objective: Annotated[Objective, Field(description="How a design is judged.")]
    trials: Annotated[PositiveInt, Field(description="Designs that are trained.")] = 24
    finalists: Annotated[
        Count,
        Field(description="Best designs that are trained again with two fresh seeds."),
    ] = 3
    sampler: Annotated[
        Literal["milp", "evolution", "random"],
        Field(description="How designs are proposed."),
    ] = "milp"
    seed: Annotated[Count, Field(description="Seed of the sampler.")] = 0


@dataclass(frozen=True, kw_only=True)
class SearchSpec:
    """A search with its documents loaded and its names checked.

    Attributes:
        document: The document itself, its paths as written.
        choices: Per position, the layers that may stand there; one entry if fixed.
        pool_sizes: Pool name to the values its num_keys may take, in the order given.
    """

    document: SearchDocument
    base: ModelSpec
    train: TrainSpec
    choices: tuple[tuple[LayerSpec, ...], ...]
    pool_sizes: Mapping[str, tuple[int, ...]]
    budgets: Budgets
    metric: str
    direction: Literal["minimize", "maximize"]
    seeds: int
    trials: int
    finalists: int
    sampler: str
    seed: int


Report = Iterator[tuple[Path, str]]


def check_layers(vary: LayerChoices, base: ModelSpec) -> Report:
    """Yield what is wrong with the layer choices over ``base``."""
    named: list[tuple[Path, Choice]] = [
        (("choices", index), choice) for index, choice in enumerate(vary.choices)
    ]
    named += [(("fixed", index), choice) for index, choice in vary.fixed.items()]
    for path, choice in named:
        for name in [choice] if isinstance(choice, str) else choice:
            if name not in base.templates:
                known = suggest(name, base.templates)
                yield path, f"unknown block {name!r} in the base model; {known}"
            elif name in base.graded_templates:
                yield (
                    path,
                    f"block {name!r} of the base has sizes that change over depth, so it is not "
                    "one choice; add a template with plain sizes to the base",
                )
    for index, choice in enumerate(vary.choices):
        if choice in vary.choices[:index]:
            yield ("choices", index), f"{choice!r} is given twice; remove one"
            continue
        for other in vary.choices[:index]:
            if _same_blocks(choice, other, base):
                yield ("choices", index), f"{choice!r} and {other!r} are equal blocks; remove one"
    for layer in vary.fixed:
        if not 0 <= layer < len(base.layers):
            yield (
                ("fixed", layer),
                f"layer {layer} is out of range: the base has num_layers={len(base.layers)}, so "
                f"indices run from 0 to {len(base.layers) - 1}",
            )


def _same_blocks(one: Choice, other: Choice, base: ModelSpec) -> bool:
    """Tell whether two choices with known names make the same layer, which is then tried twice."""
    names, others = ([c] if isinstance(c, str) else c for c in (one, other))
    blocks = [base.templates.get(name) for name in names]
    return None not in blocks and blocks == [base.templates.get(name) for name in others]


def check_pool_size(key: str, values: Any, base: ModelSpec) -> str | None:
    """Say what is wrong with one ``pools.NAME.num_keys: [...]`` entry, None if nothing is."""
    match = _POOL_SIZE.fullmatch(key)
    if match is None:
        return f"unknown key {key!r}; what may vary is `layers` and `pools.NAME.num_keys`"
    if match["pool"] not in base.template_pools:
        return f"unknown pool {match['pool']!r}; {suggest(match['pool'], base.template_pools)}"
    sizes = values if isinstance(values, list) else []
    if not sizes or any(type(size) is not int or size < 1 for size in sizes):
        return "must be a list of sizes, whole numbers of at least 1"
    if len(set(sizes)) < len(sizes):
        return f"sizes must differ, but are {sizes}"
    smallest = min(sizes)
    for name, block in base.templates.items():
        if block.pool_name == match["pool"]:
            pool = base.template_pools[match["pool"]].model_copy(update={"num_keys": smallest})
            pools = {**base.template_pools, match["pool"]: pool}
            scope = base.replace(pools=pools).scope
            for fault in block.check(scope):
                return f"size {smallest} does not suit block {name!r}: {fault.message}"
    return None


def pool_of(key: str) -> str:
    """Return the pool that a checked ``pools.NAME.num_keys`` key varies."""
    match = _POOL_SIZE.fullmatch(key)
    assert match is not None, f"unchecked key {key!r}"
    return match["pool"]
