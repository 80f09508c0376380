"""How an n-gram block is cut: by data parallelism alone; tp and the folds hold all of it."""

from __future__ import annotations

from collections.abc import Iterator

from archspec.blocks.base import CostContext, Fault, ModelScope
from archspec.blocks.layout import AxisSizes, ParameterLayout, RankCost, linear, vector, within
from archspec.blocks.ngram.config import NgramConfig


def layout(config: NgramConfig, scope: ModelScope) -> dict[str, ParameterLayout]:
    """Return the layout of every parameter, by its name in the module."""
    width = config.num_rows * config.row_dim
    rows = ParameterLayout(shape=(config.num_rows * config.slots, config.row_dim), table=True)
    return {
        "table.weight": rows,
        **within("key", linear(scope.d_model, width)),
        **within("value", linear(scope.d_model, width)),
        "key_norm": vector(scope.d_model),
    }


def faults(config: NgramConfig, scope: ModelScope, sizes: AxisSizes) -> Iterator[Fault]:
    """Yield every rule that these axes break: none."""
    yield from ()


def rank_cost(config: NgramConfig, context: CostContext, tp: int) -> RankCost:
    """Price what one of ``tp`` ranks does: all of it."""
    return RankCost(cost=config.cost(context), kept_bytes=config.kept_bytes(context))
