"""How a mixture of experts is cut: ep by experts, tp by the inner width of each."""

from __future__ import annotations

from collections.abc import Iterator

from archspec.blocks.base import CostContext, Fault, ModelScope
from archspec.blocks.dense import sharding as dense
from archspec.blocks.dense.config import DenseConfig, is_gated
from archspec.blocks.layout import (
    EP,
    TP,
    AxisSizes,
    ParameterLayout,
    RankCost,
    divides,
    linear,
    within,
)
from archspec.blocks.moe.config import MoeConfig


def layout(config: MoeConfig, scope: ModelScope) -> dict[str, ParameterLayout]:
    """Return the layout of every parameter, by its name in the module."""
    d_model = scope.d_model
    found = within("router", linear(config.num_experts, d_model))
    if config.routing_bias:
        found["routing_bias"] = ParameterLayout(shape=(config.num_experts,), trains=False)
    found |= within("experts", _experts(config, d_model))
    if config.shared_width:
        shared = DenseConfig(hidden_dim=config.shared_width, activation=config.activation)
        found |= within("shared", dense.layout(shared, scope))
    if config.shared_gate:
        found |= within("shared_gate", linear(1, d_model))
    return found


def _experts(config: MoeConfig, d_model: int) -> dict[str, ParameterLayout]:
    experts, hidden_dim = config.num_experts, config.hidden_dim
    inner = ParameterLayout(shape=(experts, d_model, hidden_dim), shard={EP: 0, TP: 2})
    gate = {"gate": inner} if is_gated(config.activation) else {}
    down = ParameterLayout(shape=(experts, hidden_dim, d_model), shard={EP: 0, TP: 1})
    return {**gate, "up": inner, "down": down}


def faults(config: MoeConfig, scope: ModelScope, sizes: AxisSizes) -> Iterator[Fault]:
    """Yield every rule that these axes break."""
    tp, ep = sizes.get(TP, 1), sizes.get(EP, 1)
    yield from divides(("hidden_dim",), "hidden_dim", config.hidden_dim, TP, tp)
    if config.shared_width:
        path = "shared_hidden_dim" if config.shared_hidden_dim else "num_shared_experts"
        yield from divides((path,), "the shared experts' width", config.shared_width, TP, tp)
    if config.num_experts < ep:
        yield Fault(
            ("num_experts",),
            f"ep <= num_experts must hold, but num_experts={config.num_experts} and ep={ep}; "
            "lower ep: a rank without an expert would only wait",
        )


def rank_cost(config: MoeConfig, context: CostContext, tp: int) -> RankCost:
    """Price what one of ``tp`` ranks does: the same choices, experts of a part of the width.

    Under ep a rank runs other tokens through its experts, on average as many as its own would take.
    """
    shared = config.shared_hidden_dim
    widths = {
        "hidden_dim": config.hidden_dim // tp,
        "shared_hidden_dim": None if shared is None else shared // tp,
    }
    part = config.model_copy(update=widths)
    return RankCost(cost=part.cost(context), kept_bytes=part.kept_bytes(context))
