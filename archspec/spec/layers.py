"""Both ways to say which block stands in which layer: placements over a default, and a list."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from archspec.errors import Path, format_path
from archspec.schema import Count, PositiveInt, Schema
from archspec.spec.validate import Reporter

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


def _slot_tag(value: Any) -> str | None:
    return "<sum>" if isinstance(value, list) else _part_tag(value)


def _entry_tag(value: Any) -> str | None:
    if isinstance(value, Repeat) or (isinstance(value, dict) and "repeat" in value):
        return "<repeat>"
    return _slot_tag(value)


def _place_tag(value: Any) -> str | None:
    if isinstance(value, (dict, Placement)):
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


class Repeat(Schema):
    """A group of entries, written once and used several times."""

    repeat: Annotated[PositiveInt, Field(description="How often the group is used.")]
    layers: Annotated[list[Entry], Field(min_length=1, description="The group.")]


Entry = Annotated[
    _Name
    | _Use
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


class Placement(Schema):
    """Where one block stands; the indices of all given rules are joined."""

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


class PlacedLayers(Schema):
    """Form 1: a default, and placements over it."""

    num_layers: Annotated[PositiveInt, Field(le=MAX_LAYERS, description="Number of layers.")]
    default: Annotated[Slot, Field(description="What stands where nothing is placed.")]
    place: Annotated[
        dict[str, PlacementField],
        Field(description="Block name to where it stands."),
    ] = Field(default_factory=dict)


LayersField = Annotated[
    Annotated[list[Entry], Field(min_length=1), Tag("<list>")]
    | Annotated[PlacedLayers, Tag("<placed>")],
    Discriminator(
        _layers_tag,
        custom_error_type="layers",
        custom_error_message="must be a map with `num_layers:` and `default:`, or a list",
    ),
]


@dataclass(frozen=True, slots=True)
class Placed:
    """One block of one layer: its template, its changes, and where the document says so."""

    name: str
    changes: dict[str, Any]
    path: Path


LayerParts = tuple[Placed, ...]


def expand(layers: list[Any] | PlacedLayers, reporter: Reporter) -> list[LayerParts]:
    """Return the blocks of every layer; what breaks a rule is reported and left out."""
    path: Path = ("layers",)
    if isinstance(layers, PlacedLayers):
        return _expand_placed(layers, path, reporter)
    count = _length(layers)
    if count > MAX_LAYERS:
        reporter.report(path, f"at most {MAX_LAYERS} layers are allowed, but this makes {count}")
        return []
    return list(_expand_list(layers, path))


def _length(entries: list[Any]) -> int:
    return sum(e.repeat * _length(e.layers) if isinstance(e, Repeat) else 1 for e in entries)


def _expand_list(entries: list[Any], path: Path) -> Iterator[LayerParts]:
    for index, entry in enumerate(entries):
        here = (*path, index)
        if isinstance(entry, Repeat):
            group = list(_expand_list(entry.layers, (*here, "layers")))
            for _ in range(entry.repeat):
                yield from group
        else:
            yield _slot_parts(entry, here)


def _slot_parts(slot: str | BlockUse | list[Any], path: Path) -> LayerParts:
    if isinstance(slot, list):
        return tuple(_part(part, (*path, index)) for index, part in enumerate(slot))
    return (_part(slot, path),)


def _part(part: str | BlockUse, path: Path) -> Placed:
    if isinstance(part, str):
        return Placed(part, {}, path)
    return Placed(part.block, part.changes, path)


def _expand_placed(layers: PlacedLayers, path: Path, reporter: Reporter) -> list[LayerParts]:
    default = _slot_parts(layers.default, (*path, "default"))
    slots = [default] * layers.num_layers
    owners: dict[int, Path] = {}
    for name, rule in layers.place.items():
        here = (*path, "place", name)
        placement = Placement(at=rule) if isinstance(rule, list) else rule
        parts: LayerParts = (Placed(name, {}, here),)
        if placement.beside is not None:
            parts = (Placed(placement.beside, {}, (*here, "beside")), *parts)
        for index in _indices(placement, layers.num_layers, here, reporter):
            if index in owners:
                first = owners[index]
                reporter.report(
                    here,
                    f"layer {index} is already placed by {format_path(first)} "
                    f"({reporter.root.place_of(first)}); remove it from one of them",
                )
            else:
                owners[index] = here
                slots[index] = parts
    return slots


def _indices(rule: Placement, num_layers: int, path: Path, reporter: Reporter) -> list[int]:
    """Return the layers a rule names, in order, reporting those out of range or named twice."""
    named = [*_listed(rule.at, path, reporter), *_ruled(rule, num_layers, path, reporter)]
    found: list[int] = []
    for index in named:
        if not 0 <= index < num_layers:
            reporter.report(
                path,
                f"layer {index} is out of range: num_layers={num_layers}, so indices run from 0 to "
                f"{num_layers - 1}",
            )
        elif index in found:
            reporter.report(path, f"layer {index} is named twice here; remove one")
        else:
            found.append(index)
    if not named and not reporter.problems:
        reporter.report(path, "places nothing; give at, first, last, every or centered")
    return sorted(found)


def _listed(items: list[int | str], path: Path, reporter: Reporter) -> Iterator[int]:
    for item in items:
        if isinstance(item, int):
            yield item
            continue
        match = re.fullmatch(r"\s*(\d{1,6})\s*-\s*(\d{1,6})\s*", item)
        if match is None or int(match[1]) > int(match[2]):
            reporter.report(path, f'must be a range such as "5-8", low to high, but is {item!r}')
        else:
            yield from range(int(match[1]), int(match[2]) + 1)


def _ruled(rule: Placement, num_layers: int, path: Path, reporter: Reporter) -> Iterator[int]:
    for name, count in (("first", rule.first), ("last", rule.last)):
        if count is not None and count > num_layers:
            reporter.report(
                (*path, name), f"must be at most num_layers={num_layers}, but is {count}"
            )
        elif count is not None:
            yield from range(count) if name == "first" else range(num_layers - count, num_layers)
    if rule.every is not None:
        offset = rule.every - 1 if rule.offset is None else rule.offset
        yield from range(offset, num_layers, rule.every)
    elif rule.offset is not None:
        reporter.report((*path, "offset"), "offset only goes with every; add every or remove it")
    if rule.centered is not None:
        count = rule.centered.count
        stride = rule.centered.stride or num_layers // count
        for j in range(count):
            yield num_layers // 2 + ((2 * j - (count - 1)) * stride) // 2
