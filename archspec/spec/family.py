"""Families of designs: those that use the same kinds of blocks, and share a learning rate."""

from __future__ import annotations

from archspec.blocks.registry import kinds
from archspec.spec.model import ModelSpec


def family_of(spec: ModelSpec) -> str:
    """Name the kinds of blocks that a design uses, such as ``dense+shared_pool``."""
    used = {block.type for layer in spec.layers for block in layer.blocks if not block.is_identity}
    return "+".join(kind for kind in kinds() if kind in used) or "none"
