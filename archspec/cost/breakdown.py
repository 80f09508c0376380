"""A model's costs as bars by layer, each bar in pieces: attention, kinds of block, table rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from archspec.blocks.base import CostContext
from archspec.cost.summary import frame_cost, model_parts
from archspec.quantities import Cost
from archspec.spec.model import LayerSpec, ModelSpec

ATTENTION = "attention"
EMBEDDINGS = "embedding and head"
ROWS = "table rows"


@dataclass(frozen=True, slots=True)
class Piece:
    """A share of a bar: what it is, and what it costs."""

    kind: str
    cost: Cost


@dataclass(frozen=True, slots=True)
class Bar:
    """One layer, or a part of the model beside the layers.

    Attributes:
        label: The layer's index, or the part's name.
        index: The layer, None for a part.
    """

    label: str
    index: int | None
    pieces: tuple[Piece, ...]


def bars(spec: ModelSpec, context: CostContext) -> tuple[Bar, ...]:
    """Return the bars of a model in the order of its layers; they add up to its total.

    The stored rows of a table are a piece of their own: of the layer that owns the table, or of the
    pool's bar behind the layers.
    """
    embedding, norm, head = model_parts(spec, context)
    layers = (
        Bar(str(index), index, tuple(_pieces(layer, context)))
        for index, layer in enumerate(spec.layers)
    )
    pools = (
        Bar(f"pool {name}", None, (Piece(ROWS, pool.cost(spec.d_model)),))
        for name, pool in spec.pools.items()
    )
    return (
        Bar("embed", None, (Piece(EMBEDDINGS, embedding.cost),)),
        *layers,
        Bar("head", None, (Piece(EMBEDDINGS, head.cost + norm.cost),)),
        *pools,
    )


def _pieces(layer: LayerSpec, context: CostContext) -> Iterator[Piece]:
    yield Piece(ATTENTION, frame_cost(layer, context))
    for block in layer.blocks:
        cost = block.cost(context)
        rows = Cost(num_params=cost.num_table_params, num_table_params=cost.num_table_params)
        others = cost.num_params - cost.num_table_params
        yield Piece(block.type, replace(cost, num_params=others, num_table_params=0))
        if rows.num_params:
            yield Piece(ROWS, rows)
