"""The block kinds, as one literal table; configs are imported without torch, modules on demand.

A kind from another distribution arrives by the entry-point group ``archspec.blocks``: the entry
point's name is the ``type``, its object a ``BlockKind``.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, cast

from archspec.blocks.base import BlockConfig
from archspec.blocks.layout import Sharding
from archspec.errors import ArchspecError

if TYPE_CHECKING:
    from archspec.blocks.module import Block

ENTRY_POINT_GROUP = "archspec.blocks"


@dataclass(frozen=True, slots=True)
class BlockKind:
    """Where the parts of a kind live.

    Attributes:
        config: Its config class, as ``module:attribute``.
        module: Its module class, likewise.
        sharding: The module that offers what ``layout.Sharding`` says.
    """

    config: str
    module: str
    sharding: str


BLOCKS: Mapping[str, BlockKind] = {
    "dense": BlockKind(
        "archspec.blocks.dense.config:DenseConfig",
        "archspec.blocks.dense.module:DenseBlock",
        "archspec.blocks.dense.sharding",
    ),
    "moe": BlockKind(
        "archspec.blocks.moe.config:MoeConfig",
        "archspec.blocks.moe.module:MoeBlock",
        "archspec.blocks.moe.sharding",
    ),
    "memory": BlockKind(
        "archspec.blocks.memory.config:MemoryConfig",
        "archspec.blocks.memory.module:MemoryBlock",
        "archspec.blocks.memory.sharding",
    ),
    "shared_pool": BlockKind(
        "archspec.blocks.shared_pool.config:SharedPoolConfig",
        "archspec.blocks.shared_pool.module:SharedPoolBlock",
        "archspec.blocks.shared_pool.sharding",
    ),
    "ngram": BlockKind(
        "archspec.blocks.ngram.config:NgramConfig",
        "archspec.blocks.ngram.module:NgramBlock",
        "archspec.blocks.ngram.sharding",
    ),
    "none": BlockKind(
        "archspec.blocks.none.config:NoneConfig",
        "archspec.blocks.none.module:NoneBlock",
        "archspec.blocks.none.sharding",
    ),
}


@functools.cache
def kinds() -> Mapping[str, BlockKind]:
    """Return every known kind by its ``type``, ours and those of installed distributions."""
    found = dict(BLOCKS)
    for point in entry_points(group=ENTRY_POINT_GROUP):
        if point.name in found:
            owner = point.dist.name if point.dist else "an installed distribution"
            raise ArchspecError(f"block type {point.name!r} of {owner} is already taken; rename it")
        found[point.name] = cast("BlockKind", point.load())
    return found


def _load(target: str) -> object:
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


@functools.cache
def config_class(kind: str) -> type[BlockConfig]:
    """Return the config class of a kind, torch-free. Raises KeyError for an unknown kind."""
    return cast("type[BlockConfig]", _load(kinds()[kind].config))


@functools.cache
def sharding_of(kind: str) -> Sharding:
    """Return how a kind is cut over a mesh, torch-free. Raises KeyError for an unknown kind."""
    return cast("Sharding", importlib.import_module(kinds()[kind].sharding))


@functools.cache
def module_class(kind: str) -> type[Block]:
    """Return the module class of a kind; imports torch. Raises KeyError for an unknown kind."""
    return cast("type[Block]", _load(kinds()[kind].module))
