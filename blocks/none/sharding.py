"""How an empty slot is cut: there is nothing to cut."""

from __future__ import annotations

from collections.abc import Iterator

from archspec.blocks.base import CostContext, Fault, ModelScope
from archspec.blocks.layout import AxisSizes, ParameterLayout, RankCost
from archspec.blocks.none.config import NoneConfig


def layout(config: NoneConfig, scope: ModelScope) -> dict[str, ParameterLayout]:
    """Return the layout of every parameter: none."""
    return {}


def faults(config: NoneConfig, scope: ModelScope, sizes: AxisSizes) -> Iterator[Fault]:
    """Yield every rule that these axes break: none."""
    yield from ()


def rank_cost(config: NoneConfig, context: CostContext, tp: int) -> RankCost:
    """Price what one of ``tp`` ranks does: nothing."""
    return RankCost(cost=config.cost(context), kept_bytes=config.kept_bytes(context))
