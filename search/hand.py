"""The designs a person would try first; a search that does not beat them was not worth it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from archspec.search.feasible import FeasibleSpace
from archspec.search.space import Design, Space


@dataclass(frozen=True, slots=True)
class HandDesign:
    """A design with the name people know it by."""

    name: str
    design: Design


def hand_designs(allowed: FeasibleSpace) -> list[HandDesign]:
    """Return the hand designs that fit the budgets, each pool at the largest size that does.

    Every choice in all layers; three centred readers of a shared pool and one centred private
    memory, over the first choice that is dense. Fixed layers stay as they are.
    """
    found: dict[Design, HandDesign] = {}
    for name, layers in _placements(allowed.space):
        design = _largest_that_fits(allowed, layers)
        if design is not None and design not in found:
            found[design] = HandDesign(name, design)
    return list(found.values())


def centered(num_layers: int, count: int) -> list[int]:
    """Return the layers of the placement ``centered: {count: count}`` of model documents."""
    stride = num_layers // count
    return [num_layers // 2 + ((2 * j - (count - 1)) * stride) // 2 for j in range(count)]


def _placements(space: Space) -> Iterator[tuple[str, list[int]]]:
    labels = max((space.labels(p) for p in range(len(space.choices))), key=len)
    layers = max(space.choices, key=len)
    for label in labels:
        yield f"all {label}", _placed(space, label, {})
    default = next(
        (
            label
            for label, layer in zip(labels, layers, strict=True)
            if {block.type for block in layer.blocks} == {"dense"}
        ),
        labels[0],
    )
    counts = {"shared_pool": 3, "memory": 1}
    for label, layer in zip(labels, layers, strict=True):
        count = counts.get(layer.blocks[0].type)
        if len(layer.blocks) == 1 and count is not None and count <= len(space.choices):
            positions = centered(len(space.choices), count)
            placed = _placed(space, default, dict.fromkeys(positions, label))
            yield f"centred {label}", placed


def _placed(space: Space, default: str, others: dict[int, str]) -> list[int]:
    """Return the choices for these names; a position that lacks one keeps its only choice."""
    layers = []
    for position in range(len(space.choices)):
        labels = space.labels(position)
        wanted = others.get(position, default)
        layers.append(labels.index(wanted) if wanted in labels else 0)
    return layers


def _largest_that_fits(allowed: FeasibleSpace, layers: list[int]) -> Design | None:
    """Return the placement with the sizes, taken together, that store most and fit."""
    space = allowed.space
    candidates: list[list[int]] = [[]]
    for sizes in space.pools.values():
        candidates = [[*given, size] for given in candidates for size in range(len(sizes))]
    designs = dict.fromkeys(space.normal(layers, sizes) for sizes in candidates)
    fitting = [design for design in designs if design in allowed]
    return max(fitting, key=lambda d: allowed.prices(d)["num_params"], default=None)
