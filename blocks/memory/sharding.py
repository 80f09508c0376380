"""How a product-key look-up is cut: tp by memory heads and by columns of the value."""

from __future__ import annotations

from collections.abc import Iterator

from archspec.blocks.base import CostContext, Fault, ModelScope
from archspec.blocks.layout import TP, AxisSizes, ParameterLayout, RankCost, linear, vector, within
from archspec.blocks.memory.config import MemoryConfig, ProductKeyConfig
from archspec.blocks.pool import sharding as pool
from archspec.blocks.pool.config import PoolConfig


def layout(config: MemoryConfig, scope: ModelScope) -> dict[str, ParameterLayout]:
    """Return the layout of every parameter, by its name in the module."""
    values = pool.layout(config.table, scope.d_model)
    return {**lookup_layout(config, config.table, scope), **within("values", values)}


def faults(config: MemoryConfig, scope: ModelScope, sizes: AxisSizes) -> Iterator[Fault]:
    """Yield every rule that these axes break."""
    yield from pool.faults(config.table, scope.d_model, sizes)


def lookup_layout(
    config: ProductKeyConfig, table: PoolConfig, scope: ModelScope
) -> dict[str, ParameterLayout]:
    """Return the layouts of one reader of ``table``.

    Queries and codebooks are cut by memory heads; ranks that do not divide these all look up all
    heads. Gate and output are cut by columns of the value, as the table is.
    """
    d_model, value_dim, bias = scope.d_model, table.value_dim, config.bias
    heads, key_dim = config.num_heads, config.key_dim
    codebooks = ParameterLayout(
        shape=(2, heads, table.num_keys, key_dim // 2), shard={TP: 1}, heads=heads
    )
    query = linear(heads * key_dim, d_model, bias=bias, tp=0, heads=heads)
    found = {**within("query", query), "codebooks": codebooks}
    if config.qk_norm:
        found |= dict.fromkeys(("query_norm", "key_norm"), vector(key_dim // 2))
    if config.gate != "none":
        found |= within("gate", linear(value_dim, d_model, bias=bias, tp=0))
    if config.has_output(d_model=d_model, value_dim=value_dim):
        found |= within("output", linear(d_model, value_dim, bias=bias, tp=1))
    return found


def rank_cost(config: MemoryConfig, context: CostContext, tp: int) -> RankCost:
    """Price what one of ``tp`` ranks does."""
    found = lookup_rank_cost(config, config.table, context, tp)
    rows = pool.rank_cost(config.table, context.scope.d_model, tp)
    return RankCost(cost=found.cost + rows, kept_bytes=found.kept_bytes)


def lookup_rank_cost(
    config: ProductKeyConfig, table: PoolConfig, context: CostContext, tp: int
) -> RankCost:
    """Price one reader of ``table``, without the table's rows."""
    return RankCost(
        cost=config.lookup_cost(table, context, tp=tp),
        kept_bytes=config.lookup_kept_bytes(table, context, tp=tp),
    )
