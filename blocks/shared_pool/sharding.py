"""How one reader of a pool is cut; the pool's own layout is the model's."""

from __future__ import annotations

from collections.abc import Iterator

from archspec.blocks.base import CostContext, Fault, ModelScope
from archspec.blocks.layout import AxisSizes, ParameterLayout, RankCost
from archspec.blocks.memory.sharding import lookup_layout, lookup_rank_cost
from archspec.blocks.shared_pool.config import SharedPoolConfig


def layout(config: SharedPoolConfig, scope: ModelScope) -> dict[str, ParameterLayout]:
    """Return the layout of every parameter, by its name in the module."""
    return lookup_layout(config, scope.pools[config.pool], scope)


def faults(config: SharedPoolConfig, scope: ModelScope, sizes: AxisSizes) -> Iterator[Fault]:
    """Yield every rule that these axes break; those of the pool are reported at the pool."""
    yield from ()


def rank_cost(config: SharedPoolConfig, context: CostContext, tp: int) -> RankCost:
    """Price what one of ``tp`` ranks does."""
    return lookup_rank_cost(config, context.scope.pools[config.pool], context, tp)
