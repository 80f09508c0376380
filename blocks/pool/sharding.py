"""How a table is cut: tp by columns, the fold ``memory`` by rows, by columns, or by both."""

from __future__ import annotations

from collections.abc import Iterator

from archspec.blocks.base import Fault
from archspec.blocks.layout import (
    MEMORY_COLUMNS,
    MEMORY_ROWS,
    TP,
    AxisSizes,
    ParameterLayout,
    divides,
)
from archspec.blocks.pool.config import PoolConfig
from archspec.quantities import Cost

_CUTS = {TP: 1, MEMORY_ROWS: 0, MEMORY_COLUMNS: 1}


def layout(config: PoolConfig, d_model: int) -> dict[str, ParameterLayout]:
    """Return the layout of every parameter, by its name in the module."""
    found = {"weight": _table(config.slots, config.value_dim)}
    if config.expert == "rank1":
        found["down"] = _table(config.slots, d_model)
    return found


def _table(slots: int, width: int) -> ParameterLayout:
    return ParameterLayout(shape=(slots, width), shard=_CUTS, table=True)


def faults(config: PoolConfig, d_model: int, sizes: AxisSizes) -> Iterator[Fault]:
    """Yield every rule that these axes break; uneven pieces are fine, empty ones are not."""
    tp, rows, columns = (sizes.get(axis, 1) for axis in (TP, MEMORY_ROWS, MEMORY_COLUMNS))
    yield from divides(("value_dim",), "value_dim", config.value_dim, TP, tp)
    widths = {"value_dim": config.value_dim}
    if config.expert == "rank1":
        yield from divides(("expert",), "d_model of rank-1 experts", d_model, TP, tp)
        widths["d_model of rank-1 experts"] = d_model
    if config.slots < rows:
        yield Fault(
            ("num_keys",),
            f"a table needs a slot for every shard of its rows, but slots={config.slots} and the "
            f"rows have {rows} shards; shard by columns, or lower memory",
        )
    for name, width in widths.items():
        if width % tp == 0 and width // tp < columns:
            yield Fault(
                ("value_dim",),
                f"a table needs a column for every shard, but {name}={width}, tp={tp} and the "
                f"columns have {columns} shards; shard by rows, or lower memory",
            )


def rank_cost(config: PoolConfig, d_model: int, tp: int) -> Cost:
    """Price the rows that tp leaves a rank, before a fold cuts them."""
    rows = config.slots * (config.row_dim(d_model) // tp)
    return Cost(num_params=rows, num_table_params=rows)
