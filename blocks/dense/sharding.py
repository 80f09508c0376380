"""How a dense block is cut: tp by its inner width."""

from __future__ import annotations

from collections.abc import Iterator

from archspec.blocks.base import CostContext, Fault, ModelScope
from archspec.blocks.dense.config import DenseConfig, is_gated
from archspec.blocks.layout import TP, AxisSizes, ParameterLayout, RankCost, divides, linear, within


def layout(config: DenseConfig, scope: ModelScope) -> dict[str, ParameterLayout]:
    """Return the layout of every parameter, by its name in the module."""
    d_model, hidden_dim, bias = scope.d_model, config.hidden_dim, config.bias
    inner = linear(hidden_dim, d_model, bias=bias, tp=0)
    gate = within("gate", inner) if is_gated(config.activation) else {}
    down = linear(d_model, hidden_dim, bias=bias, tp=1)
    return {**gate, **within("up", inner), **within("down", down)}


def faults(config: DenseConfig, scope: ModelScope, sizes: AxisSizes) -> Iterator[Fault]:
    """Yield every rule that these axes break."""
    yield from divides(("hidden_dim",), "hidden_dim", config.hidden_dim, TP, sizes.get(TP, 1))


def rank_cost(config: DenseConfig, context: CostContext, tp: int) -> RankCost:
    """Price what one of ``tp`` ranks does: a block of a part of the width."""
    part = config.model_copy(update={"hidden_dim": config.hidden_dim // tp})
    return RankCost(cost=part.cost(context), kept_bytes=part.kept_bytes(context))
