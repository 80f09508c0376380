"""Both forms of ``layers`` to one entry per layer: what stands there, and where it says so."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from archspec.errors import Path, format_path
from archspec.spec.layers import (
    MAX_LAYERS,
    BlockUse,
    LayerUse,
    PlacedAttention,
    PlacedLayers,
    Placement,
    Repeat,
    Rule,
)
from archspec.spec.validate import Reporter


@dataclass(frozen=True, slots=True)
class Placed:
    """One template in one layer, its changes, and where the document says so."""

    name: str
    changes: dict[str, Any]
    path: Path


@dataclass(frozen=True, slots=True)
class LayerParts:
    """One layer: the blocks that are summed, and its attention if the document names one."""

    blocks: tuple[Placed, ...]
    attention: Placed | None = None


def expand(layers: list[Any] | PlacedLayers, reporter: Reporter) -> list[LayerParts]:
    """Return what stands in every layer; what breaks a rule is reported and left out."""
    path: Path = ("layers",)
    if isinstance(layers, PlacedLayers):
        return _expand_placed(layers, path, reporter)
    count = _length(layers)
    if count > MAX_LAYERS:
        reporter.report(path, f"at most {MAX_LAYERS} layers are allowed, but this makes {count}")
        return []
    return list(_expand_list(layers, path, reporter))


def _length(entries: list[Any]) -> int:
    return sum(e.repeat * _length(e.layers) if isinstance(e, Repeat) else 1 for e in entries)


def _expand_list(entries: list[Any], path: Path, reporter: Reporter) -> Iterator[LayerParts]:
    for index, entry in enumerate(entries):
        here = (*path, index)
        if isinstance(entry, Repeat):
            group = list(_expand_list(entry.layers, (*here, "layers"), reporter))
            for _ in range(entry.repeat):
                yield from group
        elif isinstance(entry, LayerUse):
            yield _layer_parts(entry, here, reporter)
        else:
            yield LayerParts(_slot_parts(entry, here, reporter))


def _layer_parts(entry: LayerUse, path: Path, reporter: Reporter) -> LayerParts:
    attention = None
    if entry.attention is not None:
        attention = Placed(entry.attention, {}, (*path, "attention"))
    if isinstance(entry.block, str):
        return LayerParts((Placed(entry.block, entry.changes, path),), attention)
    for key in entry.changes:
        reporter.report(
            (*path, key),
            f"{key!r} cannot change a sum of blocks; write it inside the list, as "
            f"[{{block: NAME, {key}: ...}}, ...]",
        )
    return LayerParts(_slot_parts(entry.block, (*path, "block"), reporter), attention)


def _slot_parts(
    slot: str | BlockUse | list[Any], path: Path, reporter: Reporter
) -> tuple[Placed, ...]:
    if isinstance(slot, list):
        return tuple(_part(part, (*path, index), reporter) for index, part in enumerate(slot))
    return (_part(slot, path, reporter),)


def _part(part: str | BlockUse, path: Path, reporter: Reporter) -> Placed:
    if isinstance(part, str):
        return Placed(part, {}, path)
    changes = part.changes
    if "attention" in changes:
        del changes["attention"]
        reporter.report(
            (*path, "attention"),
            "attention belongs to a layer, not to one of its blocks; in a list of layers write "
            "{block: [...], attention: NAME}, otherwise place it in layers.attention",
        )
    return Placed(part.block, changes, path)


def _expand_placed(layers: PlacedLayers, path: Path, reporter: Reporter) -> list[LayerParts]:
    default = LayerParts(_slot_parts(layers.default, (*path, "default"), reporter))
    found = [default] * layers.num_layers
    here = (*path, "place")
    for index, name in _placements(layers.place, layers.num_layers, here, reporter):
        rule, at = layers.place[name], (*here, name)
        parts: tuple[Placed, ...] = (Placed(name, {}, at),)
        if isinstance(rule, Placement) and rule.beside is not None:
            parts = (Placed(rule.beside, {}, (*at, "beside")), *parts)
        found[index] = LayerParts(parts)
    if layers.attention is not None:
        _place_attention(layers.attention, found, (*path, "attention"), reporter)
    return found


def _place_attention(
    placed: PlacedAttention, layers: list[LayerParts], path: Path, reporter: Reporter
) -> None:
    """Set the attention of every layer, in place."""
    if placed.default is not None:
        default = Placed(placed.default, {}, (*path, "default"))
        layers[:] = [replace(layer, attention=default) for layer in layers]
    here = (*path, "place")
    for index, name in _placements(placed.place, len(layers), here, reporter):
        layers[index] = replace(layers[index], attention=Placed(name, {}, (*here, name)))


def _placements(
    place: Mapping[str, list[int | str] | Rule], num_layers: int, path: Path, reporter: Reporter
) -> Iterator[tuple[int, str]]:
    """Yield layer and name of all that is placed, reporting layers that are placed twice."""
    owners: dict[int, Path] = {}
    for name, given in place.items():
        here = (*path, name)
        rule = Rule(at=given) if isinstance(given, list) else given
        for index in rule_indices(rule, num_layers, here, reporter):
            if index in owners:
                first = owners[index]
                reporter.report(
                    here,
                    f"layer {index} is already placed by {format_path(first)} "
                    f"({reporter.root.place_of(first)}); remove it from one of them",
                )
            else:
                owners[index] = here
                yield index, name


def rule_indices(rule: Rule, num_layers: int, path: Path, reporter: Reporter) -> list[int]:
    """Return the layers a rule names, in order, reporting those out of range or named twice."""
    named = [*_listed(rule.at, path, reporter), *_ruled(rule, num_layers, path, reporter)]
    found: set[int] = set()
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
            found.add(index)
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


def _ruled(rule: Rule, num_layers: int, path: Path, reporter: Reporter) -> Iterator[int]:
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
