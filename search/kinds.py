"""What choices have in common: a template whatever its sizes, a block type, an attention."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from archspec.search.features import Floats
from archspec.search.subspace import Subspace
from archspec.spec.model import LayerSpec
from archspec.spec.search.variant import ATTENTION


def shared_kinds(parts: Sequence[Subspace], labels: Sequence[str]) -> Floats:
    """Tell which choices share a kind, [B, K]; kinds of the same choices are one.

    What all choices have says nothing, and what only one has is the choice itself: neither is a
    kind here.

    Args:
        parts: The variants of a space.
        labels: The names of its choices.
    """
    members: dict[str, set[str]] = {}
    for part in parts:
        for names, layers in zip(part.labels, part.choices, strict=True):
            for label, layer in zip(names, layers, strict=True):
                for kind in _kinds(layer):
                    members.setdefault(kind, set()).add(label)
    shared = dict.fromkeys(
        tuple(label in found for label in labels)
        for found in members.values()
        if 1 < len(found) < len(labels)
    )
    return np.array(list(shared), dtype=np.float64).reshape(-1, len(labels)).T


def _kinds(layer: LayerSpec) -> Iterator[str]:
    """Name the kinds of a layer; what reads a pool is a memory layer, whatever its type."""
    yield ATTENTION + layer.attention_name
    for name, block in zip(layer.names, layer.blocks, strict=True):
        yield f"block.{name}"
        yield f"template.{name.partition('[')[0]}"
        yield f"type.{block.type}"
        if block.pool_name is not None:
            yield "type.memory"
