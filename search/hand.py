"""The designs a person would try first; a search that does not beat them was not worth it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from archspec.search.feasible import FeasibleSpace
from archspec.search.space import Design, Space
from archspec.search.subspace import Subspace

_OTHER_VARIANTS = 8  # so many have a hand design: a grid of settings is no design of a person


@dataclass(frozen=True, slots=True)
class HandDesign:
    """A design with the name people know it by."""

    name: str
    design: Design


def hand_designs(allowed: FeasibleSpace) -> list[HandDesign]:
    """Return the hand designs that fit the budgets, each pool at the largest size that does.

    Every choice in all layers; three centred readers of a shared pool and one centred private
    memory, over the first choice that is dense. Fixed layers stay as they are, tied layers are
    placed together. Of several variants the first has all of these; of the others, which are
    named by what is set in them, a few have that of the first dense choice in all layers.
    """
    found: dict[Design, HandDesign] = {}
    for variant in _variants(allowed.space):
        part = allowed.space.parts[variant]
        for name, layers in _placements(part) if variant == 0 else [_uniform(part)]:
            design = _largest_that_fits(allowed, layers, variant)
            if design is not None and design not in found:
                settings = part.variant.describe() if variant else ""
                found[design] = HandDesign(", ".join(filter(None, (name, settings))), design)
    return list(found.values())


def centered(num_layers: int, count: int) -> list[int]:
    """Return the layers of the placement ``centered: {count: count}`` of model documents."""
    stride = num_layers // count
    return [num_layers // 2 + ((2 * j - (count - 1)) * stride) // 2 for j in range(count)]


def _variants(space: Space) -> list[int]:
    """Return the first variant and, where layers vary, some others, evenly over all of them."""
    if not any(_varies(part) for part in space.parts):
        return [0]
    count = len(space.parts)
    others = np.linspace(count - 1, 1, min(count - 1, _OTHER_VARIANTS)).round().astype(int)
    return [0, *sorted(others.tolist())]


def _placements(part: Subspace) -> Iterator[tuple[str, list[int]]]:
    gene = _freest(part)
    if not _varies(part):
        yield _uniform(part)
        return
    for label in part.labels[gene]:
        yield f"all {label}", _placed(part, label, {})
    default, depth = _default(part), len(part.gene_of)
    counts = {"shared_pool": 3, "memory": 1}
    for label, layer in zip(part.labels[gene], part.choices[gene], strict=True):
        count = counts.get(layer.blocks[0].type)
        if len(layer.blocks) == 1 and count is not None and count <= depth:
            near = (_nearest(part, index, label) for index in centered(depth, count))
            placed = _placed(part, default, dict.fromkeys(near, label))
            yield f"centred {label}", placed


def _uniform(part: Subspace) -> tuple[str, list[int]]:
    default = _default(part)
    return f"all {default}" if _varies(part) else "base", _placed(part, default, {})


def _varies(part: Subspace) -> bool:
    return len(part.choices[_freest(part)]) > 1


def _freest(part: Subspace) -> int:
    """Return a gene with the most choices."""
    return max(range(len(part.genes)), key=lambda gene: len(part.choices[gene]))


def _default(part: Subspace) -> str:
    """Return the first choice that is dense, or the first of all."""
    gene = _freest(part)
    for label, layer in zip(part.labels[gene], part.choices[gene], strict=True):
        if {block.type for block in layer.blocks} == {"dense"}:
            return label
    return part.labels[gene][0]


def _nearest(part: Subspace, layer: int, label: str) -> int:
    """Return the gene nearest to a layer that may have a choice; only some may under a proxy."""
    able = [gene for gene, labels in enumerate(part.labels) if label in labels]
    return min(able, key=lambda gene: min(abs(layer - index) for index in part.genes[gene]))


def _placed(part: Subspace, default: str, others: dict[int, str]) -> list[int]:
    """Return the choices for these names; a gene that lacks one keeps its only choice."""
    chosen = []
    for gene, labels in enumerate(part.labels):
        wanted = others.get(gene, default)
        chosen.append(labels.index(wanted) if wanted in labels else 0)
    return chosen


def _largest_that_fits(allowed: FeasibleSpace, layers: list[int], variant: int) -> Design | None:
    """Return the placement with the sizes, taken together, that store most and fit."""
    space = allowed.space
    candidates: list[list[int]] = [[]]
    for sizes in space.pools.values():
        candidates = [[*given, size] for given in candidates for size in range(len(sizes))]
    designs = dict.fromkeys(space.normal(layers, sizes, variant) for sizes in candidates)
    fitting = [design for design in designs if design in allowed]
    return max(fitting, key=lambda d: allowed.prices(d)["num_params"], default=None)
