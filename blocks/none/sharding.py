"""How an empty slot is cut: there is nothing to cut."""

from __future__ import annotations

from collections.abc import Iterator

from archspec.blocks.base import Fault, ModelScope
from archspec.blocks.layout import AxisSizes, ParameterLayout
from archspec.blocks.none.config import NoneConfig


def layout(config: NoneConfig, scope: ModelScope) -> dict[str, ParameterLayout]:
    """Return the layout of every parameter: none."""
    return {}


def faults(config: NoneConfig, scope: ModelScope, sizes: AxisSizes) -> Iterator[Fault]:
    """Yield every rule that these axes break: none."""
    yield from ()
